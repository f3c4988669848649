"""The numbers of a `.skeleton` text, compiled: the fast path of `ntu_text`, which imports this when it pays.

A value is an exact whole number times or over a power of ten that float64 holds exactly, so one rounding
gives what `float()` gives (Clinger, 1990). Whatever is not that simple is left to `float()` itself, and
whatever is unusual in any other way to the plain reader.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba
import numpy as np

from pipelines.skeleton import NTU_25

NUM_JOINTS = NTU_25.num_joints
EXACT_POWERS = np.array([float(f"1e{n}") for n in range(23)])  # 10 ** 22 is the last that float64 holds
EXACT_INTEGER = np.uint64(2**53)
MAX_DIGITS = 18  # more may not fit 64 bits
BODY_BYTES = 600  # at least, for each body: 25 lines of 12 fields with a space or line end each
SPACE, TAB, LF, CR, PLUS, MINUS, POINT, E = b" \t\n\r+-.e"
MAX_TRACKS = 250  # each new id is compared with all; a real clip has ten at most
UNUSUAL = -1  # in place of a position: let the plain reader see to it
# Loops say `0 <= at` though it always is: Numba then drops its care for negative indices, half the work.


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled at its first call and kept on disk for the next process."""
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:  # neither this folder nor the user's cache can be written
        return numba.njit(function)


@numba.njit
def _line_end(text, at):  # type: ignore[no-untyped-def]
    """Past blanks and one line end, or the end of the file."""
    size = len(text)
    while 0 <= at < size and (text[at] == SPACE or text[at] == TAB):
        at += 1
    if at == size or text[at] == LF:
        return min(at + 1, size)
    if text[at] != CR:
        return UNUSUAL
    at += 1
    return at + 1 if at < size and text[at] == LF else at


@numba.njit
def _count(text, at):  # type: ignore[no-untyped-def]
    """A line that is one whole number of up to six digits: (next line, number)."""
    start, value = at, 0
    while 0 <= at < len(text) and 48 <= text[at] <= 57:
        value = value * 10 + (text[at] - 48)
        at += 1
    if at == start or at - start > 6:
        return UNUSUAL, 0
    return _line_end(text, at), value


@numba.njit
def _field_end(text, at):  # type: ignore[no-untyped-def]
    while 0 <= at < len(text) and text[at] > SPACE:
        at += 1
    return at


@numba.njit
def _last_fields(text, at, number):  # type: ignore[no-untyped-def]
    """From a field's end past exactly `number` more fields: the next line."""
    inside = 1
    # Counted without a branch on where fields end, which no processor can guess.
    while 0 <= at < len(text) and text[at] >= SPACE:
        was_inside = inside
        inside = int(text[at] != SPACE)
        number -= inside & (was_inside ^ 1)
        at += 1
    return _line_end(text, at) if number == 0 else UNUSUAL


@numba.njit
def _number(text, at):  # type: ignore[no-untyped-def]
    """A field as a number: (its end, value); NaN: only float() can tell."""
    size = len(text)
    negative = at < size and text[at] == MINUS
    if at < size and (text[at] == MINUS or text[at] == PLUS):
        at += 1
    mantissa, digits, power = np.uint64(0), 0, 0
    while 0 <= at < size and 48 <= text[at] <= 57:
        mantissa = mantissa * np.uint64(10) + np.uint64(text[at] - 48)
        digits += 1
        at += 1
    if at < size and text[at] == POINT:
        at += 1
        point = at
        while 0 <= at < size and 48 <= text[at] <= 57:
            mantissa = mantissa * np.uint64(10) + np.uint64(text[at] - 48)
            at += 1
        power = point - at
        digits -= power
    simple = 0 < digits <= MAX_DIGITS and mantissa <= EXACT_INTEGER
    if at < size and text[at] | 32 == E:  # or a capital
        at += 1
        shrinks = at < size and text[at] == MINUS
        if at < size and (text[at] == MINUS or text[at] == PLUS):
            at += 1
        start, exponent = at, 0
        while 0 <= at < size and 48 <= text[at] <= 57:
            exponent = min(exponent * 10 + (text[at] - 48), 9999)
            at += 1
        simple &= at > start
        power += -exponent if shrinks else exponent
    end = _field_end(text, at)
    if not simple or abs(power) >= len(EXACT_POWERS) or end != at:
        return end, np.nan
    value = float(mantissa)
    value = value / EXACT_POWERS[-power] if power < 0 else value * EXACT_POWERS[power]
    return at, -value if negative else value


