"""What a stream sees: joints, bones, and how either moves.

A modality is one function and its line in MODALITIES. Each takes x (N, M, T, V, C), already
cropped, resized and rotated, and returns the same shape.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pipelines.skeleton import Skeleton


def joint(x: Tensor, skeleton: Skeleton) -> Tensor:
    """The joints themselves."""
    return x


def bone(x: Tensor, skeleton: Skeleton) -> Tensor:
    """joint - parent; a root is its own parent, so its bone is 0."""
    return x - x[..., list(skeleton.parents), :]


def motion(x: Tensor) -> Tensor:
    """next frame - frame; 0 in the last frame."""
    step = torch.zeros_like(x)
    step[:, :, :-1] = x[:, :, 1:] - x[:, :, :-1]
    return step


def joint_motion(x: Tensor, skeleton: Skeleton) -> Tensor:
    """Motion of the joints."""
    return motion(x)


def bone_motion(x: Tensor, skeleton: Skeleton) -> Tensor:
    """Motion of the bones."""
    return motion(bone(x, skeleton))


MODALITIES: dict[str, Callable[[Tensor, Skeleton], Tensor]] = {
    "joint": joint,
    "bone": bone,
    "joint_motion": joint_motion,
    "bone_motion": bone_motion,
}
