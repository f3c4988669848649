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

from pipelines.reading import ntu_blocks as blocks
from pipelines.reading.ntu_blocks import byte
from pipelines.skeleton import NTU_25

NUM_JOINTS = NTU_25.num_joints
EXACT_POWERS = np.array([float(f"1e{n}") for n in range(23)])  # 10 ** 22 is the last that float64 holds
EXACT_INTEGER = np.uint64(2**53)
WHOLE_POWERS = np.array([10**n for n in range(11)], np.uint64)
ONE, NIBBLE, ALL_ONES = map(np.uint64, (1, 15, 2**64 - 1))
MAX_DIGITS = 18  # more may not fit 64 bits
BODY_BYTES = 600  # at least, for each body: 25 lines of 12 fields with a space or line end each
SPACE, TAB, LF, CR, PLUS, MINUS, POINT, E = b" \t\n\r+-.e"
MAX_TRACKS = 250  # each new id is compared with all; a real clip has ten at most
UNUSUAL = -1  # in place of a position: let the plain reader see to it
# `text` is an address, not an array: for arrays Numba checks negative indices and counts references, a third
# of the work in all. Every function compares its place with `size` before it looks.


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled at its first call and kept on disk for the next process."""
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:  # neither this folder nor the user's cache can be written
        return numba.njit(function)


@numba.njit
def _line_end(text, size, at):  # type: ignore[no-untyped-def]
    """The place after blanks and one line end, or the end of the file."""
    while at < size and (byte(text, at) == SPACE or byte(text, at) == TAB):
        at += 1
    if at == size or byte(text, at) == LF:
        return min(at + 1, size)
    if byte(text, at) != CR:
        return UNUSUAL
    at += 1
    return at + 1 if at < size and byte(text, at) == LF else at


@numba.njit
def _count(text, size, at):  # type: ignore[no-untyped-def]
    """A line that is one whole number of up to six digits: (next line, number)."""
    start, value = at, 0
    while at < size and 48 <= byte(text, at) <= 57:
        value = value * 10 + (byte(text, at) - 48)
        at += 1
    if at == start or at - start > 6:
        return UNUSUAL, 0
    return _line_end(text, size, at), value


@numba.njit
def _field_end(text, size, at):  # type: ignore[no-untyped-def]
    while at < size and byte(text, at) > SPACE:
        at += 1
    return at


@numba.njit
def _last_fields(text, size, at, number):  # type: ignore[no-untyped-def]
    """The next line, after exactly `number` more fields; starts at a field's end."""
    inside = 1
    while at + blocks.AFTER <= size:
        spaces, controls = blocks.spaces_64(text, at), blocks.controls_64(text, at)
        starts = ~spaces & (spaces << ONE | np.uint64(inside ^ 1))
        line_end = blocks.first_bit(controls)
        if line_end < 64:
            number -= blocks.count_bits(starts & ((ONE << np.uint64(line_end)) - ONE))
            return _line_end(text, size, at + line_end) if number == 0 else UNUSUAL
        number -= blocks.count_bits(starts)
        inside = 1 - int(spaces >> np.uint64(63))
        at += 64
    # Counted without a branch on where fields end, which no processor can guess.
    while at < size and byte(text, at) >= SPACE:
        was_inside = inside
        inside = int(byte(text, at) != SPACE)
        number -= inside & (was_inside ^ 1)
        at += 1
    return _line_end(text, size, at) if number == 0 else UNUSUAL


@numba.njit
def _number(text, size, at):  # type: ignore[no-untyped-def]
    """A field as a number: (its end, value); NaN: only float() can tell."""
    end, value = _common_number(text, size, at)
    return _any_number(text, size, at) if end == UNUSUAL else (end, value)


@numba.njit
def _common_number(text, size, at):  # type: ignore[no-untyped-def]
    """A field such as -0.1234567 as a number: (its end, value); at UNUSUAL where it is not that simple."""
    if at < blocks.BEFORE or at + blocks.AFTER > size:
        return UNUSUAL, 0.0
    negative = byte(text, at) == MINUS
    at += int(negative)
    length = blocks.first_bit(blocks.blanks_32(text, at))
    whole = blocks.first_bit(blocks.points_32(text, at))  # digits before the point
    part = length - whole - 1  # and after it
    if not (1 <= whole <= 5 and 1 <= part <= 10):  # 15 digits are less than EXACT_INTEGER
        return UNUSUAL, 0.0
    field = (ONE << np.uint64(length)) - ONE
    digits = blocks.from_zero_32(text, at) & blocks.to_nine_32(text, at)
    if digits & field != field ^ (ONE << np.uint64(whole)):
        return UNUSUAL, 0.0
    mantissa = np.uint64(byte(text, at) - 48)
    for place in range(1, whole):
        mantissa = mantissa * np.uint64(10) + np.uint64(byte(text, at + place) - 48)
    # No branch on how many digits follow: that varies, and no processor can guess it.
    low, high = min(part, 8), max(part - 8, 0)
    last = blocks.word(text, at + length - 8) & (ALL_ONES << np.uint64(64 - 8 * low))
    before = blocks.word(text, at + length - 16) & (ALL_ONES << np.uint64(63 - 8 * high) << ONE)
    tens, ones = before >> np.uint64(48) & NIBBLE, before >> np.uint64(56) & NIBBLE
    before = (tens * np.uint64(10) + ones) * WHOLE_POWERS[8]
    mantissa = mantissa * WHOLE_POWERS[part] + before + blocks.eight_digits(last)
    value = float(mantissa) / EXACT_POWERS[part]
    return at + length, -value if negative else value


