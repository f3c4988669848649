"""One epoch of a run: its steps and their loss, and the validation after it."""

import math
import time
from collections.abc import Generator, Mapping

import torch
from torch import nn

from pipelines.errors import TsgcError
from shards.batch import Step
from tsgc.distributed.preemption import StopRequest
from tsgc.evaluation.predict_split import predict_split
from tsgc.evaluation.scores import accuracy
from tsgc.network.own.wrapped import Wrapped
from tsgc.networks import NETWORKS
from tsgc.step.optimizer import learning_rate
from tsgc.training.feed import Feed
from tsgc.training.progress import RunProgress
from tsgc.training.restart import save_and_stop
from tsgc.training.run import Training
from tsgc.training.save_restore import save_checkpoint
from tsgc.training.snapshots import state_path


def train_epoch(
    run: Training, epoch: int, progress: RunProgress, stop: StopRequest
) -> Generator[Feed, None, dict[str, float]]:
    """The rest of an epoch's steps, with a pause after each; returns the epoch's figures.

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
        yield run.feed
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
                f" {_kept(run)}; try a lower lr{'' if run.config.clip_grad else ' or --set clip_grad=1'}"
                f"{_of_zeros(run, epoch)}"
            )
        scale = run.train_step.loss_scale
        if scale is not None and scale.vanished:
            raise TsgcError(
                f"gradients overflow float16 in epoch {epoch + 1}, by step {done}, at any scale: training has"
                f" diverged; {_kept(run)}; try a lower lr, or start with --set precision=float32"
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


def _kept(run: Training) -> str:
    """Where the weights of before are."""
    if state_path(run.folder).exists():
        return f"the last good checkpoint is kept in {run.folder / 'checkpoints'}"
    return "no checkpoint was saved before"


def _of_zeros(run: Training, epoch: int) -> str:
    """What to look for where one's own network was never finite: clips have zeros, the trial has none."""
    if epoch or not isinstance(run.model, Wrapped) or run.config.network in NETWORKS:
        return ""
    return (
        f"; if it is so from the first step on, network {run.model.source} may divide by 0: joints that were"
        " not seen, centres and absent bodies are 0"
    )


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
