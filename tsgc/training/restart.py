"""Ranks that torchrun starts again: they resume what it had them begin."""

from pathlib import Path

import orjson

from tsgc.distributed.process import Process
from tsgc.training.snapshots import state_path


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
