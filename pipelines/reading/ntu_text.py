"""The `.skeleton` text of Kinect v2, read into tracked bodies.

The text (Shahroudy et al., 2016; Liu et al., 2020): a line with the number of frames; per frame a line
with the number of bodies; per body a line of 10 fields that starts with the body's id, a line with the
number of joints (25), and a line of 12 fields per joint that starts with x, y, z in metres.

Two readers give the same: `parse_plain`, line by line, which words all errors, and `parse_compiled`.
"""

from dataclasses import dataclass
from functools import cache
from types import ModuleType

import numpy as np

from pipelines.errors import TsgcError
from pipelines.reading.text_mark import without_mark
from pipelines.reading.track import Track
from pipelines.skeleton import NTU_25

NUM_JOINTS = NTU_25.num_joints
BODY_FIELDS = 10
JOINT_FIELDS = 12
FLOAT32_MAX = float(np.finfo(np.float32).max)
# Bytes that a process reads plainly before it loads the compiled reader, which takes a third of a second,
# or two where it was never compiled (benchmarks/prepare.py start). A handful of clips never waits for it.
PATIENCE = 4_000_000
_seen = 0  # bytes read so far in this process, for PATIENCE


@dataclass(frozen=True)
class Parsed:
    """A `.skeleton` file: its tracks in order of first appearance."""

    num_frames: int
    """Valid frames: those with any body."""
    tracks: list[Track]
    file_frames: np.ndarray
    """(num_frames,) int: where each valid frame lies in the file, which may have frames without a body."""


def parse(source: str, data: bytes) -> Parsed:
    """Reads the bytes of a `.skeleton` file; `source` names it in errors.

    Raises TsgcError with the line number: cut, not text, wrong counts, values that are no finite numbers.
    Only x, y, z of a joint are read, to what float() gives in float32; its other fields are counted.
    """
    global _seen
    _seen += len(data)
    return (parse_compiled if _seen > PATIENCE else parse_plain)(source, data)


def parse_compiled(source: str, data: bytes) -> Parsed:
    """`parse`, compiled: the same result, some ten times as fast once loaded."""
    data = _text(source, data)
    scanner = _load_scanner()
    bodies, joints, places = scanner.room_for(data)
    text = np.frombuffer(data, np.uint8)
    num_frames, num_bodies, num_tracks, undecided = scanner.scan(text, bodies, joints, places)
    if num_frames == scanner.UNUSUAL:
        return parse_plain(source, data)
    bodies, joints = bodies[:num_bodies], joints[:num_bodies]
    for place in np.argwhere(np.isnan(joints)) if undecided else ():
        start, end = places[tuple(place)]
        try:
            joints[tuple(place)] = _number(data[start:end])
        except ValueError:  # the plain reader finds the line
            return parse_plain(source, data)
    rows = [np.flatnonzero(bodies[:, 3] == track) for track in range(num_tracks)]
    ids = [data[start:end].decode() for start, end in (bodies[where[0], :2].tolist() for where in rows)]
    return _gather(source, ids, rows, bodies[:, 2], joints)


@cache
def _load_scanner() -> ModuleType:
    from pipelines.reading import ntu_scan  # not at the top: it takes half a second, and seconds to compile

    ntu_scan.warm_up()
    return ntu_scan


def parse_plain(source: str, data: bytes) -> Parsed:
    """`parse`, line by line: the same result, slower, and the wording of all errors."""
    lines = _Lines(source, data)
    rows: dict[str, list[int]] = {}
    file_frames: list[int] = []
    values: list[list[float]] = []
    for file_frame in range(lines.count("the number of frames")):
        for _ in range(lines.count("the number of bodies")):
            body = lines.fields(BODY_FIELDS, "a body")[0].decode()
            rows.setdefault(body, []).append(len(file_frames))
            file_frames.append(file_frame)
            num_joints = lines.count("the number of joints")
            if num_joints != NUM_JOINTS:
                raise lines.error(f"{num_joints} joints, expected {NUM_JOINTS}")
            for _ in range(NUM_JOINTS):
                fields = lines.fields(JOINT_FIELDS, "a joint")
                values.append([lines.number(field) for field in fields[:3]])
    lines.end()
    joints = np.array(values, np.float64).astype(np.float32).reshape(-1, NUM_JOINTS, 3)
    return _gather(
        source, list(rows), list(map(np.array, rows.values())), np.array(file_frames, np.int32), joints
    )


