"""Drift of joints that the camera cannot see, which trackers guess: noise for training.

Training clips are turned as if another camera had recorded them, but what Kinect got wrong stays what was
hidden from the old one. So joints that other parts of the body hide from a camera that looks along z are
displaced, after the turn, by noise that is smooth in time. The camera is taken as far away, so that it looks
along parallel lines; another body in the clip hides nothing.
"""

import math
from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from tsgc.config import TrainConfig
from tsgc.input.geometry import constant
from tsgc.input.packed_rows import HostRows, Rows, Values

# Of the radius, how much nearer to the camera what hides a joint is, at least: 5 cm of the default 8 cm.
# Clips come here before `normalise`, in their own unit, and the radius is in the same: so this holds in any.
NEARER = 0.625
COSINES = 3  # of which each joint's drift along each axis is the sum
PERIODS = (8, 40)  # frames, shortest and longest of a cosine
FADE = 2  # frames to either side whose mean says how far a joint drifts
NEXT_BODY = 1000  # frames that each body is ahead of the last on its clip's drift, as if on one of its own


def check_depth(config: TrainConfig, skeleton: Skeleton, channels: str) -> None:
    """TsgcError where clips are pictures."""
    if channels == "xys":
        raise TsgcError(
            f"occlusion={config.occlusion} needs depth; these clips are pictures (xys): leave it out"
        )


def draw_drift(rng: np.random.Generator, count: int, config: TrainConfig, skeleton: Skeleton) -> np.ndarray:
    """Rate (radians a frame) and phase of each joint's and axis's cosines: (B, 2, COSINES, V, 3) float32."""
    shortest, longest = PERIODS
    numbers = rng.random((count, 2, COSINES, skeleton.num_joints, 3), dtype=np.float32)
    numbers[:, 0] = 2 * math.pi / (shortest + (longest - shortest) * numbers[:, 0])
    numbers[:, 1] *= 2 * math.pi
    return numbers


def drift_values(numbers: np.ndarray, host: HostRows) -> Values:
    """Each row's `draw_drift` and time, and the rows of the same body in the frames around it.

    `times` frames, float32 (rows, 1, 1); `beside` int32 (2 * FADE + 1, rows): rows of the frames around, the
    first or last of the clip in place of those beyond it.
    """
    batch, clip = host.batch, host.clip
    bodies, last = batch.bodies.numpy()[clip], batch.frames.numpy()[clip] - 1
    row = np.arange(len(clip))
    frame, body = np.divmod(row - batch.offsets.numpy()[clip], bodies)
    beside = np.clip(frame + np.arange(-FADE, FADE + 1)[:, None], 0, last)
    times = (frame + NEXT_BODY * body).astype(np.float32).reshape(-1, 1, 1)
    sent = {"times": times, "beside": (row + (beside - frame) * bodies).astype(np.int32)}
    return Values(sent, dealt={"drift": numbers})


def hidden(joints: Tensor, skeleton: Skeleton, radius: float) -> Tensor:
    """Joints that a camera along z does not see: (rows, V, 3) -> (rows, V) bool.

    A joint or the middle of a bone of the same body is NEARER times the `radius` nearer to it, and less than
    `radius` away across the picture. The radius is in the joints' unit, whatever that is.
    """
    one, other = (constant(ends, torch.int64, joints.device) for ends in _points(skeleton))
    points = torch.lerp(joints.index_select(1, one), joints.index_select(1, other), 0.5)
    x, y, z = (points.select(2, axis).unsqueeze(1) - joints.select(2, axis).unsqueeze(2) for axis in range(3))
    return ((torch.hypot(x, y) < radius) & (z < -NEARER * radius)).any(2)  # (rows, V, points) -> (rows, V)


@cache
def _points(skeleton: Skeleton) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Points that may hide a joint, each halfway between two: joints, then the middles of bones."""
    joints = tuple(range(skeleton.num_joints))
    bones = tuple(joint for joint in joints if skeleton.parents[joint] != joint)
    return joints + bones, joints + tuple(skeleton.parents[joint] for joint in bones)


def drift(numbers: Tensor, times: Tensor) -> Tensor:
    """Smooth noise (rows, V, 3) of deviation 1, from `draw_drift` of rows (rows, 2, COSINES, V, 3)."""
    rate, phase = numbers.unbind(1)
    angle = torch.addcmul(phase, rate, times.unsqueeze(-1))
    return angle.cos_().sum(1).mul_(math.sqrt(2 / COSINES))


def occlude(joints: Tensor, values: Mapping[str, Tensor], rows: Rows) -> Tensor:
    """Joints displaced by `occlusion` times their drift, as far as they are `hidden` in the frames around.

    `values` are `drift_values`. Rows without a body stay as they are.
    """
    config, beside = rows.config, values["beside"]
    unseen = hidden(joints, rows.skeleton, config.occlusion_radius).to(joints.dtype)
    near = unseen.index_select(0, beside.view(-1)).view(*beside.shape, -1)
    strength = near.mean(0) * rows.there.unsqueeze(1)
    curve = drift(values["drift"], values["times"])
    return torch.addcmul(joints, strength.unsqueeze(2), curve, value=config.occlusion)
