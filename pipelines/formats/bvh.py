"""BVH (Biovision hierarchy): a skeleton of bones and the turns of its joints, to places.

`HIERARCHY` has a `ROOT` and in it `JOINT`s and `End Site`s, each with its `OFFSET` from its parent and its
`CHANNELS`; `MOTION` has `Frames`, `Frame Time` in seconds and a line of numbers a frame, degrees for
rotations, in the order of the channels (research.cs.wisc.edu/graphics/Courses/cs-838-1999/Jeff/BVH.html). A
joint's rotations apply in the order in which they are written: the first is the outermost. By convention y
is up; the unit is the file's own. An end is called as its joint, with ` end`.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.errors import TsgcError
from pipelines.formats.recording import MOST_FRAMES, Body, Recording
from pipelines.skeleton import Skeleton

MOST_JOINTS = 512
AXES = "xyz"
WORDS = re.compile(r"(?P<left>left)|(?P<right>right)", re.IGNORECASE)
MOST_NUMBERS = 50_000_000  # 400 MB
CHANNEL = re.compile(r"(?P<axis>[xyz])(?P<kind>position|rotation)", re.IGNORECASE)


@dataclass
class Bone:
    """A joint or an end of the hierarchy."""

    name: str
    parent: int
    """-1: the root."""
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    channels: list[tuple[str, str]] = field(default_factory=list)
    """(`position` or `rotation`, `x`, `y` or `z`), in order."""


@dataclass(frozen=True)
class Motion:
    """A BVH file."""

    bones: list[Bone]
    values: np.ndarray
    """(frames, channels of all bones in order)."""
    fps: float


def is_bvh(source: str, content: Any) -> bool:
    """Whether a file begins as BVH does."""
    return isinstance(content, bytes) and content.lstrip(b"\xef\xbb\xbf \t\r\n")[:9].upper() == b"HIERARCHY"


def read(source: str, data: bytes, skeleton: Skeleton) -> Recording:
    """A clip, its joints found by name. Raises TsgcError: no BVH, or a joint of the skeleton is not in it."""
    motion = parse(source, data)
    names = joint_names(motion.bones)
    if missing := [joint for joint in skeleton.joints if joint not in names]:
        raise TsgcError(
            f"{source}: no joint {missing[0]!r}, which {skeleton.name} has; it has {', '.join(names)[:80]}"
        )
    order = [names.index(joint) for joint in skeleton.joints]
    joints = places(motion)[:, order]
    if not np.isfinite(joints).all():
        raise TsgcError(f"{source}: places that are not finite; get the file again")
    return Recording([[Body(frame, id=0)] for frame in joints], fps=motion.fps)


def define(source: str, data: bytes, name: str) -> Skeleton:
    """The skeleton of a file. Raises TsgcError as `read`."""
    bones = parse(source, data).bones
    names = joint_names(bones)
    parents = tuple(max(bone.parent, 0) for bone in bones)
    lower = [joint.lower() for joint in names]
    pairs = []
    for place, joint in enumerate(lower):
        other = WORDS.sub(lambda match: "right" if match["left"] else "left", joint)
        if "left" in joint and other in lower:
            pairs.append((place, lower.index(other)))
    return Skeleton(name, tuple(names), parents, tuple(pairs), 0)


def joint_names(bones: list[Bone]) -> list[str]:
    """The names of the bones, each once: a name that comes again has a number behind it."""
    names: list[str] = []
    for bone in bones:
        name, turn = bone.name, 2
        while name in names:
            name, turn = f"{bone.name} {turn}", turn + 1
        names.append(name)
    return names


def parse(source: str, data: bytes) -> Motion:
    """A file's bones and numbers. Raises TsgcError, naming the line where it can."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TsgcError(f"{source}: not text ({error.reason}), expected BVH") from None
    lines = text.splitlines()
    start = next((at for at, line in enumerate(lines) if line.split()[:1] == ["MOTION"]), None)
    if not lines or lines[0].split()[:1] != ["HIERARCHY"] or start is None:
        raise TsgcError(f"{source}: no HIERARCHY and MOTION, expected BVH; get the file again")
    bones = _hierarchy(source, lines[1:start])
    return Motion(bones, *_motion(source, lines[start + 1 :], sum(len(bone.channels) for bone in bones)))


