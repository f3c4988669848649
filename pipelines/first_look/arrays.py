"""What the arrays of one's own clips may be, by their shape and numbers, for `tsgc init`."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import orjson

from pipelines.errors import BAD_NPY, TsgcError
from pipelines.formats.text_table import read_table
from pipelines.skeleton import SKELETONS, Skeleton
from pipelines.spec import Raw

LOOKED_AT = 12
IN_SPACE = ("ntu-25", "kinect1-20", "azure-32", "mediapipe-33", "h36m-17", "smpl-24")
IN_PICTURES = ("coco-17", "openpose-18", "openpose-25", "mediapipe-33", "hand-21")
AXES = ("x", "y", "z", "score")


@dataclass
class Arrays:
    """What the first arrays say."""

    num_joints: int
    channels: str
    why: str
    """What the channels rest on."""
    skeleton: Skeleton | None
    """One that is known and has as many joints."""
    joints: list[str] = field(default_factory=list)
    """The names of the joints, where a table has them."""
    clips: list[np.ndarray] = field(default_factory=list)
    """The first clips, (T, M, V, C)."""


def guess_arrays(clips: Mapping[str, Raw]) -> Arrays:
    """Joints and channels of the first clips that can be read. Raises TsgcError: none can."""
    found: list[np.ndarray] = []
    for raw in list(clips.values())[:LOOKED_AT]:
        data = raw.read()
        if raw.source.endswith(".csv"):
            return _of_table(raw.source, data)
        array = _array(raw.source, data)
        if array is not None and (not found or array.shape[2:] == found[0].shape[2:]):
            found.append(array)
    if not found:
        first = next(iter(clips.values())).source
        raise TsgcError(
            f"{first}: no array of (frames, joints, 2 to 4) or (frames, bodies, joints, 2 to 4), and of no"
            " format that is known; docs/your-own-data.md lists them"
        )
    V, C = found[0].shape[2:]
    channels, why = _channels(found, C)
    known = IN_SPACE if channels.startswith("xyz") else IN_PICTURES
    skeleton = next((SKELETONS[name] for name in known if SKELETONS[name].num_joints == V), None)
    return Arrays(V, channels, why, skeleton, clips=found)


def _channels(clips: list[np.ndarray], C: int) -> tuple[str, str]:
    if C == 2:
        return "xy", "two numbers a joint"
    if C == 4:
        return "xyzs", "four numbers a joint"
    third = np.concatenate([clip[..., 2].ravel() for clip in clips])
    places = np.concatenate([np.abs(clip[..., :2]).ravel() for clip in clips])
    third, places = third[np.isfinite(third)], places[np.isfinite(places)]
    if third.size and third.min() >= 0 and third.max() <= 1 and places.max(initial=0) > 10:
        return "xys", "three numbers a joint, the third from 0 to 1 beside places of pixels: a score"
    return "xyz", "three numbers a joint"


def _array(source: str, data: bytes) -> np.ndarray | None:
    """(T, M, V, C) float64 of a `.npy` or of nested lists; None: neither."""
    try:
        if source.endswith(".npy"):
            array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        else:
            array = np.array(orjson.loads(data))
        array = array.astype(np.float64)
    except (OSError, *BAD_NPY):  # orjson's error is a ValueError
        return None
    if array.ndim == 3:
        array = array[:, None]
    return array if array.ndim == 4 and 2 <= array.shape[3] <= 4 and array.size else None


def _of_table(source: str, data: bytes) -> Arrays:
    """A CSV's joints, which its columns or lines name."""
    table = read_table(source, data)
    if "joint" in table.head:
        at = table.head.index("joint")
        names = list(dict.fromkeys(cells[at].strip() for _, cells in table.rows))
        axes = [axis for axis in AXES if axis in table.head]
    else:
        split = [column.rpartition("_") for column in table.head]
        names = list(dict.fromkeys(name for name, _, axis in split if name and axis in AXES))
        axes = [axis for axis in AXES if any(axis == last for _, _, last in split)]
    channels = "".join(axes).replace("score", "s")
    if not names or channels not in ("xyz", "xyzs", "xys", "xy"):
        raise TsgcError(
            f"{source}: line 1: columns {', '.join(table.head)[:80]}; docs/your-own-data.md says which"
        )
    skeleton = next((one for one in SKELETONS.values() if list(one.joints) == names), None)
    return Arrays(len(names), channels, "the table's columns", skeleton, [] if skeleton else names)
