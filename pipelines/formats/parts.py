"""What readers of JSON share: numbers out of lists, frames in order, and one line where neither is there."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.errors import TsgcError
from pipelines.formats.recording import MOST_BODIES, MOST_FRAMES, Body

LAST_NUMBER = re.compile(r"(\d+)\D*$")


def numbers(source: str, what: str, values: Any, columns: int) -> np.ndarray:
    """A flat or nested list as (V, columns) float64, null as NaN. Raises TsgcError: no such numbers."""
    try:
        array = np.array(values)
        if array.dtype == object:
            array = array.astype(np.float64)  # null is NaN; a table or a text in between is an error
    except (TypeError, ValueError, OverflowError):
        raise TsgcError(f"{source}: {what} is no list of numbers; get the file again") from None
    if array.size and array.dtype.kind not in "fiu":
        raise TsgcError(f"{source}: {what} holds {array.dtype}, expected numbers; get the file again")
    is_flat = array.ndim == 1 and array.size % columns == 0
    if not is_flat and not (array.ndim == 2 and array.shape[1] == columns):
        raise TsgcError(f"{source}: {what} has shape {array.shape}, expected {columns} numbers a joint")
    array = array.astype(np.float64).reshape(-1, columns)
    if np.isinf(array).any():
        raise TsgcError(f"{source}: {what} holds an infinite number; get the file again")
    return array


def scored(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(V, 2 or 3 and a score) as joints, NaN where the score is 0 or missing, and scores (V,)."""
    scores = np.nan_to_num(points[:, -1])
    joints = np.where(scores[:, None] > 0, points[:, :-1], np.nan)
    return joints, np.where(np.isfinite(joints).all(axis=1), scores, 0)


def entries(source: str, what: str, value: Any) -> list[dict[str, Any]]:
    """A list of tables. Raises TsgcError for anything else."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise TsgcError(f"{source}: {what} is no list of tables; get the file again")
    return value


def whole(source: str, what: str, value: Any) -> int:
    """A whole number. Raises TsgcError for anything else."""
    if type(value) is not int:
        raise TsgcError(f"{source}: {what} is {str(value)[:40]!r}, expected a whole number")
    return value


def person_id(value: Any) -> str | int | None:
    """A tracker's name of a person; None for what says that nobody was followed: null, a list, below 0."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) or (type(value) is int and value >= 0):
        return value
    return None


def last_number(name: str) -> int | None:
    """The last number in a name of a picture; None: there is none."""
    match = LAST_NUMBER.search(name)
    return int(match[1]) if match and len(match[1]) < 16 else None


def in_order(source: str, frames: Mapping[int, Sequence[Body]]) -> list[list[Body]]:
    """Frames by their number, those that are missing between the first and the last without anybody.

    Raises TsgcError: no frames, or more than a clip can have.
    """
    if not frames:
        raise TsgcError(f"{source}: no frames in it")
    first, last = min(frames), max(frames)
    if last - first >= MOST_FRAMES:
        raise TsgcError(f"{source}: frames {first:,} to {last:,}, expected {MOST_FRAMES:,} at most")
    crowded = next((number for number, bodies in frames.items() if len(bodies) > MOST_BODIES), None)
    if crowded is not None:
        raise TsgcError(
            f"{source}: {len(frames[crowded]):,} people in frame {crowded}, expected {MOST_BODIES} at most"
        )
    return [list(frames.get(number, ())) for number in range(first, last + 1)]


def check_joints(source: str, found: int, expected: int, skeleton: str, hint: str = "") -> None:
    """Raises TsgcError where a body has another number of joints than the skeleton."""
    if found != expected:
        raise TsgcError(f"{source}: {found} joints, {skeleton} has {expected}{hint}")
