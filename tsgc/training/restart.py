"""Stopping and going on: a run that is asked to stop, and ranks that torchrun starts again."""

from pathlib import Path
from typing import NoReturn

import orjson

from tsgc.console import Talker
from tsgc.distributed.preemption import PreemptedError
from tsgc.distributed.process import Process
from tsgc.training.run import Training
from tsgc.training.save_restore import save
from tsgc.training.snapshots import state_path


def save_and_stop(run: Training) -> NoReturn:
    """Ends a run that was asked to stop; raises PreemptedError."""
    if run.process.main:
        save(run)
    run.process.barrier()
    raise PreemptedError(
        f"asked to stop: saved after epoch {run.epoch} and {run.step} steps in {run.folder};"
        f" {run.again} goes on there"
    )


def announce_stop(talker: Talker) -> None:
    """Said at the first Ctrl-C, which takes effect at the end of a micro-batch."""
    if not talker.quiet:
        talker.warn("stopping: saving at this step; Ctrl-C again stops at once")


def how_to_go_on(run: Training) -> str:
    """Said after the second Ctrl-C."""
    if state_path(run.folder).exists():
        return f"{run.again} goes on from the last checkpoint in {run.folder}"
    return "there is no checkpoint yet, so the same command starts again"


def was_restarted(process: Process, folder: Path) -> bool:
    """True on all ranks where they were started again, and the run that they began has left a state.

    A run that another command began needs `--resume`, however often torchrun starts this one. So the run's
    environment.json names the launchers that began it, one a machine, and one of them has to be among the
    present ones; others may be replacements.
    """
    there = process.main and state_path(folder).exists()
    same = there and bool(_launchers(folder) & {name for name in process.launchers if name})
    return process.gather("again" if same else "")[0] == "again"


def _launchers(folder: Path) -> set[str]:
    """The launchers that began the run, from its environment.json."""
    try:
        facts = orjson.loads((folder / "environment.json").read_bytes())
        return set(facts.get("launchers", []))
    except (OSError, orjson.JSONDecodeError):
        return set()
