"""MediaPipe Pose: 33 landmarks, in the picture or in the world, as JSON, CSV or `.npy`.

A landmark is x, y, z and visibility. In the picture (`pose_landmarks`) x and y are parts of its width and
height; in the world (`pose_world_landmarks`) all are metres from the middle of the hips. Both ways y goes
down and z away from the camera (developers.google.com/mediapipe, NormalizedLandmark and Landmark). MediaPipe
itself writes no file, so what people write is read: JSON of frames, each with either list (in any spelling of
the Python, protobuf and JavaScript interfaces), or the landmarks alone; `.npy` of (frames, 33, 3 to 5),
(frames, people, 33, 3 to 5) or (frames, 99 or 132); CSV with a line a frame (`x0,y0,z0,v0,...`, from 0 or 1,
or `nose_x,nose_y,...`) or a line a landmark (`frame,landmark,x,y,z,visibility`).
In the world a clip is turned by half a turn about the viewing axis: y up, x to the sensor's left, as in
Kinect's.
"""

import io
import re
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from pipelines.errors import BAD_NPY, TsgcError
from pipelines.formats.parts import in_order, whole
from pipelines.formats.recording import MOST_FRAMES, Body, Recording
from pipelines.formats.text_table import Table, number_of, read_table
from pipelines.reading.json_file import parse_loose
from pipelines.skeleton import MEDIAPIPE_33, Skeleton

V = MEDIAPIPE_33.num_joints
HIPS = [MEDIAPIPE_33.joints.index(f"{side} hip") for side in ("left", "right")]
NEAR = 0.05  # metres; the middle of the hips is the world's origin, and in pictures it is their corner
LISTS = {
    False: ("pose_landmarks", "poseLandmarks", "landmarks"),
    True: ("pose_world_landmarks", "poseWorldLandmarks", "world_landmarks", "worldLandmarks"),
}  # in the world -> how a frame may call them
AXES = ("x", "y", "z", "visibility")
SHORT = {"v": "visibility", "vis": "visibility", "visibility": "visibility", "x": "x", "y": "y", "z": "z"}
INDEXED = re.compile(r"(?P<axis>x|y|z|v|vis|visibility)_?(?P<joint>\d{1,2})")
NAMED = re.compile(r"(?P<joint>[a-z0-9_ ]+?)[_. ](?P<axis>x|y|z|v|vis|visibility)")
NAMES = {name.replace(" ", "_"): joint for joint, name in enumerate(MEDIAPIPE_33.joints)} | {
    f"mouth_{side}": MEDIAPIPE_33.joints.index(f"{side} mouth") for side in ("left", "right")
}  # fmt: skip
COUNTED = ("frame", "frame_index", "frame_id", "frame_number")  # how a frame's number may be called
COLUMNS = {"landmark", "landmark_id", "landmark_index", "landmark_name", "joint", "id", "name", "index"}

Frames = dict[int, list[np.ndarray]]
"""A frame's number -> its people, each (33, 4): x, y, z, visibility; NaN where the file says nothing."""


def _read(source: str, data: bytes, skeleton: Skeleton, world: bool) -> Recording:
    """A clip. Raises TsgcError: no landmarks of that kind in it, or not 33 of them."""
    ending = source.rpartition(".")[2].lower()
    frames = READERS.get(ending, _json)(source, data, world)
    people = {number: [_body(points, world) for points in found] for number, found in frames.items()}
    return Recording(in_order(source, people), size=None if world else (1.0, 1.0))


read = partial(_read, world=False)
read_world = partial(_read, world=True)


def _body(points: np.ndarray, world: bool) -> Body:
    """One person (33, 4); a place in the world is turned upright."""
    joints = points[:, :3] * (-1, -1, 1) if world else points[:, :2]
    scores = points[:, 3]
    return Body(joints, None if np.isnan(scores).all() else np.nan_to_num(scores))


# JSON ----------------------------------------------------------------------------------------------------


def _json(source: str, data: bytes, world: bool) -> Frames:
    content = _frames_of(parse_loose(source, data))
    if content is None:
        raise TsgcError(f"{source}: no list of frames with landmarks, expected MediaPipe's")
    frames: Frames = {}
    for place, frame in enumerate(content):
        number = place
        if isinstance(frame, dict):
            key = next((key for key in COUNTED if key in frame), None)
            number = whole(source, str(key), frame[key]) if key else place
        if number in frames:
            raise TsgcError(f"{source}: frame {number} comes twice, expected once; get the file again")
        frames[number] = [_landmarks(f"{source}: frame {number}", one) for one in _people(frame, world)]
    if (
        content
        and not any(_has(frame, world) for frame in content)
        and any(_has(f, not world) for f in content)
    ):
        other = "mediapipe-world" if not world else "mediapipe"
        raise TsgcError(f"{source}: no `{LISTS[world][0]}` in it; give `format: {other}`")
    return frames


