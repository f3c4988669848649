"""A split's shards behind a URL: each comes whole into the cache, ahead of its use, and is read there."""

import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import BinaryIO

import numpy as np

from pipelines.errors import TsgcError
from shards.cache import ShardCache
from shards.local_files import ShardFiles
from shards.manifest import Shard
from shards.options import LoaderOptions, default_cache
from shards.plan import IntArray
from shards.remote import download, join_url, safe

FETCHERS = 4  # downloads at a time
AHEAD = 4  # shards fetched before a batch needs them


class RemoteFiles:
    """Files that open when a batch needs them and close after it, so that the cache may drop them.

    A shard that cannot be fetched raises TsgcError, naming its URL, whatever `on_error` says: a server that
    is away is no damaged clip.
    """

    def __init__(self, url: str, shards: Sequence[Shard], options: LoaderOptions) -> None:
        self._source = _RemoteShards(
            url, shards, ShardCache(options.cache or default_cache(), options.cache_bytes)
        )
        self._wanted: SimpleQueue[int | None] = SimpleQueue()
        self._started = False
        self._close = weakref.finalize(self, _stop, self._source, self._wanted)

    def open(self, shard: int) -> int:
        return self._source.open(shard)

    def release(self, shard: int, descriptor: int) -> None:
        os.close(descriptor)

    def name(self, shard: int) -> str:
        return self._source.name(shard)

    def expect(self, shards: Iterable[int]) -> None:
        if not self._started:
            self._started = True
            for number in range(FETCHERS):
                # Daemons: a process that ends waits for no download.
                thread = threading.Thread(
                    target=_fetch_wanted,
                    args=(self._source, self._wanted),
                    name=f"fetch-{number}",
                    daemon=True,
                )
                thread.start()
        for shard in shards:
            self._wanted.put(shard)

    def close(self) -> None:
        self._close()


class _RemoteShards:
    """A split's shards, by way of the cache."""

    def __init__(self, url: str, shards: Sequence[Shard], cache: ShardCache) -> None:
        self.closed = threading.Event()
        self._url = url
        self._shards = shards
        self._cache = cache

    def name(self, shard: int) -> str:
        return safe(join_url(self._url, self._shards[shard].file))

    def open(self, shard: int) -> int:
        wanted = self._shards[shard]

        def fetch(file: BinaryIO) -> None:
            url = join_url(self._url, wanted.file)
            download(url, file, wanted.bytes, wanted.sha256, lambda: not self.closed.is_set())

        return self._cache.open(wanted, fetch)


def _fetch_wanted(source: _RemoteShards, wanted: "SimpleQueue[int | None]") -> None:
    """What a fetching thread does until it is given None."""
    while (shard := wanted.get()) is not None:
        if not source.closed.is_set():
            with suppress(TsgcError):  # the batch that needs it tries again, and says what is wrong
                os.close(source.open(shard))


def _stop(source: _RemoteShards, wanted: "SimpleQueue[int | None]") -> None:
    source.closed.set()
    for _ in range(FETCHERS):
        wanted.put(None)


def check_room(shards: Sequence[Shard], window: int, options: LoaderOptions) -> None:
    """Raises TsgcError if the shards that training draws from at a time do not fit in the cache.

    `window`: how many; 0: all.
    """
    sizes = sorted((shard.bytes for shard in shards), reverse=True)
    needed = sum(sizes[: window + AHEAD] if window else sizes)
    if needed > options.cache_bytes:
        few = 0 < window < len(sizes)
        what = f"{window} shards at a time and {AHEAD} ahead" if few else "all shards at a time"
        raise TsgcError(
            f"a cache of {options.cache_bytes / 1e9:.3g} GB, but training draws from {what}:"
            f" {needed / 1e9:.3g} GB; give a larger --cache-size, or --set shuffle_window=N of fewer shards"
        )


def announce_shards(
    files: ShardFiles, batches: Sequence[IntArray], shards: IntArray, ahead: int = AHEAD
) -> Iterator[IntArray]:
    """Passes batches (clips each) on; tells `files` the shards that come next, `ahead` before their use.

    `shards` (N,): each clip's. Each shard is announced once a pass over the clips.
    """
    clips = np.concatenate(batches) if batches else np.empty(0, np.int64)
    lap = np.arange(len(clips)) // max(len(shards), 1)
    keys, first = np.unique(lap * (shards.max(initial=0) + 1) + shards[clips], return_index=True)
    order = np.argsort(first)
    needed = (keys[order] % (shards.max(initial=0) + 1)).tolist()
    until = np.searchsorted(first[order], np.cumsum([len(batch) for batch in batches])).tolist()
    told = 0
    for batch, end in zip(batches, until):
        files.expect(needed[told : end + ahead])
        told = max(told, end + ahead)
        yield batch
