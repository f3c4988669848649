"""From a packed batch of ragged clips to the network's input, batched, on the device.

Every random number comes from `draw`, keyed by (seed, epoch, step) and dealt by position in the
global batch: the same clip gets the same augmentation, partner and drop path on any number of ranks.
Order: rotate, normalise (on the packed rows), then sample frames, then the modality, then mix.
Rotation is linear, so doing it before the linear resize instead of after gives the same result on
fewer frames.

In the corrected preset a stored row whose joints are all exactly 0 is a body that is absent in that
frame, and `InputPipeline` also gives its presence (N, T, M): see `sampling.resample_present`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipelines.skeleton import Skeleton
from shards.batch import PackedBatch
from tsgc.config import TrainConfig
from tsgc.modalities import stream
from tsgc.sampling import (
    crop_positions,
    even_frames,
    present_rows,
    random_frames,
    resample,
    resample_present,
    test_crop,
    train_crop,
)

VIEWING_AXIS = 2  # z; pictures are seen along it


@dataclass(frozen=True)
class Draws:
    """The random numbers of one optimiser step, a row for each position in the global batch (B)."""

    crop: np.ndarray
    """Uniform (B, 2): size and place of the crop."""
    frames: np.ndarray
    """Uniform (B, T): picks of `frames`; (B, 0) for `crop`."""
    angles: np.ndarray
    """Radians (B, 3) about x, y, z."""
    mixing: np.ndarray
    """Lambda (B,): a clip's own share; 1 where its group is not mixed."""
    survival: np.ndarray
    """Uniform (B, M, blocks) for drop path."""


