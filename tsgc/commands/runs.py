"""Commands on what has been trained: runs, runs rm."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.errors import UsageError
from tsgc.commands.options import RUNS, Json, RunsRoot, check_word

app = typer.Typer(invoke_without_command=True)


@app.callback(epilog="Example: tsgc runs --benchmark ntu60 --state finished --sort accuracy")
def runs(
    ctx: typer.Context,
    benchmark: Annotated[
        str | None, typer.Option(help="Of this benchmark alone, such as ntu60/xsub, or data set: ntu60.")
    ] = None,
    network: Annotated[str | None, typer.Option(help="Of this variant alone: 252, 432, ...")] = None,
    stream: Annotated[str | None, typer.Option(help="Of this modality alone: joint, bone, ...")] = None,
    state: Annotated[
        str | None,
        typer.Option(
            help="finished, short (with fewer epochs than its recipe), unfinished, running or failed."
        ),
    ] = None,
    sort: Annotated[
        str, typer.Option(help="name, or started, accuracy or time: the newest, best or longest first.")
    ] = "name",
    ema: Annotated[bool, typer.Option("--ema", help="Accuracies of the averaged weights.")] = False,
    json: Json = False,
    root: RunsRoot = RUNS,
) -> None:
    """What has been trained: a row a run, and mean and deviation of those that differ in the seed alone."""
    ctx.obj = root
    if ctx.invoked_subcommand is not None:
        return
    from tsgc.console import Talker
    from tsgc.workspace.run_list import SORTS, Filter, list_runs
    from tsgc.workspace.run_state import STATES

    check_word("--sort", sort, SORTS)
    if state is not None:
        check_word("--state", state, STATES)
    wanted = Filter(benchmark, network, stream, state)
    list_runs(Talker(json=json), root, wanted, sort=sort, checkpoint="last-ema" if ema else "last")


@app.command(epilog="Example: tsgc runs rm ntu60/xsub/252/joint/seed0")
def rm(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(help="Folders of runs, or their names below RUNS.")],
    yes: Annotated[bool, typer.Option("--yes", help="Without a question.")] = False,
    runs: Annotated[Path | None, typer.Option("--runs", help="Where runs lie. (default: runs)")] = None,
) -> None:
    """Delete runs, after a question: the files that a run wrote, and nothing else."""
    from tsgc.console import Talker
    from tsgc.workspace.remove_run import find_named, remove_run, run_bytes

    talker, root = Talker(), runs or ctx.obj
    folders = find_named(names, root)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("runs rm asks, and no terminal is here to answer; give --yes to delete without")
        for folder in folders:
            talker.line(f"{folder}: {run_bytes(folder) / 1e6:,.1f} MB")
        what = "this run" if len(folders) == 1 else f"these {len(folders)} runs"
        if not typer.confirm(f"delete {what} for good?"):
            talker.line("nothing was deleted")
            raise typer.Exit(1)
    for folder in folders:
        left = remove_run(folder, root)
        rest = f"; not its own, and left: {', '.join(map(str, left))}" if left else ""
        talker.line(f"{folder}: deleted{rest}")
