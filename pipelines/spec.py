"""What a data set supplies; the data sets themselves are in `datasets/`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from pipelines.skeleton import Skeleton

TRAIN, TEST, UNUSED = 0, 1, -1
PRESETS = ("reference", "corrected")  # every data set has both

Fields = Mapping[str, np.ndarray]
"""Per-clip integers, such as `cameras` and `performers`, each of shape (N,)."""


class Raw(Protocol):
    """One raw clip, still unread."""

    @property
    def source(self) -> str:
        """The name of the clip in errors."""

    def read(self) -> bytes:
        """The bytes of the clip; raises TsgcError where they cannot be read."""


@dataclass(frozen=True)
class Identity:
    """What a clip's name tells."""

    label: int
    """Class, from 0."""
    fields: dict[str, int]
    """The data set's per-clip integers."""


@dataclass(frozen=True)
class Prepared:
    """One clip, ready to be stored. No frames: nothing usable was in it."""

    joints: np.ndarray
    """(T, M, V, C) float32, centred."""
    present: np.ndarray
    """(T, M) bool: the body was seen in that frame."""
    origin: np.ndarray
    """(C,) float32: what centring subtracted."""
    rules: dict[str, int] = field(default_factory=dict)
    """Description of a cleaning rule -> bodies (or frames) that it took."""
    seen: int = 0
    """Body-frames in the raw clip: what `present` counts, and all that was dropped."""
    lost: dict[str, int] = field(default_factory=dict)
    """Rule -> body-frames that it dropped; with those present they make up `seen`. Empty: NTU's reference."""
    joints_seen: np.ndarray | None = None
    """(T, M, V) bool: joints that were seen; None: all of every body that is present."""


@dataclass(frozen=True)
class Dataset:
    """A data set: how to find, name, read and split its clips."""

    name: str
    skeleton: Skeleton
    class_names: tuple[str, ...]
    fields: tuple[str, ...]
    """Per-clip integers that splits need, in the order of the file name."""
    benchmarks: dict[str, Callable[[Fields], np.ndarray]]
    """Fields of all clips -> int8 (N,): 0 train, 1 test, -1 unused. The main benchmark is first."""
    holdout: Callable[[Fields], np.ndarray] | None
    """Fields of the training clips -> mask of those that `--holdout` leaves out; None: see `hold_out`."""
    raw: tuple[str, ...]
    """Where raw clips lie by default (folders or zips, relative to the data root; all that exist count)."""
    suffix: str
    """The end of a raw clip's file name."""
    identify: Callable[[str], Identity | None]
    """Clip name -> what it tells; None: a clip of another data set. Raises TsgcError: no such name."""
    presets: dict[str, Callable[[str, bytes], Prepared]]
    """Preset -> function from a clip's name and raw bytes to the prepared clip (TsgcError: malformed)."""
    official: tuple[int, int] | None
    """Published number of clips: raw, and left once unusable ones are gone; None: nobody published any."""
    unusable: str = ""
    """Where the list of the unusable clips is published."""
    find: Callable[[], Mapping[str, Sequence[Raw]]] | None = None
    """The raw clips by name, in the order of the result; None: all files that end in `suffix`, by name."""
    channels: str = "xyz"
    units: str = "metres"
    fps: float = 30
    preset: str = "reference"
    """The preset where the user names none."""
    called: Mapping[str, str] = field(default_factory=dict)
    """Clip -> what its files call it, where that is another name."""
    places: tuple[Path, ...] = ()
    """The folder of the clips, where it is not the raw place itself."""
    lists: frozenset[str] = frozenset()
    """Files beside the clips that say something about them."""
    reader: str = ""
    """The opener that read it; empty for a data set of the table."""
    people: str = ""
    """`untracked` where the bodies of a frame have no order, so that people are followed by distance."""
    what: str = ""
    """The format of its raw clips, for people, where several are read; empty: its own."""
    up: str = ""
    """The axis that points up in raw clips, which were turned so that y does; empty: y."""
    note: str = ""
    """What `prepare` says of the files, such as of classes that it numbers anew; empty: nothing."""
    absent_body: str = "zeros"
    """What stands for the second body of a one-body clip: `zeros`, or `copy` of the first."""

    def splits(self, fields: Fields) -> dict[str, np.ndarray]:
        """Benchmark -> int8 (N,): 0 train, 1 test, -1 unused."""
        return {name: split(fields) for name, split in self.benchmarks.items()}


@dataclass(frozen=True)
class Opener:
    """A format whose files say themselves what data set they hold: classes, splits, maybe the skeleton."""

    name: str
    """The format's name; the argument of `tsgc prepare`."""
    raw: tuple[str, ...]
    """Where such files lie by default, as for a data set."""
    default_name: Callable[[Sequence[Path]], str]
    """Raw places -> what the data set is called where the user does not say."""
    open: Callable[[Sequence[Path], str], Dataset]
    """Raw places and the name -> the data set. Raises TsgcError for what is wrong with its description."""
    preset: str = "corrected"
    """The preset where the user names none."""


def assigned(benchmark: str) -> Callable[[Fields], np.ndarray]:
    """A benchmark whose split of each clip is a per-clip field already: `split_<benchmark>`."""

    def split(fields: Fields) -> np.ndarray:
        return fields[f"split_{benchmark}"].astype(np.int8)

    return split


def train_where(field_name: str, values: frozenset[int]) -> Callable[[Fields], np.ndarray]:
    """A benchmark that trains on the clips whose field is one of `values` and tests on the others."""

    def split(fields: Fields) -> np.ndarray:
        train = np.isin(fields[field_name], sorted(values))
        return np.where(train, TRAIN, TEST).astype(np.int8)

    return split
