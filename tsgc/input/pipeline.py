"""From a packed batch of ragged clips to the network's input, batched, on the device.

Every random number comes from `augmentations.draw`, keyed by (seed, epoch, step) and dealt by position in the
global batch: the same clip gets the same augmentation, partner and drop path on any number of ranks.
Order, on the packed rows: mirror, align, limbs, rotate, occlude, normalise, scale, displace; then sample
frames, then the modality, then drop joints and axes, then mix (`mixing`). Rotation is linear, so doing it
before the linear resize instead of after gives the same result on fewer frames.

In the corrected preset a stored row whose joints are all exactly 0 is a body that is absent in that
frame, and `InputPipeline` also gives its presence (N, T, M): see `resize.resample_present`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from shards.batch import PackedBatch
from shards.manifest import Manifest
from tsgc.config import TrainConfig
from tsgc.input import geometry
from tsgc.input.augmentations import DROPS, Draws, augmentations, draw
from tsgc.input.crop import crop_positions, even_frames, random_frames, train_crop
from tsgc.input.geometry import AXIS_ORDER, min_max, rotation_matrices
from tsgc.input.mixing import mix
from tsgc.input.noise import normal_hashed
from tsgc.input.occlusion import occlude
from tsgc.input.resize import blend, neighbours, present_rows, resample_present
from tsgc.input.row_values import row_values
from tsgc.input.to_device import to_device
from tsgc.input.tta import PLAIN, View, as_augmentation, test_span
from tsgc.modalities import stream

__all__ = ["Draws", "InputPipeline", "draw", "min_max", "mix", "rotation_matrices", "to_device"]

VIEWING_AXIS = 2  # z; pictures are seen along it


@dataclass(frozen=True)
class InputPipeline:
    """Packed batches to the input of one network: the same for training, evaluation and prediction.

    `present_only`: interpolate over present frames and tell presence (the corrected preset).
    TsgcError where the configuration turns pictures (`xys`) in space, or the skeleton lacks named joints.
    """

    config: TrainConfig
    skeleton: Skeleton
    bodies: int
    absent_body: str
    present_only: bool = False
    channels: str = "xyz"
    """Or `xys`: pictures, which turn about the viewing axis alone, and a score, which is no coordinate."""

    def __post_init__(self) -> None:
        config = self.config
        if self.channels == "xys":
            turns = {"rotation=vertical": config.rotation == "vertical", "align": config.align != "none"}
            for name, wanted in turns.items():
                if wanted:
                    raise TsgcError(
                        f"{name} turns joints in space; these clips are pictures (xys): leave it out"
                    )
            if config.occlusion:
                raise TsgcError(
                    f"occlusion={config.occlusion} needs depth; these clips are pictures (xys): leave it out"
                )
        if config.align != "none" or config.face_camera or config.normalise == "spine":
            geometry.trunk_joints(self.skeleton)

    def draw(self, epoch: int, step: int, count: int, blocks: int) -> Draws:
        """A step's random numbers for this input and a network of `blocks` blocks."""
        return draw(self.config, epoch, step, count, self.bodies, blocks, self.skeleton)

    def test(
        self, batch: PackedBatch, device: torch.device, view: View = PLAIN
    ) -> tuple[Tensor, Tensor | None]:
        """The deterministic input (N, C, T, V, M) of a batch, and its presence (N, T, M) or None.

        TsgcError for a view that turns pictures in space.
        """
        frames = batch.frames.numpy()
        if view.degrees and self.channels == "xys":
            raise TsgcError("views that turn need joints in space; these clips are pictures (xys)")
        if self.config.sampling == "crop":
            positions = crop_positions(*test_span(frames, view), self.config.frames)
        else:
            start, length = (np.zeros_like(frames), frames) if view.span is None else test_span(frames, view)
            positions = start[:, None] + even_frames(length, self.config.frames).astype(np.float64)
        seen = (self.config.modality,)
        augment = as_augmentation(view, len(frames))
        (x,), presence = self._input(batch, positions, augment, device, "vertical", seen)
        return x, presence

    def train(self, batch: PackedBatch, draws: Draws, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """The augmented, not yet mixed input (N, C, T, V, M) of a micro-batch, and its presence.

        The batch's index columns lie on the host; its joints may lie on the device already.
        """
        (x,), presence = self.train_streams(batch, draws, device, (self.config.modality,))
        return x, presence

    def train_streams(
        self, batch: PackedBatch, draws: Draws, device: torch.device, modalities: Sequence[str]
    ) -> tuple[list[Tensor], Tensor | None]:
        """The same clips, augmented once, as each of several modalities has them: `train`'s x for each."""
        here = batch.positions.numpy()
        positions, given = self.train_positions(batch, draws), augmentations(draws, here)
        return self._input(batch, positions, given, device, self.config.rotation, modalities)

    def train_positions(self, batch: PackedBatch, draws: Draws) -> np.ndarray:
        """Where the frames that training sees lie in each clip: (N, T) float64, in frames."""
        config, frames, here = self.config, batch.frames.numpy(), batch.positions.numpy()
        if config.sampling == "frames":
            return random_frames(frames, draws.frames[here], config.frames).astype(np.float64)
        start, length = train_crop(frames, draws.crop[here], config)
        return crop_positions(
            start,
            length,
            config.frames,
            config.time_jitter * (draws.jitter[here] - 0.5) if config.time_jitter else None,
            np.exp(config.speed * draws.speed[here]) if config.speed else None,
        )

    def _input(
        self,
        batch: PackedBatch,
        positions: np.ndarray,
        augmentations: dict[str, np.ndarray],
        device: torch.device,
        rotation: str,
        modalities: Sequence[str],
    ) -> tuple[list[Tensor], Tensor | None]:
        given = dict(augmentations)
        late = {name: given.pop(name) for name in DROPS if name in given}
        joints = batch.joints.to(device, non_blocking=True)
        if self.present_only:
            columns = (batch.frames, batch.bodies, batch.offsets)
            arrays = [positions, *(column.numpy() for column in columns)]
        else:
            arrays = list(neighbours(batch, positions, self.bodies, self.absent_body))
        sent = to_device([*arrays, *late.values()], device)
        augment = dict(zip(late, sent[len(arrays) :]))
        present = present_rows(joints) if self.present_only else None
        placed = self._place(joints, batch, present, given, rotation)
        if present is None:
            x = blend(placed, *sent[: len(arrays)])
            return [self._finish(x, augment, modality) for modality in modalities], None
        at, frames, bodies, offsets = sent[: len(arrays)]
        there = replace(batch, frames=frames, bodies=bodies, offsets=offsets)
        x, presence = resample_present(placed, present, there, at, self.bodies, int(batch.frames.max()))
        # NaN spreads to whatever is computed from an absent body-frame, and 0 takes its place.
        x = x.masked_fill(~presence[..., None, None], torch.nan)
        seen = [self._finish(x, augment, modality).nan_to_num(0.0) for modality in modalities]
        return seen, presence.transpose(1, 2).to(x.dtype)  # (N, M, T) -> (N, T, M)

    def _place(
        self,
        joints: Tensor,
        batch: PackedBatch,
        present: Tensor | None,
        augmentations: Mapping[str, np.ndarray],
        rotation: str,
    ) -> Tensor:
        """Packed rows as the network shall see them: turned, scaled, displaced.

        `joints` lie on the device, the batch's index columns and the `augmentations` on the host.
        """
        clips, config = len(batch), self.config
        picture = self.channels == "xys"
        axes = 2 if picture else joints.shape[-1]
        row_clip, given = row_values(batch, augmentations, self.skeleton, axes, joints.device)
        there = present if present is not None else present_rows(joints)
        if "mirror" in given:  # first, as the score trades places too
            joints = geometry.swap_sides(joints, given["mirror"], self.skeleton)
        score = joints[..., axes:]
        joints = joints[..., :axes] if picture else joints
        if "mirror" in given:
            joints = joints * given["signs"]
        if config.align == "facing":
            facing = geometry.facing_matrices(joints * there[:, None, None], row_clip, clips, self.skeleton)
            joints = geometry.turn(joints, facing, row_clip)
        if "limbs" in given:
            joints = geometry.stretch_limbs(joints, given["limbs"], self.skeleton)
        joints = self._rotate(joints, row_clip, given, rotation)
        if "occlusion" in given:
            how = (self.skeleton, config.occlusion, config.occlusion_radius)
            joints = occlude(joints, there, given, *how)
        if config.centre == "middle" and config.normalise in ("none", "spine"):
            joints = geometry.middle_to_zero(joints, row_clip, clips, there)
        if config.normalise == "min-max":
            joints = min_max(joints, row_clip, clips, present)
        elif config.normalise == "unit":
            joints = geometry.unit(joints, row_clip, clips, there)
        elif config.normalise == "spine":
            joints = geometry.spine_scale(joints, row_clip, clips, there, self.skeleton)
        joints = self._displace(joints, there, given)
        return torch.cat([joints, score], -1) if picture else joints

    def _rotate(self, joints: Tensor, row_clip: Tensor, given: Mapping[str, Tensor], rotation: str) -> Tensor:
        order = AXIS_ORDER[rotation]
        if self.channels == "xys":
            order = tuple(axis for axis in order if axis == VIEWING_AXIS)
        if "angles" not in given or not order:
            return joints
        matrices = rotation_matrices(given["angles"], order)
        if self.channels == "xys":
            matrices = matrices[:, :2, :2]  # about the viewing axis: z plays no part
        turned = geometry.turn(joints, matrices, row_clip)
        if self.config.face_camera:
            away = geometry.turned_away(joints, turned, self.skeleton)
            turned = geometry.swap_sides(turned, away, self.skeleton)
        return turned

    def _displace(self, joints: Tensor, there: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """Scale and noise; absent bodies stay 0."""
        if "scale" in given:
            joints = joints * given["scale"]
        if "joint_offset" not in given and "noise" not in given:
            return joints
        moved = joints
        if "joint_offset" in given:
            moved = moved + given["joint_offset"]
        if "noise" in given:
            numbers = normal_hashed(given["noise"], joints[0].numel()).view_as(joints)
            moved = moved + self.config.noise * numbers
        return torch.where(there.view(-1, 1, 1), moved, joints)

    def _finish(self, x: Tensor, augment: dict[str, Tensor], modality: str) -> Tensor:
        """The modality, less what is dropped: (N, M, T, V, C) -> (N, C, T, V, M).

        Of several side by side each loses the same: C becomes k C.
        """
        x = stream(modality, x, self.skeleton, self.channels)
        if "keep_joints" in augment:
            x = x * augment["keep_joints"][:, None, None, :, None]
        if "keep_axes" in augment:
            keep = augment["keep_axes"]
            if self.channels == "xys":
                keep = torch.cat([keep[:, :2], torch.ones_like(keep[:, 2:])], 1)  # the score is no axis
            x = x * keep.repeat(1, x.shape[-1] // keep.shape[1])[:, None, None, None, :]
        return x.permute(0, 4, 2, 3, 1)


def interpolates_presence(preset: str) -> bool:
    """Whether a preset's absent bodies are told to the network, not blended with those that are there."""
    return preset == "corrected"


def input_pipeline(config: TrainConfig, manifest: Manifest) -> InputPipeline:
    """How this manifest's clips become the network's input."""
    most = manifest.max_bodies
    bodies = config.bodies or most
    if most > bodies:
        raise TsgcError(
            f"{manifest.benchmark}: clips of {most} bodies, the configuration says bodies={bodies}"
        )
    present_only = interpolates_presence(manifest.preset)
    return InputPipeline(
        config, manifest.body, bodies, manifest.absent_body, present_only, channels=manifest.channels
    )
