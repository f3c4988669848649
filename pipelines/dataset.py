"""The data sets: a new one is its own file and a line here."""

from pipelines import ntu, nw_ucla
from pipelines.errors import TsgcError
from pipelines.spec import TEST, TRAIN, UNUSED, Dataset, Fields, Identity, Prepared

__all__ = [
    "DATASETS", "TEST", "TRAIN", "UNUSED", "Dataset", "Fields", "Identity", "Prepared", "find_dataset",
]  # fmt: skip

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        ntu.NTU60,
        ntu.NTU120,
        nw_ucla.NW_UCLA,
    )
}


def find_dataset(name: str) -> Dataset:
    """The data set of that name; raises TsgcError with those that exist."""
    if name not in DATASETS:
        raise TsgcError(f"data set {name!r} is unknown; choose one of {', '.join(DATASETS)}")
    return DATASETS[name]
