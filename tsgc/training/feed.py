"""The network's input, ready before it is needed.

On a GPU a thread of its own draws the random numbers of the next steps, copies their clips from pinned
memory and transforms them, on a stream of its own, while the steps before them run. On CPUs the same happens
in turn. The numbers are the same: all draws are keyed by position.
"""

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from pipelines.errors import TsgcError
from shards.batch import PackedBatch, Step
from shards.loader import TrainLoader
from tsgc.input.mixing import lam_map_from_parts, partner_parts
from tsgc.input.packed_rows import to_device
from tsgc.input.pipeline import InputPipeline
from tsgc.input.random_numbers import Draws
from tsgc.step.join_steps import cut_apart, join_draws, join_parts
from tsgc.step.micro_batch import MicroBatch

AHEAD = 4  # steps made ready before they are due
TOGETHER = 16  # steps whose input is made as one batch, where they are small (benchmarks/kernels.md)
NUMBERS = 2**21  # coordinates of such a batch's input at most (8 MB); larger steps hide their launches
IN_FLIGHT = 2  # steps that the device may be behind; more would only fill its memory with their input
SWITCH = 2e-4  # seconds; Python's own 5 ms, after which a thread gives way, are longer than a small step

Item = TypeVar("Item")


@dataclass(frozen=True)
class ReadyStep:
    """One rank's share of a global batch, on the device."""

    step: Step
    parts: Sequence[MicroBatch]
    made: torch.cuda.Event | None = None
    """Recorded when the parts are whole, where another stream makes them."""


class MadeOnDemand(Sequence[MicroBatch]):
    """Micro-batches, each made by `make` when it is asked for: one of a large step is in memory at a time.

    So a step of minutes is asked to stop between them, too (`TrainStep`).
    """

    def __init__(self, make: Callable[[PackedBatch], MicroBatch], parts: Sequence[PackedBatch]) -> None:
        self._make, self._parts = make, parts

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, index: int) -> MicroBatch: ...

    @overload
    def __getitem__(self, index: slice) -> list[MicroBatch]: ...

    def __getitem__(self, index: int | slice) -> MicroBatch | list[MicroBatch]:
        if isinstance(index, slice):
            return list(map(self._make, self._parts[index]))
        return self._make(self._parts[index])


class DropsPaths(Protocol):
    """What the input must know of a network."""

    drop_path_rates: Tensor
    """Drop path's rate of each block; (0,) where the network draws its own random numbers."""


