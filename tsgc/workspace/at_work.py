"""Whether a run is being trained, and the error that ended it: two files in its folder.

The lock is the system's (`flock`): it goes with the process that holds it, however that ends.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import first_line
from pipelines.files import write_atomic

LOCK = "running.lock"
ERROR = "error.txt"
STOPPED = 75  # the exit code of a run that was asked to stop and saved, which is no error


@contextmanager
def at_work(folder: Path, main: bool = True) -> Iterator[None]:
    """A context in which the run in `folder` counts as being trained; an error that ends it is written down.

    Of several ranks only the `main` one does so. Where the file system has no locks, nothing is held.
    """
    if not main:
        yield
        return
    (folder / ERROR).unlink(missing_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    held = _lock(descriptor)
    try:
        yield
    except Exception as error:
        if getattr(error, "exit_code", 1) != STOPPED:
            write_atomic(folder / ERROR, f"{first_line(error, most=1000)}\n".encode())
        raise
    finally:
        if held:
            (folder / LOCK).unlink(missing_ok=True)
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Take the lock; False where the file system has none, or another process holds it."""
    for _ in range(20):  # `is_running` holds it for a moment
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:
            break
    return False


def is_running(folder: Path) -> bool:
    """Whether a process trains in `folder`, on this machine or another that shares its files and locks."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def ended_by(folder: Path) -> str:
    """The error that ended the run's last training; empty: none did."""
    try:
        return (folder / ERROR).read_text().strip()
    except OSError:
        return ""