@numba.njit
def _known_as(text, bodies, body, num_tracks, first):  # type: ignore[no-untyped-def]
    """The track with the id of appearance `body`; a new track's number, if none."""
    start, end = bodies[body, 0], bodies[body, 1]
    for track in range(num_tracks):
        row = first[track]
        other = bodies[row, 0]
        if bodies[row, 1] - other == end - start:
            same = True
            for at in range(end - start):
                same &= text[start + at] == text[other + at]
            if same:
                return track
    return num_tracks


@compiled
def scan(text, bodies, joints, places):  # type: ignore[no-untyped-def]
    """Reads a whole text, uint8 (n,), into arrays with room for n // BODY_BYTES + 1 bodies (`room_for`).

    Fills, in file order: `bodies` (.., 4) int32, where the id starts and ends, the frame's number and the
    track's, from 0; `joints` (.., V, 3) float32, NaN where only float() can tell; for those, `places`
    (.., V, 3, 2) int32, where the field starts and ends. Returns the numbers of frames, bodies, tracks and
    NaNs; of frames UNUSUAL for a text to leave to the plain reader. The text must be ASCII.
    """
    failed = (UNUSUAL, 0, 0, 0)
    at, num_frames = _count(text, 0)
    if at == UNUSUAL:
        return failed
    body, num_tracks, undecided = 0, 0, 0
    first = np.empty(len(bodies), np.int32)  # of each track
    for frame in range(num_frames):
        at, num_bodies = _count(text, at)
        if at == UNUSUAL:
            return failed
        for _ in range(num_bodies):
            end = _field_end(text, at)
            if end == at or num_tracks == MAX_TRACKS:
                return failed
            bodies[body, 0], bodies[body, 1], bodies[body, 2] = at, end, frame
            track = _known_as(text, bodies, body, num_tracks, first)
            if track == num_tracks:
                first[track] = body
                num_tracks += 1
            bodies[body, 3] = track
            at = _last_fields(text, end, 9)
            if at == UNUSUAL:
                return failed
            at, num_joints = _count(text, at)
            if at == UNUSUAL or num_joints != NUM_JOINTS:
                return failed
            for joint in range(NUM_JOINTS):
                for axis in range(3):
                    start = at
                    at, value = _number(text, start)
                    joints[body, joint, axis] = value
                    if np.isnan(value):
                        undecided += 1
                        places[body, joint, axis, 0], places[body, joint, axis, 1] = start, at
                    if at == len(text) or text[at] != SPACE:
                        return failed
                    at += 1
                at = _last_fields(text, at - 1, 9)
                if at == UNUSUAL:
                    return failed
            body += 1
    while 0 <= at < len(text):
        if text[at] != SPACE and not TAB <= text[at] <= CR:
            return failed
        at += 1
    return num_frames, body, num_tracks, undecided


def room_for(data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `scan` fills for a text of this size; memory that is not touched costs nothing."""
    most = len(data) // BODY_BYTES + 1
    bodies = np.empty((most, 4), np.int32)
    return bodies, np.empty((most, NUM_JOINTS, 3), np.float32), np.empty((most, NUM_JOINTS, 3, 2), np.int32)


def warm_up() -> None:
    """Compiles `scan`, or loads it from disk."""
    with suppress(OSError):  # compiled, but it could not be kept: the disk is full
        scan(np.frombuffer(b"0", np.uint8), *room_for(b"0"))
