"""Whether a run is being trained, and the error that ended it: two files in its folder.

The lock is the system's (`flock`): it goes with the process that holds it, however that ends.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.errors import TsgcError, first_line
from pipelines.files import is_at, write_atomic

LOCK = "running.lock"
ERROR = "error.txt"
STOPPED = 75  # the exit code of a run that was asked to stop and saved, which is no error


@contextmanager
def at_work(folder: Path, main: bool = True) -> Iterator[None]:
    """A context in which the run in `folder` counts as being trained: by this process alone.

    Of several ranks only the `main` one holds it. Where there is no folder, or its file system has no locks,
    nothing is held. Raises TsgcError where another process trains there.
    """
    if not (main and folder.is_dir()):
        yield
        return
    descriptor = _lock(folder)
    try:
        yield
    finally:
        if descriptor is not None:
            (folder / LOCK).unlink(missing_ok=True)
            os.close(descriptor)


@contextmanager
def error_kept(folder: Path, main: bool = True) -> Iterator[None]:
    """A context that writes the error that ends it into the run's folder; an earlier one is forgotten."""
    if not main:
        yield
        return
    (folder / ERROR).unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        if getattr(error, "exit_code", 1) != STOPPED:
            with suppress(TsgcError):  # what ended the run is what has to be heard
                write_atomic(folder / ERROR, f"{first_line(error, most=1000)}\n".encode())
        raise


def _lock(folder: Path) -> int | None:
    """The descriptor that holds the lock; None where the file system has none."""
    path = folder / LOCK
    for _ in range(20):  # `is_running` holds it for a moment
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            time.sleep(0.05)
        except OSError:
            os.close(descriptor)
            return None
        else:
            if is_at(descriptor, path):
                return descriptor
            os.close(descriptor)  # of a run that was just over, and is deleted
    raise TsgcError(
        f"{folder}: another process trains here; wait for it, or give another --run-dir or --seed"
    )


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
