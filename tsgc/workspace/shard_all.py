"""Shard sets from all that is prepared under the data root."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.datasets.table import DATASETS
from pipelines.errors import TsgcError
from pipelines.prepared.store import open_store
from shards.manifest import Manifest
from tsgc.console import Count, no_count
from tsgc.workspace.data_root import prepared_files


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
) -> list[Manifest]:
    """Shard every benchmark, or `benchmarks`, of the files named, of `prepared`, or of all prepared."""
    from pipelines.prepared.verify import check_content
    from shards.writer import write_shards  # webdataset, and with it torch

    files = _files_to_shard(names, data_root, prepared)
    root = out or data_root / "shards"
    todo: list[tuple[Path, str, Path]] = []
    for file in files:
        with open_store(file, dataset=file.stem if file.stem in DATASETS else None) as store:
            there = list(store.splits)
        for benchmark in benchmarks or there:
            if benchmark not in there:
                raise TsgcError(f"{file}: no benchmark {benchmark!r}; it has {', '.join(there)}")
            todo.append((file, benchmark, root / file.stem / benchmark))
    taken = [str(folder) for *_, folder in todo if folder.exists()]
    if taken and not overwrite:
        raise TsgcError(f"{', '.join(taken)}: there already; give --overwrite to write again")
    for file in dict.fromkeys(file for file, *_ in todo):
        check_content(file)  # shards have checksums of their own, under which damage would be whole
    return [
        write_shards(file, benchmark, folder, seed=seed, jobs=jobs, overwrite=overwrite, progress=progress)
        for file, benchmark, folder in todo
    ]


def _files_to_shard(names: Sequence[str], data_root: Path, prepared: Path | None) -> list[Path]:
    """The prepared files of `names`, or all; or the one given."""
    if prepared is not None:
        return [prepared]
    there = {path.stem: path for path in prepared_files(data_root)}
    if not there:
        raise TsgcError(f"{data_root / 'prepared'}: no prepared data; run `tsgc prepare` first")
    for name in names:
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