def _frames_of(content: Any) -> list[Any] | None:
    """The list of frames, whatever it is wrapped in; one frame alone is a list of one."""
    if isinstance(content, dict):
        inner = content.get("frames", content.get("data"))
        content = inner if isinstance(inner, list) else [content]
    return content if isinstance(content, list) else None


def _has(frame: Any, world: bool) -> bool:
    """Whether a frame has landmarks of that kind, by name."""
    return isinstance(frame, dict) and any(key in frame for key in LISTS[world])


def _people(frame: Any, world: bool) -> list[Any]:
    """The people of a frame, each a list of landmarks."""
    if isinstance(frame, dict):
        frame = next((frame[key] for key in LISTS[world] if key in frame), None)
    if isinstance(frame, dict):  # as protobuf has it
        frame = frame.get("landmark", frame.get("landmarks"))
    if not isinstance(frame, list) or not frame:
        return []  # nobody
    if len(frame) == V and all(_is_landmark(one) for one in frame):
        return [frame]
    return [one.get("landmark", one) if isinstance(one, dict) else one for one in frame]


def _is_landmark(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list)
        and len(value) in (3, 4, 5)
        and not any(isinstance(one, list | dict) for one in value)
    )


def _landmarks(source: str, values: Any) -> np.ndarray:
    """(33, 4) of a list of landmarks."""
    if not isinstance(values, list) or len(values) != V or not all(_is_landmark(one) for one in values):
        found = len(values) if isinstance(values, list) else "no list of"
        raise TsgcError(f"{source}: {found} landmarks, expected {V}")
    rows = [[one.get(axis) for axis in AXES] if isinstance(one, dict) else [*one, None][:4] for one in values]
    try:
        points = np.array(rows)
        if points.dtype.kind not in "fiuO":
            raise TypeError
        points = points.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise TsgcError(f"{source}: landmarks that are no numbers, expected x, y, z, visibility") from None
    return _finite(source, points)


def _finite(source: str, points: np.ndarray) -> np.ndarray:
    if np.isinf(points).any():
        raise TsgcError(f"{source}: an infinite number; get the file again")
    return points


# .npy and CSV --------------------------------------------------------------------------------------------


def _npy(source: str, data: bytes, world: bool) -> Frames:
    array = landmark_array(data)
    if array is None:
        raise TsgcError(
            f"{source}: expected an array of (frames, {V}, 3 to 5), (frames, people, {V}, 3 to 5) or (frames,"
            f" {3 * V} or {4 * V})"
        )
    array = _finite(source, array)
    points = np.full((*array.shape[:3], 4), np.nan)
    width = min(array.shape[3], 4)
    points[..., :width] = array[..., :width]
    there = (np.nan_to_num(points) != 0).any(axis=(2, 3))
    return {
        frame: [points[frame, person] for person in np.flatnonzero(there[frame])]
        for frame in range(len(points))
    }


def landmark_array(data: bytes) -> np.ndarray | None:
    """(T, M, 33, 3 to 5) float64 of a `.npy`; None: it holds something else."""
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (OSError, *BAD_NPY):
        return None
    if array.dtype.kind not in "fiu" or not array.size:
        return None
    if array.ndim == 2 and array.shape[1] in (3 * V, 4 * V):
        array = array.reshape(len(array), V, -1)
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or array.shape[2] != V or not 3 <= array.shape[3] <= 5:
        return None
    return array.astype(np.float64) if len(array) <= MOST_FRAMES else None


def _csv(source: str, data: bytes, world: bool) -> Frames:
    table = read_table(source, data)
    head = [column.lower().strip() for column in table.head]
    if columns := _wide(head):
        return _of_lines(table, head, columns)
    if set(head) & COLUMNS and {"x", "y"} <= set(head):
        return _of_landmarks(table, head)
    raise TsgcError(
        f"{source}: line 1: columns {', '.join(head)[:80]}, expected x0,y0,z0,v0,... or nose_x,nose_y,... or"
        " frame,landmark,x,y,z,visibility"
    )