@numba.njit
def _any_number(text, size, at):  # type: ignore[no-untyped-def]
    """`_number`, digit by digit."""
    negative = at < size and byte(text, at) == MINUS
    if at < size and (byte(text, at) == MINUS or byte(text, at) == PLUS):
        at += 1
    mantissa, digits, power = np.uint64(0), 0, 0
    while at < size and 48 <= byte(text, at) <= 57:
        mantissa = mantissa * np.uint64(10) + np.uint64(byte(text, at) - 48)
        digits += 1
        at += 1
    if at < size and byte(text, at) == POINT:
        at += 1
        point = at
        while at < size and 48 <= byte(text, at) <= 57:
            mantissa = mantissa * np.uint64(10) + np.uint64(byte(text, at) - 48)
            at += 1
        power = point - at
        digits -= power
    simple = 0 < digits <= MAX_DIGITS and mantissa <= EXACT_INTEGER
    if at < size and byte(text, at) | 32 == E:  # or a capital
        at += 1
        shrinks = at < size and byte(text, at) == MINUS
        if at < size and (byte(text, at) == MINUS or byte(text, at) == PLUS):
            at += 1
        start, exponent = at, 0
        while at < size and 48 <= byte(text, at) <= 57:
            exponent = min(exponent * 10 + (byte(text, at) - 48), 9999)
            at += 1
        simple &= at > start
        power += -exponent if shrinks else exponent
    end = _field_end(text, size, at)
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
                same &= byte(text, start + at) == byte(text, other + at)
            if same:
                return track
    return num_tracks


@compiled
def scan(data, bodies, joints, places):  # type: ignore[no-untyped-def]
    """Reads a whole text, uint8 (n,), into arrays with room for n // BODY_BYTES + 1 bodies (`room_for`).

    Fills, in file order: `bodies` (.., 4) int32, where the id starts and ends, the frame's number and the
    track's, from 0; `joints` (.., V, 3) float32, NaN where only float() can tell; for those, `places`
    (.., V, 3, 2) int32, where the field starts and ends. Returns the numbers of frames, bodies, tracks and
    NaNs; of frames UNUSUAL for a text to leave to the plain reader. The text must be ASCII.
    """
    failed = (UNUSUAL, 0, 0, 0)
    text, size = data.ctypes.data, len(data)
    at, num_frames = _count(text, size, 0)
    if at == UNUSUAL:
        return failed
    body, num_tracks, undecided = 0, 0, 0
    first = np.empty(len(bodies), np.int32)  # of each track
    for frame in range(num_frames):
        at, num_bodies = _count(text, size, at)
        if at == UNUSUAL:
            return failed
        for _ in range(num_bodies):
            end = _field_end(text, size, at)
            if end == at or num_tracks == MAX_TRACKS:
                return failed
            bodies[body, 0], bodies[body, 1], bodies[body, 2] = at, end, frame
            track = _known_as(text, bodies, body, num_tracks, first)
            if track == num_tracks:
                first[track] = body
                num_tracks += 1
            bodies[body, 3] = track
            at = _last_fields(text, size, end, 9)
            if at == UNUSUAL:
                return failed
            at, num_joints = _count(text, size, at)
            if at == UNUSUAL or num_joints != NUM_JOINTS:
                return failed
            for joint in range(NUM_JOINTS):
                for axis in range(3):
                    start = at
                    at, value = _number(text, size, start)
                    joints[body, joint, axis] = value
                    if np.isnan(value):
                        undecided += 1
                        places[body, joint, axis, 0], places[body, joint, axis, 1] = start, at
                    if at == size or byte(text, at) != SPACE:
                        return failed
                    at += 1
                at = _last_fields(text, size, at - 1, 9)
                if at == UNUSUAL:
                    return failed
            body += 1
    while at < size:
        if byte(text, at) != SPACE and not TAB <= byte(text, at) <= CR:
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
