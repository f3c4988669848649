"""Modalities: joints, bones, and how either moves.

A modality is one function and its line in MODALITIES; docs/streams.md has each one's formula. Each
takes x (N, M, T, V, C), already cropped, resized and rotated, and returns the same shape; those in TIMED
are given the times of the frames, too. A detector's
score is no coordinate: `stream` gives the functions only x and y, and SCORES has what becomes of it.
Several joined by `+` are one stream too, which sees their channels side by side: early fusion.
torch is imported inside the functions, so that commands which need only the names start fast.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipelines.channels import coordinates, has_score
from pipelines.skeleton import Skeleton

if TYPE_CHECKING:
    from torch import Tensor


def joint(x: Tensor, skeleton: Skeleton) -> Tensor:
    """The joints themselves."""
    return x


def ancestors(skeleton: Skeleton, hops: int) -> list[int]:
    """The joint `hops` steps up from each joint; a root is its own parent."""
    found = list(range(skeleton.num_joints))
    for _ in range(hops):
        found = [skeleton.parents[joint] for joint in found]
    return found


def at_joints(x: Tensor, joints: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
    """x[..., joints, :]; on a GPU without waiting until the list has been copied there."""
    if not x.is_cuda:
        return x[..., list(joints), :]
    import torch

    return x[..., torch.tensor(joints).pin_memory().to(x.device, non_blocking=True), :]


def long_bone(x: Tensor, skeleton: Skeleton, hops: int) -> Tensor:
    """joint - the joint `hops` steps up; 0 at a root."""
    return x - at_joints(x, ancestors(skeleton, hops))


def bone(x: Tensor, skeleton: Skeleton) -> Tensor:
    """joint - parent; a root is its own parent, so its bone is 0."""
    return long_bone(x, skeleton, 1)


def bone2(x: Tensor, skeleton: Skeleton) -> Tensor:
    """joint - grandparent: second-order bones."""
    return long_bone(x, skeleton, 2)


def bone3(x: Tensor, skeleton: Skeleton) -> Tensor:
    """joint - great-grandparent."""
    return long_bone(x, skeleton, 3)


def motion(x: Tensor, stride: int = 1) -> Tensor:
    """frame t + stride - frame t; 0 in the last `stride` frames."""
    import torch

    step = torch.zeros_like(x)
    step[:, :, :-stride] = x[:, :, stride:] - x[:, :, :-stride]
    return step


def joint_motion(x: Tensor, skeleton: Skeleton) -> Tensor:
    """Motion of the joints to the next frame."""
    return motion(x)


def bone_motion(x: Tensor, skeleton: Skeleton) -> Tensor:
    """Motion of the bones to the next frame."""
    return motion(bone(x, skeleton))


def joint_motion2(x: Tensor, skeleton: Skeleton) -> Tensor:
    """Motion of the joints over 2 frames."""
    return motion(x, 2)


def joint_motion4(x: Tensor, skeleton: Skeleton) -> Tensor:
    """Motion of the joints over 4 frames."""
    return motion(x, 4)


def bone_motion2(x: Tensor, skeleton: Skeleton) -> Tensor:
    """Motion of the bones over 2 frames."""
    return motion(bone(x, skeleton), 2)


def bone_motion4(x: Tensor, skeleton: Skeleton) -> Tensor:
    """Motion of the bones over 4 frames."""
    return motion(bone(x, skeleton), 4)


INTERVAL = 1 / 60  # second: a velocity is the motion in this time. Clips half as long as T at 30 a second
# have their frames so far apart, so that their velocity is as large as their motion.
SHORTEST = 1e-6  # second; from frame to frame in less time, rounding is most of what moves


def velocity(x: Tensor, times: Tensor | None) -> Tensor:
    """Motion to the next frame over the time between the two, in INTERVAL; 0 where both are at one time.

    `times` (N or 1, T) float64: when each frame is in the clip, in seconds; None: they are INTERVAL apart.
    """
    import torch

    moved = motion(x)
    if times is None:
        return moved
    steps = times.diff(append=times[:, -1:])
    rates = torch.where(steps.abs() > SHORTEST, INTERVAL / steps, 0)
    return moved * rates.to(x.dtype)[:, None, :, None, None]


def joint_velocity(x: Tensor, skeleton: Skeleton, times: Tensor | None = None) -> Tensor:
    """Velocity of the joints as they were recorded, however many frames the clip is resized to."""
    return velocity(x, times)


def bone_velocity(x: Tensor, skeleton: Skeleton, times: Tensor | None = None) -> Tensor:
    """Velocity of the bones."""
    return velocity(bone(x, skeleton), times)


def children(skeleton: Skeleton, filler: int) -> list[list[int]]:
    """The children of each joint, rows filled up to equal length with `filler`."""
    rows = [
        [child for child, parent in skeleton.edges if parent == joint] for joint in range(skeleton.num_joints)
    ]
    most = max(1, *map(len, rows))
    return [row + [filler] * (most - len(row)) for row in rows]


def angle(x: Tensor, skeleton: Skeleton) -> Tensor:
    """Cosines between a joint's bone and three directions; they do not change when the body turns.

    With its children's bones added up (how the body bends at the joint), with its parent's bone (how it
    bends at the parent), with the trunk (from the mean of all joints to the root). 0 where either has no
    length: at the root, at joints without children, in a body that is absent.
    """
    import torch
    from torch.nn.functional import cosine_similarity

    bones = bone(x, skeleton)
    # Constant where it has no length: the gradients there are so large that rounding eats all others.
    bones = bones.masked_fill((bones == 0).all(-1, keepdim=True), 0)
    roots = [joint for joint, parent in enumerate(skeleton.parents) if joint == parent]
    # Gathered, not scattered: a GPU adds scattered numbers in any order.
    onward = at_joints(bones, children(skeleton, roots[0])).sum(-2)
    trunk = at_joints(x, roots).mean(-2, keepdim=True) - x.mean(-2, keepdim=True)
    directions = (onward, at_joints(bones, skeleton.parents), trunk.expand_as(x))
    return torch.stack([cosine_similarity(bones, other, dim=-1) for other in directions], dim=-1)


TIMED: dict[str, Callable[[Tensor, Skeleton, Tensor | None], Tensor]] = {
    "joint_velocity": joint_velocity,
    "bone_velocity": bone_velocity,
}
"""The modalities whose functions take the times of frames, as `velocity` does."""

MODALITIES: dict[str, Callable[[Tensor, Skeleton], Tensor]] = {
    "joint": joint,
    "bone": bone,
    "joint_motion": joint_motion,
    "bone_motion": bone_motion,
    "bone2": bone2,
    "bone3": bone3,
    "joint_motion2": joint_motion2,
    "joint_motion4": joint_motion4,
    "bone_motion2": bone_motion2,
    "bone_motion4": bone_motion4,
    "angle": angle,
    "joint_velocity": joint_velocity,
    "bone_velocity": bone_velocity,
}


def _bone_score(score: Tensor, skeleton: Skeleton, hops: int = 1) -> Tensor:
    """The mean of the scores at a bone's two ends."""
    return (score + at_joints(score, ancestors(skeleton, hops))) / 2


