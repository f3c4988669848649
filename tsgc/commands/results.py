"""Commands on the results of networks: ensemble, report."""

from pathlib import Path
from typing import Annotated

import typer

from tsgc.commands.options import (
    DATA,
    RUNS,
    DataRoot,
    Networks,
    Overwrite,
    RunsRoot,
    exclude_each_other,
    numbers,
)


def ensemble(
    streams: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Runs, score files (.npz), or pickles of {name: logits} (.pkl)."
            " (default: the newest benchmark's streams)"
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A published combination: 2s, 3s, 4s, new4s or reference.")
    ] = None,
    fuse: Annotated[str, typer.Option(help="What is added up: logits, softmax or calibrated.")] = "logits",
    weights: Annotated[str | None, typer.Option(help="One a stream, with commas. (default: equal)")] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Learn the weights on the clips that --holdout left out.")
    ] = False,
    tune_on_test: Annotated[
        bool, typer.Option("--tune-on-test", help="Learn them on the test split, to compare with papers.")
    ] = False,
    ema: Annotated[bool, typer.Option("--ema", help="The averaged weights' scores.")] = False,
    shards: Annotated[Path | None, typer.Option(help="Shard set whose test clips label all streams.")] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="Pickle in whose order PYSKL or MMAction2 wrote a .pkl of scores.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the fused scores here (.npz).")] = None,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    runs: RunsRoot = RUNS,
) -> None:
    """Fuse the streams' scores, and say what that is worth: intervals, leave-one-out, oracle, McNemar."""
    from tsgc.console import Talker
    from tsgc.fusion.ensemble import Plan, fuse_streams

    exclude_each_other({"--weights": weights is not None, "--tune": tune, "--tune-on-test": tune_on_test})
    shares = numbers(weights, "--weights")
    clips = "holdout" if tune else "test" if tune_on_test else None
    plan = Plan(streams or [], recipe, fuse, shares, clips, ema, shards, annotations)
    fuse_streams(Talker(json=as_json), plan, runs_root=runs, out=out, overwrite=overwrite)


def report(
    run: Annotated[
        list[Path] | None,
        typer.Argument(help="Run folders, or folders of seeds; several are compared. (default: the newest)"),
    ] = None,
    out: Annotated[Path, typer.Option(help="The page to write (.html); tables lie beside it (.csv).")] = Path(
        "report.html"
    ),
    ema: Annotated[bool, typer.Option("--ema", help="Look closely at the averaged weights.")] = False,
    clips: Annotated[
        int,
        typer.Option(
            min=0,
            help="Animate this many clips, the worst and those that changed: mind the data's terms.",
        ),
    ] = 0,
    explain: Annotated[
        int, typer.Option(min=0, help="Show which joints speak for each class, by this many of its clips.")
    ] = 0,
    overwrite: Overwrite = False,
    network: Networks = None,
    data_root: DataRoot = DATA,
    runs: RunsRoot = RUNS,
) -> None:
    """A run, or several compared, as one HTML file: how good, where wrong, why, how trained."""
    from tsgc.console import Talker
    from tsgc.report import write_report

    write_report(
        run or [],
        out=out,
        ema=ema,
        clips=clips,
        explain=explain,
        overwrite=overwrite,
        data_root=data_root,
        runs_root=runs,
        network=network,
        talker=Talker(),
    )
