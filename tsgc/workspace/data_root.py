"""Prepared files and shard sets under the data root, and the one that a command means."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from pipelines.datasets.table import DATASETS
from pipelines.errors import AmbiguousError, TsgcError
from pipelines.prepared.store import open_store
from shards.load_manifest import load_manifest
from shards.manifest import FILE_NAME, find_shard_sets


def shard_sets(data_root: Path) -> dict[str, Path]:
    """`<name>/<benchmark>` -> folder of every shard set under the data root."""
    root = data_root / "shards"
    return {folder.relative_to(root).as_posix(): folder for folder in find_shard_sets(root)}


def prepared_files(data_root: Path) -> list[Path]:
    """Every prepared file under the data root, in name order."""
    return sorted((data_root / "prepared").glob("[!.]*.h5"))


def verifiable(path: Path) -> list[Path]:
    """The prepared files and shard sets that `path` is, or has anywhere below it; else `path` itself."""
    if not path.is_dir() or (path / FILE_NAME).is_file():
        return [path]
    found = [*path.rglob("*.h5"), *(file.parent for file in path.rglob(FILE_NAME))]
    shown = [
        place for place in found if not any(part.startswith(".") for part in place.relative_to(path).parts)
    ]
    return sorted(shown) or [path]


def pick_shards(
    data_root: Path, benchmark: str | None, folder: Path | str | None = None
) -> tuple[Path | str, str]:
    """The shard set that a command means, and its name; `folder` may be a URL.

    `benchmark` may name a data set, whose main benchmark is taken; None stands for the only data set's.
    Where several would fit, AmbiguousError is raised.
    """
    if folder is not None:
        return folder, load_manifest(folder, benchmark).benchmark
    found = shard_sets(data_root)
    if command := _shard_first(data_root, benchmark, list(found)):
        what = benchmark or data_root / "shards"
        raise TsgcError(f"{what}: prepared, but not sharded under {data_root}; run `{command}` first")
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


def _shard_first(data_root: Path, benchmark: str | None, sharded: Sequence[str]) -> str:
    """The command that shards what is meant, where that is prepared only; empty: it is not, or is sharded."""
    prepared = {path.stem: path for path in prepared_files(data_root)}
    if benchmark is None:
        only = f" {next(iter(prepared))}" if len(prepared) == 1 else ""
        return f"tsgc shard{only}" if prepared and not sharded else ""
    name, _, split = benchmark.partition("/")
    if name not in prepared or benchmark in sharded:
        return ""
    if not any(other.split("/")[0] == name for other in sharded):
        return f"tsgc shard {name}"
    with open_store(prepared[name]) as store:
        return f"tsgc shard {name} --benchmark {split}" if split in store.splits else ""


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
