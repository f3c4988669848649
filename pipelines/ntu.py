"""NTU RGB+D and NTU RGB+D 120: names, splits and the `.skeleton` text of Kinect v2.

The text (Shahroudy et al., 2016; Liu et al., 2020): a line with the number of frames; per frame a line
with the number of bodies; per body a line of 10 fields that starts with the body's id, a line with the
number of joints (25), and a line of 12 fields per joint that starts with x, y, z in metres.
"""

import re
import zlib
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from pipelines.centre import centre_on_first_actor, present_bodies
from pipelines.denoise import Track, denoise
from pipelines.errors import TsgcError
from pipelines.ntu_actions import NTU60_ACTIONS, NTU120_ACTIONS
from pipelines.skeleton import NTU_25
from pipelines.spec import Dataset, Fields, Identity, Prepared, train_where

NUM_JOINTS = NTU_25.num_joints
BODY_FIELDS = 10
JOINT_FIELDS = 12
FLOAT32_MAX = float(np.finfo(np.float32).max)

# Highest number of each part of a name (NTU RGB+D 120).
NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
HIGHEST = {"setup": 32, "camera": 3, "performer": 106, "replication": 2, "action": 120}

# Training performers of the cross-subject benchmarks (the two papers).
XSUB60 = frozenset((1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38))
XSUB120 = XSUB60 | {
    *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78),
    *(80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94, 95, 97, 98, 100, 103),
}
HOLDOUT = 0.10  # share of the training clips, about; whole performers


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
    Only x, y, z of a joint are read; its other fields are counted.
    """
    try:
        return _parse_in_bulk(source, data)
    except (IndexError, ValueError):  # something is wrong; the plain reader finds the line
        return parse_plain(source, data)


def parse_plain(source: str, data: bytes) -> Parsed:
    """`parse`, line by line: the same result, slower, and the wording of all errors."""
    lines = _Lines(source, data)
    bodies: list[str] = []
    frames: list[int] = []
    values: list[list[float]] = []
    file_frames: list[int] = []
    num_frames = 0
    for file_frame in range(lines.count("the number of frames")):
        num_bodies = lines.count("the number of bodies")
        for _ in range(num_bodies):
            bodies.append(lines.fields(BODY_FIELDS, "a body")[0].decode())
            frames.append(num_frames)
            num_joints = lines.count("the number of joints")
            if num_joints != NUM_JOINTS:
                raise lines.error(f"{num_joints} joints, expected {NUM_JOINTS}")
            for _ in range(NUM_JOINTS):
                fields = lines.fields(JOINT_FIELDS, "a joint")
                values.append([lines.number(field) for field in fields[:3]])
        if num_bodies:
            file_frames.append(file_frame)
            num_frames += 1
    lines.end()
    xyz = np.array(values, np.float64)
    tracks = _tracks(source, bodies, frames, xyz, num_frames)
    return Parsed(num_frames, tracks, np.array(file_frames, np.int64))


def _parse_in_bulk(source: str, data: bytes) -> Parsed:
    """`parse` for a well-formed file; raises ValueError or IndexError for any other."""
    _check_text(source, data)
    rows = [line.split() for line in data.splitlines()]
    bodies: list[str] = []
    frames: list[int] = []
    joints: list[list[bytes]] = []
    file_frames: list[int] = []
    num_frames, at = 0, 1
    for file_frame in range(_count(rows[0])):
        num_bodies = _count(rows[at])
        at += 1
        for _ in range(num_bodies):
            if len(rows[at]) != BODY_FIELDS or _count(rows[at + 1]) != NUM_JOINTS:
                raise ValueError
            bodies.append(rows[at][0].decode())
            frames.append(num_frames)
            joints += rows[at + 2 : at + 2 + NUM_JOINTS]
            at += 2 + NUM_JOINTS
        if num_bodies:
            file_frames.append(file_frame)
            num_frames += 1
    if any(rows[at:]) or len(joints) != NUM_JOINTS * len(bodies) or {*map(len, joints)} - {JOINT_FIELDS}:
        raise ValueError
    if b"_" in data:  # float() would read 1_0 as 10
        raise ValueError
    # Python's float() keeps up with NumPy's text readers once these join their input.
    numbers = list(map(float, chain.from_iterable(row[:3] for row in joints)))
    xyz = np.array(numbers, np.float64)
    if not (np.abs(xyz) <= FLOAT32_MAX).all():
        raise ValueError
    tracks = _tracks(source, bodies, frames, xyz, num_frames)
    return Parsed(num_frames, tracks, np.array(file_frames, np.int64))


def _tracks(
    source: str, bodies: list[str], frames: list[int], xyz: np.ndarray, num_frames: int
) -> list[Track]:
    """The appearances, gathered by body. `xyz`: all joints, in file order."""
    joints = xyz.astype(np.float32).reshape(-1, NUM_JOINTS, 3)
    rows: dict[str, list[int]] = {}
    for row, body in enumerate(bodies):
        rows.setdefault(body, []).append(row)
    tracks = [Track(body, np.array(frames)[where], joints[where]) for body, where in rows.items()]
    for track in tracks:
        if track.interval[1] >= num_frames:
            raise TsgcError(
                f"{source}: body {track.body} appears {len(track.joints)} times in"
                f" {num_frames - track.interval[0]} frames, expected once a frame; get the file again"
            )
    return tracks


def _check_text(source: str, data: bytes) -> None:
    if not data.strip():
        raise TsgcError(f"{source}: empty, expected NTU skeleton text; get the file again")
    if not data.isascii() or b"\0" in data:
        raise TsgcError(f"{source}: not a text file, expected NTU skeleton text; get the file again")


def _count(fields: list[bytes]) -> int:
    """A line that is one small whole number; raises ValueError."""
    (field,) = fields
    if not field.isdigit() or len(field) > 6:
        raise ValueError
    return int(field)


class _Lines:
    """The lines of a file, one after another, each checked; errors tell the line."""

    def __init__(self, source: str, data: bytes) -> None:
        _check_text(source, data)
        self.source = source
        self.lines = data.splitlines()
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
        fields = self.fields(1, what)
        try:
            return _count(fields)
        except ValueError:
            raise self.error(f"{_shown(fields[0])}, expected {what}") from None

    def number(self, field: bytes) -> float:
        try:
            value = float(field) if b"_" not in field else None
        except ValueError:
            value = None
        if value is None:
            raise self.error(f"{_shown(field)}, expected a number")
        if not abs(value) <= FLOAT32_MAX:  # also not: NaN
            raise self.error(f"{_shown(field)}, expected a finite number")
        return value

    def end(self) -> None:
        for line in self.lines[self.at :]:
            self.at += 1
            if line.strip():
                raise self.error(f"{_shown(line)} after the last frame, expected the end of the file")


def _shown(field: bytes) -> str:
    return repr(field.decode()[:40])


def read_reference(source: str, data: bytes) -> Prepared:
    """A clip as the reference prepares it: parsed, cleaned, centred. Raises TsgcError as `parse`."""
    parsed = parse(source, data)
    if not parsed.tracks:
        return _nothing()
    joints, rules = denoise(parsed.tracks, parsed.num_frames)
    present = present_bodies(joints)
    if not present.any():
        return _nothing()
    centred, origin = centre_on_first_actor(joints, NTU_25.centre)
    return Prepared(centred, present, origin, dict(+rules))


def _nothing() -> Prepared:
    return Prepared(
        np.zeros((0, 1, NUM_JOINTS, 3), np.float32), np.zeros((0, 1), np.bool_), np.zeros(3, np.float32)
    )


def identify(name: str, last_setup: int, last_action: int) -> Identity | None:
    """What `SsssCcccPpppRrrrAaaa` tells; None: NTU-120's and not asked for.

    Raises TsgcError for what is no name of NTU RGB+D 120.
    """
    match = NAME.fullmatch(name)
    if not match:
        raise TsgcError(f"unknown name {name!r}, expected SsssCcccPpppRrrrAaaa")
    numbers = dict(zip(HIGHEST, map(int, match.groups())))
    for part, highest in HIGHEST.items():
        if not 1 <= numbers[part] <= highest:
            raise TsgcError(f"unknown {part} {numbers[part]} in {name!r}, expected 1 to {highest}")
    if numbers["setup"] > last_setup or numbers["action"] > last_action:
        return None
    fields = {f"{part}s": number for part, number in numbers.items() if part != "action"}
    return Identity(numbers["action"] - 1, fields)


def hold_out_performers(fields: Fields) -> np.ndarray:
    """Training clips of whole performers, about a tenth of all. Fields (N,) -> (N,) bool.

    Performers come in a fixed arbitrary order; one is taken where that brings the share closer to a
    tenth, and at least one is taken where there are two or more.
    """
    performers, counts = np.unique(fields["performers"], return_counts=True)
    order = sorted(range(len(performers)), key=lambda i: zlib.crc32(b"P%03d" % performers[i]))
    wanted = HOLDOUT * counts.sum()
    held: list[int] = []
    for i in order:
        now = counts[held].sum()
        if abs(now + counts[i] - wanted) < abs(now - wanted):
            held.append(i)
    if not held and len(order) > 1:
        held = [min(order, key=lambda i: counts[i])]
    return np.isin(fields["performers"], performers[held])


FIELDS = ("setups", "cameras", "performers", "replications")

NTU60 = Dataset(
    name="ntu60",
    skeleton=NTU_25,
    class_names=NTU60_ACTIONS,
    fields=FIELDS,
    benchmarks={
        "xsub": train_where("performers", XSUB60),
        "xview": train_where("cameras", frozenset((2, 3))),
    },
    holdout=hold_out_performers,
    raw=("nturgbd_raw", "nturgbd_skeletons_s001_to_s017.zip"),
    suffix=".skeleton",
    identify=partial(identify, last_setup=17, last_action=60),
    presets={"reference": read_reference},
    official=(56_880, 56_578),
)

NTU120 = Dataset(
    name="ntu120",
    skeleton=NTU_25,
    class_names=NTU120_ACTIONS,
    fields=FIELDS,
    benchmarks={
        "xsub": train_where("performers", XSUB120),
        "xset": train_where("setups", frozenset(range(2, 33, 2))),
    },
    holdout=hold_out_performers,
    raw=("nturgbd_raw", "nturgbd_skeletons_s001_to_s017.zip", "nturgbd_skeletons_s018_to_s032.zip"),
    suffix=".skeleton",
    identify=partial(identify, last_setup=32, last_action=120),
    presets={"reference": read_reference},
    official=(114_480, 113_945),
    absent_body="copy",  # Q: the reference copies the first body in NTU-120 only
)
