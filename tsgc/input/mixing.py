"""Clips mixed with their partners: mixup, a span of time (temporal CutMix), a part of the body.

Mixing comes after the modality, so that no stream sees a jump where a span begins. Lambda (`lam`) is a clip's
own part of its target; the rest is its partner's. `lam_map` is its own part of each frame and joint.
"""

from functools import cache

import numpy as np
from torch import Tensor

from pipelines.skeleton import Skeleton
from tsgc.config import TrainConfig


def draw_lam(rng: np.random.Generator, config: TrainConfig, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Lambda of each clip (count,) float32, and which groups are mixed (groups,) bool; 1 in others."""
    groups = -(-count // config.mix_group)
    mixed = rng.random(groups) < config.mixup_prob
    lam = rng.beta(config.mixup, config.mixup, groups) if config.mixup > 0 else np.ones(groups)
    return np.repeat(np.where(mixed, lam, 1.0), config.mix_group)[:count].astype(np.float32), mixed


def draw_cuts(
    rng: np.random.Generator, config: TrainConfig, lam: np.ndarray, mixed: np.ndarray, skeleton: Skeleton
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lambda, mixup's lambda, and a partner's frames and joints, where some mixed groups are cut instead.

    `lam` (N,) and `mixed` (groups,) as `draw_lam` gives them. Without CutMix, lambda and three arrays (N, 0).
    """
    count = len(lam)
    if not (config.cutmix_span or config.cutmix_part):
        nothing = np.zeros((count, 0), np.float32)
        return lam, nothing, nothing, nothing
    kind = rng.random(len(mixed))
    each = np.arange(count) // config.mix_group
    spans = (mixed & (kind < config.cutmix_span))[each]
    parts = (mixed & (kind >= config.cutmix_span) & (kind < config.cutmix_span + config.cutmix_part))[each]
    length = rng.random(len(mixed))[each]  # a group's clips lose spans of one length
    cut_frames = np.where(spans[:, None], cut_spans(length, rng.random(count), config.frames), 1)
    cut_joints = np.where(parts[:, None], cut_parts(rng.random(count), skeleton), 1)
    mixup_lam = np.where(spans | parts, 0, lam)
    lam = 1 - (1 - mixup_lam) * cut_frames.mean(1) * cut_joints.mean(1)
    single = np.float32
    return lam.astype(single), mixup_lam.astype(single), cut_frames.astype(single), cut_joints.astype(single)


def mix(x: Tensor, partner: Tensor, lam: Tensor) -> Tensor:
    """Each clip of x (N, ...) times `lam`, plus the rest times its `partner` (N,).

    `lam` (N,), or with an axis for each of x's, of its size or 1 (`lam_map`).
    """
    lam = lam.to(x.dtype)
    lam = lam.view(*lam.shape, *[1] * (x.dim() - lam.dim()))
    return x * lam + x[partner] * (1 - lam)


def lam_map(mixup_lam: Tensor, cut_frames: Tensor, cut_joints: Tensor) -> Tensor:
    """A clip's own part of each frame and joint, (N, 1, T, V, 1), from what `Draws` has for N clips.

    Its mean is the clip's lambda.
    """
    partners = (1 - mixup_lam)[:, None, None] * cut_frames[:, :, None] * cut_joints[:, None]
    return (1 - partners)[:, None, :, :, None]


def partner_parts(
    mixup_lam: np.ndarray, cut_frames: np.ndarray, cut_joints: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The host's half of `lam_map`: a partner's part of frames (N, 1, T, 1, 1), of joints (N, 1, 1, V, 1)."""
    frames = (1 - mixup_lam)[:, None] * cut_frames
    return frames[:, None, :, None, None], cut_joints[:, None, None, :, None]


def lam_map_from_parts(frames: Tensor, joints: Tensor) -> Tensor:
    """`lam_map` from `partner_parts`: the same to the bit, in two operations on the device."""
    return 1 - frames * joints


def mix_presence(presence: Tensor, partner: Tensor, lam: Tensor) -> Tensor:
    """Presence (N, T, M) of bodies in mixed clips; `lam` as `mix` takes it."""
    return mix(presence, partner, lam if lam.dim() == 1 else lam[:, 0].mean(2))  # (N, T, 1)


def cut_spans(length: np.ndarray, place: np.ndarray, frames: int) -> np.ndarray:
    """Spans of frames: (B, frames) float32, 1 inside; their `length` and `place` are uniform (B,).

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
    """Parts of bodies, chosen by uniform numbers (B,): (B, V) float32, 1 at their joints."""
    parts = body_parts(skeleton)
    return parts[np.floor(choice * len(parts)).astype(np.int64)]
