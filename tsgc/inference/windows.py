"""Cutting long recordings into windows, each as if it were a clip of its own."""

import numpy as np


def plan_windows(frames: int, window: int | None, stride: int | None) -> list[tuple[int, int]]:
    """Windows of a recording of `frames` frames, as (first, one past the last).

    Every `stride` frames (default: half a window) one of `window` frames; the last ends with the
    recording, so that no frame goes unseen. A shorter recording, or no `window`: all of it at once.
    """
    if window is None or frames <= window:
        return [(0, frames)]
    starts = list(range(0, frames - window + 1, stride or max(1, window // 2)))
    if starts[-1] + window < frames:
        starts.append(frames - window)
    return [(start, start + window) for start in starts]


def recentre(joints: np.ndarray, centre: int) -> np.ndarray:
    """Subtracts the first body's joint `centre`, in the first frame where that body is seen, from all.

    (T, M, V, C) -> the same shape. A body whose joints in a frame are all 0 is absent and stays so. What
    `pipelines.cleaning.centre` has centred already does not change: its origin is 0.
    """
    seen = (joints != 0).any(axis=(2, 3))  # (T, M)
    if not seen[:, 0].any():
        return joints
    origin = joints[seen[:, 0].argmax(), 0, centre]
    return np.where(seen[:, :, None, None], joints - origin, joints)


def is_centred(joints: np.ndarray, centre: int, channels: str) -> bool:
    """Whether preparation put `centre` of the first body at the origin, so that windows need the same.

    (T, M, V, C). Coordinates with scores are in the image and never centred on a body.
    """
    seen = (joints != 0).any(axis=(2, 3))[:, 0]
    return channels == "xyz" and bool(seen.any()) and not joints[seen.argmax(), 0, centre].any()
