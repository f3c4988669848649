"""The end of a run that was asked to stop: what is saved, and what people are told."""

from typing import NoReturn

from tsgc.console import Talker
from tsgc.distributed.preemption import PreemptedError
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
