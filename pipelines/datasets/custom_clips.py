"""Clips of your own data: `.npy`, `.json` and `.csv` to joints (docs/your-own-data.md)."""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
import orjson

from pipelines.datasets.arrays import finish, finite, keep_present
from pipelines.errors import BAD_NPY, TsgcError
from pipelines.formats.recording import as_array
from pipelines.formats.table import ARRAYS, FORMATS
from pipelines.skeleton import Skeleton
from pipelines.spec import Prepared

# Of a clip; more in a table is a mistake, and would fill the memory.
MOST_FRAMES = 1_000_000
MOST_BODIES = 100
MOST_NUMBERS = 50_000_000  # 400 MB


@dataclass(frozen=True)
class Layout:
    """How a data set's clips are to be read."""

    skeleton: Skeleton
    channels: str
    """`xyz`, `xys` (s the detector's score), or `xy`: the score is 1 where the joint is not (0, 0)."""
    image_size: tuple[float, float] | None
    """Width and height of the picture, in the unit of x and y; None for `xyz`."""
    format: str = ARRAYS
    """A key of `pipelines.formats.table.FORMATS`, or the arrays of docs/your-own-data.md."""


def read(source: str, data: bytes, layout: Layout, preset: str) -> Prepared:
    """A clip as it is stored: `xyz` centred, the others from the middle of the picture in halves of its size.

    Bodies that are never there (all 0) are dropped. Raises TsgcError: not the format that the name ends in,
    another shape than the skeleton's, not finite.
    """
    joints = finite(source, _read_any(source, data, layout))
    V, C = layout.skeleton.num_joints, len(layout.channels)
    if joints.ndim not in (3, 4) or joints.shape[-2:] != (V, C):
        raise TsgcError(
            f"{source}: joints of shape {joints.shape}, expected (frames, {V}, {C}) or"
            f" (frames, bodies, {V}, {C})"
        )
    if joints.ndim == 3:
        joints = joints[:, None]  # (T, V, C) -> (T, 1, V, C)
    centre: int | None = layout.skeleton.centre
    if layout.image_size is not None:
        joints, centre = _in_picture(joints, layout.image_size), None
    return finish(*keep_present(joints, most=None), centre, preset)


def _read_any(source: str, data: bytes, layout: Layout) -> np.ndarray:
    """The joints in the format that the layout names."""
    if layout.format == ARRAYS:
        return READERS[PurePath(source).suffix](source, data, layout)
    recording = FORMATS[layout.format].read(source, data, layout.skeleton)
    return np.nan_to_num(as_array(source, recording, layout.skeleton.num_joints, layout.channels))


def _in_picture(joints: np.ndarray, image_size: tuple[float, float]) -> np.ndarray:
    """(T, M, V, 2 or 3) in the picture's unit -> (T, M, V, 3) from its middle; joints of score 0 are 0."""
    if joints.shape[-1] == 2:
        seen = (joints != 0).any(axis=-1, keepdims=True)
        joints = np.concatenate([joints, seen.astype(np.float32)], axis=-1)
    half = np.array(image_size, np.float32) / 2
    joints = np.concatenate([(joints[..., :2] - half) / half, joints[..., 2:]], axis=-1)
    joints[joints[..., 2] == 0] = 0
    return joints


def _read_npy(source: str, data: bytes, layout: Layout) -> np.ndarray:
    try:
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (OSError, *BAD_NPY) as error:
        raise TsgcError(f"{source}: not a whole .npy of numbers ({' '.join(str(error).split())})") from None


def _read_json(source: str, data: bytes, layout: Layout) -> np.ndarray:
    """Nested lists, in the order of the axes."""
    try:
        content = orjson.loads(data)
        return np.array(content)
    except orjson.JSONDecodeError as error:
        raise TsgcError(f"{source}: line {error.lineno}: not JSON ({error.msg})") from None
    except ValueError:
        raise TsgcError(f"{source}: lists of unequal length, expected frames of equal size") from None


def _read_csv(source: str, data: bytes, layout: Layout) -> np.ndarray:
    """A table with a line a joint, or a line a frame; what no line names is 0, absent."""
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TsgcError(f"{source}: not CSV ({error})") from None
    head = [column.strip() for column in rows[0]] if rows else []
    places = _places(source, head, layout)
    entries: dict[tuple[int, int, int], list[float]] = {}
    for line, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != len(head):
            raise TsgcError(f"{source}: line {line}: {len(row)} values, expected {len(head)}")
        cells = dict(zip(head, row))
        frame = _whole(source, line, cells["frame"], MOST_FRAMES)
        body = _whole(source, line, cells.get("body", "0"), MOST_BODIES)
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
    joints = np.zeros((shape[0] - first, shape[1], len(names), len(layout.channels)))
    joints[where[:, 0] - first, where[:, 1], where[:, 2]] = list(entries.values())
    return joints


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
    if set(long) <= set(head) <= {*long, "body"}:
        return lambda line, cells: [(_joint(source, line, cells["joint"], names), axes)]
    if {"frame", *flat} <= set(head) <= {"frame", "body", *flat}:
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
    try:
        return float(value)
    except ValueError:
        raise TsgcError(f"{source}: line {line}: {value[:40]!r}, expected a number") from None


READERS: dict[str, Callable[[str, bytes, Layout], np.ndarray]] = {
    ".npy": _read_npy,
    ".json": _read_json,
    ".csv": _read_csv,
}