class Feed:
    """Makes this rank's steps ready: `epoch` gives an epoch's in order.

    `others`: further modalities of the same clips that the step is given (`MicroBatch.others`), for teachers.
    On a GPU the first steps of the next epoch are made at the end of one. The steps that are taken are
    expected to run on the stream that is current where `epoch` is iterated.
    """

    def __init__(
        self,
        loader: TrainLoader,
        pipeline: InputPipeline,
        model: DropsPaths,
        device: torch.device,
        others: Sequence[str] = (),
    ) -> None:
        self.loader, self.pipeline, self.model, self.device = loader, pipeline, model, device
        self.modalities = (pipeline.config.modality, *others)
        self._steps: Generator[ReadyStep] | None = None
        self._due = (0, 0)
        self._made: deque[Future[ReadyStep | None]] = deque()
        self._running: deque[torch.cuda.Event] = deque()

    def epoch(self, epoch: int, start_step: int = 0, stride: int = 1) -> Iterator[ReadyStep]:
        """The steps of an epoch from `start_step` on; raises as `TrainLoader.epoch` does, when one is due.

        `stride`: as there, on CPUs alone.
        """
        if self.device.type != "cuda":
            for read in self.loader.epoch(epoch, start_step, stride):
                make = partial(self.micro_batch, draws=self.draw(epoch, read))
                yield ReadyStep(read, MadeOnDemand(make, read.parts))
            return
        if self._steps is None or self._due != (epoch, start_step):
            self.close()
            self._steps = self._ahead(epoch, start_step)
        for step in range(start_step, self.loader.steps_per_epoch):
            self._due = (epoch, step + 1)
            yield next(self._steps)
        self._due = (epoch + 1, 0)

    @property
    def ready(self) -> bool:
        """Whether the next step can be taken now: it is made, and the device is not too far behind."""
        if self._steps is None:
            return True
        made = not self._made or self._made[0].done()
        return made and (len(self._running) < IN_FLIGHT or self._running[0].query())

    def close(self) -> None:
        """Stop the thread that makes steps ahead."""
        if self._steps is not None:
            self._steps.close()
            self._steps = None

    def _in_turn(self, epoch: int, start_step: int) -> Generator[ReadyStep]:
        for steps in group_steps(self.loader.epoch(epoch, start_step), TOGETHER, self.numbers, NUMBERS):
            yield from self.make(epoch, steps)

    def numbers(self, step: Step) -> int:
        """Coordinates of the input of this rank's share of a step."""
        config, pipeline = self.pipeline.config, self.pipeline
        joints = pipeline.skeleton.num_joints * len(pipeline.channels)
        return sum(map(len, step.parts)) * config.frames * pipeline.bodies * joints

    def make(self, epoch: int, steps: Sequence[Step]) -> list[ReadyStep]:
        """The input of steps; of several it is made as one batch, and is the same."""
        draws = [self.draw(epoch, step) for step in steps]
        if len(steps) == 1:
            return [ReadyStep(steps[0], [self.micro_batch(part, draws[0]) for part in steps[0].parts])]
        whole = self.micro_batch(join_parts(steps, self.device), join_draws(draws))
        return list(map(ReadyStep, steps, cut_apart(whole, steps, self.pipeline.bodies)))

    def draw(self, epoch: int, step: Step) -> Draws:
        """The random numbers of a whole step."""
        return self.pipeline.draw(epoch, step.step, step.size, len(self.model.drop_path_rates))

    @torch.no_grad()
    def micro_batch(self, part: PackedBatch, draws: Draws) -> MicroBatch:
        """A packed micro-batch, augmented by its part of the global batch's random numbers."""
        (x, *others), presence = self.pipeline.train_streams(part, draws, self.device, self.modalities)
        arrays = self.arrays(part, draws)
        labels, partner, lam, survival, *parts = to_device(arrays, self.device)
        return MicroBatch(
            x=x,
            labels=labels,
            partner=partner,
            lam=lam,
            survival=survival,
            presence=presence,
            lam_map=lam_map_from_parts(*parts) if parts else None,
            others=torch.cat(others, 1) if others else None,
            alive=arrays[3] > 0,
        )

    def arrays(self, part: PackedBatch, draws: Draws) -> list[np.ndarray]:
        """Labels, partners, lambdas, drop path and the parts that are cut, of a micro-batch."""
        here = part.positions.numpy()
        cut = (draws.mixup_lam, draws.cut_frames, draws.cut_joints)
        return [
            part.labels.numpy(),
            part.partner.numpy(),
            draws.lam[here],
            survival_factors(draws.survival[here], self._drop_path_rates),
            *(partner_parts(*(array[here] for array in cut)) if draws.mixup_lam.size else ()),
        ]

    @cached_property
    def _drop_path_rates(self) -> np.ndarray:
        return self.model.drop_path_rates.cpu().numpy()

    def _ahead(self, epoch: int, start_step: int) -> Generator[ReadyStep]:
        """The steps from there to the last epoch's end, made by a thread on a stream of its own."""
        current = torch.cuda.current_stream(self.device)
        # torch hands the same 32 streams of a priority out again: of this one, none is captured meanwhile.
        stream = torch.cuda.Stream(self.device, priority=-1)
        stream.wait_stream(current)
        self._running = running = deque[torch.cuda.Event]()
        self._made = deque()
        steps = read_ahead(self._made_on(stream, epoch, start_step), AHEAD, self._made)
        try:
            with quick_switching():
                for ready in steps:
                    assert ready.made is not None
                    current.wait_event(ready.made)
                    for tensor in (tensor for part in ready.parts for tensor in part.tensors.values()):
                        tensor.record_stream(current)  # its memory is not used again before the step is over
                    yield ready
                    running.append(torch.cuda.Event(blocking=True))
                    running[-1].record(current)
                    if len(running) > IN_FLIGHT:
                        running.popleft().synchronize()  # of a step well past: the device has more to do
        finally:
            steps.close()

    def _made_on(self, stream: torch.cuda.Stream, epoch: int, start_step: int) -> Generator[ReadyStep]:
        steps = self._made_from(epoch, start_step)
        try:
            while True:
                torch.cuda.set_device(self.device)  # current devices and streams are a thread's own
                with torch.cuda.stream(stream):
                    ready = next(steps, None)
                    if ready is None:
                        return
                    made = stream.record_event()
                yield ReadyStep(ready.step, ready.parts, made)
        finally:
            steps.close()

    def _made_from(self, epoch: int, start_step: int) -> Generator[ReadyStep]:
        yield from self._in_turn(epoch, start_step)
        for later in range(epoch + 1, self.pipeline.config.epochs):
            yield from self._in_turn(later, 0)


def survival_factors(uniform: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Drop path's factors (blocks, N*M) float32, of uniform numbers (N, M, blocks).

    The host's twin of `TSGCNeXt.survival`.
    """
    rows = uniform.reshape(uniform.shape[0] * uniform.shape[1], len(rates))
    return ((rows >= rates) / (1 - rates)).T


def group_steps(
    steps: Iterator[Step], most: int, numbers: Callable[[Step], int], limit: int
) -> Generator[list[Step]]:
    """Steps in order, up to `most` at a time and of no more than `limit` numbers, or one.

    A group ends where the steps' own count says so, wherever the first one is: a resumed run's are the same.
    Where reading fails, the steps before it come first.
    """
    group: list[Step] = []
    total = 0
    try:
        for step in steps:
            size = max(1, numbers(step))
            if group and total + size > limit:  # steps may differ by a clip, and so in how many fit
                yield group
                group, total = [], 0
            group.append(step)
            total += size
            if (step.step + 1) % max(1, min(most, limit // size)) == 0 or len(group) == most:
                yield group
                group, total = [], 0
    except TsgcError:
        if group:
            yield group
        raise
    if group:
        yield group


_feeding, _interval = 0, 0.0


@contextmanager
def quick_switching() -> Iterator[None]:
    """A context in which threads give way after SWITCH; the last of several gives Python's interval back."""
    global _feeding, _interval
    if not _feeding:
        _interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
    _feeding += 1
    try:
        yield
    finally:
        _feeding -= 1
        if not _feeding:
            sys.setswitchinterval(_interval)


def read_ahead(
    items: Generator[Item], most: int, waiting: deque[Future[Item | None]] | None = None
) -> Generator[Item]:
    """Items in order, made by one thread, at most `most` of them waiting; an error is raised when due.

    `waiting`: where those are kept that are made, or being made.
    """
    waiting = deque() if waiting is None else waiting
    take: Callable[[], Item | None] = partial(next, items, None)
    with ThreadPoolExecutor(1, thread_name_prefix="feed") as pool:
        try:
            waiting.extend(pool.submit(take) for _ in range(most))
            while (item := waiting.popleft().result()) is not None:
                waiting.append(pool.submit(take))
                yield item
        finally:
            for future in waiting:
                future.cancel()
            pool.shutdown()  # the item in the making is over before its source is closed
            items.close()
