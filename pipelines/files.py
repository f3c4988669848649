"""Writing files so that a file that exists is complete."""

import errno
import glob
import io
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipelines.errors import TsgcError

PARTIAL = ".partial"  # how the names of unfinished files end
TRIES = 20  # at removing a folder that others write into
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

_UNFINISHED: set[Path] = set()


@contextmanager
def unfinished(path: Path) -> Iterator[None]:
    """A block that writes a file or folder under a temporary name, which `remove_unfinished` removes."""
    _UNFINISHED.add(path)
    try:
        yield
    finally:
        _UNFINISHED.discard(path)


def remove_unfinished() -> None:
    """Removes what this process has begun to write, before it ends without tidying up.

    Its workers may still write into a folder: then it is tried again.
    """
    for path in list(_UNFINISHED):
        for _ in range(TRIES):
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if not path.exists():
                break


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to: renamed to it at the end, removed on any failure.

    What a killed process left of the same file is removed at the start. Raises TsgcError where the folder
    cannot be made or written, or the disk is full.
    """
    # The machine's name: on shared disks, another machine's process may be at work under the same number.
    temporary = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}{PARTIAL}")
    with unfinished(temporary):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path)
            yield temporary
            temporary.replace(path)
        except OSError as error:
            raise _cannot_write(path, error) from error
        finally:
            with suppress(OSError):  # renamed, or never made
                temporary.unlink()


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Write a whole file as `atomic_path` does, and onto the disk before it gets its name."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sweep(path: Path) -> None:
    """Removes temporary files for `path` whose process, on this machine, is gone."""
    start = f".{path.name}.{platform.node()}."
    for file in path.parent.glob(f"{glob.escape(start)}*{PARTIAL}"):
        pid = file.name.removeprefix(start).removesuffix(PARTIAL)
        if pid.isdigit() and not _is_alive(int(pid)):
            with suppress(OSError):  # another run swept it first
                file.unlink()


def _is_alive(pid: int) -> bool:
    if os.name != "posix":  # elsewhere signal 0 is no harmless question
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's; no number of a process, so none of our files
        return True
    return True


def is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file or folder is still the one of this name: before its lock, anybody could act."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


class PatientFile(io.FileIO):
    """A file for HDF5 to write to, whose failures wait until `check` or the end of the `with` block.

    HDF5 takes the whole process down when its file cannot be written, even while it closes. So a failed
    write passes for done (the file is thrown away anyway), and the error is raised where Python can act.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left and self.failure is None:
                left = left[super().write(left) :]  # may write less than asked
        except OSError as error:
            self.failure = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = error
            return self.tell()

    def check(self) -> None:
        """Raises the OSError of a write that failed."""
        if self.failure is not None:
            raise self.failure

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.check()


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises TsgcError where `path` exists and may not be replaced."""
    if path.exists() and not overwrite:
        raise TsgcError(f"{path}: exists already; pass --overwrite to replace it")


def _cannot_write(path: Path, error: OSError) -> TsgcError:
    if error.errno in NO_SPACE:
        return TsgcError(f"{path}: no space left on the disk; free some or write elsewhere")
    return TsgcError(f"{path}: cannot be written: {error.strerror or error}")