def draw(config: TrainConfig, epoch: int, step: int, count: int, bodies: int, blocks: int) -> Draws:
    """The step's random numbers for `count` clips; the same for every rank that asks."""
    rng = np.random.default_rng([config.seed, epoch, step])
    groups = -(-count // config.mix_group)
    mixed = rng.random(groups) < config.mixup_prob
    shares = rng.beta(config.mixup, config.mixup, groups) if config.mixup > 0 else np.ones(groups)
    return Draws(
        crop=rng.random((count, 2)),
        frames=rng.random((count, config.frames if config.sampling == "frames" else 0)),
        angles=ROTATIONS[config.rotation](rng, count, config.rotation_max),
        mixing=np.repeat(np.where(mixed, shares, 1.0), config.mix_group)[:count].astype(np.float32),
        survival=rng.random((count, bodies, blocks), dtype=np.float32),
    )


def _no_rotation(rng: np.random.Generator, count: int, largest: float) -> np.ndarray:
    return np.zeros((count, 3), np.float32)


def _radians(rng: np.random.Generator, count: int, largest: float) -> np.ndarray:
    return rng.uniform(-largest, largest, (count, 3)).astype(np.float32)


def _whole_degrees(rng: np.random.Generator, count: int, largest: float) -> np.ndarray:
    degrees = rng.integers(-int(largest), int(largest), (count, 3), endpoint=True)
    degrees[:, 2] = 0
    return np.deg2rad(degrees).astype(np.float32)


ROTATIONS = {"none": _no_rotation, "radians-xyz": _radians, "degrees-yx": _whole_degrees}
AXIS_ORDER = {"none": (), "radians-xyz": (0, 1, 2), "degrees-yx": (1, 0)}  # the axis turned first comes first


def rotation_matrices(angles: Tensor, order: tuple[int, ...]) -> Tensor:
    """Matrices (N, 3, 3) that turn column vectors about the axes of `order`, one after another.

    `angles` (N, 3) in radians. Each axis's matrix is the transpose of the usual one, so a positive
    angle turns clockwise, as in the published code.
    """
    cos, sin = angles.cos(), angles.sin()
    total = torch.eye(3, dtype=angles.dtype, device=angles.device).expand(len(angles), 3, 3)
    for axis in order:
        one, two = (axis + 1) % 3, (axis + 2) % 3
        matrix = torch.zeros_like(total)
        matrix[:, axis, axis] = 1
        matrix[:, one, one] = matrix[:, two, two] = cos[:, axis]
        matrix[:, one, two], matrix[:, two, one] = sin[:, axis], -sin[:, axis]
        total = matrix @ total
    return total


def min_max(joints: Tensor, row_clip: Tensor, clips: int, present: Tensor | None = None) -> Tensor:
    """Each axis of each clip to [-1, 1] over its joints and frames; a flat axis becomes 0.

    `joints` (rows, V, C); `row_clip` (rows,) names each row's clip. With `present` (rows,), rows without a
    body do not count, and are 0.
    """
    lowest, highest = joints.amin(1), joints.amax(1)
    if present is not None:
        lowest = lowest.masked_fill(~present[:, None], torch.inf)
        highest = highest.masked_fill(~present[:, None], -torch.inf)
    index = row_clip[:, None].expand(-1, joints.shape[-1])
    empty = joints.new_empty(clips, joints.shape[-1])
    low = empty.scatter_reduce(0, index, lowest, "amin", include_self=False)
    high = empty.scatter_reduce(0, index, highest, "amax", include_self=False)
    extent = high - low
    scale = torch.where(extent > 0, 2 / extent, torch.zeros_like(extent))
    shift = torch.where(extent > 0, -1.0, 0.0)
    scaled = (joints - low[row_clip][:, None]) * scale[row_clip][:, None] + shift[row_clip][:, None]
    return scaled if present is None else scaled.masked_fill(~present[:, None, None], 0)


@dataclass(frozen=True)
class InputPipeline:
    """Packed batches to the input of one network: the same for training, evaluation and prediction.

    `present_only`: interpolate over present frames and tell presence (the corrected preset).
    """

    config: TrainConfig
    skeleton: Skeleton
    bodies: int
    absent_body: str
    present_only: bool = False
    channels: str = "xyz"
    """Or `xys`: pictures, which turn about the viewing axis alone, and a score, which is no coordinate."""

    def test(self, batch: PackedBatch, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """The deterministic input (N, C, T, V, M) of a batch, and its presence (N, T, M) or None."""
        frames = batch.frames.numpy()
        if self.config.sampling == "crop":
            positions = crop_positions(*test_crop(frames), self.config.frames)
        else:
            positions = even_frames(frames, self.config.frames).astype(np.float64)
        return self._input(batch, positions, None, device)

    def train(self, batch: PackedBatch, draws: Draws, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """The augmented, not yet mixed input (N, C, T, V, M) of a micro-batch, and its presence."""
        here = batch.positions.numpy()
        frames = batch.frames.numpy()
        if self.config.sampling == "crop":
            start, length = train_crop(frames, draws.crop[here], self.config)
            positions = crop_positions(start, length, self.config.frames)
        else:
            positions = random_frames(frames, draws.frames[here]).astype(np.float64)
        return self._input(batch, positions, draws.angles[here], device)

    def _input(
        self, batch: PackedBatch, positions: np.ndarray, angles: np.ndarray | None, device: torch.device
    ) -> tuple[Tensor, Tensor | None]:
        most_frames = int(batch.frames.max())  # read on the host: no wait for the device
        batch = batch.to(device)
        joints = batch.joints
        clips = len(batch.frames)
        present = present_rows(joints) if self.present_only else None
        row_clip = torch.repeat_interleave(
            torch.arange(clips, device=device), batch.frames * batch.bodies, output_size=len(joints)
        )
        order = AXIS_ORDER[self.config.rotation]
        if self.channels == "xys":
            order = tuple(axis for axis in order if axis == VIEWING_AXIS)
        if angles is not None and order:
            matrices = rotation_matrices(_to(angles, device), order)
            joints = torch.bmm(joints, matrices[row_clip].transpose(1, 2))  # x' = R x for each joint
        if self.config.normalise == "min-max":
            coordinates, score = joints.split([2, 1] if self.channels == "xys" else [joints.shape[-1], 0], -1)
            joints = torch.cat([min_max(coordinates, row_clip, clips, present), score], -1)
        at = _to(positions, device)
        if present is None:
            x = resample(joints, batch, at, self.bodies, self.absent_body)
            return self._modality(x), None
        x, presence = resample_present(joints, present, batch, at, self.bodies, most_frames)
        # NaN spreads to whatever is computed from an absent body-frame, and 0 takes its place.
        x = self._modality(x.masked_fill(~presence[..., None, None], torch.nan)).nan_to_num(0.0)
        return x, presence.transpose(1, 2).to(x.dtype)  # (N, M, T) -> (N, T, M)

    def _modality(self, x: Tensor) -> Tensor:
        """(N, M, T, V, C) -> (N, C, T, V, M)."""
        return stream(self.config.modality, x, self.skeleton, self.channels).permute(0, 4, 2, 3, 1)


def mix(x: Tensor, partner: Tensor, weight: Tensor) -> Tensor:
    """Mixup of x (N, ...): `weight` (N,) of each clip, the rest of its partner (N,)."""
    weight = weight.to(x.dtype).view(-1, *[1] * (x.dim() - 1))
    return x * weight + x[partner] * (1 - weight)


def _to(array: np.ndarray, device: torch.device) -> Tensor:
    """An array on the device; from pinned memory the copy does not hold up the host."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
