"""Stopping on request: Ctrl-C, a terminal that closes, a cluster that takes a machine back with SIGTERM."""

import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType

import torch

from pipelines.errors import TsgcError
from pipelines.interrupts import (
    SIGNALS,
    Interrupted,
    announcing,
    at_once,
    catchable,
    is_ending,
    leave_terminal,
)
from tsgc.distributed.process import Process

HOLD_EVERY = 0.1  # seconds


class PreemptedError(TsgcError):
    """The run was asked to stop and has saved itself; `--resume` goes on at that step."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, run it again


class StopRequest:
    """A context that records the first of SIGNALS, so that training can break its step off and save.

    A second Ctrl-C raises `Interrupted`, with what `how_to_go_on` says. `say` is called at once at the first,
    from a thread, where a command runs.

    Triton's compiler takes SIGNALS for itself, unasked (LLVM's `RegisterHandlers`). Its handler passes a
    signal on, but is gone while it does, so that two at once, which is how `timeout` and clusters send
    SIGTERM, end the process. So wherever training asks whether to stop, the signals are taken again.
    """

    def __init__(
        self,
        process: Process,
        say: Callable[[], None] = lambda: None,
        how_to_go_on: Callable[[], str] = lambda: "",
    ) -> None:
        self.process = process
        self.how_to_go_on = how_to_go_on
        self._first, self._since = 0, 0.0
        self._held = 0.0
        self._announcing = announcing(say, how_to_go_on)

    def __enter__(self) -> "StopRequest":
        self._announcing.__enter__()
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS if catchable(number)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._first:  # a further signal must not become the reason why it ends
            is_ending(self._first, self._since)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._announcing.__exit__(None, None, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        leave_terminal()
        if not self._first:
            self._first, self._since = number, time.monotonic()
        elif at_once(number, self._first, self._since):
            raise Interrupted(f"stopped at once; {self.how_to_go_on()}", number)

    def _hold(self) -> None:
        if (now := time.monotonic()) - self._held > HOLD_EVERY:
            self._held = now
            for number in self._before:
                signal.signal(number, self._note)

    @property
    def requested(self) -> bool:
        """Whether this process was asked to stop."""
        self._hold()
        return bool(self._first)

    def agreed(self, look: bool) -> bool:
        """Whether all ranks stop here. Ranks ask each other, and wait for each other, only with `look`."""
        requested = self.requested
        if self.process.world == 1:
            return requested
        if not look:
            return False
        return bool(self.process.sum(torch.tensor(float(requested), device=self.process.device)))

    @property
    def within_step(self) -> Callable[[], bool] | None:
        """What a step asks between its micro-batches; None: it is not broken off.

        On CPUs, where a step may take minutes, ranks ask each other each time. On several GPUs the host would
        wait for the device in every micro-batch, and a step takes seconds.
        """
        if self.process.world > 1 and self.process.device.type == "cuda":
            return None
        return lambda: self.agreed(look=True)
