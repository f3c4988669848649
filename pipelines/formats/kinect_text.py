"""Skeletons of the first Kinect as text, as MSR-Action3D publishes them.

`aXX_sYY_eZZ_skeleton3D.txt`: a line a joint, `x y z confidence`, 20 lines a frame, in metres, y up (Li, Zhang
and Liu, 2010, the archive of world coordinates). The order of joints is the data set's own and is not
written in it; the bones of constant length, and the right hand of one-handed actions, say which is which.
The confidence is passed over: it is 0 for joints such as the neck in every frame, whose places are good.
"""

import re
from typing import Any

import numpy as np

from pipelines.errors import TsgcError
from pipelines.formats.recording import Body, Recording
from pipelines.skeleton import KINECT1_20, Skeleton

V = KINECT1_20.num_joints
MSR_NAME = re.compile(r"a\d\d_s\d\d_e\d\d_skeleton3D", re.IGNORECASE)
MSR_JOINTS = (
    "left shoulder", "right shoulder", "shoulder centre", "spine", "left hip", "right hip", "hip centre",
    "left elbow", "right elbow", "left wrist", "right wrist", "left hand", "right hand",
    "left knee", "right knee", "left ankle", "right ankle", "left foot", "right foot", "head",
)  # fmt: skip
# By the number in a file's name, from 1.
MSR_ACTIONS = (
    "high arm wave", "horizontal arm wave", "hammer", "hand catch", "forward punch", "high throw", "draw x",
    "draw tick", "draw circle", "hand clap", "two hand wave", "side-boxing", "bend", "forward kick",
    "side kick", "jogging", "tennis swing", "tennis serve", "golf swing", "pick up and throw",
)  # fmt: skip
# Of each joint of ours, its line in a frame of theirs.
MSR_ORDER = [MSR_JOINTS.index(joint) for joint in KINECT1_20.joints]


def read_msr(source: str, data: bytes, skeleton: Skeleton) -> Recording:
    """A clip of MSR-Action3D, its joints in the order of `kinect1-20`. Raises TsgcError: other text.

    A joint at (0, 0, 0), where the sensor is, was not seen.
    """
    rows = text_table(source, data, 4, "x y z confidence")
    if len(rows) % V:
        raise TsgcError(f"{source}: {len(rows):,} lines, expected {V} a frame; get the file again")
    joints = rows.reshape(-1, V, 4)[:, MSR_ORDER, :3]
    return Recording([_bodies(frame) for frame in joints])


def _bodies(joints: np.ndarray) -> list[Body]:
    """The one body of a frame (V, 3), or none."""
    seen = (joints != 0).any(axis=1)
    return [Body(np.where(seen[:, None], joints, np.nan), id=0)] if seen.any() else []


def text_table(source: str, data: bytes, columns: int, names: str) -> np.ndarray:
    """Lines of `columns` finite numbers: (n, columns). Raises TsgcError for any other."""
    lines = data.removeprefix(b"\xef\xbb\xbf").splitlines()
    rows = [(number, fields) for number, line in enumerate(lines, 1) if (fields := line.split())]
    for number, fields in rows:
        if len(fields) != columns:
            raise TsgcError(f"{source}: line {number}: {len(fields)} values, expected {columns}: {names}")
    if not rows:
        raise TsgcError(f"{source}: no lines, expected {columns} values in each: {names}")
    try:
        table = np.array([fields for _, fields in rows], np.bytes_).astype(np.float64)
    except ValueError as error:
        raise TsgcError(f"{source}: {error}, expected {columns} numbers a line: {names}") from None
    if not np.isfinite(table).all():
        bad = rows[int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])][0]
        raise TsgcError(f"{source}: line {bad}: a value that is not finite; get the file again")
    return table


def is_msr(source: str, content: Any) -> bool:
    """Whether a text has the name and, in its first line, the four numbers of MSR-Action3D's."""
    first, _, _ = content.partition(b"\n")
    return len(first.split()) == 4 and MSR_NAME.search(source) is not None
