"""Commands to start with: init, doctor, demo, help; and --version."""

from pathlib import Path
from typing import Annotated

import typer

from tsgc.commands.options import DATA, RUNS, DataRoot, Device, Jobs, Json, Overwrite, RunsRoot


def show_version(wanted: bool) -> None:
    """Print the version and stop, where --version is given."""
    if wanted:
        from pipelines.prepared.store import tool_version

        print(f"tsgc {tool_version()}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=show_version, help="Say the version, and stop.")
]


def doctor(
    json: Json = False,
    data_root: DataRoot = DATA,
    runs: RunsRoot = RUNS,
) -> None:
    """What is installed, which data and runs are here, and what is missing to run what."""
    from tsgc.console import Talker
    from tsgc.doctor import examine, show

    show(Talker(json=json), examine(data_root, runs))


def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of the made data and of the training.")] = 0,
    jobs: Jobs = None,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Everything at once on made data: raw files, prepare, shard, two streams, fusion."""
    from tsgc.console import Talker
    from tsgc.demo import run_demo

    run_demo(out, Talker(), seed=seed, jobs=jobs, device=device, overwrite=overwrite)


def init(
    folder: Annotated[Path, typer.Argument(help="Where your recordings lie.")],
    form: Annotated[
        str | None, typer.Option("--format", help="Their format; docs/your-own-data.md. (default: found)")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Look at recordings of your own and write their dataset.yaml: format, skeleton, classes, split."""
    from pipelines.first_look.describe import first_look
    from tsgc.console import Talker

    talker = Talker()
    for line in first_look(folder, form, overwrite).lines():
        talker.line(line)


def help_(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="Such as train. (default: all)")
    ] = None,
) -> None:
    """What a command does, and its options: the same as COMMAND --help."""
    root = ctx.find_root()
    words = [*(words or []), "--help"]
    raise typer.Exit(root.command.main(words, prog_name=root.info_name, standalone_mode=False))
