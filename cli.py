"""The tsgc command: its commands in the order of its help, each with an example.

A command parses, calls one function, prints one result; it is a function in `tsgc.commands` and a line here.
Heavy imports (torch above all) wait inside the commands, so that `tsgc --help` is fast.
"""

from collections.abc import Callable

import typer

from tsgc.commands import bench, data, first_steps, networks, results, runs, training
from tsgc.commands.error_line import OneLineErrors

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Anywhere: --quiet says results and errors alone; --debug shows an error's traceback."
    " Exit codes: 0 done, 1 an error, 2 wrong usage, 75 stopped by a signal and saved (--resume goes on),"
    " 130 interrupted.",
)


@app.callback()
def main(version: first_steps.Version = False) -> None:
    """Skeleton-based action recognition: raw skeleton files to fused predictions.

    The main job, in order: tsgc prepare, tsgc shard, tsgc train, tsgc ensemble.
    """


EXAMPLES: dict[Callable[..., None], str] = {
    first_steps.init: "tsgc init data/gestures",
    data.prepare: "tsgc prepare ntu120 --raw data/nturgbd_raw --jobs 8",
    data.shard: "tsgc shard ntu120 --benchmark xsub",
    data.verify: "tsgc verify data/prepared/ntu120.h5",
    data.inspect: "tsgc inspect data/prepared/ntu60.h5 --clip S001C001P001R001A010 --out clip.gif",
    training.train: "tsgc train ntu120/xsub --modality joint_motion --gpus 2 --set epochs=100",
    training.evaluate: "tsgc evaluate runs/ntu120/xsub/252/joint/seed0 --ema",
    results.ensemble: "tsgc ensemble --recipe 4s --tune --out fused.npz",
    networks.predict: "tsgc predict recording.skeleton --window 90 --stride 30 --format csv",
    results.report: "tsgc report runs/ntu120/xsub/252/joint/seed0 --out report.html",
    networks.export: "tsgc export runs/ntu120/xsub/252/joint/seed0 --ema --raw-input",
    networks.info: "tsgc info --variant 432 --frames 64 --classes 60",
    first_steps.doctor: "tsgc doctor --json",
    first_steps.demo: "tsgc demo --out demo",
    first_steps.help_: "tsgc help train",
}

for command, example in EXAMPLES.items():
    app.command(command.__name__.rstrip("_"), epilog=f"Example: {example}")(command)
app.add_typer(runs.app, name="runs")
app.add_typer(bench.app, name="bench", epilog="Example: tsgc bench train --compare")


if __name__ == "__main__":
    app()
