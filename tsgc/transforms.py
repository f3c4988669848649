"""From a packed batch of ragged clips to the network's input, batched, on the device.

Every random number comes from `draw`, keyed by (seed, epoch, step) and dealt by position in the
global batch: the same clip gets the same augmentation, partner and drop path on any number of ranks.
Order: rotate, normalise (on the packed rows), then sample frames, then the modality, then mix.
Rotation is linear, so doing it before the linear resize instead of after gives the same result on
fewer frames.

In the corrected preset a stored row whose joints are all exactly 0 is a body that is absent in that
frame, and `InputPipeline` also gives its presence (N, T, M): see `resample_present`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipelines.skeleton import Skeleton
from shards.batch import PackedBatch
from tsgc.config import TrainConfig
from tsgc.modalities import stream

TEST_CROP_MARGIN = 40  # a test crop leaves out length // 40 frames at each end: 0.95 of the clip
BRIDGE = 15  # frames; a body missed for longer is absent there, for less it is interpolated (half a second)
VIEWING_AXIS = 2  # z; pictures are seen along it
FRAME_COPIES = 100  # copies of each frame that `frames` draws from without replacement (the field's NW-UCLA)


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


def present_rows(joints: Tensor) -> Tensor:
    """Rows that hold a body: any joint is not exactly 0. (rows, V, C) -> (rows,) bool."""
    return (joints != 0).flatten(1).any(1)


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


def train_crop(frames: np.ndarray, uniform: np.ndarray, config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of random crops of clips of `frames` (N,) frames, from `uniform` (N, 2)."""
    part = config.crop_min + (1 - config.crop_min) * uniform[:, 0]
    length = np.minimum(np.maximum(np.floor(part * frames).astype(np.int64), config.crop_min_frames), frames)
    return np.floor(uniform[:, 1] * (frames - length + 1)).astype(np.int64), length


def test_crop(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of the centre crop of 0.95."""
    margin = frames // TEST_CROP_MARGIN
    return margin, frames - 2 * margin


def random_frames(frames: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Sorted frame numbers (N, T) drawn without replacement from 100 copies of each frame.

    Floyd's algorithm, over the whole batch at once: T picks from FRAME_COPIES * frames tickets. A clip
    of fewer than T tickets (one frame, T over 100) gets more copies.
    """
    picks = uniform.shape[1]
    copies = np.maximum(FRAME_COPIES, -(-picks // frames))
    tickets = np.empty(uniform.shape, np.int64)
    for pick in range(picks):
        newest = frames * copies - picks + pick
        ticket = np.floor(uniform[:, pick] * (newest + 1)).astype(np.int64)
        taken = (tickets[:, :pick] == ticket[:, None]).any(1)
        tickets[:, pick] = np.where(taken, newest, ticket)
    return np.sort(tickets // copies[:, None], axis=1)


def even_frames(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` evenly spaced frame numbers of each clip, ends included, truncated: (N, count).

    The numbers of np.linspace for each clip by itself; given all clips at once it rounds differently
    where one of them has a single frame.
    """
    last = frames - 1
    places = np.arange(count) * (last / max(count - 1, 1))[:, None]
    if count > 1:
        places[:, -1] = last
    return places.astype(np.int64)


def crop_positions(start: np.ndarray, length: np.ndarray, count: int) -> np.ndarray:
    """Where `count` frames lie in the clip when a crop is resized, in frames: (N, count) float64.

    Half-pixel centres, clamped to the crop's ends (torch's align_corners=False).
    """
    places = (np.arange(count) + 0.5) * (length[:, None] / count) - 0.5
    return start[:, None] + np.clip(places, 0, length[:, None] - 1)


def resample(joints: Tensor, batch: PackedBatch, positions: Tensor, bodies: int, absent_body: str) -> Tensor:
    """Frames at `positions` (N, T), linearly interpolated: packed joints -> (N, M, T, V, C).

    A clip with fewer than M bodies gets zeros for the others, or copies of its first (`absent_body`).
    """
    low = positions.floor()
    weight = (positions - low).to(joints.dtype)[:, None, :, None, None]
    last = (batch.frames - 1)[:, None]
    body = torch.arange(bodies, device=joints.device)[None, :, None]  # (1, M, 1)
    have = batch.bodies[:, None, None]
    stored = torch.where(body < have, body, 0)

    def rows(frame: Tensor) -> Tensor:
        return joints[batch.offsets[:, None, None] + frame[:, None, :] * have + stored]  # (N, M, T, V, C)

    first = low.long()
    x = rows(first) * (1 - weight) + rows(torch.minimum(first + 1, last)) * weight
    if absent_body == "zeros":
        x = x * (body < have)[..., None, None]
    return x


def resample_present(
    joints: Tensor, present: Tensor, batch: PackedBatch, positions: Tensor, bodies: int, most_frames: int
) -> tuple[Tensor, Tensor]:
    """Frames at `positions` (N, T), interpolated over the frames that a body is present in.

    Packed joints and `present` (rows,) -> x (N, M, T, V, C) and presence (N, M, T) bool; `most_frames`:
    frames of the longest clip. Each body by itself: between its nearest present frames on both sides,
    where they are at most BRIDGE missed frames apart; else at one less than a frame away, taken as it is;
    else the body is absent: x 0, presence false. A body that a clip does not have is absent throughout.
    """
    frame = torch.arange(most_frames, device=joints.device)
    body = torch.arange(bodies, device=joints.device)[:, None]
    have = batch.bodies[:, None, None]
    within = (body < have) & (frame < batch.frames[:, None, None])  # (N, M, F)
    rows = (batch.offsets[:, None, None] + frame * have + body).where(within, 0)
    seen = present[rows] & within
    # The nearest present frame of each frame, itself included, to either side; -1 and F: none.
    before = torch.where(seen, frame, -1).cummax(-1).values
    after = torch.where(seen, frame, most_frames).flip(-1).cummin(-1).values.flip(-1)

    at = positions[:, None].expand(-1, bodies, -1)  # (N, M, T)
    left = before.gather(2, at.floor().long())
    right = after.gather(2, at.ceil().long())
    bridged = (left >= 0) & (right < most_frames) & (right - left <= BRIDGE + 1)
    near_left = (left >= 0) & (at - left < 1)
    near_right = (right < most_frames) & (right - at < 1)
    presence = bridged | near_left | near_right
    left = torch.where(bridged | near_left, left, right).where(presence, 0)
    right = torch.where(bridged, right, left)
    weight = ((at - left) / (right - left).clamp(min=1)).where(right > left, 0)
    weight = weight.to(joints.dtype)[..., None, None]
    x = joints[rows.gather(2, left)] * (1 - weight) + joints[rows.gather(2, right)] * weight
    return x * presence[..., None, None], presence


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