def _hierarchy(source: str, lines: list[str]) -> list[Bone]:
    bones: list[Bone] = []
    open_bones: list[int] = []
    for number, line in enumerate(lines, 2):
        match line.split():
            case []:
                continue
            case ["ROOT" | "JOINT" as word, *name] if (word == "ROOT") == (not bones) and len(
                bones
            ) < MOST_JOINTS:
                parent = open_bones[-1] if open_bones else -1
                bones.append(Bone(" ".join(name) or f"joint {len(bones)}", parent))
            case ["End", *_] if open_bones and len(bones) < MOST_JOINTS:
                bones.append(Bone(f"{bones[open_bones[-1]].name} end", open_bones[-1]))
            case ["{"] if bones:
                open_bones.append(len(bones) - 1)
            case ["}"] if open_bones:
                open_bones.pop()
            case ["OFFSET", x, y, z] if bones:
                bones[-1].offset = (
                    _number(source, number, x),
                    _number(source, number, y),
                    _number(source, number, z),
                )
            case ["CHANNELS", count, *words] if bones and count == str(len(words)):
                bones[-1].channels = [_channel(source, number, word) for word in words]
            case _:
                raise TsgcError(
                    f"{source}: line {number}: {line.strip()[:40]!r} is no BVH; get the file again"
                )
    if not bones or open_bones or any(bone.parent < 0 for bone in bones[1:]):
        raise TsgcError(f"{source}: a hierarchy that does not end, or of several roots; get the file again")
    return bones


def _channel(source: str, number: int, word: str) -> tuple[str, str]:
    match = CHANNEL.fullmatch(word)
    if not match:
        raise TsgcError(f"{source}: line {number}: channel {word[:40]!r}, expected such as Zrotation")
    return match["kind"].lower(), match["axis"].lower()


def _number(source: str, line: int, word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise TsgcError(f"{source}: line {line}: {word[:40]!r}, expected a number") from None


def _motion(source: str, lines: list[str], channels: int) -> tuple[np.ndarray, float]:
    """Numbers (frames, channels) and frames a second."""
    body = [line for line in lines if line.strip()]
    try:
        frames = int(body[0].split(":")[1])
        step = float(body[1].split(":")[1])
        if not 0 < step < 1e6 or not 0 < frames <= MOST_FRAMES:
            raise ValueError
    except (IndexError, ValueError):
        raise TsgcError(f"{source}: MOTION without `Frames:` and `Frame Time:`; get the file again") from None
    rows = [line.split() for line in body[2:]]
    if len(rows) != frames or any(len(row) != channels for row in rows):
        raise TsgcError(
            f"{source}: {len(rows):,} lines of motion, expected {frames:,} of {channels} numbers each"
        )
    try:
        values = np.array(rows, np.str_).astype(np.float64)
    except ValueError as error:
        raise TsgcError(f"{source}: {error}; get the file again") from None
    return values.reshape(frames, channels), 1 / step


def places(motion: Motion) -> np.ndarray:
    """Where every bone is: (frames, bones, 3), in the file's unit."""
    frames = len(motion.values)
    where = np.zeros((frames, len(motion.bones), 3))
    turns: list[np.ndarray] = []  # of each bone, (frames, 3, 3)
    column = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for index, bone in enumerate(motion.bones):
            offset = np.tile(np.array(bone.offset), (frames, 1))
            turn = np.tile(np.eye(3), (frames, 1, 1))
            moved = np.zeros((frames, 3))
            is_placed = False
            for kind, axis in bone.channels:
                values = motion.values[:, column]
                column += 1
                if kind == "position":
                    moved[:, AXES.index(axis)] = values
                    is_placed = True
                else:
                    turn = turn @ rotation(axis, np.radians(values))
            local = moved if is_placed and bone.parent >= 0 else offset + moved
            if bone.parent < 0:
                where[:, index] = local
                turns.append(turn)
            else:
                above = turns[bone.parent]
                where[:, index] = where[:, bone.parent] + (above @ local[..., None])[..., 0]
                turns.append(above @ turn)
    return where


def rotation(axis: str, angles: np.ndarray) -> np.ndarray:
    """Right-handed rotations about an axis by angles (n,) in radians: (n, 3, 3)."""
    a = AXES.index(axis)
    b, c = (a + 1) % 3, (a + 2) % 3
    turn = np.tile(np.eye(3), (len(angles), 1, 1))
    turn[:, b, b] = turn[:, c, c] = np.cos(angles)
    turn[:, c, b] = np.sin(angles)
    turn[:, b, c] = -np.sin(angles)
    return turn
