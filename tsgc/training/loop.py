"""Training: step, log, evaluate, save, from the first epoch to the final scores."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from shards.options import LoaderOptions
from shards.resident import ResidentClips
from tsgc import console
from tsgc.config import TrainConfig
from tsgc.distributed.preemption import PreemptedError, StopRequest
from tsgc.distributed.process import Process, check_shared
from tsgc.evaluation.score import score_checkpoints
from tsgc.evaluation.scores import COLUMNS, Scores, accuracy_rows, remarks, write_scores
from tsgc.fine_tuning.fine_tune import fine_tune
from tsgc.network.cpu_memory import keep_memory
from tsgc.network.layers import block_widths
from tsgc.network.precision import emulation_cost
from tsgc.networks import OURS
from tsgc.tracking.metrics_log import Recorder
from tsgc.tracking.run_facts import run_facts, score_figures
from tsgc.tracking.trackers import open_trackers
from tsgc.training.epoch import train_epoch, validate
from tsgc.training.feed import Feed
from tsgc.training.progress import RunProgress
from tsgc.training.restart import announce_stop, how_to_go_on, save_and_stop, was_restarted
from tsgc.training.run import Training, build_training, settle_kernels, summary
from tsgc.training.run_folder import open_folder, record_changes
from tsgc.training.save_restore import check_network, restore, save
from tsgc.training.settle_precision import settle_precision
from tsgc.workspace import runs
from tsgc.workspace.at_work import at_work, error_kept


@dataclass(frozen=True)
class RunRequest:
    """A run that is asked for: what is trained on what, where it is written, and whether it goes on."""

    config: TrainConfig
    benchmark: str
    """Such as `ntu60/xsub`."""
    shards: Path | str
    """The folder or URL of the benchmark's shards."""
    folder: Path
    """What the run is written to."""
    resume: bool = False
    overwrite: bool = False
    init: Path | None = None
    """Weights to start from."""
    loader_options: LoaderOptions | None = None
    """How the shards are read, the same on every rank."""
    recipe_epochs: int | None = None
    """Epochs of the recipe, which a run that only tries something out has fewer of."""
    log: Sequence[str] | None = None
    """Trackers by name; None: those that a resumed run had, or TensorBoard."""
    report: Callable[[Path], Path] | None = None
    """Writes a folder's report, for trackers that take one."""
    again: str = ""
    """The command that resumes the run."""
    resident: Mapping[str, ResidentClips] | None = None
    """Split -> its clips on the device, which runs side by side share."""


def train_stream(request: RunRequest, process: Process, talker: console.Talker) -> dict[str, Scores]:
    """Train one stream on the shards of a benchmark and score it on the test split.

    Returns the test scores of each checkpoint, `last` first. The first Ctrl-C (or SIGTERM, SIGHUP) saves and
    raises PreemptedError, a second one Interrupted.
    """
    with (
        started_run(request, process, talker) as run,
        StopRequest(process, partial(announce_stop, talker), partial(how_to_go_on, run)) as stop,
    ):
        progress = RunProgress(run)
        with talker.watching(progress.look):
            for _ in train_steps(run, talker, stop, progress):
                pass
        process.barrier()  # rank 0 has saved
        scores = score_run(run, stop, talker)
        print_scores(run, scores, talker)
    return scores


def stream_in_turns(
    request: RunRequest,
    process: Process,
    talker: console.Talker,
    stop: StopRequest,
    watch: Callable[[RunProgress], None],
) -> Generator[Feed, None, dict[str, Scores]]:
    """`train_stream` with a pause after each step, for runs side by side in one process.

    Gives what says whether its next step can be taken without waiting.
    `watch` is given the run's progress; `talker` is told what is worth a line of several runs.
    """
    if stop.requested:
        raise PreemptedError("asked to stop before it began")
    with started_run(request, process, talker) as run:
        progress = RunProgress(run)
        watch(progress)
        yield run.feed
        yield from train_steps(run, talker, stop, progress)
        return score_run(run, stop)


@contextmanager
def started_run(request: RunRequest, process: Process, talker: console.Talker) -> Iterator[Training]:
    """The run as before its next step: built, its folder opened, its state restored, its trackers started.

    From before its folder is written to, it counts as being trained; at the end its trackers get its report.
    """
    run, resume = build_run(request, process, talker)
    if process.main and not resume:
        run.folder.mkdir(parents=True, exist_ok=True)
    with at_work(run.folder, process.main):
        open_run(run, request, talker, resume=resume)
        with run.trackers, error_kept(run.folder, process.main):
            yield run
            if request.report:
                run.trackers.attach_report(run.folder, request.report)


def build_run(request: RunRequest, process: Process, talker: console.Talker) -> tuple[Training, bool]:
    """The run as before its first step, its folder untouched; whether it goes on."""
    keep_memory(process.device)
    folder, resume = request.folder, request.resume
    if was_restarted(process, folder):
        talker.note("started again by torchrun, as a rank was lost or a machine came or went")
        resume = True
    if resume:
        check_network(folder, request.config)
    config = settle_precision(request.config, process, folder if resume else None)
    if costs := emulation_cost(config.arithmetic, process.device, ours=config.network == OURS):
        talker.warn(costs)
    with talker.doing("opening the shards, building the network"):
        run = build_training(
            config,
            request.benchmark,
            request.shards,
            folder,
            process,
            request.loader_options,
            request.resident,
        )
    run.again = request.again or run.again
    check_shared(process, folder)
    if request.init is not None and not resume:
        run.init = fine_tune(run.model, run.manifest, request.init, config.holdout, config.modality)
        talker.note(run.init)
        run.ema.set(run.model)
    run.recipe_epochs = request.recipe_epochs
    return run, resume


