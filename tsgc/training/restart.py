"""Going on by itself: ranks that torchrun starts again resume what it had them begin."""

from pathlib import Path

import orjson

from tsgc.distributed.process import Process
from tsgc.training.snapshots import state_path


def goes_on(process: Process, folder: Path) -> bool:
    """Whether these ranks were started again, and what they began has left a state; alike on all ranks.

    A run that another command began is no such case, however often torchrun starts this one: that needs
    `--resume`. So the run's environment.json names the launchers that began it, one a machine, and one of
    them has to be among those of now; others may be replacements.
    """
    there = process.main and state_path(folder).exists()
    same = there and bool(_launchers(folder) & {name for name in process.launchers if name})
    return process.gather("again" if same else "")[0] == "again"


def _launchers(folder: Path) -> set[str]:
    """Who began the run, as its environment.json says."""
    try:
        facts = orjson.loads((folder / "environment.json").read_bytes())
        return set(facts.get("launchers", []))
    except (OSError, orjson.JSONDecodeError):
        return set()
