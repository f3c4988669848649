"""Linear resizing of clips in time, over present frames only where bodies may be absent."""

import numpy as np
import torch
from torch import Tensor

from shards.batch import PackedBatch

BRIDGE = 15  # frames; a body missed for longer is absent there, for less it is interpolated (half a second)


def suits_numpy(joints: Tensor) -> bool:
    """Whether joints lie on the host and nobody asks for their gradient, so that NumPy may compute."""
    return joints.device.type == "cpu" and not joints.requires_grad


def present_rows(joints: Tensor) -> Tensor:
    """Rows that hold a body: any joint is not exactly 0. (rows, V, C) -> (rows,) bool."""
    if suits_numpy(joints):  # takes NumPy a third of the time
        rows, V, C = joints.shape
        return torch.from_numpy(joints.numpy().reshape(rows, V * C).any(axis=1))
    return (joints != 0).flatten(1).any(1)


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
    """Rows that `resample` interpolates between, and their weights, found on the host: for `blend`.

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
    """Frames (N, M, T, V, C) as `resample` gives them, from `neighbours`."""
    if rows.shape[1] == 1 and suits_numpy(joints):
        array = joints.numpy()[rows.numpy()]
        array *= weights.numpy()
        return torch.from_numpy(array[0] + array[1])
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
