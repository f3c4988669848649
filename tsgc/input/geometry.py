"""Shapes and positions of bodies, on packed rows: turning, aligning, mirroring, limbs, the three scales.

`joints` are (rows, V, 2 or 3), coordinates alone; `row_clip` (rows,) names each row's clip. Rows whose
joints are all 0 (absent bodies) stay 0, except in `min_max`, which does what the field does.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton


@cache
def constant(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A small table on the device, made once: a list as an index is copied, and waited for, every time."""
    with torch.inference_mode(False):  # what is asked for here may be used next where gradients are computed
        return torch.tensor(values, dtype=dtype, device=device)


def rotation_matrices(angles: Tensor, order: tuple[int, ...]) -> Tensor:
    """Matrices (N, 3, 3) that turn column vectors about the axes of `order` (not none), one after another.

    `angles` (N, 3) in radians. Each axis's matrix is the transpose of the usual one, so a positive
    angle turns clockwise, as in the published code.
    """
    cos, sin = angles.cos(), angles.sin()
    fixed = constant(((0.0, 1.0),), angles.dtype, angles.device).expand(len(angles), 2)
    entries = torch.cat([cos, sin, -sin, fixed], 1)  # (N, 11): all that a matrix is made of
    picked = entries.index_select(1, constant(_entries(order), torch.int64, angles.device))
    first, *others = picked.view(-1, len(order), 3, 3).unbind(1)
    for matrix in others:
        first = torch.bmm(matrix, first)
    return first


@cache
def _entries(order: tuple[int, ...]) -> tuple[int, ...]:
    """Places of each axis's matrix entries, row by row, among cos (3), sin (3), -sin (3), 0, 1."""
    places: list[int] = []
    for axis in order:
        one, two = (axis + 1) % 3, (axis + 2) % 3
        found = {(axis, axis): 10, (one, one): axis, (two, two): axis}
        found |= {(one, two): 3 + axis, (two, one): 6 + axis}
        places += [found.get((row, column), 9) for row in range(3) for column in range(3)]
    return tuple(places)


def turn(joints: Tensor, matrices: Tensor, row_clip: Tensor) -> Tensor:
    """Each row's joints turned by its clip's matrix (N, 3, 3): x' = R x."""
    return torch.bmm(joints, matrices.index_select(0, row_clip).transpose(1, 2))


@cache
def trunk_joints(skeleton: Skeleton) -> tuple[int, int, int, int]:
    """Left and right shoulder, left and right hip; TsgcError where the skeleton names none."""
    names = ("left shoulder", "right shoulder", "left hip", "right hip")
    missing = [name for name in names if name not in skeleton.joints]
    if missing:
        raise TsgcError(
            f"skeleton {skeleton.name}: no joint is named {missing[0]!r}, which align, face_camera and"
            " normalise=spine go by; name it so in the data set's description, or leave them out"
        )
    left, right, left_hip, right_hip = (skeleton.joints.index(name) for name in names)
    return left, right, left_hip, right_hip


