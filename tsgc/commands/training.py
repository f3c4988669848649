"""Commands that train and score networks: train, evaluate."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    Networks,
    OnError,
    Overwrite,
    RunsRoot,
    exclude_each_other,
    loader_options,
    shards_place,
)

if TYPE_CHECKING:
    from tsgc.train_config import TrainConfig

SETTINGS_OF_OURS = ("layer_scale", "drop_path")


def train(
    ctx: typer.Context,
    benchmark: Annotated[
        str | None,
        typer.Argument(help="Such as ntu120/xsub; ntu120: its main one. (default: of the only data set)"),
    ] = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(
            help="joint, bone, joint_motion, bone_motion, joint_velocity, bone_velocity, another of"
            " docs/streams.md, or several: joint+bone. Repeatable: a run each, side by side."
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help="tsgcnext, tsgcnext2, ctrgcn, stgcn++, or your own: FILE.py:NAME, package.module:NAME."
            " (default: tsgcnext)"
        ),
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="Depths of tsgcnext and tsgcnext2: 252, 432, small or tiny.")
    ] = None,
    gpus: Gpus = None,
    device: Device = None,
    config: Annotated[Path | None, typer.Option(help="YAML of settings, or one of configs/ by name.")] = None,
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
    teacher_network: Annotated[
        list[str] | None,
        typer.Option(help="Your own network of a teacher, where it is not the student's; repeatable."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of weights, order and augmentation.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Several, such as 0-2 or 0,3,5: a run each, side by side.")
    ] = None,
    at_once: Annotated[
        int | None,
        typer.Option(
            min=1, max=32, help="Of several runs, how many at a time. (default: on a GPU those that fit)"
        ),
    ] = None,
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
    """Train a stream of TSGCNeXt or another network, or several side by side; ends by scoring on the test."""
    from tsgc.config import resolve_config, to_yaml
    from tsgc.networks import OURS, recorded_name
    from tsgc.side_by_side.plan import check_members, parse_seeds, plan_member
    from tsgc.tracking.table import tracker_names
    from tsgc.workspace.data_root import pick_shards
    from tsgc.workspace.runs import run_folder

    exclude_each_other({"--resume": resume, "--overwrite": overwrite})
    exclude_each_other({"--recipe": recipe, "--config": config})
    exclude_each_other({"--seed": seed is not None, "--seeds": seeds})
    if recipe not in (None, "reference"):
        raise UsageError(f"--recipe {recipe}: expected reference, or no --recipe for configs/")
    read = loader_options(on_error, cache, cache_size)
    trackers = tracker_names(log) if log else None
    folder, benchmark = pick_shards(data_root, benchmark, shards_place(shards))
    chosen: list[int | None] = [seed] if seeds is None else [*parse_seeds(seeds)]
    wanted: list[str | None] = [*modality] if modality else [None]
    streams = [(stream, seed) for seed in chosen for stream in wanted]  # whole seeds first: they are fused
    several = len(streams) > 1
    if several:
        refuse_options_of_one(len(streams), {"--run-dir": run_dir, "--print-config": print_config})
    notes: dict[str, None] = {}  # in order, each once

    def place(planned: "TrainConfig") -> Path:
        if planned.network != OURS:
            refuse_options_of_ours(planned.network, variant, settings or [])
        return run_dir or run_folder(runs, benchmark, planned)

    shared = {
        "network": recorded_name(network) if network else None,
        "variant": variant,
        "holdout": holdout or None,
        "teachers": teacher or None,
    }
    members = [
        plan_member(
            benchmark,
            place,
            {"modality": modality, "seed": seed, **shared},
            recipe=recipe,
            config=config,
            settings=settings or [],
            resume=resume,
            remote=isinstance(folder, str),
            note=lambda said: notes.update({said: None}),
        )
        for modality, seed in streams
    ]
    if print_config:
        print(to_yaml(members[0].config), end="")
        return
    if several and "TORCHELASTIC_RUN_ID" not in os.environ:  # its launcher has checked, and others train now
        check_members(members, resume=resume, overwrite=overwrite)
    if launch_ranks(ctx, gpus, device):
        return
    from tsgc.console import rank_talker

    talker = rank_talker()
    for said in notes:
        talker.note(said)
    with talker.doing("loading PyTorch"):  # comes last: settings are checked and printed without it
        from tsgc.distributed.apart import join_apart
        from tsgc.distributed.process import join_ranks
        from tsgc.network.own.code import admit
        from tsgc.side_by_side.group import train_side_by_side
        from tsgc.training.loop import RunRequest, train_stream
    again = command_again(ctx, "--resume")
    request = RunRequest(
        members[0].config,
        benchmark,
        folder,
        members[0].folder,
        resume=resume,
        overwrite=overwrite,
        init=init,
        recipe_epochs=resolve_config(benchmark, recipe=recipe, config=config).epochs,
        loader_options=read,
        log=trackers,
        report=lambda folder: write_run_report(folder, data_root),
        again=again,
    )
    admit(teacher_network)
    admit(network)  # last: of two files of one name it is the student's
    if several:
        with join_apart(device) as apart:
            train_side_by_side(members, request, apart, talker, at_once=at_once)
        return
    with join_ranks(device) as process:
        train_stream(request, process, talker)


def refuse_options_of_ours(network: str, variant: str | None, settings: Sequence[str]) -> None:
    """Raise UsageError for what is given to a network without it, and would do nothing there."""
    from tsgc.networks import WITH_VARIANTS

    if network in WITH_VARIANTS:
        return
    given = [f"--variant {variant}"] if variant else []
    given += [f"--set {one}" for one in settings if one.partition("=")[0].strip() in SETTINGS_OF_OURS]
    if given:
        raise UsageError(f"{given[0]}: of tsgcnext, and the network is {network}; leave it out")


def refuse_options_of_one(runs: int, options: Mapping[str, object]) -> None:
    """Raise UsageError where an option is given that several runs cannot share."""
    for option, value in options.items():
        if value:
            raise UsageError(
                f"{option} is for one run, and {runs} are asked for; give one --modality and one seed"
            )


def write_run_report(folder: Path, data_root: Path) -> Path:
    """The report of a run in the run's folder, as `tsgc report` writes it."""
    from tsgc.report import write_report

    return write_report(folder, folder / "report.html", overwrite=True, data_root=data_root)


def evaluate(
    ctx: typer.Context,
    run: Annotated[
        Path | None, typer.Argument(help="Run folder. (default: the newest, of --network if given)")
    ] = None,
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
    network: Networks = None,
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
            network=network,
        )
