"""Commands to start with: init, doctor, demo."""

from pathlib import Path
from typing import Annotated

import typer

from tsgc.commands.options import DATA, RUNS, DataRoot, Device, Jobs, Json, Overwrite, RunsRoot


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
