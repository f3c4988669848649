"""Stopping on request: a cluster takes a machine back with SIGTERM and a few seconds' notice."""

import signal
from types import FrameType, TracebackType

import torch

from pipelines.errors import TsgcError
from tsgc.distributed.process import Process


class PreemptedError(TsgcError):
    """The run was asked to stop and has saved itself; `--resume` goes on at that step."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, run it again


class StopRequest:
    """A context that records SIGTERM, so that the training loop can finish its step and save."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.requested = False

    def __enter__(self) -> "StopRequest":
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def agreed(self, look: bool) -> bool:
        """Whether all ranks stop here. Ranks ask each other, and wait for each other, only with `look`."""
        if self.process.world == 1:
            return self.requested
        if not look:
            return False
        return bool(self.process.sum(torch.tensor(float(self.requested), device=self.process.device)))