def _motion_score(score: Tensor, stride: int = 1) -> Tensor:
    """The mean of the scores in a motion's two frames; 0 in the last `stride` frames, as the motion."""
    import torch

    mean = torch.zeros_like(score)
    mean[:, :, :-stride] = (score[:, :, stride:] + score[:, :, :-stride]) / 2
    return mean


SCORES: dict[str, Callable[[Tensor, Skeleton], Tensor]] = {
    "joint": joint,
    "bone": _bone_score,
    "joint_motion": lambda score, _: _motion_score(score),
    "bone_motion": lambda score, body: _motion_score(_bone_score(score, body)),
    "bone2": lambda score, body: _bone_score(score, body, 2),
    "bone3": lambda score, body: _bone_score(score, body, 3),
    "joint_motion2": lambda score, _: _motion_score(score, 2),
    "joint_motion4": lambda score, _: _motion_score(score, 4),
    "bone_motion2": lambda score, body: _motion_score(_bone_score(score, body), 2),
    "bone_motion4": lambda score, body: _motion_score(_bone_score(score, body), 4),
    "joint_velocity": lambda score, _: _motion_score(score),
    "bone_velocity": lambda score, body: _motion_score(_bone_score(score, body)),
}
"""What a modality makes of the score, its last channel.

`angle` has three channels of its own: it leaves out the score of `xys`, and keeps that of `xyzs`.
"""


STACK = "+"  # between the modalities that a stream sees side by side


def parts(name: str) -> list[str]:
    """The modalities that a stream sees, in the order of their channels: one, or those joined by `+`."""
    return name.split(STACK)


def mistake(name: str) -> str:
    """The mistake in a stream's name, in a few words; empty where there is none."""
    known = []
    for part in parts(name):
        if not part:
            return "a name is missing"
        if part not in MODALITIES:
            near = difflib.get_close_matches(part, MODALITIES, n=1)
            return f"{part!r} is none" + (f", did you mean {near[0]}?" if near else "")
        if part in known:
            return f"{part} is there twice"
        known.append(part)
    return ""


def stream_order(name: str) -> tuple[int, list[int]]:
    """The sort key of a stream: single modalities in the order of MODALITIES, then pairs, and so on."""
    order = list(MODALITIES)
    return len(parts(name)), [order.index(part) for part in parts(name)]


def num_channels(name: str, channels: str) -> int:
    """The channels that a network of the stream `name` sees of data of `channels`, such as `xyz` or `xys`."""
    return len(parts(name)) * len(channels)


def needs_times(name: str) -> bool:
    """Whether the stream `name` sees a modality of TIMED."""
    return any(part in TIMED for part in parts(name))


def derive_modality(
    name: str, x: Tensor, skeleton: Skeleton, channels: str, times: Tensor | None = None
) -> Tensor:
    """What the stream `name` sees of x (N, M, T, V, C), whose channels are `xyz`, `xyzs` or `xys`.

    The same shape for one modality; (N, M, T, V, k C) for k of them joined by `+`, in that order. `times` as
    `velocity` takes them.
    """
    import torch

    seen = [_single(part, x, skeleton, channels, times) for part in parts(name)]
    return torch.cat(seen, dim=-1) if len(seen) > 1 else seen[0]


def _single(name: str, x: Tensor, skeleton: Skeleton, channels: str, times: Tensor | None) -> Tensor:
    """One modality of x (N, M, T, V, C): the same shape."""
    import torch

    def see(places: Tensor) -> Tensor:
        return TIMED[name](places, skeleton, times) if name in TIMED else MODALITIES[name](places, skeleton)

    if not has_score(channels):
        return see(x)
    places, score = x.split([coordinates(channels), 1], dim=-1)
    seen = see(places)
    if name not in SCORES:
        return torch.cat([seen, score], dim=-1) if seen.shape[-1] < x.shape[-1] else seen
    return torch.cat([seen, SCORES[name](score, skeleton)], dim=-1)
