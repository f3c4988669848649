"""Skeletons that files define themselves: anybody's joints, beside those of `skeleton.py`.

A definition is a mapping, as JSON or YAML holds it: `joints` (names), `parents` (of each joint, or child ->
parent), `left_right` (pairs) and `centre`; joints go by name or by number, from 0.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from pipelines.errors import TsgcError
from pipelines.skeleton import SKELETONS, Skeleton
from pipelines.skeletons.joint_names import side_of

MOST_JOINTS = 512  # whole-body detectors give 133; more is a mistake


def definition_of(skeleton: Skeleton) -> str:
    """What a file has to say of a skeleton: its definition as JSON; empty for one that has a name here."""
    if SKELETONS.get(skeleton.name) == skeleton:
        return ""
    parts = {
        "joints": skeleton.joints,
        "parents": skeleton.parents,
        "left_right": skeleton.left_right,
        "centre": skeleton.centre,
    }
    return orjson.dumps(parts).decode()


def find_skeleton(name: str, definition: str = "") -> Skeleton:
    """The skeleton that a file names, or defines. Raises TsgcError: unknown, or a wrong definition."""
    if not definition:
        if name not in SKELETONS:
            raise TsgcError(f"skeleton {name!r} is unknown; known: {_known()}, or one that is defined")
        return SKELETONS[name]
    try:
        content = orjson.loads(definition)
    except orjson.JSONDecodeError as error:
        raise TsgcError(f"skeleton {name!r}: its definition is not JSON ({error})") from None
    return parse_definition(name, content)


def parse_definition(name: str, content: Any) -> Skeleton:
    """A skeleton from its definition. Raises TsgcError: missing, unknown, out of range, circular."""
    if name in SKELETONS:
        raise TsgcError(f"skeleton {name!r} is defined already; give the new one another name")
    if not isinstance(content, Mapping):
        raise TsgcError(f"skeleton {name!r}: {type(content).__name__}, expected joints, parents, centre")
    joints = content.get("joints")
    if not isinstance(joints, list) or not 1 <= len(joints) <= MOST_JOINTS:
        raise TsgcError(f"skeleton {name!r}: joints: expected a list of 1 to {MOST_JOINTS} names")
    if any(not isinstance(joint, str) or not joint for joint in joints) or len(set(joints)) < len(joints):
        raise TsgcError(f"skeleton {name!r}: joints: expected names, each once")
    try:
        parents = _parents(joints, content.get("parents"))
        pairs = _pairs(joints, content.get("left_right") or [])
        centre = _joint(joints, content.get("centre"))
    except _WrongError as error:
        raise TsgcError(f"skeleton {name!r}: {error}") from None
    return Skeleton(name, tuple(joints), parents, pairs, centre)


class _WrongError(Exception):
    """What is wrong with a definition."""


def _joint(joints: list[str], value: Any) -> int:
    if isinstance(value, str) and value in joints:
        return joints.index(value)
    if type(value) is int and 0 <= value < len(joints):
        return value
    raise _WrongError(f"{value!r} is no joint, expected a name of `joints` or 0 to {len(joints) - 1}")


def _parents(joints: list[str], value: Any) -> tuple[int, ...]:
    """The parent of each joint; null, or none given for a joint: a root."""
    parents = list(range(len(joints)))
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, list) and len(value) == len(joints):
        pairs = list(enumerate(value))
    else:
        raise _WrongError(f"parents: expected {len(joints)} joints, or a table of child: parent")
    for child, parent in pairs:
        if parent is not None:
            parents[_joint(joints, child)] = _joint(joints, parent)
    for joint in range(len(joints)):
        above = joint
        for _ in joints:
            above = parents[above]
        if parents[above] != above:
            raise _WrongError(f"parents: {joints[joint]!r} leads round in a circle, expected a root")
    return tuple(parents)


def _pairs(joints: list[str], value: Any) -> tuple[tuple[int, int], ...]:
    if not isinstance(value, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in value):
        raise _WrongError("left_right: expected pairs of joints")
    pairs = tuple(_left_first(joints, *(_joint(joints, joint) for joint in pair)) for pair in value)
    members = [joint for pair in pairs for joint in pair]
    if len(set(members)) < len(members):
        raise _WrongError("left_right: a joint comes twice, expected each in one pair at most")
    return pairs


def _left_first(joints: list[str], one: int, other: int) -> tuple[int, int]:
    """The left joint, then the right one: as their names say, where they do, else in the order given."""
    sides = (side_of(joints[one]), side_of(joints[other]))
    return (other, one) if sides == ("right", "left") else (one, other)


def _known() -> str:
    return ", ".join(SKELETONS)
