"""Clips of your own data: `.npy`, `.json` and `.csv` to joints (docs/your-own-data.md)."""

import csv
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

from pipelines.channels import in_space
from pipelines.cleaning.following import in_tracks
from pipelines.cleaning.missing import seen_joints
from pipelines.datasets.arrays import finish, in_halves, keep_present, numbers
from pipelines.errors import BAD_NPY, TsgcError
from pipelines.formats.directions import turn_up
from pipelines.formats.other_files import told
from pipelines.formats.recording import as_array
from pipelines.formats.table import ARRAYS, FORMATS
from pipelines.reading.json_file import parse_loose
from pipelines.skeleton import Skeleton
from pipelines.spec import Prepared

# Of a clip; more in a table is a mistake, and would fill the memory.
MOST_FRAMES = 1_000_000
MOST_BODIES = 100
MOST_NUMBERS = 50_000_000  # 400 MB
SIZE = ("width", "height")  # columns of a table


Size = tuple[float, float]
"""Width and height of a picture, in the unit of x and y."""


@dataclass(frozen=True)
class Layout:
    """How a data set's clips are to be read."""

    skeleton: Skeleton
    channels: str
    """`xyz`, `xyzs`, `xys` (s the detector's score), or `xy`: the score is 1 where a joint was seen."""
    image_size: Size | None
    """Width and height of the pictures; None in space, or where each clip says it."""
    format: str = ARRAYS
    """A key of `pipelines.formats.table.FORMATS`, or the arrays of docs/your-own-data.md."""
    fps: float = 30
    """Frames a second."""
    sizes: Mapping[str, Size] = field(default_factory=dict)
    """The size of single clips' pictures, by what errors call them."""
    untracked: bool = False
    """Whether the order of the bodies in a frame means nothing, so that people are followed by distance."""
    up: str = "y"
    """In space, the axis that points up: a key of `pipelines.formats.directions.UP`; stored, y does."""


@dataclass(frozen=True)
class Read:
    """What a clip's file holds."""

    joints: np.ndarray
    """Numbers (T, V, C) or (T, M, V, C), NaN where one is missing."""
    image_size: Size | None = None
    """Width and height of its pictures, where the file says it."""
    untracked: bool = False
    """Whether it does not say who is who in the next frame."""


def stored_channels(channels: str) -> str:
    """The channels of a prepared file of clips in `channels`: pictures without scores get some."""
    return "xys" if channels == "xy" else channels


def read(source: str, data: bytes, layout: Layout, preset: str) -> Prepared:
    """A clip as it is stored: in space centred, in pictures from the middle in halves of the size.

    Bodies that are never there are dropped. Raises TsgcError: not the format that the name ends in, another
    shape than the skeleton's, infinite, a picture of unknown size.
    """
    found = read_file(source, data, layout)
    joints = as_bodies(source, found.joints, layout)
    channels = stored_channels(layout.channels)
    seen = seen_joints(joints, layout.channels, layout.skeleton)
    if in_space(channels):
        joints = turn_up(joints, layout.up)
    else:
        size = found.image_size or layout.sizes.get(source, layout.image_size)
        if size is None:
            raise TsgcError(
                f"{source}: pictures of unknown size; say it in the file, as image_size in dataset.yaml or,"
                " to `tsgc predict`, by --image-size WIDTH,HEIGHT"
            )
        if layout.channels == "xy":
            joints = np.concatenate([joints, seen[..., None].astype(np.float32)], axis=-1)
        joints = in_halves(joints, seen, size)
    if layout.untracked or found.untracked:
        tracks = in_tracks(joints, seen, channels, layout.fps)
        joints, seen = tracks.joints, tracks.seen
    bodies = keep_present(joints, seen, most=None)
    return finish(bodies, layout.skeleton, channels, layout.fps, preset)


def read_clip(source: str, data: bytes, layout: Layout, preset: str) -> Prepared:
    """A clip as `read` gives it. Raises TsgcError too, which says what a file of another kind is."""
    try:
        return read(source, data, layout, preset)
    except TsgcError as error:
        raise told(error, source, data, layout.format) from error