def open_run(run: Training, request: RunRequest, talker: console.Talker, *, resume: bool) -> None:
    """Open the run's folder, go on with its state, start its trackers."""
    process, folder = run.process, run.folder
    if process.main:
        open_folder(run, resume=resume, overwrite=request.overwrite)
    process.barrier()
    if resume:
        go_on(run, talker)
    talker.note(summary(run))
    if process.device.type == "cuda" and block_widths(run.model):
        talker.note(f"kernels: {settle_kernels(run)}")
    if process.main:
        facts = run_facts(folder, request.benchmark, run.config, run.epoch)
        run.trackers = open_trackers(request.log, facts, talker.warn, resume=resume)


def go_on(run: Training, talker: console.Talker) -> None:
    """Restore the run's state; say where it goes on, and what of its settings has changed."""
    changes = restore(run)
    more = f", {run.step} steps" if run.step else ""
    more += "; --set epochs=N trains on" if run.epoch == run.config.epochs else ""
    talker.note(f"resuming {run.folder} after epoch {run.epoch} of {run.config.epochs}{more}")
    for said in changes:
        talker.note(said)
    if run.process.main:
        record_changes(run, changes)


def train_steps(
    run: Training, talker: console.Talker, stop: StopRequest, progress: RunProgress
) -> Generator[Feed, None, None]:
    """The epochs that are left, with a pause after each step; what training needs is freed at the end."""
    run.train_step.after_part = progress.part
    try:
        yield from train_epochs(run, talker, stop, progress)
    finally:
        run.feed.close()
        run.forward.clear()
        run.train_step.reset()  # frees its memory; graphs must be gone before the process group is


def train_epochs(
    run: Training, talker: console.Talker, stop: StopRequest, progress: RunProgress
) -> Generator[Feed, None, None]:
    """The epochs that are left: train, evaluate, record, save."""
    config, process = run.config, run.process
    recorder = None
    if process.main:
        recorder = Recorder(run.folder, run.epoch, run.position, run.trackers)
    run.recorder = recorder
    for epoch in range(run.epoch, config.epochs):
        title = f"epoch {epoch + 1}/{config.epochs}"
        figures = run.figures
        if not figures:
            figures = yield from train_epoch(run, epoch, progress, stop)
        if run.missing:
            talker.warn(
                f"{title}: {run.missing} of {sum(run.loader.step_counts)} clips skipped, as damaged;"
                " `tsgc verify` names them"
            )
        run.epoch, run.step, run.loss_sum, run.missing, run.figures = epoch + 1, 0, 0.0, 0, {}
        last = run.epoch == config.epochs
        if config.eval_every and (last or run.epoch % config.eval_every == 0):
            try:
                figures |= validate(run, progress, stop)
            except PreemptedError:  # gone on with here, as if the epoch were not over
                run.epoch, run.step, run.figures = epoch, run.loader.steps_per_epoch, figures
                save_and_stop(run)
        if recorder:
            recorder.write(run.epoch, figures)
        if last or run.epoch % max(1, config.epochs // 20) == 0:
            talker.note(progress_line(run, figures))
        if stop.agreed(look=True) and not last:
            save_and_stop(run)
        if process.main and (last or config.saves_after(run.epoch)):
            save(run)


def progress_line(run: Training, figures: Mapping[str, float]) -> str:
    """The line that is noted of an epoch now and then."""
    words = [f"epoch {run.epoch}/{run.config.epochs}", f"loss {figures['loss']:.3f}"]
    words += [f"{name.replace('_', ' ')} {value:.2f}" for name, value in figures.items() if "top1" in name]
    if missing := figures.get("test_missing", figures.get("holdout_missing")):
        words.append(f"{missing} clips of it missing")
    return ", ".join([*words, f"{figures['clips_per_second']:,.0f} clips/s"])


def score_run(run: Training, stop: StopRequest, talker: console.Talker | None = None) -> dict[str, Scores]:
    """Score every checkpoint on the test split and on held-out clips, and write the scores.

    Returns those of the test split.
    """
    folder = run.folder / "checkpoints"
    names = [
        name
        for name in ("last", "last-ema", "best", "best-ema")
        if (folder / f"{name}.safetensors").is_file()
    ]
    paths = {name: folder / f"{name}.safetensors" for name in names}
    splits = ["test", "holdout"] if run.config.holdout else ["test"]
    shown = talker or console.Talker(quiet=True)
    results = {}
    for split in splits:
        try:
            with shown.counting(f"scoring {', '.join(names)}", "clips") as count:
                results[split] = score_checkpoints(
                    paths, run.manifest, split, run.process, advance=count,
                    loader_options=run.loader_options, stop=stop,
                )  # fmt: skip
        except PreemptedError:
            raise PreemptedError(
                f"asked to stop: saved after epoch {run.epoch}, the last, but not scored, in {run.folder};"
                f" {run.again} scores it"
            ) from None
        if run.process.main:
            for name, scores in results[split].items():
                write_scores(runs.scores_path(run.folder, split, name), scores)
            run.trackers.log_scores(score_figures(split, results[split]))
    return results["test"]


def print_scores(run: Training, test: Mapping[str, Scores], talker: console.Talker) -> None:
    """The table of a run's test scores, and where the run lies."""
    stream = f"{run.config.modality} {run.config.network_name}"
    title = f"{run.benchmark} {stream}, {run.manifest.preset} preset, test"
    talker.table(
        title, COLUMNS, [row for name, scores in test.items() for row in accuracy_rows(name, scores)]
    )
    for said in remarks(list(test.values())):
        talker.line(said)
    talker.line(f"run: {run.folder}")
