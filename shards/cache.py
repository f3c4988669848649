"""Remote shards on this machine's disk: a bounded folder of files named by their content's sha256.

Any number of processes and threads share a folder. A whole file is `<sha256>.tar`; one in the making is
`<sha256>.partial`, already of its full size, so that the sizes of all files are the space that is spoken for.
Locks (`flock`) are the system's and go with their process: shared on a file that is being read, exclusive
on one that is being written.
"""

import errno
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pipelines.errors import TsgcError
from pipelines.files import NO_SPACE, is_at
from shards.manifest import Shard

ROOM_WAIT = 120.0  # seconds that a shard waits for others, all in use, to be done with
LOOK_AGAIN = 0.05  # seconds
_OURS = re.compile(r"[0-9a-f]{64}\.(tar|partial)")

Fetch = Callable[[BinaryIO], None]
"""Writes a whole shard to a file, or raises."""


class ShardCache:
    """A folder of at most `limit` bytes of shards; those least recently opened go first."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._failed(error) from error

    def open(self, shard: Shard, fetch: Fetch) -> int:
        """A descriptor of the whole shard, fetched if it is not here; it stays here until that is closed.

        Raises TsgcError: a shard larger than the cache, no room, no space on the disk, what `fetch` raises.
        """
        if shard.bytes > self.limit:
            raise TsgcError(
                f"{self.folder}: {shard.file} has {shard.bytes:,} bytes, the whole cache may take"
                f" {self.limit:,}; give a larger --cache-size"
            )
        try:
            while True:
                descriptor = self._whole(shard)
                if descriptor is not None:
                    return descriptor
                self._fetch(shard, fetch)
        except OSError as error:
            raise self._failed(error) from error

    def _whole(self, shard: Shard) -> int | None:
        path = self.folder / f"{shard.sha256}.tar"
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        status = os.fstat(descriptor)
        if status.st_nlink and status.st_size == shard.bytes:
            with suppress(PermissionError):  # another user's
                os.utime(descriptor)
            return descriptor
        if status.st_nlink:  # cut by something else; it is of no use to anybody
            path.unlink(missing_ok=True)
        os.close(descriptor)
        return None

    def _fetch(self, shard: Shard, fetch: Fetch) -> None:
        """Fetches the shard, or waits until another thread or process has done so, or failed."""
        partial = self.folder / f"{shard.sha256}.partial"
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not is_at(descriptor, partial) or (self.folder / f"{shard.sha256}.tar").exists():
                return  # somebody else had it and is done
            try:
                self._reserve(descriptor, shard)
                with os.fdopen(os.dup(descriptor), "wb") as file:
                    fetch(file)
                    os.fsync(file.fileno())
                with self._alone():  # who counts must not miss it under both names
                    partial.rename(self.folder / f"{shard.sha256}.tar")
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        finally:
            os.close(descriptor)

    def _reserve(self, descriptor: int, shard: Shard) -> None:
        """Gives the partial file its size, once there is room for it."""
        end = time.monotonic() + ROOM_WAIT
        os.ftruncate(descriptor, 0)
        while True:
            with self._alone():
                if self._evict(shard.bytes):
                    os.ftruncate(descriptor, shard.bytes)
                    return
            if time.monotonic() > end:
                raise TsgcError(
                    f"{self.folder}: the cache is full: no room for the {shard.bytes:,} bytes of {shard.file}"
                    f" among {self.limit:,}, and all in it is in use; give a larger --cache-size"
                )
            time.sleep(LOOK_AGAIN)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time counts and removes."""
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _evict(self, needed: int) -> bool:
        """Makes room; whether there is room for `needed` bytes now. Strange files are left alone."""
        found = []
        for entry in os.scandir(self.folder):
            if _OURS.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    whole = entry.name.endswith(".tar")
                    found.append((whole, status.st_mtime_ns, entry.path, status.st_size))
        used = sum(size for *_, size in found)
        for whole, _, path, size in sorted(found):  # first what killed processes left half done
            if (not whole or used + needed > self.limit) and _remove_unused(Path(path)):
                used -= size
        return used + needed <= self.limit

    def _failed(self, error: OSError) -> TsgcError:
        if error.errno in NO_SPACE:
            return TsgcError(
                f"{self.folder}: no space left on the disk; free some, or give --cache or --cache-size"
            )
        if error.errno == errno.EACCES:
            return TsgcError(f"{self.folder}: may not be written; give another folder with --cache")
        return TsgcError(f"{self.folder}: cannot be used as a cache: {error.strerror or error}")


def _remove_unused(path: Path) -> bool:
    """Removes a file that nobody has locked; whether it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
