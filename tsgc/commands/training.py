"""Commands that train and score networks: train, evaluate."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pipelines.errors import UsageError
from tsgc.commands.error_line import command_again, launch_ranks
from tsgc.commands.options import (
    DATA,
    RUNS,
    Cache,
    CacheSize,
    DataRoot,
    Device,
    Ema,
    Gpus,
    Json,
    Log,
    OnError,
    Overwrite,
    RunsRoot,
    exclude_each_other,
    loader_options,
    shards_place,
)


def train(
    ctx: typer.Context,
    benchmark: Annotated[
        str | None,
        typer.Argument(help="Such as ntu120/xsub; ntu120: its main one. (default: of the only data set)"),
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(
            help="joint, bone, joint_motion, bone_motion, another of docs/streams.md, or several: joint+bone."
        ),
    ] = None,
    variant: Annotated[str | None, typer.Option(help="252, 432, small or tiny.")] = None,
    gpus: Gpus = None,
    device: Device = None,
    config: Annotated[Path | None, typer.Option(help="YAML of settings, in place of configs/.")] = None,
    recipe: Annotated[str | None, typer.Option(help="reference: the published recipe exactly.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value; repeatable.")] = None,
    holdout: Annotated[
        bool, typer.Option("--holdout", help="Choose `best` on held-out training clips.")
    ] = False,
    init: Annotated[
        Path | None, typer.Option(help="Weights to start from: a checkpoint, or a run's folder.")
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(help="Trained stream to learn from: a checkpoint, or a run's folder; repeatable."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of weights, order and augmentation.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint; with --set epochs=N to there.")
    ] = False,
    overwrite: Overwrite = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the settings and stop.")
    ] = False,
    shards: Annotated[str | None, typer.Option(help="Shard set, wherever it is: a folder or a URL.")] = None,
    on_error: OnError = "raise",
    cache: Cache = None,
    cache_size: CacheSize = 20,
    log: Log = None,
    run_dir: Annotated[Path | None, typer.Option(help="Run folder. (default: below RUNS)")] = None,
    data_root: DataRoot = DATA,
    runs: RunsRoot = RUNS,
) -> None:
    """Train one stream of TSGCNeXt; ends by scoring it on the test split."""
    from tsgc.config import resolve_config, settle_window, to_yaml
    from tsgc.tracking.table import tracker_names
    from tsgc.workspace.data_root import pick_shards
    from tsgc.workspace.runs import run_folder

    exclude_each_other({"--resume": resume, "--overwrite": overwrite})
    exclude_each_other({"--recipe": recipe, "--config": config})
    if recipe not in (None, "reference"):
        raise UsageError(f"--recipe {recipe}: expected reference, or no --recipe for configs/")
    read = loader_options(on_error, cache, cache_size)
    trackers = tracker_names(log) if log else None
    folder, benchmark = pick_shards(data_root, benchmark, shards_place(shards))
    options = {
        "modality": modality,
        "variant": variant,
        "seed": seed,
        "holdout": holdout or None,
        "teachers": teacher or None,
    }
    resolve = partial(
        resolve_config, benchmark, recipe=recipe, config=config, settings=settings or [], options=options
    )
    where = run_dir or run_folder(runs, benchmark, resolve())
    own = where / "config.yaml"  # of a run that is gone on with: what is not given stays as it is there
    goes_on = resume and not (recipe or config) and own.is_file()
    notes: list[str] = []
    settled = resolve(started=own if goes_on else None, note=notes.append)
    settled = settle_window(settled, remote=isinstance(folder, str))
    if print_config:
        print(to_yaml(settled), end="")
        return
    if launch_ranks(ctx, gpus, device):
        return
    from tsgc.console import rank_talker

    talker = rank_talker()
    for said in notes:
        talker.note(said)
    with talker.doing("loading PyTorch"):  # comes last: settings are checked and printed without it
        from tsgc.distributed.process import join_ranks
        from tsgc.training.loop import train_stream
    with join_ranks(device) as process:
        train_stream(
            settled,
            benchmark,
            folder,
            where,
            process,
            talker,
            resume=resume,
            overwrite=overwrite,
            init=init,
            recipe_epochs=resolve_config(benchmark, recipe=recipe, config=config).epochs,
            loader_options=read,
            log=trackers,
            report=lambda folder: write_run_report(folder, data_root),
            again=command_again(ctx, "--resume"),
        )


def write_run_report(folder: Path, data_root: Path) -> Path:
    """The report of a run in the run's folder, as `tsgc report` writes it."""
    from tsgc.report import write_report

    return write_report(folder, folder / "report.html", overwrite=True, data_root=data_root)


def evaluate(
    ctx: typer.Context,
    run: Annotated[Path | None, typer.Argument(help="Run folder. (default: the newest)")] = None,
    checkpoint: Annotated[
        str, typer.Option(help="last, best, or a file: ours, or a released .pth.")
    ] = "last",
    ema: Ema = False,
    variant: Annotated[str | None, typer.Option(help="Of a released .pth.")] = None,
    modality: Annotated[str | None, typer.Option(help="Of a released .pth.")] = None,
    shards: Annotated[
        str | None, typer.Option(help="Shard set: a folder or a URL. (default: the run's benchmark)")
    ] = None,
    on_error: OnError = "raise",
    cache: Cache = None,
    cache_size: CacheSize = 20,
    split: Annotated[str, typer.Option(help="test, train or holdout.")] = "test",
    run_dir: Annotated[Path | None, typer.Option(help="Where scores/ goes. (default: the run)")] = None,
    tta: Annotated[
        str, typer.Option(help="Average over views: mirror, turns, spans, mirror-turns; the scores say so.")
    ] = "none",
    json: Json = False,
    gpus: Gpus = None,
    device: Device = None,
    data_root: DataRoot = DATA,
    runs: RunsRoot = RUNS,
) -> None:
    """Score a checkpoint on a split; writes the scores file and prints the accuracies."""
    from tsgc.console import rank_talker

    read = loader_options(on_error, cache, cache_size)
    if launch_ranks(ctx, gpus, device):
        return
    talker = rank_talker(json=json)
    with talker.doing("loading PyTorch"):
        from tsgc.distributed.process import join_ranks
        from tsgc.evaluation.evaluate import evaluate_run
    with join_ranks(device) as process:
        evaluate_run(
            process,
            talker,
            run=run,
            checkpoint=checkpoint,
            ema=ema,
            variant=variant,
            modality=modality,
            shards=shards_place(shards),
            split=split,
            run_dir=run_dir,
            data_root=data_root,
            runs_root=runs,
            loader_options=read,
            tta=tta,
        )
