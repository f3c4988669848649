"""Random rotation: the laws of its angles, and turning of rows; the turns of views.

Rotation is linear, so turning packed rows before the linear resize gives what turning frames after it would,
on fewer rows. Angles are radians (count, 3) about x, y, z.
"""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from tsgc.config import TrainConfig
from tsgc.input import geometry
from tsgc.input.packed_rows import Rows

VIEWING_AXIS = 2  # z; pictures are seen along it


def radians(rng: np.random.Generator, count: int, config: TrainConfig) -> np.ndarray:
    """Angles up to `rotation_max` radians about each axis."""
    return rng.uniform(-config.rotation_max, config.rotation_max, (count, 3))


def whole_degrees(rng: np.random.Generator, count: int, config: TrainConfig) -> np.ndarray:
    """Whole degrees about x and y."""
    largest = int(config.rotation_max)
    degrees = rng.integers(-largest, largest, (count, 3), endpoint=True)
    degrees[:, 2] = 0
    return np.deg2rad(degrees)


def turn_and_tilt(rng: np.random.Generator, count: int, config: TrainConfig) -> np.ndarray:
    """Up to `rotation_max` degrees about y, the vertical, and `rotation_tilt` about x and z."""
    largest = np.array([config.rotation_tilt, config.rotation_max, config.rotation_tilt])
    return np.deg2rad(rng.uniform(-largest, largest, (count, 3)))


LAWS = {"radians-xyz": radians, "degrees-yx": whole_degrees, "vertical": turn_and_tilt}

# The axes that each setting turns about, in turn.
AXIS_ORDER = {"radians-xyz": (0, 1, 2), "degrees-yx": (1, 0), "vertical": (1, 0, 2)}


def draw_angles(rng: np.random.Generator, count: int, config: TrainConfig, skeleton: Skeleton) -> np.ndarray:
    """Angles (count, 3) float32 by the law that the setting names."""
    return LAWS[config.rotation](rng, count, config).astype(np.float32)


def rotate(joints: Tensor, values: Mapping[str, Tensor], rows: Rows) -> Tensor:
    """Clips turned at random, pictures about the viewing axis alone."""
    return turn_about(AXIS_ORDER[rows.config.rotation], joints, values["numbers"], rows)


def turn_view(joints: Tensor, values: Mapping[str, Tensor], rows: Rows) -> Tensor:
    """Clips turned about the vertical, as a view of test-time augmentation has them."""
    return turn_about(AXIS_ORDER["vertical"], joints, values["numbers"], rows)


def turn_about(order: tuple[int, ...], joints: Tensor, angles: Tensor, rows: Rows) -> Tensor:
    """Clips turned about the axes of `order`; sides swapped where the back is seen then (`face_camera`)."""
    picture = rows.channels == "xys"
    if picture:
        order = tuple(axis for axis in order if axis == VIEWING_AXIS)
    if not order:
        return joints
    matrices = geometry.rotation_matrices(angles, order)
    if picture:
        matrices = matrices[:, :2, :2]  # about the viewing axis: z plays no part
    turned = geometry.turn(joints, matrices, rows.clip)
    if rows.config.face_camera:
        away = geometry.turned_away(joints, turned, rows.skeleton)
        turned = geometry.swap_sides(turned, away, rows.skeleton)
    return turned


def check_rotation(config: TrainConfig, skeleton: Skeleton, channels: str) -> None:
    """TsgcError where pictures would turn in space, or the skeleton lacks the joints that tell its back."""
    if config.rotation == "vertical":
        check_space("rotation=vertical", channels)
    if config.face_camera:
        geometry.trunk_joints(skeleton)


def check_space(setting: str, channels: str) -> None:
    """TsgcError where clips are pictures."""
    if channels == "xys":
        raise TsgcError(f"{setting} turns joints in space; these clips are pictures (xys): leave it out")
