"""The transforms of test clips as fixed operations on dense clips of equal length, for exported programs.

Dense twins of `tsgc.input.geometry`, which works on packed rows: here joints are (N, T, M, V, C). A test
compares the two.
"""

import torch
from torch import Tensor

from pipelines.channels import coordinates, has_score
from pipelines.skeleton import Skeleton
from tsgc.input.geometry import trunk_joints
from tsgc.input.pipeline import InputPipeline


def dense_recentre(joints: Tensor, joint: int) -> Tensor:
    """`tsgc.inference.windows.recentre` for a batch: (N, T, M, V, C) -> the same shape."""
    seen = (joints != 0).flatten(3).any(-1)  # (N, T, M)
    first = (
        seen[:, :, 0].to(torch.int64).argmax(1)
    )  # frame 0 where the first body is never seen: its joint is 0
    origin = joints[torch.arange(joints.shape[0]), first, 0, joint]  # (N, C)
    if joints.shape[4] > 3:
        origin = torch.cat([origin[:, :3], torch.zeros_like(origin[:, 3:])], 1)  # a score is not moved
    return torch.where(seen[..., None, None], joints - origin[:, None, None, None], joints)


def dense_normalise(joints: Tensor, pipeline: InputPipeline) -> Tensor:
    """Alignment, centring and normalisation of test clips, as in `InputPipeline` before it samples frames."""
    config, skeleton = pipeline.config, pipeline.skeleton
    axes = coordinates(pipeline.channels)
    score, joints = joints[..., axes:], joints[..., :axes]
    there = (joints != 0).any(dim=4).any(dim=3)[..., None, None]  # (N, T, M, 1, 1)
    if has_score(pipeline.channels):
        there = there | (score != 0).any(dim=4).any(dim=3)[..., None, None]
    if config.align == "facing":
        joints = dense_facing(joints, skeleton)
    if config.centre == "middle" and config.normalise in ("none", "spine"):
        joints = dense_middle_to_zero(joints, there)
    if config.normalise == "min-max":
        joints = dense_min_max(joints, there)
    elif config.normalise == "unit":
        low, high = dense_extremes(joints, there)
        extent = (high - low).amax(4, keepdim=True)
        scale = torch.where((extent > 0) & extent.isfinite(), 2 / extent, 0.0)
        joints = dense_middle_to_zero(joints, there) * scale
    elif config.normalise == "spine":
        joints = dense_spine_scale(joints, there, skeleton)
    return torch.cat([joints, score], -1)


def dense_extremes(joints: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and highest coordinates of each clip where `count`, (N, 1, 1, 1, C) each."""
    low = torch.where(count, joints, torch.inf).amin((1, 2, 3), keepdim=True)
    return low, torch.where(count, joints, -torch.inf).amax((1, 2, 3), keepdim=True)


def dense_min_max(joints: Tensor, there: Tensor) -> Tensor:
    """Each axis of each clip scaled to [-1, 1]; a body that is never there stays 0."""
    have = there.any(dim=1, keepdim=True)
    low, high = dense_extremes(joints, have)
    extent = high - low
    scaled = (joints - low) * torch.where(extent > 0, 2 / extent, 0.0) + torch.where(extent > 0, -1.0, 0.0)
    return torch.where(have, scaled, joints)


def dense_middle_to_zero(joints: Tensor, there: Tensor) -> Tensor:
    """Each clip moved so that the middle of its extents is 0; absent bodies stay 0."""
    low, high = dense_extremes(joints, there)
    middle = torch.where(low.isfinite(), (low + high) / 2, 0.0)
    return torch.where(there, joints - middle, 0.0)


def dense_facing(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Each clip turned about the vertical until its mean side axis lies along x."""
    left, right, left_hip, right_hip = trunk_joints(skeleton)
    sides = (
        joints[..., right, :] - joints[..., left, :] + joints[..., right_hip, :] - joints[..., left_hip, :]
    )
    side = sides.sum((1, 2))[:, None, None, None]  # (N, 1, 1, 1, 3)
    length = (side[..., 0] ** 2 + side[..., 2] ** 2).sqrt()
    cos = torch.where(length > 0, side[..., 0] / length, 1.0)
    sin = torch.where(length > 0, side[..., 2] / length, 0.0)
    x, y, z = joints[..., 0], joints[..., 1], joints[..., 2]
    return torch.stack([cos * x + sin * z, y, cos * z - sin * x], -1)


def dense_spine_scale(joints: Tensor, there: Tensor, skeleton: Skeleton) -> Tensor:
    """Each clip divided by its mean trunk length, from between the hips to between the shoulders."""
    left, right, left_hip, right_hip = trunk_joints(skeleton)
    trunk = (
        joints[..., left, :] + joints[..., right, :] - joints[..., left_hip, :] - joints[..., right_hip, :]
    )
    seen = there[..., 0, 0]  # (N, T, M)
    length = torch.where(seen, (trunk / 2).square().sum(-1).sqrt(), 0.0).sum((1, 2))
    scale = torch.where(length > 0, seen.sum((1, 2)) / length, 0.0)
    return joints * scale[:, None, None, None, None]
