"""The data sets: a new one is its own file and a line here."""

import difflib
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.datasets import custom, kinetics, npz, ntu, nw_ucla, pyskl
from pipelines.errors import UsageError
from pipelines.formats.table import find_format
from pipelines.names import RULE, is_safe
from pipelines.reading.sources import raw_locations
from pipelines.spec import TEST, TRAIN, UNUSED, Dataset, Fields, Identity, Opener, Prepared

__all__ = [
    "DATASETS", "OPENERS", "TEST", "TRAIN", "UNUSED", "Dataset", "Fields", "Identity", "Opener", "Prepared",
    "default_name", "default_preset", "find_dataset", "hold_out", "open_dataset",
]  # fmt: skip

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        ntu.NTU60,
        ntu.NTU120,
        nw_ucla.NW_UCLA,
    )
}


OPENERS: dict[str, Opener] = {
    opener.name: opener for opener in (kinetics.KINETICS, pyskl.PYSKL, npz.NPZ, custom.CUSTOM)
}

HOLDOUT_ONE_IN = 10  # training clips of a data set without a rule of its own


def default_name(dataset: str, raw: Sequence[Path] | None, data_root: Path) -> str:
    """What the result is called where the user does not say: the data set, or what the raw files say."""
    if dataset not in OPENERS:
        return dataset
    opener = OPENERS[dataset]
    return opener.default_name(raw_locations(opener, raw, data_root))


def default_preset(dataset: str) -> str:
    """The preset where the user names none: `reference` where published numbers are to compare with."""
    return OPENERS[dataset].preset if dataset in OPENERS else find_dataset(dataset).preset


def open_dataset(
    dataset: str,
    raw: Sequence[Path] | None,
    data_root: Path,
    name: str | None = None,
    form: str | None = None,
) -> tuple[Dataset, list[Path]]:
    """A data set, and the places of its raw clips: those given, or the default ones that exist.

    `form`: the format of your own recordings, a key of `pipelines.formats.table.FORMATS`.
    Raises TsgcError: no such data set or place, a name that files cannot have, a wrong description.
    """
    if form is not None:
        if dataset != custom.CUSTOM.name:
            raise UsageError(f"--format is for {custom.CUSTOM.name}; {dataset} has one format, leave it out")
        find_format(form)
    if dataset not in OPENERS:
        spec = find_dataset(dataset)
        return spec, raw_locations(spec, raw, data_root)
    opener = OPENERS[dataset]
    locations = raw_locations(opener, raw, data_root)
    name = name or opener.default_name(locations)
    if not is_safe(name) or name in DATASETS:
        what = "is another data set's" if name in DATASETS else f"is not made of {RULE}"
        raise UsageError(f"the name {name!r} {what}; give another with --name")
    if form is not None:
        return custom.open_custom(locations, name, form), locations
    return opener.open(locations, name), locations


def hold_out(dataset: str, names: Sequence[str], fields: Fields) -> np.ndarray:
    """Which training clips `--holdout` leaves out: (N,) bool.

    By the data set's own rule; else whole performers, where performers are known; else one clip in ten.
    `names` and `fields` are the training clips'.
    """
    rule = DATASETS[dataset].holdout if dataset in DATASETS else None
    if rule:
        return rule(fields)
    if "performers" in fields:
        return ntu.hold_out_performers(fields)
    return np.array([zlib.crc32(name.encode()) % HOLDOUT_ONE_IN == 0 for name in names], np.bool_)


def find_dataset(name: str) -> Dataset:
    """The data set of that name; raises TsgcError with those that exist."""
    if name not in DATASETS:
        known = (*DATASETS, *OPENERS)
        near = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {near[0]}? There are" if near else "choose one of"
        raise UsageError(f"data set {name!r} is unknown; {hint} {', '.join(known)}")
    return DATASETS[name]
