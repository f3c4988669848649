"""A prepared file checked whole: every value, and every claim that it makes about itself."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipelines.datasets.table import DATASETS
from pipelines.errors import TsgcError
from pipelines.prepared.digest import ArrayDigest, content_digest, digest_array
from pipelines.prepared.report import examples
from pipelines.prepared.store import Store, open_store
from pipelines.spec import TEST, TRAIN, UNUSED

CHANGED = "the content is not what was written (its digest differs); run `tsgc prepare` again"


def verify_store(path: Path) -> list[str]:
    """Everything wrong with a prepared file, a line each; an empty list if nothing is.

    Opening checks schema, sizes, offsets and labels. After that: names are unique, every clip has a body
    in some frame, numbers are finite, splits hold known values and those that the protocol of a published
    benchmark gives, and the content has the digest that it had when it was written.
    """
    try:
        with _opened(path) as store:
            return [f"{path}: {problem}" for problem in [*_names(store), *_splits(store), *_values(store)]]
    except TsgcError as error:
        return [str(error)]


def check_content(path: Path) -> None:
    """TsgcError where a prepared file no longer says what was written; without a digest it claims nothing."""
    with _opened(path) as store:
        claimed = store.digest()
        if claimed is None:
            return
        digests = {name: digest_array(pieces) for name, pieces in store.arrays()}
        if claimed != content_digest(store.info.attributes(), digests):
            raise TsgcError(f"{path}: {CHANGED}")


@contextmanager
def _opened(path: Path) -> Iterator[Store]:
    """The file; whatever HDF5 finds in a damaged one is a TsgcError."""
    try:
        with open_store(path) as store:
            yield store
    except TsgcError:
        raise
    except Exception as error:
        raise TsgcError(f"{path}: damaged ({error}); run `tsgc prepare` again") from None


def _names(store: Store) -> Iterator[str]:
    repeated = [f"{name} ({times} times)" for name, times in Counter(store.names).items() if times > 1]
    if repeated:
        yield f"names that repeat: {examples(repeated)}"


def _splits(store: Store) -> Iterator[str]:
    published = DATASETS.get(store.info.dataset)
    expected = published.splits(store.fields) if published else {}
    for name, split in store.splits.items():
        unknown = ~np.isin(split, (TRAIN, TEST, UNUSED))
        if unknown.any():
            values = f"{TRAIN} (train), {TEST} (test) or {UNUSED} (unused)"
            yield f"splits/{name} is not {values}: {_named(store, unknown)}"
        elif name in expected and (other := split != expected[name]).any():
            yield f"splits/{name} is not the published split: {_named(store, other)}"


def _values(store: Store) -> Iterator[str]:
    """One pass over all arrays: finite numbers, bodies present, the digest."""
    finite = np.isfinite(store.origins).all(axis=1)
    present = np.zeros(len(store), np.bool_)
    digests = {}
    for name, pieces in store.arrays():
        digest, row = ArrayDigest(), 0
        for piece in pieces:
            digest.add(piece)
            if name == "joints":
                finite[_clips_of(store, row, ~np.isfinite(piece).all(axis=(1, 2)))] = False
            if name == "present":
                present[_clips_of(store, row, piece)] = True
            row += len(piece)
        digests[name] = str(digest)
    if not finite.all():
        yield f"numbers that are not finite: {_named(store, ~finite)}"
    if not present.all():
        yield f"no body in any frame: {_named(store, ~present)}"
    claimed = store.digest()
    if claimed is None:
        yield "no content digest; it was written by an older version: run `tsgc prepare` again to have one"
    elif claimed != content_digest(store.info.attributes(), digests):
        yield CHANGED


def _clips_of(store: Store, row: int, mask: np.ndarray) -> np.ndarray:
    """The clips of the rows that `mask` marks, the first of them being row `row` of the file."""
    return np.unique(np.searchsorted(store.offsets, row + np.flatnonzero(mask), side="right") - 1)


def _named(store: Store, mask: np.ndarray) -> str:
    return examples([store.names[index] for index in np.flatnonzero(mask)])
