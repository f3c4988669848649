"""What a trial may ask for besides settings of training, as a plan gives it.

twins: {kind: cameras, weight: 0.5}
pretrain: {clips: 300000, mask: 0.5, target: motion, with: [nw-ucla, msr-action3d]}
describe: {weight: 0.3}
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.errors import TsgcError

KINDS = ("same", "cameras", "takes")
TARGETS = ("joints", "motion")


@dataclass(frozen=True)
class Twins:
    """A step's clips are pairs, whose two predictions are to agree (twins.py)."""

    kind: str
    """A clip's twin is: itself (`same`), the clip of its performance by another camera (`cameras`), or any
    other of its class and performer, drawn each time (`takes`); itself where there is none."""
    weight: float
    """The divergence's weight beside the labels' loss."""

    def __str__(self) -> str:
        return f"{self.kind} x {self.weight:g}"


@dataclass(frozen=True)
class Pretraining:
    """What is learned without labels, before the training (pretrain.py)."""

    clips: int
    """Visits to clips, about."""
    mask: float = 0.5
    """The part of a clip's tubes that is hidden."""
    target: str = "joints"
    """What is predicted there: the input (`joints`), or its change to the next frame (`motion`)."""
    others: tuple[str, ...] = ()
    """Further data sets, all of whose training clips are seen."""

    def __str__(self) -> str:
        beside = "".join(f", with {name}" for name in self.others)
        return f"{self.clips:,} clips, {self.target}, mask {self.mask:g}{beside}"


@dataclass(frozen=True)
class Describe:
    """What each part of the body does is learned beside the classes (describe.py)."""

    weight: float
    """The descriptions' weight beside the labels' loss."""

    def __str__(self) -> str:
        return f"parts x {self.weight:g}"


def read_twins(given: Mapping[str, Any] | None, where: str) -> Twins | None:
    """`twins` of a trial. Raises TsgcError for anything but a kind and a weight above 0."""
    if given is None:
        return None
    _only(given, ("kind", "weight"), f"{where}: twins")
    kind, weight = given.get("kind"), given.get("weight")
    _expect(kind in KINDS, f"{where}: twins.kind", kind, ", ".join(KINDS))
    _expect(_is_number(weight) and weight > 0, f"{where}: twins.weight", weight, "a number above 0")
    return Twins(str(kind), float(weight))


def read_describe(given: Mapping[str, Any] | None, where: str) -> Describe | None:
    """`describe` of a trial. Raises TsgcError for anything but a weight above 0."""
    if given is None:
        return None
    _only(given, ("weight",), f"{where}: describe")
    weight = given.get("weight")
    _expect(_is_number(weight) and weight > 0, f"{where}: describe.weight", weight, "a number above 0")
    return Describe(float(weight))


def read_pretraining(
    given: Mapping[str, Any] | None, own: str, there: Collection[str], where: str
) -> Pretraining | None:
    """`pretrain` of a trial on the data set `own`, which needs not be named among its others.

    `there`: data sets whose shards are. Raises TsgcError for other keys and values, and for a data set that
    is not there.
    """
    if given is None:
        return None
    _only(given, ("clips", "mask", "target", "with"), f"{where}: pretrain")
    clips, mask = given.get("clips"), given.get("mask", Pretraining.mask)
    target, others = given.get("target", Pretraining.target), given.get("with", [])
    _expect(type(clips) is int and clips > 0, f"{where}: pretrain.clips", clips, "a whole number above 0")
    _expect(_is_number(mask) and 0 < mask < 1, f"{where}: pretrain.mask", mask, "a number between 0 and 1")
    _expect(target in TARGETS, f"{where}: pretrain.target", target, " or ".join(TARGETS))
    _expect(isinstance(others, list), f"{where}: pretrain.with", others, "a list of data sets")
    for name in others:
        listed = f"one of {', '.join(sorted(there))}, or the shards of that: --shards FOLDER"
        _expect(name in there, f"{where}: pretrain.with", name, listed)
    further = tuple(sorted({name for name in others if name != own}))
    return Pretraining(clips, float(mask), target, further)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _only(given: object, keys: Collection[str], where: str) -> None:
    _expect(isinstance(given, Mapping), where, given, f"a mapping of {', '.join(keys)}")
    assert isinstance(given, Mapping)
    for key in given:
        _expect(key in keys, where, f"key {key}", f"only {', '.join(keys)}")


def _expect(holds: bool, where: str, found: object, expected: str) -> None:
    if not holds:
        raise TsgcError(f"{where} is {found!r}, expected {expected}")
