"""Commands on data: prepare, shard, verify, inspect."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.errors import TsgcError, UsageError
from tsgc.commands.options import DATA, DataRoot, Jobs, Networks, Overwrite


def prepare(
    dataset: Annotated[str, typer.Argument(help="ntu60, ntu120, nw-ucla, kinetics, pyskl, npz or custom.")],
    raw: Annotated[
        list[Path] | None,
        typer.Option(help="Raw folder or zip, repeatable; a .pkl or .npz. (default: the data root's)"),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="reference: the published preparation, to the letter; corrected: without its flaws."
            " (default: reference for ntu60, ntu120, nw-ucla and npz; else corrected)"
        ),
    ] = None,
    align: Annotated[
        bool, typer.Option("--align", help="Turn each clip: spine upright, shoulders along x.")
    ] = False,
    form: Annotated[
        str | None,
        typer.Option("--format", help="Of your own recordings; docs/your-own-data.md. (default: found)"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the result. (default: the data set's)")] = None,
    out: Annotated[Path | None, typer.Option(help="Result. (default: DATA_ROOT/prepared/NAME.h5)")] = None,
    exclude: Annotated[Path | None, typer.Option(help="Text file of clip names to leave out.")] = None,
    jobs: Jobs = None,
    dask: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler: its workers do the work.")
    ] = None,
    compress: Annotated[
        str | None, typer.Option(help="lzf (a fifth smaller, reads fast) or gzip (a quarter, reads slower).")
    ] = None,
    overwrite: Overwrite = False,
    data_root: DataRoot = DATA,
) -> None:
    """Raw skeleton files to one denoised, centred HDF5, with a report of all that was dropped."""
    if out is not None and out.suffix != ".h5":
        raise UsageError(f"--out {out}: expected a name that ends in .h5")
    if name is not None and (not name or name.startswith(".") or set(name) & set("/\\")):
        raise UsageError(f"--name {name!r}: expected a file's name, without folders")
    from pipelines.cleaning.align import SPINE_AND_SHOULDERS
    from pipelines.datasets.table import default_name, default_preset
    from pipelines.prepare import prepare_dataset
    from tsgc.console import Talker

    talker = Talker()
    usual = preset in (None, default_preset(dataset))
    suffix = ("" if usual else f"-{preset}") + ("-aligned" if align else "")
    path = out or data_root / "prepared" / f"{name or default_name(dataset, raw, data_root) + suffix}.h5"
    with talker.counting("preparing", "clips") as progress:
        report = prepare_dataset(
            dataset,
            raw,
            path,
            data_root=data_root,
            preset=preset,
            name=name,
            form=form,
            alignment=SPINE_AND_SHOULDERS if align else "",
            jobs=jobs,
            dask=dask,
            compress=compress,
            exclude=exclude,
            overwrite=overwrite,
            progress=progress,
        )
    for line in report.lines():
        talker.line(line)


def shard(
    names: Annotated[list[str] | None, typer.Argument(help="Prepared data sets. (default: all)")] = None,
    prepared: Annotated[Path | None, typer.Option(help="A prepared HDF5, wherever it is.")] = None,
    benchmark: Annotated[
        list[str] | None, typer.Option(help="xsub, xview, ...; repeatable. (default: all)")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Result. (default: DATA_ROOT/shards)")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order of clips.")] = 0,
    jobs: Jobs = None,
    overwrite: Overwrite = False,
    data_root: DataRoot = DATA,
) -> None:
    """Prepared HDF5 to WebDataset tars and a manifest, for each benchmark; bare: for those that lack them."""
    from tsgc.console import Talker
    from tsgc.workspace.shard_all import describe_shards, shard_all

    talker = Talker()
    with talker.counting("sharding", "clips") as progress:
        written = shard_all(
            names or [],
            data_root=data_root,
            prepared=prepared,
            benchmarks=benchmark or [],
            out=out,
            seed=seed,
            jobs=jobs,
            overwrite=overwrite,
            progress=progress,
            note=talker.note,
            warn=talker.warn,
        )
    for manifest in written:
        talker.line(describe_shards(manifest))


def verify(
    path: Annotated[
        Path | None,
        typer.Argument(help="A prepared HDF5, a shard set, or a folder of any. (default: all of both)"),
    ] = None,
    data_root: DataRoot = DATA,
) -> None:
    """Check prepared files and shard sets whole: every byte, every clip, every claim."""
    from pipelines.prepared.verify import verify_store
    from shards.verify import verify_shards
    from tsgc.console import Talker
    from tsgc.workspace.data_root import prepared_files, shard_sets, verifiable

    talker = Talker()
    problems = 0
    places = verifiable(path) if path else [*prepared_files(data_root), *shard_sets(data_root).values()]
    if not places or not places[0].exists():
        raise TsgcError(f"{path or data_root}: nothing to verify; expected a prepared HDF5 or a shard set")
    for place in places:
        found = verify_shards(place) if place.is_dir() else verify_store(place)
        problems += len(found)
        for problem in found or [f"{place}: whole"]:
            talker.line(str(problem))
    if problems:
        raise TsgcError(
            f"problems found: {problems}; write it again with `tsgc prepare` or `tsgc shard`, --overwrite"
        )


def inspect(
    path: Annotated[Path, typer.Argument(help="A raw clip, prepared file, shard set, run or checkpoint.")],
    clip: Annotated[
        str | None, typer.Option(help="The name of one clip of a prepared file or shard set.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Draw the clip: .png (stills), .gif or .html (animated).")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Of a raw clip: ntu60, ntu120, nw-ucla, kinetics or custom. (default: it tells)"),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Of a raw clip: every difference between the presets.")
    ] = False,
    run: Annotated[
        Path | None,
        typer.Option(help="A run: what it takes the clip for, and which joints speak for that."),
    ] = None,
    overwrite: Overwrite = False,
    network: Networks = None,
    data_root: DataRoot = DATA,
) -> None:
    """Look at a raw clip (and what each preset keeps of it), prepared file, shard set, run or checkpoint."""
    from tsgc.console import Talker
    from tsgc.inspect.inspect_path import inspect_path

    talker = Talker()
    found = inspect_path(
        path,
        dataset=dataset,
        compare=compare,
        clip=clip,
        run=run,
        out=out,
        overwrite=overwrite,
        data_root=data_root,
        network=network,
    )
    for line in found.lines:
        talker.line(line)