def _gather(
    source: str, ids: list[str], rows: list[np.ndarray], file_frames: np.ndarray, joints: np.ndarray
) -> Parsed:
    """Tracks from the appearances of bodies, in file order: frames (n,) and joints (n, V, 3).

    `rows`: for each track, whose id is in `ids`, its appearances, in order.
    """
    new = np.ones(len(file_frames), np.bool_)  # the frame's first body
    new[1:] = file_frames[1:] != file_frames[:-1]
    valid, frames = file_frames[new], np.cumsum(new) - 1
    tracks = [Track(body, frames[where], joints[where]) for body, where in zip(ids, rows)]
    for track, where in zip(tracks, rows):
        if track.interval[1] >= len(valid):
            line = 1 + (file_frames[where[-1]] + 1) + where[-1] * (2 + NUM_JOINTS) + 1
            raise TsgcError(
                f"{source}: line {line}: body {track.body} appears {len(track.joints)} times in"
                f" {len(valid) - track.interval[0]} frames, expected once a frame; get the file again"
            )
    return Parsed(len(valid), tracks, valid)


def _text(source: str, data: bytes) -> bytes:
    """The bytes of a text, without the mark before it. Raises TsgcError: no text."""
    data = without_mark(source, data)
    if not data or data.isspace():
        raise TsgcError(f"{source}: line 1: empty, expected NTU skeleton text; get the file again")
    if not data.isascii() or b"\0" in data:
        strange = next(at for at, byte in enumerate(data) if byte > 127 or byte == 0)
        line = len((data[:strange] + b"x").splitlines())
        raise TsgcError(
            f"{source}: line {line}: not a text file, expected NTU skeleton text; get the file again"
        )
    return data


def _number(field: bytes) -> float:
    """A finite float32, in double precision; raises ValueError for anything else."""
    value = float(field)
    if b"_" in field or not abs(value) <= FLOAT32_MAX:  # float() reads 1_0 as 10; also not: NaN
        raise ValueError
    return value


class _Lines:
    """The lines of a file, one after another, each checked; errors tell the line."""

    def __init__(self, source: str, data: bytes) -> None:
        self.source = source
        self.lines = _text(source, data).splitlines()
        self.at = 0  # the number, from 1, of the line read last

    def error(self, what: str) -> TsgcError:
        return TsgcError(f"{self.source}: line {self.at}: {what}; get the file again")

    def fields(self, number: int, what: str) -> list[bytes]:
        self.at += 1
        if self.at > len(self.lines):
            raise self.error(f"the file ends before this line, expected {what}; it is cut")
        fields = self.lines[self.at - 1].split()
        if len(fields) != number:
            cut = "; it is cut" if self.at == len(self.lines) and len(fields) < number else ""
            raise self.error(f"{len(fields)} fields, expected {number} ({what}){cut}")
        return fields

    def count(self, what: str) -> int:
        (field,) = self.fields(1, what)
        if not field.isdigit() or len(field) > 6:
            raise self.error(f"{_shown(field)}, expected {what}")
        return int(field)

    def number(self, field: bytes) -> float:
        try:
            return _number(field)
        except ValueError:
            kind = "finite number" if _is_number(field) else "number"
            raise self.error(f"{_shown(field)}, expected a {kind}") from None

    def end(self) -> None:
        for line in self.lines[self.at :]:
            self.at += 1
            if line.strip():
                raise self.error(f"{_shown(line)} after the last frame, expected the end of the file")


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return b"_" not in field


def _shown(field: bytes) -> str:
    return repr(field.decode()[:40])
