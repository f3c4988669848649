"""Waiting for what another thread or process is to do: for a condition, not for a time."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest


def wait_until(found: Callable[[], object], seconds: float = 300) -> None:
    """Wait until `found()` is true; the test fails after `seconds`, which no busy machine takes."""
    until = time.monotonic() + seconds
    while not found():
        if time.monotonic() > until:
            pytest.fail(f"waited {seconds} s in vain")
        time.sleep(0.005)


def group_is_gone(group: int) -> bool:
    """Whether no process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def let_file_times_pass(folder: Path) -> None:
    """Wait until a file that is written has a later time than those before: some clocks are coarse."""
    clock = folder / "clock"
    clock.touch()
    before = clock.stat().st_mtime_ns

    def later() -> bool:
        clock.touch()
        return clock.stat().st_mtime_ns > before

    wait_until(later)
    clock.unlink()