def side_axis(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Vectors from the left to the right shoulder and hip, added up: (rows, V, 3) -> (rows, 3)."""
    left, right, left_hip, right_hip = trunk_joints(skeleton)
    return joints[:, right] - joints[:, left] + joints[:, right_hip] - joints[:, left_hip]


def clip_sums(values: Tensor, row_clip: Tensor, clips: int) -> Tensor:
    """Sums over each clip's rows: (rows, K) -> (clips, K).

    In double precision: a GPU adds in any order, and rounding must not show that.
    """
    sums = torch.zeros(clips, values.shape[1], dtype=torch.float64, device=values.device)
    return sums.index_add_(0, row_clip, values.double()).to(values.dtype)


def facing_matrices(joints: Tensor, row_clip: Tensor, clips: int, skeleton: Skeleton) -> Tensor:
    """Turns about the vertical (N, 3, 3) that bring each clip's mean side axis along x.

    A clip that has no side axis (all of its joints in one place) is left as it is.
    """
    side = clip_sums(side_axis(joints, skeleton), row_clip, clips)
    length = torch.hypot(side[:, 0], side[:, 2])
    seen = length > 0
    cos = torch.where(seen, side[:, 0] / length, 1.0)
    sin = torch.where(seen, side[:, 2] / length, 0.0)
    matrices = torch.zeros(clips, 3, 3, dtype=joints.dtype, device=joints.device)
    matrices[:, 0, 0], matrices[:, 0, 2] = cos, sin
    matrices[:, 1, 1] = 1
    matrices[:, 2, 0], matrices[:, 2, 2] = -sin, cos
    return matrices


@cache
def _swapped(skeleton: Skeleton) -> tuple[int, ...]:
    order = list(range(skeleton.num_joints))
    for left, right in skeleton.left_right:
        order[left], order[right] = right, left
    return tuple(order)


def swap_sides(joints: Tensor, which: Tensor, skeleton: Skeleton) -> Tensor:
    """Left and right joints trade places in the rows `which` (rows,) bool; joints (rows, V, any)."""
    order = constant(_swapped(skeleton), torch.int64, joints.device)
    return torch.where(which.view(-1, 1, 1), joints.index_select(1, order), joints)


def turned_away(before: Tensor, after: Tensor, skeleton: Skeleton) -> Tensor:
    """Rows (rows,) bool whose side axis points the other way across the picture after a turn.

    Kinect's tracker takes everybody as facing it: seen from behind, it calls the right side left.
    """
    left, right, left_hip, right_hip = trunk_joints(skeleton)
    # side_axis's x, for which there is no need to compute the others
    one, two = (
        x.select(1, right) - x.select(1, left) + x.select(1, right_hip) - x.select(1, left_hip)
        for x in (before.select(2, 0), after.select(2, 0))
    )
    return one * two < 0


@cache
def _above(skeleton: Skeleton) -> tuple[tuple[int, ...], ...]:
    rows = []
    for joint in range(skeleton.num_joints):
        row, walk = [0] * skeleton.num_joints, joint
        row[walk] = 1
        while skeleton.parents[walk] != walk:
            walk = skeleton.parents[walk]
            row[walk] = 1
        rows.append(tuple(row))
    return tuple(rows)


def stretch_limbs(joints: Tensor, factors: Tensor, skeleton: Skeleton) -> Tensor:
    """Bodies with bones of other lengths, put together again from the root, which stays.

    `factors` (rows, V, 1): of the bone that ends in each joint, 1 at roots.
    """
    parents = constant(skeleton.parents, torch.int64, joints.device)
    less = tuple((-float(joint != parent),) for joint, parent in enumerate(skeleton.parents))
    minus = constant(less, joints.dtype, joints.device)  # (V, 1): -1, 0 at roots
    bones = torch.addcmul(joints, joints.index_select(1, parents), minus) * factors
    above = constant(_above(skeleton), joints.dtype, joints.device)
    # A joint is the sum of the bones between the root and it.
    return torch.bmm(above.expand(len(joints), -1, -1), bones)


def clip_extremes(
    joints: Tensor, row_clip: Tensor, clips: int, absent: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Lowest and highest coordinates of each clip over its joints: (clips, C) each.

    Rows that are `absent` (rows,) do not count; a clip that has no others gets inf and -inf.
    """
    lowest, highest = joints.aminmax(dim=1)
    both = torch.cat([lowest, -highest], 1)  # one search, of the least of either
    if absent is not None:
        both = both.masked_fill(absent.view(-1, 1), torch.inf)
    least = both.new_full((clips, both.shape[1]), torch.inf)
    least.scatter_reduce_(0, row_clip.view(-1, 1).expand_as(both), both, "amin")
    low, high = torch.split_with_sizes(least, [joints.shape[-1]] * 2, 1)
    return low, -high


def min_max(joints: Tensor, row_clip: Tensor, clips: int, present: Tensor | None = None) -> Tensor:
    """Each axis of each clip to [-1, 1] over its joints and frames; a flat axis becomes 0.

    With `present` (rows,), rows without a body do not count, and are 0.
    """
    absent = None if present is None else ~present
    low, high = clip_extremes(joints, row_clip, clips, absent)
    extent = high - low
    seen = extent > 0
    scale, shift = torch.where(seen, 2 / extent, 0.0), torch.where(seen, -1.0, 0.0)
    dealt = torch.stack([low, scale, shift], 1).index_select(0, row_clip)  # (rows, 3, C)
    low, scale, shift = dealt.split(1, 1)
    scaled = (joints - low) * scale + shift
    return scaled if absent is None else scaled.masked_fill(absent.view(-1, 1, 1), 0)


def middle_to_zero(joints: Tensor, row_clip: Tensor, clips: int, present: Tensor) -> Tensor:
    """Each clip with the middle of its extents at 0; rows not `present` (rows,) do not count, and are 0."""
    absent = ~present
    low, high = clip_extremes(joints, row_clip, clips, absent)
    return _subtract_middle(joints, (low + high) / 2, row_clip, absent)


def _subtract_middle(joints: Tensor, middle: Tensor, row_clip: Tensor, absent: Tensor) -> Tensor:
    """Joints less their clip's middle (clips, C), which is NaN where all rows are `absent`; those are 0."""
    moved = joints - middle.index_select(0, row_clip).unsqueeze(1)
    return moved.masked_fill(absent.view(-1, 1, 1), 0)


def unit(joints: Tensor, row_clip: Tensor, clips: int, present: Tensor) -> Tensor:
    """Each clip into [-1, 1] by one scale for all axes, the middle of its extents to 0.

    A clip of one point becomes 0; rows that are not `present` (rows,) do not count, and are 0.
    """
    absent = ~present
    low, high = clip_extremes(joints, row_clip, clips, absent)
    extent = (high - low).amax(1, keepdim=True)
    scale = torch.where(extent > 0, 2 / extent, 0.0)  # -inf where nobody is
    middle = _subtract_middle(joints, (low + high) / 2, row_clip, absent)
    return middle * scale.index_select(0, row_clip).unsqueeze(1)


def spine_scale(joints: Tensor, row_clip: Tensor, clips: int, present: Tensor, skeleton: Skeleton) -> Tensor:
    """Each clip by its mean length from between the hips to between the shoulders; 0 stays 0.

    A clip whose bodies have no such length becomes 0.
    """
    left, right, left_hip, right_hip = trunk_joints(skeleton)
    trunk = (joints[:, left] + joints[:, right] - joints[:, left_hip] - joints[:, right_hip]) / 2
    length = torch.stack([trunk.norm(dim=1) * present, present.to(joints.dtype)], 1)
    total, count = clip_sums(length, row_clip, clips).unbind(1)
    scale = torch.where(total > 0, count / total, torch.zeros_like(total))
    return joints * scale.index_select(0, row_clip).view(-1, 1, 1)


def displace(joints: Tensor, by: Tensor, present: Tensor) -> Tensor:
    """Joints moved by `by`, of their shape; rows that are not `present` (rows,) stay."""
    return torch.where(present.view(-1, 1, 1), joints + by, joints)


# A lone clip on the host, all of whose rows hold a body: what the functions above give of it, in NumPy, whose
# operations on so few numbers take a third of the time of torch's.


def lone_extremes(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`clip_extremes` of a lone clip's joints: (C,) each."""
    rows, V, C = joints.shape
    flat = joints.reshape(rows, V * C)  # several times as fast along V * C numbers as along C
    return flat.min(axis=0).reshape(V, C).min(axis=0), flat.max(axis=0).reshape(V, C).max(axis=0)


def lone_min_max(joints: np.ndarray) -> np.ndarray:
    """`min_max` of a lone clip."""
    low, high = lone_extremes(joints)
    seen = high > low
    scale = np.where(seen, np.float32(2) / (high - low), np.float32(0))
    return (joints - low) * scale + np.where(seen, np.float32(-1), np.float32(0))


def lone_middle_to_zero(joints: np.ndarray) -> np.ndarray:
    """`middle_to_zero` of a lone clip."""
    low, high = lone_extremes(joints)
    return joints - (low + high) / 2


def lone_unit(joints: np.ndarray) -> np.ndarray:
    """`unit` of a lone clip."""
    low, high = lone_extremes(joints)
    extent = (high - low).max()
    return (joints - (low + high) / 2) * (2 / extent if extent > 0 else np.float32(0))


def lone_spine_scale(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """`spine_scale` of a lone clip."""
    left, right, left_hip, right_hip = trunk_joints(skeleton)
    trunk = (joints[:, left] + joints[:, right] - joints[:, left_hip] - joints[:, right_hip]) / 2
    lengths = torch.linalg.vector_norm(torch.from_numpy(trunk), dim=1).numpy()  # NumPy's rounds otherwise
    total = np.add.accumulate(lengths, dtype=np.float64)[-1].astype(np.float32)  # one by one, as clip_sums
    return joints * (np.float32(len(joints)) / total if total > 0 else np.float32(0))
