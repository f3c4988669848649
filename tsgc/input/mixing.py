"""Clips mixed with their partners: mixup, a span of time (temporal CutMix), a part of the body.

Mixing comes after the modality, so that no stream sees a jump where a span begins.
"""

from functools import cache

import numpy as np
from torch import Tensor

from pipelines.skeleton import Skeleton


def mix(x: Tensor, partner: Tensor, weight: Tensor) -> Tensor:
    """`weight` of each clip, the rest of its partner (N,); x (N, ...).

    `weight` (N,), or with an axis for each of x's, of its size or 1 (`own_weight`).
    """
    weight = weight.to(x.dtype)
    weight = weight.view(*weight.shape, *[1] * (x.dim() - weight.dim()))
    return x * weight + x[partner] * (1 - weight)


def own_weight(blend: Tensor, cut_frames: Tensor, cut_joints: Tensor) -> Tensor:
    """A clip's own weight in each frame and joint, (N, 1, T, V, 1), as `augmentations.Draws` has them.

    Its mean is the clip's share of the target, `mixing`.
    """
    given = (1 - blend)[:, None, None] * cut_frames[:, :, None] * cut_joints[:, None]
    return (1 - given)[:, None, :, :, None]


def given_parts(
    blend: np.ndarray, cut_frames: np.ndarray, cut_joints: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The host's part of `own_weight`: what a partner gives of frames and joints, for `own_share`.

    (N, 1, T, 1, 1) and (N, 1, 1, V, 1).
    """
    frames = (1 - blend)[:, None] * cut_frames
    return frames[:, None, :, None, None], cut_joints[:, None, None, :, None]


def own_share(frames: Tensor, joints: Tensor) -> Tensor:
    """`own_weight` of `given_parts`: the same to the bit, in two operations on the device."""
    return 1 - frames * joints


def mix_presence(presence: Tensor, partner: Tensor, weight: Tensor) -> Tensor:
    """How much of a body is in a mixed clip's frames, (N, T, M), `weight` as `own_weight` gives it."""
    return mix(presence, partner, weight if weight.dim() == 1 else weight[:, 0].mean(2))  # (N, T, 1)


def cut_spans(length: np.ndarray, place: np.ndarray, frames: int) -> np.ndarray:
    """1 in the frames of spans, whose `length` and `place` are uniform (B,): (B, frames) float32.

    Lengths are whole frames, all from 1 to frames - 1 alike (0 of one frame); so are the places.
    """
    long = np.floor(1 + length * (frames - 1)).astype(np.int64) if frames > 1 else np.zeros(len(length), int)
    start = np.floor(place * (frames - long + 1)).astype(np.int64)
    frame = np.arange(frames)
    return ((frame >= start[:, None]) & (frame < (start + long)[:, None])).astype(np.float32)


@cache
def body_parts(skeleton: Skeleton) -> np.ndarray:
    """Parts that bodies may trade: a joint and all beyond it, 2 joints to half the body, (P, V) float32."""
    below = np.eye(skeleton.num_joints, dtype=np.float32)
    for joint in range(skeleton.num_joints):
        walk = joint
        while skeleton.parents[walk] != walk:
            walk = skeleton.parents[walk]
            below[walk, joint] = 1
    size = below.sum(1)
    parts = np.unique(below[(size >= 2) & (size <= skeleton.num_joints / 2)], axis=0)
    return parts if len(parts) else np.zeros((1, skeleton.num_joints), np.float32)


def cut_parts(choice: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """1 at the joints of one part, chosen by uniform numbers (B,): (B, V) float32."""
    parts = body_parts(skeleton)
    return parts[np.floor(choice * len(parts)).astype(np.int64)]
