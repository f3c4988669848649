"""Centring: a clip's joints relative to where its first actor stood first."""

import numpy as np


def present_bodies(joints: np.ndarray) -> np.ndarray:
    """Whether a body has any non-zero joint in a frame. (T, M, V, C) -> (T, M) bool."""
    T, M, V, C = joints.shape
    return (joints != 0).reshape(T, M, V * C).any(axis=2)


def centre_on_first_actor(
    joints: np.ndarray,
    joint: int,
    seen: np.ndarray | None = None,
    *,
    present: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Subtracts `joint` of the first body, in the first frame where it is seen, from all joints.

    (T, M, V, C) float32 -> the same shape, and the origin (C,); no rotation, no scaling. `seen` (T, M, V), as
    `first_seen` takes it; `present` (T, M) as `present_bodies` finds it. In two-body clips a missing body
    (joint sum exactly 0) is zero again afterwards; in one-body clips it is shifted like any other. The origin
    is 0 where the first body is never present.
    """
    present = present_bodies(joints) if present is None else present
    if not present[:, 0].any():
        return joints, np.zeros(joints.shape[-1], np.float32)
    origin = origin_of(joints, present, joint, seen)
    centred = _moved(joints, origin)
    if joints.shape[1] > 1:
        centred[joints.sum(axis=(2, 3)) == 0] = 0
    return centred, origin


def centre_present(joints: np.ndarray, present: np.ndarray, joint: int) -> tuple[np.ndarray, np.ndarray]:
    """Subtracts `joint` of the first body, in the first frame where that body is present, from all bodies.

    Corrected preset. (T, M, V, C) float32 and (T, M) bool -> the same shape, absent bodies 0, and the origin
    (C,); the origin is 0 where the first body is never present.
    """
    if not present[:, :1].any():
        return joints, np.zeros(joints.shape[-1], np.float32)
    origin = origin_of(joints, present, joint)
    return np.where(present[..., None, None], _moved(joints, origin), np.float32(0)), origin


def first_seen(present: np.ndarray, joint: int, seen: np.ndarray | None = None) -> int:
    """The first frame in which the first body's `joint` is seen; if it never is, the body's first frame.

    `present` (T, M), the first body in some frame; `seen` (T, M, V), or None: all joints of present bodies.
    """
    if seen is not None and seen[:, 0, joint].any():
        return int(seen[:, 0, joint].argmax())
    return int(present[:, 0].argmax())


def origin_of(
    joints: np.ndarray, present: np.ndarray, joint: int, seen: np.ndarray | None = None
) -> np.ndarray:
    """What centring subtracts, (C,) float32: the first body's `joint` where `first_seen`; 0 of a score."""
    origin = joints[first_seen(present, joint, seen), 0, joint].copy()
    origin[3:] = 0
    return origin


def _moved(joints: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """joints - origin, body by body: NumPy is several times as fast along V * C numbers as along C."""
    T, M, V, C = joints.shape
    return (joints.reshape(T, M, V * C) - np.tile(origin, V)).reshape(joints.shape)