def _wide(head: list[str]) -> dict[int, tuple[int, int]]:
    """Column -> landmark and axis, of a table with a line a frame; empty: it is none."""
    found: dict[int, tuple[int, int]] = {}
    numbered = False
    for column, name in enumerate(head):
        if match := INDEXED.fullmatch(name):
            found[column] = int(match["joint"]), AXES.index(SHORT[match["axis"]])
            numbered = True
        elif (match := NAMED.fullmatch(name)) and match["joint"].replace(" ", "_") in NAMES:
            found[column] = NAMES[match["joint"].replace(" ", "_")], AXES.index(SHORT[match["axis"]])
    joints = {joint for joint, _ in found.values()}
    if numbered and 0 not in joints:  # counted from 1
        found = {column: (joint - 1, axis) for column, (joint, axis) in found.items()}
        joints = {joint for joint, _ in found.values()}
    return found if joints == set(range(V)) else {}


def _of_lines(table: Table, head: list[str], columns: dict[int, tuple[int, int]]) -> Frames:
    """A line a person of a frame; without a column `frame`, lines are frames."""
    frames: Frames = {}
    at = next(
        (head.index(name) for name in COUNTED if name in head),
        None,
    )
    for place, (line, cells) in enumerate(table.rows):
        number = place if at is None else number_of(table.source, line, cells[at], MOST_FRAMES)
        points = np.full((V, 4), np.nan)
        for column, where in columns.items():
            points[where] = table.value(line, cells[column])
        seen = np.isfinite(points[:, :2]).any()
        frames.setdefault(number, []).extend([points] if seen else [])
    return frames


def _of_landmarks(table: Table, head: list[str]) -> Frames:
    """A line a landmark; a second one of a frame is a second person's."""
    which = next(head.index(name) for name in head if name in COLUMNS)
    frame = next(
        (head.index(name) for name in COUNTED if name in head),
        None,
    )
    axes = [(place, AXES.index(SHORT[name])) for place, name in enumerate(head) if name in SHORT]
    frames: Frames = {}
    filled: dict[tuple[int, int], int] = {}
    for line, cells in table.rows:
        number = 0 if frame is None else number_of(table.source, line, cells[frame], MOST_FRAMES)
        joint = _landmark(table.source, line, cells[which])
        person = filled.get((number, joint), 0)
        filled[number, joint] = person + 1
        people = frames.setdefault(number, [])
        if person == len(people):
            people.append(np.full((V, 4), np.nan))
        for column, axis in axes:
            people[person][joint, axis] = table.value(line, cells[column])
    return frames


def _landmark(source: str, line: int, value: str) -> int:
    name = value.strip().lower().rpartition(".")[2].replace(" ", "_")
    if name in NAMES:
        return NAMES[name]
    if name.isascii() and name.isdigit() and len(name) < 3 and int(name) < V:
        return int(name)
    raise TsgcError(f"{source}: line {line}: landmark {value[:40]!r}, expected a name or 0 to {V - 1}")


READERS = {"npy": _npy, "csv": _csv, "json": _json}


# Which of the two it is ----------------------------------------------------------------------------------


def is_picture(source: str, content: Any) -> bool:
    """Whether a file has landmarks in the picture, and none in the world."""
    return _kind(source, content) is False


def is_world(source: str, content: Any) -> bool:
    """Whether a file has landmarks in the world."""
    return _kind(source, content) is True


def _kind(source: str, content: Any) -> bool | None:
    """True: the world; False: the picture; None: no landmarks. Without names, the hips' place tells."""
    if not isinstance(content, bytes):
        frames = _frames_of(content) or []
        for world in (True, False):
            if any(_has(frame, world) and _people(frame, world) for frame in frames):
                return world
        if not frames or any(isinstance(frame, dict) for frame in frames):
            return None
        return _by_hips(
            source, lambda: [_landmarks(source, one) for frame in frames for one in _people(frame, False)]
        )
    if source.lower().endswith(".npy"):
        array = landmark_array(content)
        return None if array is None else _by_hips(source, lambda: list(array.reshape(-1, *array.shape[2:])))
    return _by_hips(source, lambda: [one for found in _csv(source, content, False).values() for one in found])


def _by_hips(source: str, people: Any) -> bool | None:
    try:
        found: Iterable[np.ndarray] = people()
        hips = np.array([points[HIPS, :2].mean(axis=0) for points in found if len(points) == V])
    except TsgcError:
        return None
    hips = hips[np.isfinite(hips).all(axis=1)] if len(hips) else hips
    return bool((np.abs(np.median(hips, axis=0)) < NEAR).all()) if len(hips) else None
