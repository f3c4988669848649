"""Which frames of a clip the network sees, and their joints, batched: crops, picks, interpolation.

The numbers are drawn on the host, in NumPy; `resample` and `resample_present` run on the device.
"""

import numpy as np
import torch
from torch import Tensor

from shards.batch import PackedBatch
from tsgc.config import TrainConfig

TEST_CROP_MARGIN = 40  # a test crop leaves out length // 40 frames at each end: 0.95 of the clip
BRIDGE = 15  # frames; a body missed for longer is absent there, for less it is interpolated (half a second)
FRAME_COPIES = 100  # copies of each frame that `frames` draws from without replacement (the field's NW-UCLA)
SPEED_SEGMENTS = 4  # parts of a crop that `speed` plays each at its own rate


def present_rows(joints: Tensor) -> Tensor:
    """Rows that hold a body: any joint is not exactly 0. (rows, V, C) -> (rows,) bool."""
    return (joints != 0).flatten(1).any(1)


def train_crop(frames: np.ndarray, uniform: np.ndarray, config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of random crops of clips of `frames` (N,) frames, from `uniform` (N, 2)."""
    part = config.crop_min + (1 - config.crop_min) * uniform[:, 0]
    length = np.minimum(np.maximum(np.floor(part * frames).astype(np.int64), config.crop_min_frames), frames)
    return np.floor(uniform[:, 1] * (frames - length + 1)).astype(np.int64), length


def test_crop(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of the centre crop of 0.95."""
    margin = frames // TEST_CROP_MARGIN
    return margin, frames - 2 * margin


def ticket_draws(count: int) -> int:
    """Uniform numbers that `random_frames` needs for `count` frames: some in reserve, and a second set."""
    return count + _reserve(count) + count


def _reserve(count: int) -> int:
    return count // 4 + 8


def random_frames(frames: np.ndarray, uniform: np.ndarray, count: int) -> np.ndarray:
    """Sorted frame numbers (N, count) drawn without replacement from 100 copies of each frame.

    Tickets are drawn with replacement, some more than needed, and the first `count` different ones kept;
    every set of tickets is as likely as any other. Where fewer are different (clips of a few frames),
    Floyd's algorithm draws again from the second set of numbers. `uniform` (N, ticket_draws(count)). A clip
    of fewer than `count` tickets (one frame, T over 100) gets more copies.
    """
    copies = np.maximum(FRAME_COPIES, -(-count // frames))
    tickets = frames * copies
    first = count + _reserve(count)
    drawn = np.floor(uniform[:, :first] * tickets[:, None]).astype(np.int64)
    # Sorted by ticket, then by turn: the first of equal tickets is the one drawn first.
    keyed = np.sort(drawn * first + np.arange(first), axis=1)
    ticket, turn = np.divmod(keyed, first)
    new = np.ones(ticket.shape, np.bool_)
    new[:, 1:] = ticket[:, 1:] != ticket[:, :-1]
    in_turn = np.zeros(ticket.shape, np.bool_)
    np.put_along_axis(in_turn, turn, new, axis=1)
    distinct = np.cumsum(in_turn, axis=1)
    enough = distinct[:, -1] >= count
    kept = np.take_along_axis(in_turn & (distinct <= count), turn, axis=1) & enough[:, None]
    picked = np.empty((len(frames), count), np.int64)
    picked[enough] = ticket[kept].reshape(-1, count)
    if not enough.all():
        few = ~enough
        picked[few] = np.sort(_floyd(tickets[few], uniform[few, first:]), axis=1)
    return picked // copies[:, None]


def _floyd(tickets: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Different ones of `tickets` (N,), as many as `uniform` (N, T) has columns, in no fair order."""
    picks = uniform.shape[1]
    drawn = np.empty(uniform.shape, np.int64)
    for pick in range(picks):
        newest = tickets - picks + pick
        ticket = np.floor(uniform[:, pick] * (newest + 1)).astype(np.int64)
        taken = (drawn[:, :pick] == ticket[:, None]).any(1)
        drawn[:, pick] = np.where(taken, newest, ticket)
    return drawn


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


def crop_positions(
    start: np.ndarray,
    length: np.ndarray,
    count: int,
    jitter: np.ndarray | None = None,
    speed: np.ndarray | None = None,
) -> np.ndarray:
    """Where `count` frames lie in the clip when a crop is resized, in frames: (N, count) float64.

    Half-pixel centres, clamped to the crop's ends (torch's align_corners=False). `jitter` (N, count), -0.5 to
    0.5, moves each by that part of a step. `speed` (N, S), positive: relative rates at which S equal parts
    of the output run through the crop.
    """
    step = np.arange(count) + 0.5 + (0 if jitter is None else jitter)
    if speed is not None:
        step = count * _run(step / count, speed)
    places = step * (length[:, None] / count) - 0.5
    return start[:, None] + np.minimum(np.maximum(places, 0), length[:, None] - 1)


def _run(part: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """How far (0 to 1) each `part` (N or 1, T) of the output is into the crop, at rates `speed` (N, S)."""
    clips, segments = speed.shape
    ends = np.zeros((clips, segments + 1))
    np.cumsum(speed, axis=1, out=ends[:, 1:])
    ends /= ends[:, -1:]
    scaled = part * segments
    segment = np.minimum(scaled.astype(np.int64), segments - 1)
    place = segment + np.arange(0, ends.size, segments + 1)[:, None]
    low, high = ends.take(place), ends.take(place + 1)
    return low + (high - low) * (scaled - segment)


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


def neighbours(
    batch: PackedBatch, positions: np.ndarray, bodies: int, absent_body: str
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows `resample` interpolates between, and their weights, found on the host: for `blend`.

    Rows (2, N, M, T) int32 and weights (2, N, 1 or M, T, 1, 1) float32: those before `positions`, then after.
    """
    frames, have = batch.frames.numpy(), batch.bodies.numpy()[:, None, None]
    low = np.floor(positions)
    first = low.astype(np.int64)
    frame = np.stack([first, np.minimum(first + 1, (frames - 1)[:, None])])[:, :, None]  # (2, N, 1, T)
    body = np.arange(bodies)[:, None]  # (M, 1)
    rows = frame * have + (
        batch.offsets.numpy()[:, None, None] + np.where(body < have, body, 0)
    )  # (2, N, M, T)
    after = (positions - low).astype(np.float32)[:, None]
    weights = np.stack([1 - after, after])  # (2, N, 1, T)
    if absent_body == "zeros" and (have < bodies).any():
        weights = weights * (body < have)
    return rows.astype(np.int32), weights[..., None, None]


def blend(joints: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """What `resample` gives (N, M, T, V, C), from `neighbours`."""
    picked = joints.index_select(0, rows.view(-1)).view(*rows.shape, *joints.shape[1:])
    before, after = (picked * weights).unbind(0)
    return before + after


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
