"""A split's shards as open files: those of a folder here; `remote_files.py` has those behind a URL."""

import os
import threading
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from pipelines.errors import TsgcError
from shards.manifest import Shard

AGAIN = "write the shards again with `tsgc shard --overwrite`"


class DamagedError(TsgcError):
    """A shard or clip that is not as the manifest says; `on_error="skip"` leaves its clips out."""


class ShardFiles(Protocol):
    """A split's shards as file descriptors; threads share it. Shards are numbered as in their split."""

    def open(self, shard: int) -> int:
        """A descriptor to read from until `release`. Raises TsgcError, naming the shard."""

    def release(self, shard: int, descriptor: int) -> None:
        """The descriptor is not used any more."""

    def name(self, shard: int) -> str:
        """What errors call the shard."""

    def expect(self, shards: Iterable[int]) -> None:
        """These shards are needed soon, in this order."""

    def close(self) -> None:
        """Close everything."""


class LocalFiles:
    """The shards of a folder; files open on first use and stay open."""

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        self._folder = folder
        self._shards = shards
        self._descriptors: dict[int, int] = {}
        self._lock = threading.Lock()
        self._close = weakref.finalize(self, _close_all, self._descriptors)

    def open(self, shard: int) -> int:
        descriptor = self._descriptors.get(shard)
        return self._open(shard) if descriptor is None else descriptor

    def _open(self, shard: int) -> int:
        with self._lock:  # two threads may come for the same file
            if shard not in self._descriptors:
                path = self._folder / self._shards[shard].file
                try:
                    self._descriptors[shard] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                except OSError as error:
                    raise DamagedError(f"{path}: cannot be opened: {error.strerror}") from error
            return self._descriptors[shard]

    def release(self, shard: int, descriptor: int) -> None:
        """It stays open: `close` closes it."""

    def name(self, shard: int) -> str:
        return str(self._folder / self._shards[shard].file)

    def expect(self, shards: Iterable[int]) -> None:
        """The system reads ahead by itself."""

    def close(self) -> None:
        self._close()


def check_shard(folder: Path, shard: Shard) -> None:
    """Raises DamagedError if the shard is missing or not as long as the manifest says."""
    path = folder / shard.file
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DamagedError(f"{path}: {error.strerror}, but the manifest lists it; {AGAIN}") from None
    if size != shard.bytes:
        kind = "cut" if size < shard.bytes else "changed"
        raise DamagedError(f"{path}: {kind}: {size:,} bytes, the manifest says {shard.bytes:,}; {AGAIN}")


def _close_all(descriptors: dict[int, int]) -> None:
    while descriptors:
        os.close(descriptors.popitem()[1])
