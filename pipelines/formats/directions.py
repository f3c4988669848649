"""Which way is up: clips in space turned so that y points up, and what the clips themselves say of it."""

from collections.abc import Sequence

import numpy as np

# The axis that points up -> where the new x, y and z come from: (axis, sign). Each is a rotation, no mirror
# image: sides stay sides.
UP: dict[str, tuple[tuple[int, int], ...]] = {
    "y": ((0, 1), (1, 1), (2, 1)),
    "-y": ((0, -1), (1, -1), (2, 1)),
    "z": ((0, 1), (2, 1), (1, -1)),
    "-z": ((0, 1), (2, -1), (1, 1)),
    "x": ((1, -1), (0, 1), (2, 1)),
    "-x": ((1, 1), (0, -1), (2, 1)),
}
HIGH = ("head", "nose", "neck", "upper spine", "shoulder")  # names of joints above the hips, the best first
LOW = ("hip", "pelvis", "spine base", "hips", "hip centre", "mid hip")
CLEAR = 2.0  # times as long along one axis as along any other: people lean, but not all of them so far


def turn_up(joints: np.ndarray, up: str) -> np.ndarray:
    """Joints (..., 3 or more), the axis `up` of which points up, turned so that y does; scores stay."""
    if up == "y":
        return joints
    turned = [sign * joints[..., axis] for axis, sign in UP[up]]
    return np.concatenate([np.stack(turned, axis=-1), joints[..., 3:]], axis=-1)


def from_hips_to_head(joints: np.ndarray, names: Sequence[str]) -> np.ndarray | None:
    """The mean way from the hips to the head, (3,), of all bodies of a clip; None: its joints do not tell.

    Joints (T, M, V, 3 or more) and their names; NaN, or 0 in all coordinates, where they are not seen.
    """
    high = next((found for name in HIGH if (found := _called(names, name))), [])
    low = [joint for name in LOW for joint in _called(names, name)]
    if not high or not low:
        return None
    seen = (np.nan_to_num(joints[..., :3]) != 0).any(axis=-1)
    places = np.where(seen[..., None], joints[..., :3], np.nan).astype(np.float64)
    ways = _mean(places[..., high, :], 2) - _mean(places[..., low, :], 2)  # (T, M, 3)
    ways = ways[np.isfinite(ways).all(axis=-1)]
    return ways.mean(axis=0) if len(ways) else None


def _mean(places: np.ndarray, axis: int) -> np.ndarray:
    """The mean of what is seen; NaN where nothing is."""
    seen = np.isfinite(places).all(axis=-1, keepdims=True)
    count = seen.sum(axis=axis)
    return np.where(count > 0, np.where(seen, places, 0).sum(axis=axis) / np.maximum(count, 1), np.nan)


def _called(names: Sequence[str], name: str) -> list[int]:
    """Joints of that name, or of a left and right one."""
    words = {name, f"left {name}", f"right {name}"}
    plain = [joint.lower().replace("_", " ").replace("-", " ") for joint in names]
    return [place for place, joint in enumerate(plain) if joint in words]


def axis_of(way: np.ndarray) -> str | None:
    """The axis along which a way (3,) clearly leads, such as `-y`; None: along none."""
    lengths = np.abs(way)
    axis = int(lengths.argmax())
    if not lengths[axis] or lengths[axis] < CLEAR * np.delete(lengths, axis).max():
        return None
    return ("-" if way[axis] < 0 else "") + "xyz"[axis]
