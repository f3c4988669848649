"""The way of a packed batch of ragged clips to the network's input, batched, on the device.

Every random number comes from `random_numbers.draw`, keyed by (seed, epoch, step) and dealt by position in
the global batch: the same clip gets the same augmentation, partner and drop path on any number of ranks. The
table in augmentations.py says what is done, in which order: to the times of frames, then to packed rows;
frames are sampled and the modality is made of them; then to the input. Mixing is part of the training step.

In the corrected preset a stored row whose joints are all exactly 0 is a body that is absent in that
frame, and `InputPipeline` also gives its presence (N, T, M): see `resize.resample_present`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from pipelines.channels import coordinates, has_score
from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from shards.batch import PackedBatch
from shards.manifest import Manifest
from tsgc.config import TrainConfig
from tsgc.input import augmentations
from tsgc.input.crop import crop_positions, even_frames, even_times, random_frames, train_crop
from tsgc.input.packed_rows import DeviceArrays, HostArrays, HostRows, Rows, row_clips
from tsgc.input.random_numbers import Draws, draw
from tsgc.input.resize import blend, neighbours, present_rows, resample_present, suits_numpy
from tsgc.input.tta import PLAIN, View, as_augmentation, view_span
from tsgc.modalities import derive_modality, needs_times

MOST_KEPT, MOST_ROWS = 64, 4096  # lone clips' arrays that are kept, and rows of the longest: 2 MB at most


@dataclass(frozen=True)
class InputPipeline:
    """Makes the input of one network of packed batches: for training, evaluation and prediction alike.

    `present_only`: interpolate over present frames and tell presence (the corrected preset).
    TsgcError where the configuration turns pictures (`xys`) in space, or the skeleton lacks named joints.
    """

    config: TrainConfig
    skeleton: Skeleton
    bodies: int
    absent_body: str
    present_only: bool = False
    channels: str = "xyz"
    """`xyz`, `xyzs`, or `xys`: pictures, which turn about the viewing axis alone. s is no coordinate."""
    fps: float = 30
    """Frames a second of the clips."""
    _kept: dict[tuple[int, int, View], DeviceArrays] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for entry in augmentations.AUGMENTATIONS:
            if entry.check and entry.on(self.config):
                entry.check(self.config, self.skeleton, self.channels)

    def draw(self, epoch: int, step: int, count: int, blocks: int) -> Draws:
        """A step's random numbers for this input and a network of `blocks` blocks."""
        return draw(self.config, epoch, step, count, self.bodies, blocks, self.skeleton)

    def test(
        self, batch: PackedBatch, device: torch.device, view: View = PLAIN
    ) -> tuple[Tensor, Tensor | None]:
        """The deterministic input (N, C, T, V, M) of a batch, and its presence (N, T, M) or None.

        TsgcError for a view that turns pictures in space.
        """
        if view.degrees and self.channels == "xys":
            raise TsgcError("views that turn need joints in space; these clips are pictures (xys)")
        arrays = self._test_arrays(batch, view, device)
        (x,), presence = self._input(batch, arrays, device, (self.config.modality,))
        return x, presence

    def bodies_there(self, batch: PackedBatch) -> np.ndarray:
        """Which of M bodies the clips of a batch have: (N, M) bool. The others are 0 in their input."""
        if not self.present_only and self.absent_body == "copy":
            return np.ones((len(batch), self.bodies), bool)
        return np.arange(self.bodies) < batch.bodies.numpy()[:, None]

    def train(self, batch: PackedBatch, draws: Draws, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """The augmented, not yet mixed input (N, C, T, V, M) of a micro-batch, and its presence.

        The batch's index columns lie on the host; its joints may lie on the device already.
        """
        (x,), presence = self.train_streams(batch, draws, device, (self.config.modality,))
        return x, presence

    def train_streams(
        self, batch: PackedBatch, draws: Draws, device: torch.device, modalities: Sequence[str]
    ) -> tuple[list[Tensor], Tensor | None]:
        """`train`'s x in each of several modalities, of clips that are augmented once; and their presence."""
        here = batch.positions.numpy()
        numbers = {name: array[here] for name, array in draws.augmentations.items()}
        timed = any(map(needs_times, modalities))
        arrays = self.host_arrays(batch, self.train_positions(batch, draws), numbers, timed).send(device)
        return self._input(batch, arrays, device, modalities)

    def test_positions(self, batch: PackedBatch, view: View = PLAIN) -> np.ndarray:
        """Positions in each clip of the frames that a test sees: (N, T) float64, in frames."""
        count, frames = self.config.frames, batch.frames.numpy()
        if self.config.sampling == "crop":
            return crop_positions(*view_span(frames, view), count)
        start, length = (np.zeros_like(frames), frames) if view.span is None else view_span(frames, view)
        return start[:, None] + even_frames(length, count).astype(np.float64)

    def train_positions(self, batch: PackedBatch, draws: Draws) -> np.ndarray:
        """Positions in each clip of the frames that training sees: (N, T) float64, in frames."""
        config, frames, here = self.config, batch.frames.numpy(), batch.positions.numpy()
        if config.sampling == "frames":
            return random_frames(frames, draws.frames[here], config.frames).astype(np.float64)
        times = even_times(config.frames)
        for entry in augmentations.AUGMENTATIONS:
            if entry.times and entry.name in draws.augmentations:
                times = entry.times(times, draws.augmentations[entry.name][here], config)
        start, length = train_crop(frames, draws.crop[here], config)
        return crop_positions(start, length, config.frames, times)

    def _test_arrays(self, batch: PackedBatch, view: View, device: torch.device) -> DeviceArrays:
        """Arrays that a test's input needs besides its joints; those of a lone clip on the host are kept.

        Windows of a recording or of a live stream have one length, so that the next one needs the same.
        """
        if len(batch) > 1 or device.type != "cpu":
            return self._made_arrays(batch, view, device)
        shape = (int(batch.frames.item()), int(batch.bodies.item()), view)
        if shape not in self._kept:
            with torch.inference_mode(False):  # gradients may be asked of the next clip
                arrays = self._made_arrays(batch, view, device)
            if len(arrays.clip) > MOST_ROWS:
                return arrays
            if len(self._kept) == MOST_KEPT:
                self._kept.clear()
            self._kept[shape] = arrays
        return self._kept[shape]

    def _made_arrays(self, batch: PackedBatch, view: View, device: torch.device) -> DeviceArrays:
        numbers = as_augmentation(view, len(batch))
        timed = needs_times(self.config.modality)
        return self.host_arrays(batch, self.test_positions(batch, view), numbers, timed).send(device)

    def host_arrays(
        self,
        batch: PackedBatch,
        positions: np.ndarray,
        numbers: Mapping[str, np.ndarray],
        timed: bool = False,
    ) -> HostArrays:
        """Arrays that a batch's input needs besides its joints, made of index columns and numbers alone.

        `timed`: with the times of frames.
        """
        if self.present_only:
            columns = (batch.frames, batch.bodies, batch.offsets)
            frames = [positions, *(column.numpy() for column in columns)]
        else:
            frames = list(neighbours(batch, positions, self.bodies, self.absent_body))
        clip = row_clips(batch)
        host = HostRows(batch, clip, self.config, self.skeleton, self.channels)
        values = {
            entry.name: entry.values(numbers[entry.name], host)
            for entry in augmentations.AUGMENTATIONS
            if entry.name in numbers and (entry.rows or entry.input)
        }
        return HostArrays(frames, clip, values, positions / self.fps if timed else None)

    def _input(
        self,
        batch: PackedBatch,
        arrays: DeviceArrays,
        device: torch.device,
        modalities: Sequence[str],
    ) -> tuple[list[Tensor], Tensor | None]:
        joints = batch.joints.to(device, non_blocking=True)
        present = present_rows(joints)
        placed = self.place_rows(joints, present, arrays, len(batch))
        if not self.present_only:
            x = blend(placed, *arrays.frames)
            return [self._finish(x, arrays, modality) for modality in modalities], None
        at, frames, bodies, offsets = arrays.frames
        there = replace(batch, frames=frames, bodies=bodies, offsets=offsets)
        x, presence = resample_present(placed, present, there, at, self.bodies, int(batch.frames.max()))
        # NaN spreads to whatever is computed from an absent body-frame, and 0 takes its place.
        x = x.masked_fill(~presence[..., None, None], torch.nan)
        seen = [self._finish(x, arrays, modality).nan_to_num(0.0) for modality in modalities]
        return seen, presence.transpose(1, 2).to(x.dtype)  # (N, M, T) -> (N, T, M)

    def place_rows(self, joints: Tensor, present: Tensor, arrays: DeviceArrays, clips: int) -> Tensor:
        """Packed rows (rows, V, C) of `clips` clips, augmented and normalised.

        `present` (rows,) bool: which of them hold a body. All lie on the device.
        """
        axes, scored = coordinates(self.channels), has_score(self.channels)
        joints, score = joints[..., :axes], joints[..., axes:]
        entries = [entry for entry in augmentations.AUGMENTATIONS if entry.acts(self.config, arrays.values)]
        covered = all(entry.lone or not (entry.rows or entry.scores) for entry in entries)
        if clips == 1 and covered and not arrays.values and suits_numpy(joints) and present.all():
            placed = self._place_lone(joints.numpy(), entries)
            return torch.cat([placed, score], -1) if scored else placed
        rows = Rows(
            arrays.clip, clips, present, not self.present_only, self.config, self.skeleton, self.channels
        )
        for entry in entries:
            values = arrays.values.get(entry.name, {})
            if entry.rows:
                joints = entry.rows(joints, values, rows)
            if entry.scores and scored:
                score = entry.scores(score, values, rows)
        return torch.cat([joints, score], -1) if scored else joints

    def _place_lone(self, joints: np.ndarray, entries: Sequence[augmentations.Augmentation]) -> Tensor:
        """`place_rows` of a lone clip on the host without values, all of whose rows hold a body."""
        with np.errstate(all="ignore"):  # as torch
            for entry in entries:
                if entry.lone:
                    joints = entry.lone(joints, self.config, self.skeleton)
        return torch.from_numpy(joints)

    def _finish(self, x: Tensor, arrays: DeviceArrays, modality: str) -> Tensor:
        """The modality of joints, less what is dropped: (N, M, T, V, C) -> (N, C, T, V, M).

        C becomes k C where k modalities lie side by side; each loses the same.
        """
        x = derive_modality(modality, x, self.skeleton, self.channels, arrays.times)
        for entry in augmentations.AUGMENTATIONS:
            if entry.input and entry.acts(self.config, arrays.values):
                x = entry.input(x, arrays.values.get(entry.name, {}))
        return x.permute(0, 4, 2, 3, 1)


def interpolates_presence(preset: str) -> bool:
    """True for a preset whose network is told which bodies are there: absent ones are not blended in."""
    return preset == "corrected"


def input_pipeline(config: TrainConfig, manifest: Manifest) -> InputPipeline:
    """The pipeline that makes a network's input of this manifest's clips."""
    most = manifest.max_bodies
    bodies = config.bodies or most
    if most > bodies:
        raise TsgcError(
            f"{manifest.benchmark}: clips of {most} bodies, the configuration says bodies={bodies}"
        )
    present_only = interpolates_presence(manifest.preset)
    return InputPipeline(
        config,
        manifest.body,
        bodies,
        manifest.absent_body,
        present_only,
        channels=manifest.channels,
        fps=manifest.fps,
    )