def as_bodies(source: str, joints: np.ndarray, layout: Layout) -> np.ndarray:
    """A file's joints as (T, M, V, C) float32. Raises TsgcError: another shape, no numbers, infinite."""
    joints = numbers(source, joints)
    V, C = layout.skeleton.num_joints, len(layout.channels)
    if joints.ndim not in (3, 4) or joints.shape[-2:] != (V, C):
        raise TsgcError(
            f"{source}: joints of shape {joints.shape}, expected (frames, {V}, {C}) or"
            f" (frames, bodies, {V}, {C})"
        )
    return joints if joints.ndim == 4 else joints[:, None]  # (T, V, C) -> (T, 1, V, C)


def read_file(source: str, data: bytes, layout: Layout) -> Read:
    """The joints in the format that the layout names."""
    if layout.format == ARRAYS:
        return READERS[PurePath(source).suffix.lower()](source, data, layout)
    recording = FORMATS[layout.format].read(source, data, layout.skeleton)
    joints = as_array(source, recording, layout.skeleton.num_joints, layout.channels)
    nameless = any(body.id is None for bodies in recording.frames for body in bodies)
    return Read(joints, recording.size, nameless)


def _read_npy(source: str, data: bytes, layout: Layout) -> Read:
    try:
        return Read(np.lib.format.read_array(io.BytesIO(data), allow_pickle=False))
    except (OSError, *BAD_NPY) as error:
        raise TsgcError(f"{source}: not a whole .npy of numbers ({' '.join(str(error).split())})") from None


def _read_json(source: str, data: bytes, layout: Layout) -> Read:
    """Nested lists in the order of the axes, or a table of them (`joints`) and of the picture's `image_size`.

    null says not seen: in place of a number, a joint, a body or a frame.
    """
    content = parse_loose(source, data)
    size = None
    if isinstance(content, dict) and isinstance(content.get("joints"), list):
        size = content.get("image_size")
        size = None if size is None else parse_size(size, f"{source}: image_size")
        content = content["joints"]
    try:
        joints = np.array(content)
        return Read(joints if joints.dtype != object else np.array(_without_null(content, layout)), size)
    except ValueError:
        pass
    try:
        return Read(np.array(_without_null(content, layout)), size)
    except ValueError:
        raise TsgcError(f"{source}: lists of unequal length, expected frames of equal size") from None


def _without_null(content: Any, layout: Layout) -> Any:
    """Nested lists with NaN for whatever is null."""
    depth = _depth(content)
    if depth not in (3, 4):
        return content
    bodies = max((len(frame) for frame in content if isinstance(frame, list)), default=0)
    shape = (bodies, layout.skeleton.num_joints, len(layout.channels))[4 - depth :]

    def filled(part: Any, level: int) -> Any:
        if part is None:
            return np.full(shape[level:], np.nan).tolist()
        return [filled(one, level + 1) for one in part] if isinstance(part, list) and level < depth else part

    return [filled(frame, 0) for frame in content]


def _depth(nested: Any, most: int = 5) -> int:
    """How deep lists are nested, up to `most`."""
    if not isinstance(nested, list) or not most:
        return 0
    return 1 + max((_depth(one, most - 1) for one in nested), default=0)


def parse_size(value: Any, what: str) -> Size:
    """A picture's width and height. Raises TsgcError: anything else."""
    wanted = isinstance(value, list) and len(value) == 2
    if not wanted or not all(type(n) in (int, float) and 0 < n < math.inf for n in value):
        raise TsgcError(f"{what} is {value!r}, expected [width, height], in the unit of x and y")
    return float(value[0]), float(value[1])


