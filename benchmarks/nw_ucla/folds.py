"""Witnesses: training clips cut into folds. In each some train and the others judge; none is a test clip."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.datasets import nw_ucla
from pipelines.errors import TsgcError

NW_UCLA, MSR = "nw-ucla", "msr-action3d"


@dataclass(frozen=True)
class Fold:
    """Training clips of a data set that judge; its other training clips train."""

    witness: str
    """`views`, `performers` or `msr`."""
    dataset: str
    field: str
    """What clips are told apart by: `views` or `performers`."""
    judging: tuple[int, ...]
    """The views or performers whose clips judge."""


# Of NW-UCLA's ten performers, the one with most training clips and the one with fewest, the second and the
# ninth, and so on: 203, 201, 202, 206 and 208 clips judge.
PAIRS = ((4, 9), (5, 6), (1, 7), (8, 10), (2, 3))
SUBJECTS = (1, 3, 5, 7, 9)  # MSR-Action3D's training subjects: 60, 53, 57, 57 and 57 clips judge
FOLDS = {
    "1to2": Fold("views", NW_UCLA, "views", (2,)),
    "2to1": Fold("views", NW_UCLA, "views", (1,)),
    **{f"without-{a}-{b}": Fold("performers", NW_UCLA, "performers", (a, b)) for a, b in PAIRS},
    **{f"msr-without-{one}": Fold("msr", MSR, "performers", (one,)) for one in SUBJECTS},
}
WITNESSES = tuple(dict.fromkeys(fold.witness for fold in FOLDS.values()))
HOLDOUT_FOLD = "1to2"  # `tsgc train nw-ucla --holdout` trains on this fold's training clips only
MSR_NAME = re.compile(r"(?:^|.*-)a\d\d_s(\d\d)_e\d\d(?:_skeleton3D)?")


def folds_of(witness: str) -> list[str]:
    """The folds of a witness."""
    return [name for name, fold in FOLDS.items() if fold.witness == witness]


def named_folds(names: Iterable[str]) -> list[str]:
    """Folds by their own names or their witness's. Raises TsgcError for any other name."""
    found: list[str] = []
    for name in names:
        if name not in FOLDS and name not in WITNESSES:
            raise TsgcError(f"fold {name!r}, expected one of {', '.join([*WITNESSES, *FOLDS])}")
        found += [name] if name in FOLDS else folds_of(name)
    return found


def msr_fields(name: str) -> dict[str, int]:
    """The performer in a name such as aAA_sSS_eEE. Raises TsgcError for any other name."""
    match = MSR_NAME.fullmatch(name)
    if not match:
        raise TsgcError(f"unknown name {name!r} of {MSR}, expected aAA_sSS_eEE")
    return {"performers": int(match[1])}


CLIP_FIELDS: Mapping[str, Callable[[str], Mapping[str, int]]] = {
    NW_UCLA: lambda name: nw_ucla.identify(name).fields,
    MSR: msr_fields,
}
"""Data set -> what the name of one of its clips tells."""


def clip_fields(dataset: str, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Columns (N,) of what the names of clips tell. Raises TsgcError: another data set, another name."""
    if dataset not in CLIP_FIELDS:
        raise TsgcError(f"shards of {dataset}, expected those of {' or '.join(CLIP_FIELDS)}")
    told = [CLIP_FIELDS[dataset](name) for name in names]
    return {field: np.array([fields[field] for fields in told]) for field in (told[0] if told else ())}


def fold_clips(fields: Mapping[str, np.ndarray], fold: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training clips that train and of those that judge, by their `fields` (N,)."""
    judge = np.isin(fields[FOLDS[fold].field], FOLDS[fold].judging)
    return (~judge).nonzero()[0], judge.nonzero()[0]


def training_counts(dataset: str, names: Iterable[str]) -> dict[str, int]:
    """Clips that train, for each fold of a data set of which clips of these names train and judge."""
    fields = clip_fields(dataset, names)
    halves = {name: fold_clips(fields, name) for name, fold in FOLDS.items() if fold.dataset == dataset}
    return {name: len(trains) for name, (trains, judges) in halves.items() if len(trains) and len(judges)}
