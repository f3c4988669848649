"""Windows of long recordings, each treated as a clip of its own."""

import numpy as np

from pipelines.channels import in_space
from pipelines.cleaning.centre import origin_of, present_bodies


def plan_windows(frames: int, window: int | None, stride: int | None) -> list[tuple[int, int]]:
    """Windows of a recording of `frames` frames, as (first, one past the last).

    A window of `window` frames starts every `stride` frames (default: half a window); the last one ends with
    the recording, so that no frame is left out. A shorter recording, or any without `window`, is one window.
    """
    if window is None or frames <= window:
        return [(0, frames)]
    starts = list(range(0, frames - window + 1, stride or max(1, window // 2)))
    if starts[-1] + window < frames:
        starts.append(frames - window)
    return [(start, start + window) for start in starts]


def recentre(joints: np.ndarray, centre: int, seen: np.ndarray | None = None) -> np.ndarray:
    """Joints (T, M, V, C) relative to the first body's joint `centre` in the first frame where it is seen.

    `seen` (T, M, V) as `origin_of` takes it; a score stays. A body whose joints in a frame are all 0 is
    absent and stays 0. Clips that `pipelines.cleaning.centre` has centred do not change: their origin is 0.
    """
    present = present_bodies(joints)
    if not present[:, 0].any():
        return joints
    origin = origin_of(joints, present, centre, seen)
    return np.where(present[:, :, None, None], joints - origin, joints)


def is_centred(joints: np.ndarray, centre: int, channels: str, seen: np.ndarray | None = None) -> bool:
    """Whether the first body's joint `centre` is at the origin in (T, M, V, C); so are windows then.

    Joints in pictures are never centred on a body.
    """
    present = present_bodies(joints)
    in_frame = in_space(channels) and bool(present[:, 0].any())
    return in_frame and not origin_of(joints, present, centre, seen).any()
