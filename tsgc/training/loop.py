"""Training: step, log, evaluate, save, from the first epoch to the final scores."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from pipelines.errors import TsgcError
from shards.batch import Step
from shards.options import LoaderOptions
from tsgc import console
from tsgc.config import TrainConfig
from tsgc.distributed.preemption import PreemptedError, StopRequest
from tsgc.distributed.process import Process, check_shared
from tsgc.evaluation.predict_split import predict_split
from tsgc.evaluation.score import score_checkpoints
from tsgc.evaluation.scores import COLUMNS, Scores, accuracy, accuracy_rows, remarks, write_scores
from tsgc.network.cpu_memory import keep_memory
from tsgc.network.precision import emulation_cost
from tsgc.step.optimizer import learning_rate
from tsgc.tracking.metrics_log import Recorder
from tsgc.tracking.run_facts import run_facts, score_figures
from tsgc.tracking.trackers import open_trackers
from tsgc.training.fine_tune import fine_tune
from tsgc.training.progress import RunProgress
from tsgc.training.restart import announce_stop, how_to_go_on, save_and_stop, was_restarted
from tsgc.training.run import Training, build_training, settle_kernels, summary
from tsgc.training.run_folder import open_folder, record_changes
from tsgc.training.save_restore import restore, save, save_checkpoint
from tsgc.training.settle_precision import settle_precision
from tsgc.workspace import runs
from tsgc.workspace.at_work import at_work


def train_stream(
    config: TrainConfig,
    benchmark: str,
    shards: Path | str,
    folder: Path,
    process: Process,
    talker: console.Talker,
    *,
    resume: bool = False,
    overwrite: bool = False,
    init: Path | None = None,
    loader_options: LoaderOptions | None = None,
    recipe_epochs: int | None = None,
    log: Sequence[str] | None = None,
    report: Callable[[Path], Path] | None = None,
    again: str = "",
) -> dict[str, Scores]:
    """Train one stream on the shards of a benchmark and score it on the test split.

    `shards`: their folder or URL; `loader_options`: how they are read, the same on every rank;
    `recipe_epochs`: those of the recipe, which a run that only tries something out has fewer of. Writes the
    run to `folder`. `log`: trackers by name (default: those that a resumed run had, or TensorBoard); `report`
    writes a folder's report, for trackers that take one; `again`: the command that resumes the run. Returns
    the test scores of each checkpoint, `last` first. The first Ctrl-C (or SIGTERM, SIGHUP) saves and raises
    PreemptedError, a second one Interrupted.
    """
    keep_memory(process.device)
    if was_restarted(process, folder):
        talker.note("started again by torchrun, as a rank was lost or a machine came or went")
        resume = True
    config = settle_precision(config, process, folder if resume else None)
    if costs := emulation_cost(config.arithmetic, process.device):
        talker.warn(costs)
    with talker.doing("opening the shards, building the network"):
        run = build_training(config, benchmark, shards, folder, process, loader_options)
    run.again = again or run.again
    check_shared(process, folder)
    if init is not None and not resume:
        run.init = fine_tune(run.model, run.manifest, init, config.holdout, config.modality)
        talker.note(run.init)
        run.ema.set(run.model)
    run.recipe_epochs = recipe_epochs
    if process.main:
        open_folder(run, resume=resume, overwrite=overwrite)
    process.barrier()
    if resume:
        changes = restore(run)
        more = f", {run.step} steps" if run.step else ""
        more += "; --set epochs=N trains on" if run.epoch == run.config.epochs else ""
        talker.note(f"resuming {folder} after epoch {run.epoch} of {config.epochs}{more}")
        for said in changes:
            talker.note(said)
        if process.main:
            record_changes(run, changes)
    talker.note(summary(run))
    if process.device.type == "cuda":
        talker.note(f"kernels: {settle_kernels(run)}")
    if process.main:
        facts = run_facts(folder, benchmark, run.config, run.epoch)
        run.trackers = open_trackers(log, facts, talker.warn, resume=resume)
    with at_work(folder, process.main), run.trackers:
        scores = train_and_score(run, talker)
        if report:
            run.trackers.attach_report(folder, report)
    return scores


def train_and_score(run: Training, talker: console.Talker) -> dict[str, Scores]:
    """The epochs that are left, and the scores of the last one's and the best one's weights."""
    with StopRequest(run.process, partial(announce_stop, talker), partial(how_to_go_on, run)) as stop:
        try:
            progress = RunProgress(run)
            run.train_step.after_part = progress.part
            with talker.watching(progress.look):
                train_epochs(run, talker, stop, progress)
        finally:
            run.feed.close()
            run.forward.clear()
            run.train_step.reset()  # frees its memory; graphs must be gone before the process group is
        run.process.barrier()  # rank 0 has saved
        return final_scores(run, talker, stop)


def train_epochs(run: Training, talker: console.Talker, stop: StopRequest, progress: RunProgress) -> None:
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
            figures = train_epoch(run, epoch, progress, stop)
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


def train_epoch(run: Training, epoch: int, progress: RunProgress, stop: StopRequest) -> dict[str, float]:
    """The rest of an epoch's steps; returns the epoch's figures.

    A loss that is not finite raises TsgcError; a request to stop saves the run and raises PreemptedError.
    """
    steps = run.loader.steps_per_epoch
    run.model.train()
    run.train_step.clear()
    loss = EpochLoss(run)
    start = time.perf_counter()
    progress.begin(epoch, run.step)
    for ready in run.feed.epoch(epoch, run.step):
        progress.ready(len(ready.parts))
        step = ready.step
        position = epoch * steps + step.step
        lr = learning_rate(position, steps, run.config)
        size = clips_read(run, step)
        if not run.train_step(ready.parts, lr=lr, size=size, position=position, stop=stop.within_step):
            if loss.unread:
                loss.read(epoch, step.step)
            run.step, run.loss_sum = step.step, loss.total
            save_and_stop(run)
        loss.clips += size
        run.missing += step.size - size
        done = step.step + 1
        last = done == steps
        look = last or done % run.config.log_every == 0
        stopping = stop.agreed(look) and not last
        if look or stopping:
            recent = loss.read(epoch, done)
            if run.recorder:
                run.recorder.write_step(position + 1, {"loss": recent, "lr": lr})
        progress.step(done, loss.glance())
        if stopping:
            run.step, run.loss_sum = done, loss.total
            save_and_stop(run)
    return epoch_figures(run, loss, lr, time.perf_counter() - start)


class EpochLoss:
    """The loss of an epoch so far, over all ranks and, in a resumed run, the steps before it was stopped."""

    def __init__(self, run: Training) -> None:
        self.run = run
        self.clips = 0
        """Clips since the epoch began, or was gone on with."""
        self.total = run.loss_sum
        """Summed loss of the epoch's clips, when it was last read."""
        self.mean = math.nan
        self._before = sum(run.loader.step_counts[: run.step]) - run.missing
        self._read_at = 0

    @property
    def unread(self) -> bool:
        """Whether there were clips since the last time."""
        return self.clips > self._read_at

    def read(self, epoch: int, done: int) -> float:
        """Update `total` and `mean`; the mean of the clips since the last time. TsgcError: it is not finite.

        Waits for the device, and for the other ranks.
        """
        run = self.run
        total = run.loss_sum + run.process.sum(run.train_step.loss_sum.clone()).item()
        self.mean = total / (self._before + self.clips)
        if not math.isfinite(self.mean):
            raise TsgcError(
                f"the loss is {self.mean} in epoch {epoch + 1}, by step {done}: training has diverged;"
                f" the last good checkpoint is kept in {run.folder / 'checkpoints'};"
                " try a lower lr or --set clip_grad=1"
            )
        scale = run.train_step.loss_scale
        if scale is not None and scale.vanished:
            raise TsgcError(
                f"gradients overflow float16 in epoch {epoch + 1}, by step {done}, at any scale: training has"
                f" diverged; the last good checkpoint is kept in {run.folder / 'checkpoints'};"
                " try a lower lr, or start with --set precision=float32"
            )
        recent = (total - self.total) / (self.clips - self._read_at)
        self.total, self._read_at = total, self.clips
        return recent

    def glance(self) -> float:
        """The mean so far where reading it waits for nobody, else when it was last read; NaN: not yet."""
        run, clips = self.run, self._before + self.clips
        if run.process.world > 1 or run.process.device.type != "cpu" or not clips:
            return self.mean
        return (run.loss_sum + run.train_step.loss_sum.item()) / clips


