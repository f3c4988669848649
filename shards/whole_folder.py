"""A folder that appears whole or not at all: built hidden beside its place, then renamed."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import TsgcError
from pipelines.files import NO_SPACE, is_at, unfinished
from pipelines.interrupts import held

_OURS = re.compile(r"(train|test)-\d{6}\.tar|manifest\.json")


def check_space(folder: Path, needed: int) -> None:
    """Raises TsgcError if the disk has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TsgcError(
            f"{folder.parent}: {free >> 20:,} MiB free, about {needed >> 20:,} MiB needed; "
            "free some or write elsewhere with --out"
        )


@contextmanager
def new_folder(out: Path, overwrite: bool) -> Iterator[Path]:
    """A folder to build in: renamed to `out` at the end, removed on any failure.

    A killed run leaves only the hidden folder, which the next one empties. Raises TsgcError.
    """
    _check_replaceable(out, overwrite)
    partial, old = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.old")
    renamed = False
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with _locked(partial), unfinished(partial):
            try:
                _check_replaceable(out, overwrite)  # another process may have finished it since
                for leftover in partial.iterdir():
                    leftover.unlink()
                yield partial
                with held():
                    if out.exists():
                        shutil.rmtree(old, ignore_errors=True)
                        out.rename(old)
                    partial.rename(out)
                    renamed = True
                    shutil.rmtree(old, ignore_errors=True)
            finally:
                if not renamed:  # else what is there is the next writer's
                    shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise TsgcError(
                f"{out}: no space left on the disk; free some or write elsewhere with --out"
            ) from error
        raise TsgcError(f"{out}: cannot be written: {error.strerror or error}") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder against other writers; the system lets go when the process ends, however it ends."""
    busy = TsgcError(f"{folder}: another process is writing these shards; wait for it")
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        if not is_at(descriptor, folder):  # finished and renamed in between
            raise busy
        yield
    finally:
        os.close(descriptor)


def _check_replaceable(out: Path, overwrite: bool) -> None:
    """Raises TsgcError if `out` may not become a shard set: it exists, or holds other things."""
    if not out.exists():
        return
    if not out.is_dir():
        raise TsgcError(f"{out}: is a file, expected a folder for shards; choose another with --out")
    strangers = [path.name for path in out.iterdir() if not _OURS.fullmatch(path.name)]
    if strangers:
        raise TsgcError(
            f"{out}: holds other files ({sorted(strangers)[0]}, ...); choose another folder with --out"
        )
    if not overwrite and any(out.iterdir()):
        raise TsgcError(f"{out}: exists already; pass --overwrite to replace it")
