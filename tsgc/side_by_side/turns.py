"""Works that take turns on one device, each as if it were alone there.

On a GPU each has a stream of its own, so that the kernels of several overlap, and a state of its own of the
device's random numbers, which captured graphs read; everywhere it has its own of the host's. The numbers are
those of one work after another: a turn changes nothing that another work's turn reads.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch

Key = TypeVar("Key")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Over(Generic[Key, Result]):
    """A work that is over: what it returned, or the error that ended it."""

    key: Key
    result: Result | None = None
    error: Exception | None = None


class MayWait(Protocol):
    """What a work gives at a pause: whether its next turn would begin by waiting."""

    @property
    def ready(self) -> bool:
        """Whether it would not."""


Steps = Generator[MayWait, None, Result]


class Turns(Generic[Key, Result]):
    """Generators, by a key, that take turns: what one does between two pauses is its turn."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.taken = 0
        """Turns so far."""
        self._lanes: dict[Key, _Lane[Result]] = {}
        self._free: list[torch.cuda.Stream] = []  # of works that are over

    def __len__(self) -> int:
        return len(self._lanes)

    def start(self, key: Key, steps: Steps[Result]) -> None:
        """Let `steps` take part; its first turn comes in the next round."""
        stream = None
        if self.device.type == "cuda":  # no two works share one: torch hands 32 out again and again
            stream = self._free.pop() if self._free else torch.cuda.Stream(self.device)
        self._lanes[key] = _Lane(steps, stream)

    def round(self) -> Iterator[Over[Key, Result]]:
        """A turn of each work that is ready, or of the first in the line; gives those that are over.

        The last turn's is the last in the line, so that all come round however few are ready.
        """
        ready = [key for key, lane in self._lanes.items() if lane.ready]
        for key in ready or list(self._lanes)[:1]:
            lane = self._lanes[key] = self._lanes.pop(key)
            self.taken += 1
            over: Over[Key, Result]
            try:
                with lane.turn():
                    lane.waits = next(lane.steps)
                continue
            except StopIteration as ended:
                over = Over(key, ended.value)
            except Exception as error:
                over = Over(key, error=error)
            del self._lanes[key]
            if lane.stream is not None:
                self._free.append(lane.stream)
            yield over

    def close(self) -> None:
        """Close the works that are left, each on its own stream."""
        for lane in self._lanes.values():
            with lane.turn():
                lane.steps.close()
        self._lanes.clear()


class _Lane(Generic[Result]):
    """One work: its steps, its stream, and its random numbers."""

    def __init__(self, steps: Steps[Result], stream: torch.cuda.Stream | None) -> None:
        self.steps = steps
        self.waits: MayWait | None = None
        self._host = torch.get_rng_state()
        self.stream = stream
        if stream is not None:
            torch.cuda.init()
            self._generator = torch.cuda.default_generators[stream.device_index]
            self._random = self._generator.clone_state()

    @property
    def ready(self) -> bool:
        """Whether its next turn can begin at once."""
        return self.waits is None or self.waits.ready

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A context in which its stream and its random numbers are the current ones."""
        outer = torch.get_rng_state()
        torch.set_rng_state(self._host)
        try:
            if self.stream is None:
                yield
            else:
                # Not a copy: graphs that are captured in a turn go on reading this very state.
                before = self._generator.graphsafe_get_state()
                self._generator.graphsafe_set_state(self._random)
                try:
                    with torch.cuda.stream(self.stream):
                        yield
                finally:
                    self._random = self._generator.graphsafe_get_state()  # a failed capture has renewed it
                    self._generator.graphsafe_set_state(before)
        finally:
            self._host = torch.get_rng_state()
            torch.set_rng_state(outer)
