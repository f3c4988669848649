"""Trackio: a database on this machine, or where TRACKIO_SPACE_ID or TRACKIO_SERVER_URL say."""

import contextlib
import contextvars
import io
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from tsgc.distributed.environment import QUIET
from tsgc.tracking.tracker import Ending, RunFacts, with_prefix


def start(facts: RunFacts, run_id: str | None) -> "Trackio":
    """Start a run, or go on with one: Trackio finds it by its name, so that each has one of its own."""
    import trackio

    name = run_id or f"{facts.name} {secrets.token_hex(2)}"
    with contextlib.redirect_stdout(_aside()):
        # In a context of its own, or it would end the run again, aloud, when the process exits.
        run = contextvars.copy_context().run(
            trackio.init,
            project=os.environ.get("TRACKIO_PROJECT", facts.project),
            name=name,
            group=facts.stream,
            config=dict(facts.settings),
            resume="must" if run_id else "never",
            embed=False,
        )
    return Trackio(run, name, facts.epoch)


class Trackio:
    """A Trackio run."""

    def __init__(self, run: Any, name: str, epoch: int) -> None:
        self.run = run
        self.id = name
        self.epoch = epoch

    def log_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        self.epoch = epoch
        self.run.log(dict(figures), step=epoch)

    def log_step(self, step: int, figures: Mapping[str, float]) -> None:
        self.run.log(with_prefix("step", figures), step=step)

    def log_scores(self, figures: Mapping[str, float]) -> None:
        self.run.log(with_prefix("scores", figures), step=self.epoch)

    def log_report(self, path: Path) -> None:
        self.run.log_artifact(path, name=f"report-{self.id.replace(' ', '-')}", type="report")

    def finish(self, ending: Ending) -> None:
        with contextlib.redirect_stdout(_aside()):
            self.run.finish()


def _aside() -> TextIO:
    """Where its remarks go: standard output is for results."""
    return io.StringIO() if os.environ.get(QUIET) else sys.stderr