def epoch_figures(run: Training, loss: EpochLoss, lr: float, seconds: float) -> dict[str, float]:
    """What is recorded of an epoch that is over: its loss, its last learning rate, its speed."""
    figures: dict[str, float] = {
        "loss": loss.mean,
        "lr": lr,
        "clips_per_second": loss.clips / seconds,
        "seconds": seconds,
    }
    if run.loader_options.on_error == "skip":
        figures["skipped"] = run.missing
    if run.config.clip_grad is not None:
        figures["grad_norm"] = run.train_step.norm.item()
    if run.process.device.type == "cuda":
        figures["gpu_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return figures


def clips_read(run: Training, step: Step) -> int:
    """The number of clips of the global batch that could be read, over all ranks."""
    if run.loader_options.on_error == "raise":
        return step.size
    # Waits for the device and the other ranks in every step: the price of skipping.
    missing = torch.tensor(step.missing, device=run.process.device)
    return step.size - int(run.process.sum(missing).item())


def validate(run: Training, progress: RunProgress, stop: StopRequest) -> dict[str, float]:
    """Top-1 of raw and averaged weights on the validation clips; keeps the best checkpoints.

    Raises PreemptedError, with nothing changed, where it is broken off.
    """
    run.model.eval()
    models: Mapping[str, nn.Module] = run.weights
    with progress.evaluating():
        logits, read = predict_split(
            models, run.validation, run.pipeline, run.process, progress.evaluated,
            forward=run.forward, stop=stop,
        )  # fmt: skip
    figures: dict[str, float] = {}
    if not read.all():
        figures[f"{run.selected_on}_missing"] = int((~read).sum())
    for suffix, part in logits.items():
        top1 = accuracy(part[read], run.validation.clips.labels[read]).top1
        figures[f"{run.selected_on}_top1{suffix}"] = top1
        if top1 > run.best.get(suffix, -1.0):
            run.best[suffix] = top1
            if run.process.main:
                save_checkpoint(run, f"best{suffix}", models[suffix], run.selected_on)
    progress.accuracy(figures)
    return figures


def progress_line(run: Training, figures: Mapping[str, float]) -> str:
    """The line that is noted of an epoch now and then."""
    words = [f"epoch {run.epoch}/{run.config.epochs}", f"loss {figures['loss']:.3f}"]
    words += [f"{name.replace('_', ' ')} {value:.2f}" for name, value in figures.items() if "top1" in name]
    if missing := figures.get("test_missing", figures.get("holdout_missing")):
        words.append(f"{missing} clips of it missing")
    return ", ".join([*words, f"{figures['clips_per_second']:,.0f} clips/s"])


def final_scores(run: Training, talker: console.Talker, stop: StopRequest) -> dict[str, Scores]:
    """Score every checkpoint on the test split and on held-out clips; write the scores, print the table."""
    folder = run.folder / "checkpoints"
    names = [
        name
        for name in ("last", "last-ema", "best", "best-ema")
        if (folder / f"{name}.safetensors").is_file()
    ]
    paths = {name: folder / f"{name}.safetensors" for name in names}
    splits = ["test", "holdout"] if run.config.holdout else ["test"]
    results = {}
    for split in splits:
        try:
            with talker.counting(f"scoring {', '.join(names)}", "clips") as count:
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
    test = results["test"]
    stream = f"{run.config.modality} {run.config.variant}"
    title = f"{run.benchmark} {stream}, {run.manifest.preset} preset, test"
    talker.table(
        title, COLUMNS, [row for name, scores in test.items() for row in accuracy_rows(name, scores)]
    )
    for said in remarks(list(test.values())):
        talker.line(said)
    talker.line(f"run: {run.folder}")
    return test