def _read_csv(source: str, data: bytes, layout: Layout) -> Read:
    """A table with a line a joint, or a line a frame; what no line names, and an empty cell, is not seen."""
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TsgcError(f"{source}: not CSV ({error})") from None
    head = [column.strip() for column in rows[0]] if rows else []
    places = _places(source, head, layout)
    entries: dict[tuple[int, int, int], list[float]] = {}
    sizes = set()
    for line, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != len(head):
            raise TsgcError(f"{source}: line {line}: {len(row)} values, expected {len(head)}")
        cells = dict(zip(head, row))
        frame = _whole(source, line, cells["frame"], MOST_FRAMES)
        body = _whole(source, line, cells.get("body", "0"), MOST_BODIES)
        sizes |= {tuple(cells[column].strip() for column in SIZE)} if SIZE[0] in cells else set()
        for joint, columns in places(line, cells):
            key = frame, body, joint
            if key in entries:
                raise TsgcError(
                    f"{source}: line {line}: joint {layout.skeleton.joints[joint]!r} of body {body} in frame"
                    f" {frame} comes twice"
                )
            entries[key] = [_number(source, line, cells[column]) for column in columns]
    if not entries:
        raise TsgcError(f"{source}: no lines below the names of the columns")
    names, where = layout.skeleton.joints, np.array(list(entries))
    first = int(where[:, 0].min())  # people count from 0 or from 1
    shape = where[:, :2].max(axis=0) + 1
    if (size := math.prod(shape.tolist()) * len(names) * len(layout.channels)) > MOST_NUMBERS:
        raise TsgcError(
            f"{source}: {size:,} numbers with all that is absent, expected {MOST_NUMBERS:,} at most"
        )
    joints = np.full((shape[0] - first, shape[1], len(names), len(layout.channels)), np.nan)
    joints[where[:, 0] - first, where[:, 1], where[:, 2]] = list(entries.values())
    return Read(joints, _size(source, sizes))


def _size(source: str, said: set[tuple[str, ...]]) -> Size | None:
    """The picture's size that all lines of a table say. Raises TsgcError: several, or none that is one."""
    if not said:
        return None
    if len(said) > 1:
        raise TsgcError(f"{source}: {' and '.join(SIZE)} change, expected one size of picture for a clip")
    return parse_size([_number(source, 2, value) for value in said.pop()], f"{source}: image_size")


Places = Callable[[int, dict[str, str]], list[tuple[int, list[str]]]]
"""A line's number and cells -> the joints it holds, each with its columns."""


def _places(source: str, head: list[str], layout: Layout) -> Places:
    """How the table is laid out. Raises TsgcError: columns twice, missing or unknown."""
    axes = ["score" if axis == "s" else axis for axis in layout.channels]
    names = layout.skeleton.joints
    wide = {joint: [f"{name}_{axis}" for axis in axes] for joint, name in enumerate(names)}
    long = ["frame", "joint", *axes]
    flat = [column for columns in wide.values() for column in columns]
    if len(set(head)) < len(head):
        raise TsgcError(f"{source}: line 1: a column comes twice")
    more = {"body"} if in_space(layout.channels) else {"body", *SIZE}
    if (set(SIZE) & set(head)) not in (set(), set(SIZE)):
        raise TsgcError(f"{source}: line 1: {' and '.join(SIZE)} are given together")
    if set(long) <= set(head) <= {*long, *more}:
        return lambda line, cells: [(_joint(source, line, cells["joint"], names), axes)]
    if {"frame", *flat} <= set(head) <= {"frame", *more, *flat}:
        return lambda line, cells: list(wide.items())
    raise TsgcError(
        f"{source}: line 1: columns {', '.join(head)[:80]}, expected {','.join(long)} or frame,{flat[0]},"
        f"{flat[1]},...,{flat[-1]} (and body, where there are several)"
    )


def _joint(source: str, line: int, value: str, names: tuple[str, ...]) -> int:
    value = value.strip()
    if value in names:
        return names.index(value)
    if value.isascii() and value.isdigit() and len(value) < 6 and int(value) < len(names):
        return int(value)
    raise TsgcError(f"{source}: line {line}: joint {value!r}, expected a name or 0 to {len(names) - 1}")


def _whole(source: str, line: int, value: str, most: int) -> int:
    value = value.strip()
    if not (value.isascii() and value.isdigit()) or len(value) > 9 or int(value) > most:
        raise TsgcError(f"{source}: line {line}: {value[:40]!r}, expected a whole number up to {most:,}")
    return int(value)


def _number(source: str, line: int, value: str) -> float:
    """A cell's number; NaN for an empty one."""
    try:
        return float(value) if value.strip() else math.nan
    except ValueError:
        raise TsgcError(f"{source}: line {line}: {value[:40]!r}, expected a number") from None


READERS: dict[str, Callable[[str, bytes, Layout], Read]] = {
    ".npy": _read_npy,
    ".json": _read_json,
    ".csv": _read_csv,
}
