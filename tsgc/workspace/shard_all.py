"""Shard sets from all that is prepared under the data root."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.datasets.table import DATASETS
from pipelines.errors import TsgcError, UsageError
from pipelines.prepared.store import open_store
from shards.load_manifest import load_manifest
from shards.manifest import SPLITS, Manifest
from tsgc.console import Count, no_count
from tsgc.workspace.data_root import prepared_files


@dataclass(frozen=True)
class ShardSet:
    """A benchmark of a prepared file, and the folder of its shards."""

    prepared: Path
    benchmark: str
    folder: Path


def shard_all(
    names: Sequence[str],
    *,
    data_root: Path,
    prepared: Path | None = None,
    benchmarks: Sequence[str] = (),
    out: Path | None = None,
    seed: int = 0,
    jobs: int | None = None,
    overwrite: bool = False,
    progress: Count = no_count,
    note: Callable[[str], None] = print,
    warn: Callable[[str], None] = print,
) -> list[Manifest]:
    """Shard every benchmark, or `benchmarks`, of the files named, of `prepared`, or of all prepared.

    Sets that are there already need `overwrite`; where nothing is named, they stay: `note` is told so, and
    `warn` where their prepared file says something else by now.
    """
    from pipelines.prepared.verify import check_content
    from shards.writer import write_shards  # webdataset, and with it torch

    todo = _sets(_files_to_shard(names, data_root, prepared), benchmarks, out or data_root / "shards")
    taken = [one for one in todo if one.folder.exists() and not overwrite]
    if taken and (names or prepared or benchmarks):
        folders = ", ".join(str(one.folder) for one in taken)
        raise TsgcError(f"{folders}: there already; give --overwrite to write again")
    for one in taken:
        different = _difference(one, seed)
        (warn if different else note)(f"{one.folder}: there already{different}")
    todo = [one for one in todo if one not in taken]
    for file in dict.fromkeys(one.prepared for one in todo):
        check_content(file)  # shards have checksums of their own, under which damage would be whole
    return [
        write_shards(
            one.prepared,
            one.benchmark,
            one.folder,
            seed=seed,
            jobs=jobs,
            overwrite=overwrite,
            progress=progress,
        )
        for one in todo
    ]


def _sets(files: Sequence[Path], benchmarks: Sequence[str], root: Path) -> list[ShardSet]:
    """The shard sets of every benchmark, or of `benchmarks`, of the prepared files."""
    found = []
    for file in files:
        with open_store(file, dataset=file.stem if file.stem in DATASETS else None) as store:
            there = list(store.splits)
        for benchmark in benchmarks or there:
            if benchmark not in there:
                raise TsgcError(f"{file}: no benchmark {benchmark!r}; it has {', '.join(there)}")
            found.append(ShardSet(file, benchmark, root / file.stem / benchmark))
    return found


def _difference(one: ShardSet, seed: int) -> str:
    """What a set that is there says otherwise than its prepared file does now, in words; empty: nothing."""
    try:
        manifest = load_manifest(one.folder)
    except TsgcError as error:
        return f", but not whole: {error}"
    with open_store(one.prepared) as store:
        split_of = store.splits[one.benchmark]
        same = (manifest.source_digest, manifest.preset, manifest.alignment, manifest.class_names) == (
            store.info.source_digest, store.info.preset, store.info.alignment, store.info.class_names
        )  # fmt: skip
        same = same and all(
            dict(zip(manifest.clips[split].names, manifest.clips[split].labels.tolist()))
            == {store.names[i]: int(store.labels[i]) for i in np.flatnonzero(split_of == code)}
            for split, code in SPLITS.items()
        )
    again = f"`tsgc shard {one.prepared.stem} --benchmark {one.benchmark} --overwrite` makes it anew"
    if not same:
        return f", but made from another {one.prepared} than is there now; {again}"
    if manifest.seed != seed:
        return f", but with --seed {manifest.seed}; {again}"
    return ""


def _files_to_shard(names: Sequence[str], data_root: Path, prepared: Path | None) -> list[Path]:
    """The prepared files of `names`, or all; or the one given."""
    if prepared is not None:
        return [prepared]
    there = {path.stem: path for path in prepared_files(data_root)}
    if not there:
        raise TsgcError(f"{data_root / 'prepared'}: no prepared data; run `tsgc prepare` first")
    for name in names:
        dataset, _, benchmark = name.partition("/")
        if benchmark and dataset in there:
            raise UsageError(
                f"{name}: a benchmark, expected a data set; give"
                f" `tsgc shard {dataset} --benchmark {benchmark}`"
            )
        if name not in there:
            raise TsgcError(f"{name}: not prepared under {data_root}; there are: {', '.join(there)}")
    return [there[name] for name in names or there]


def describe_shards(manifest: Manifest) -> str:
    """A line that says what was sharded, how many clips of which split, how much, where."""
    size = sum(shard.bytes for shards in manifest.shards.values() for shard in shards)
    count = sum(len(shards) for shards in manifest.shards.values())
    clips = ", ".join(f"{len(clips):,} {split}" for split, clips in manifest.clips.items())
    name = f"{manifest.folder.parent.name}/{manifest.folder.name}"  # what `tsgc train` calls it
    return f"{name}: {clips} clips in {count} shards, {size / 1e6:,.1f} MB -> {manifest.folder}"
