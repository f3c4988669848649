"""What lies under the data root, and what a bare command means by it."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from pipelines.datasets.table import DATASETS
from pipelines.errors import AmbiguousError, TsgcError
from pipelines.prepared.store import open_store
from shards.load_manifest import load_manifest
from shards.manifest import Manifest, find_shard_sets
from tsgc.console import Count, no_count


def sharded(data_root: Path) -> dict[str, Path]:
    """`<name>/<benchmark>` -> folder of every shard set under the data root."""
    root = data_root / "shards"
    return {folder.relative_to(root).as_posix(): folder for folder in find_shard_sets(root)}


def prepared(data_root: Path) -> list[Path]:
    """Every prepared file under the data root, in name order."""
    return sorted((data_root / "prepared").glob("[!.]*.h5"))


def pick_shards(
    data_root: Path, benchmark: str | None, folder: Path | str | None = None
) -> tuple[Path | str, str]:
    """The shard set that a command means, and its name; `folder` may be a URL.

    Without a name: the only sharded data set's main benchmark, with a data set's name alone that one's;
    several raise AmbiguousError.
    """
    if folder is not None:
        return folder, load_manifest(folder, benchmark).benchmark
    found = sharded(data_root)
    if not found:
        raise TsgcError(f"{data_root / 'shards'}: no shards; run `tsgc prepare` and `tsgc shard` first")
    if benchmark is None or "/" not in benchmark:
        same = [name for name in found if benchmark in (None, name.split("/")[0])]
        benchmark = _main_benchmark(same) if same else benchmark
    if benchmark not in found:
        near = difflib.get_close_matches(str(benchmark), found, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(found)}"
        raise TsgcError(f"{benchmark}: not sharded under {data_root}; {hint}")
    # A folder named after a data set holds that data set; one with a name of its own may hold any.
    named_after = benchmark.split("/")[0] in DATASETS
    load_manifest(found[benchmark], benchmark if named_after else None)
    return found[benchmark], benchmark


def _main_benchmark(benchmarks: list[str]) -> str:
    """The main benchmark of the only data set, or the only benchmark."""
    if len(benchmarks) == 1:
        return benchmarks[0]
    names = {name.split("/")[0] for name in benchmarks}
    if len(names) == 1:
        name = names.pop()
        table = DATASETS.get(name.removesuffix("-aligned").removesuffix("-corrected"))
        main = f"{name}/{next(iter(table.benchmarks))}" if table else None
        if main in benchmarks:
            return main
    raise AmbiguousError(f"which one? name one of {', '.join(benchmarks)}")


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

    files = _prepared_files(names, data_root, prepared)
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


def _prepared_files(names: Sequence[str], data_root: Path, prepared: Path | None) -> list[Path]:
    if prepared is not None:
        return [prepared]
    folder = data_root / "prepared"
    there = {path.stem: path for path in sorted(folder.glob("*.h5"))}
    if not there:
        raise TsgcError(f"{folder}: no prepared data; run `tsgc prepare` first")
    for name in names:
        if name not in there:
            raise TsgcError(f"{name}: not prepared under {data_root}; there are: {', '.join(there)}")
    return [there[name] for name in names or there]


def describe_shards(manifest: Manifest) -> str:
    """One line: what was sharded, how many clips of which split, how much, where."""
    size = sum(shard.bytes for shards in manifest.shards.values() for shard in shards)
    count = sum(len(shards) for shards in manifest.shards.values())
    clips = ", ".join(f"{len(clips):,} {split}" for split, clips in manifest.clips.items())
    name = f"{manifest.folder.parent.name}/{manifest.folder.name}"  # what `tsgc train` calls it
    return f"{name}: {clips} clips in {count} shards, {size / 1e6:,.1f} MB -> {manifest.folder}"
