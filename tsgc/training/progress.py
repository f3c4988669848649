"""How far a training is, for those who watch it; nothing here waits for the device."""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate

import torch

from tsgc.live import Pace, Shown, clock, rate_text
from tsgc.training.run import Training

FORWARD = 1 / 3  # of a training step's time, for one network; used until an evaluation was timed
LONG = 3  # seconds; a step that takes longer says so


class RunProgress:
    """The step, the rate and the time left; `look` is for `Talker.watching`.

    The loop says when an epoch begins (`begin`), when a step's input is there (`ready`), when a micro-batch
    and a step are over on the host (`part`, `step`), and when it evaluates instead (`evaluating`).
    """

    def __init__(self, run: Training) -> None:
        self.run = run
        self.pace = Pace()
        self.clips_before = [0, *accumulate(run.loader.step_counts)]
        """Clips of an epoch before each of its steps, and all of them."""
        self.epoch, self.steps = run.epoch, run.step
        """Epochs that are over, and steps of the next."""
        self.parts, self.part_count = 0, 1
        """Micro-batches of the step at hand that are over, and all of them, on this rank."""
        self.said: str | None = "starting"
        """What is done instead of a step."""
        self.share: float | None = None
        """How far that is; None: nobody knows."""
        self.since = time.monotonic()
        """When that, or the step at hand, began."""
        self.first = True
        """Whether no step is over yet."""
        self.loss = math.nan
        self.top1 = accuracy_words(f"best {run.selected_on}", run.best)
        self.evaluation: float | None = None
        """Seconds that the last evaluation took."""

    def begin(self, epoch: int, step: int) -> None:
        """An epoch begins, or goes on, at this step."""
        self.epoch, self.steps, self.parts = epoch, step, 0
        self.pace.rest()
        self._say("reading the first clips")

    def ready(self, parts: int) -> None:
        """The input of the next step is there, in so many micro-batches."""
        self.part_count = max(1, parts)
        self._say(None)
        if self.pace.resting:
            self.pace.reached(self.clips)

    def part(self) -> None:
        """A micro-batch is over."""
        self.parts = min(self.parts + 1, self.part_count)
        self.pace.reached(self.clips)

    def step(self, done: int, loss: float) -> None:
        """So many of the epoch's steps are over; `loss` is the newest that is known, or NaN."""
        self.steps, self.parts = done, 0
        self.pace.reached(self.clips)
        if self.first:  # it may have compiled and captured: those to come are faster
            self.pace.rest()
            self.pace.reached(self.clips)
            self.first = False
        if not math.isnan(loss):
            self.loss = loss
        self.since = time.monotonic()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """A context in which the validation clips are evaluated."""
        self.pace.rest()
        self._say("evaluating")
        yield
        self.evaluation = time.monotonic() - self.since
        self._say("saving")

    def evaluated(self, done: int, total: int) -> None:
        """So many of the validation clips are evaluated."""
        self.share = done / total

    def accuracy(self, figures: Mapping[str, float]) -> None:
        """What an evaluation has found: its figures as they are recorded."""
        name = self.run.selected_on
        found = {key.partition("_top1")[2]: value for key, value in figures.items() if "_top1" in key}
        self.top1 = accuracy_words(name, found)

    def _say(self, said: str | None) -> None:
        self.said, self.share, self.since = said, None, time.monotonic()

    @property
    def clips(self) -> float:
        """Clips since the run began; those of a step that is under way by its micro-batches."""
        before = self.clips_before
        step = min(self.steps, len(before) - 2)
        part = self.parts / self.part_count * (before[step + 1] - before[step]) if self.parts else 0.0
        return self.epoch * before[-1] + before[self.steps] + part

    def left(self) -> tuple[float, float] | None:
        """Seconds left of the epoch's steps and of the whole run; None: nobody knows yet."""
        rate, run = self.pace.rate, self.run
        if not rate:
            return None
        config, of_epoch = run.config, self.clips_before[-1]
        epoch = (self.epoch + 1) * of_epoch - self.clips
        whole = config.epochs * of_epoch - self.clips
        evaluation = self.evaluation or 2 * FORWARD * len(run.validation.clips) / rate
        every = config.eval_every
        evaluations: float = -(-config.epochs // every) - self.epoch // every if every else 0
        if self.said == "evaluating":
            evaluations -= self.share or 0.0
        final = 2 if every else 1  # the end scores `best` and `last`, each of two networks
        return epoch / rate, whole / rate + (evaluations + final) * evaluation

    def look(self) -> Shown:
        """What there is to see now."""
        config, steps = self.run.config, len(self.clips_before) - 1
        rate, left, past = self.pace.rate, self.left(), time.monotonic() - self.since
        share: float | None = self.clips / self.clips_before[-1] - self.epoch
        words = [f"step {self.steps}/{steps}"]
        if self.said:
            share = self.share
            words = [f"{self.said} {clock(past)}" if past >= LONG else self.said]
        elif self.part_count > 1:
            words[0] += f", part {self.parts}/{self.part_count}"
        if left:
            words.append(f"left: epoch {clock(left[0])}, run {clock(left[1])}")
        more = [f"{rate_text(rate)} clips/s"] if rate else []
        if not self.said and past >= LONG:
            compiles = self.first and (config.compile or self.run.process.device.type == "cuda")
            more.append(f"this step {clock(past)}{', it compiles' if compiles else ''}")
        if not math.isnan(self.loss):
            more.append(f"loss {self.loss:.3f}")
        more += [self.top1] if self.top1 else []
        more.append(f"memory {peak_memory(self.run.process.device) / 1e9:.1f} GB")
        return Shown(f"epoch {self.epoch + 1}/{config.epochs}", share, words, more)


def accuracy_words(name: str, top1: Mapping[str, float]) -> str:
    """Top-1 of raw (``) and averaged (`-ema`) weights in words; empty where there is none yet."""
    if not top1:
        return ""
    figures = [f"{top1[suffix]:.2f}{said}" for suffix, said in (("", ""), ("-ema", " ema")) if suffix in top1]
    return f"{name} top-1 {', '.join(figures)}"


def peak_memory(device: torch.device) -> float:
    """The most bytes that this process has had on a GPU, or in memory where it trains on the CPU."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return math.nan
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1.0 if sys.platform == "darwin" else 1024.0)  # macOS counts bytes, Linux kilobytes
