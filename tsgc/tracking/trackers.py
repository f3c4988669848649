"""All trackers of a run: fed by a thread each, left out where they fail, gone on with on resume.

A training never waits for a tracker, and never ends because of one.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import orjson

from pipelines.errors import TsgcError
from pipelines.files import write_atomic
from tsgc.distributed.preemption import PreemptedError
from tsgc.tracking.table import DEFAULT, TRACKERS, check_installed, start
from tsgc.tracking.tracker import Ending, RunFacts, Tracker

FILE = "trackers.json"
"""In the run's folder: tracker -> what it knows the run by."""
PATIENCE = {"finished": 120.0, "failed": 20.0, "stopped": 10.0}
"""Seconds that the end of a run waits for its trackers; whoever stops it has a few seconds' notice."""
STOPS = (PreemptedError, KeyboardInterrupt, GeneratorExit)
"""What ends a run that was asked to stop; the last, where it is one of several in a process."""

Warn = Callable[[str], None]
Call = Callable[[Tracker], None]


class Feeder:
    """One tracker and the thread that calls it."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self.name = name
        self.failure: Exception | None = None
        self.told = False
        self._calls: SimpleQueue[tuple[Call, bool] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, args=[tracker], daemon=True)
        self._thread.start()

    def call(self, what: Call) -> None:
        """Calls the tracker later, in order, unless it has failed by then."""
        self._calls.put((what, False))

    def _work(self, tracker: Tracker) -> None:
        while (call := self._calls.get()) is not None:
            what, even_failed = call
            if self.failure is None or even_failed:
                try:
                    what(tracker)
                except Exception as error:
                    self.failure = self.failure or error

    def finish(self, ending: Ending) -> None:
        """Ends the run in the tracker, also where it has failed, and then the thread."""
        self._calls.put((lambda tracker: tracker.finish(ending), True))
        self._calls.put(None)

    def wait(self, until: float) -> bool:
        """Whether every call is over, at the latest at the time `until` of time.monotonic."""
        self._thread.join(max(0.0, until - time.monotonic()))
        return not self._thread.is_alive()


class Trackers:
    """A run's trackers. As a context it tells them how the run ended.

    `warn` is told once of each tracker that fails; it gets no more calls.
    """

    def __init__(self, trackers: Mapping[str, Tracker] | None = None, warn: Warn = print) -> None:
        self.warn = warn
        self.feeders = [Feeder(name, tracker) for name, tracker in (trackers or {}).items()]

    def log_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        self._each(lambda tracker: tracker.log_epoch(epoch, figures))

    def log_step(self, step: int, figures: Mapping[str, float]) -> None:
        self._each(lambda tracker: tracker.log_step(step, figures))

    def log_scores(self, figures: Mapping[str, float]) -> None:
        self._each(lambda tracker: tracker.log_scores(figures))

    def attach_report(self, folder: Path, write: Callable[[Path], Path]) -> None:
        """Write the run's report and give it to them, where any of them takes one."""
        if not any(TRACKERS[feeder.name].takes_report and not feeder.failure for feeder in self.feeders):
            return
        try:
            path = write(folder)
        except Exception as error:  # the run itself is over, and good
            self.warn(f"{folder}: no report for its trackers: {_one_line(error)}")
        else:
            self._each(lambda tracker: tracker.log_report(path))

    def _each(self, what: Call) -> None:
        for feeder in self.feeders:
            feeder.call(what)
        self._tell()

    def _tell(self) -> None:
        """Warn of failures that were not told yet: here, as progress is drawn in this thread."""
        for feeder in self.feeders:
            if feeder.failure is not None and not feeder.told:
                feeder.told = True
                self.warn(f"{feeder.name}: {_one_line(feeder.failure)}; the run goes on without it")

    def finish(self, ending: Ending) -> None:
        """End the run in every tracker, and wait as long as PATIENCE says."""
        until = time.monotonic() + PATIENCE[ending]
        for feeder in self.feeders:
            feeder.finish(ending)
        for feeder in self.feeders:
            if not feeder.wait(until):
                self.warn(f"{feeder.name}: left while busy; it lacks the last figures")
        self._tell()

    def __enter__(self) -> "Trackers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish("finished")
        else:
            self.finish("stopped" if isinstance(error, STOPS) else "failed")


def open_trackers(names: Iterable[str] | None, facts: RunFacts, warn: Warn, *, resume: bool) -> Trackers:
    """The run's trackers, started; resumed, each goes on with the run that it had.

    `names` None: those that the run had, or TensorBoard. Raises TsgcError for a tracker that cannot start;
    a resumed run warns and goes on without.
    """
    before = _read(facts.folder / FILE) if resume else None
    chosen = tuple(names) if names is not None else tuple(DEFAULT if before is None else before)
    started: dict[str, Tracker] = {}
    for name in chosen:
        check_installed(name)
        try:
            started[name] = start(name, facts, (before or {}).get(name))
        except Exception as error:  # of its library: any
            if not resume:
                Trackers(started, warn).finish("failed")
                raise TsgcError(f"--log {name}: {_one_line(error)}") from None
            warn(f"{name}: {_one_line(error)}; the run goes on without it")
    known = {**(before or {}), **{name: tracker.id for name, tracker in started.items()}}
    write_atomic(facts.folder / FILE, orjson.dumps({name: known.get(name, "") for name in chosen}))
    return Trackers(started, warn)


def _read(path: Path) -> dict[str, str] | None:
    """The trackers that a run had; None where it says nothing of them."""
    try:
        found: Any = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    if not isinstance(found, dict):
        return None
    return {name: str(run) for name, run in found.items() if name in TRACKERS}


def _one_line(error: Exception) -> str:
    words = " ".join(str(error).split())
    return f"{words[:300]}" if words else type(error).__name__
