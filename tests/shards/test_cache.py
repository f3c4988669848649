"""The cache of remote shards: bounded, shared by processes, never half a file under a whole one's name."""

import fcntl
import hashlib
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from made.waiting import let_file_times_pass

from pipelines.errors import TsgcError
from shards import cache as module
from shards.cache import ShardCache
from shards.manifest import Shard


def content(number: int, size: int = 1000) -> bytes:
    return bytes([number]) * size


def shard(number: int, size: int = 1000) -> Shard:
    data = content(number, size)
    return Shard(f"train-{number:06d}.tar", size, hashlib.sha256(data).hexdigest(), 1)


def use(cache: ShardCache, number: int, fetched: list[int] | None = None, size: int = 1000) -> int:
    """Open a shard; the fetch is noted."""

    def fetch(file):
        if fetched is not None:
            fetched.append(number)
        file.write(content(number, size))

    descriptor = cache.open(shard(number, size), fetch)
    assert os.pread(descriptor, size + 1, 0) == content(number, size)
    return descriptor


def there(folder: Path) -> set[int]:
    """Numbers of the shards in the cache."""
    return {file.read_bytes()[0] for file in folder.glob("*.tar")}


def test_a_shard_is_fetched_once(tmp_path):
    fetched = []
    for _ in range(3):
        os.close(use(ShardCache(tmp_path / "new/folder", 2000), 1, fetched))
    assert fetched == [1]


def test_the_least_recently_used_goes_first(tmp_path):
    cache, fetched = ShardCache(tmp_path, 3000), []
    for number in (1, 2, 3, 1, 4):  # 1 was used again, so 2 goes for 4
        os.close(use(cache, number, fetched))
        let_file_times_pass(tmp_path)
    assert there(tmp_path) == {1, 3, 4}
    assert fetched == [1, 2, 3, 4]


def test_a_shard_in_use_stays(tmp_path):
    cache = ShardCache(tmp_path, 2000)
    held = use(cache, 1)
    let_file_times_pass(tmp_path)
    os.close(use(cache, 2))
    os.close(use(cache, 3))
    assert there(tmp_path) == {1, 3}
    os.close(held)


def test_a_cache_whose_shards_are_all_in_use_waits_and_then_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROOM_WAIT", 0.2)
    cache = ShardCache(tmp_path, 2000)
    held = [use(cache, number) for number in (1, 2)]
    with pytest.raises(TsgcError, match=r"cache is full: no room for the 1,000 bytes of train-000003.tar .*"):
        use(cache, 3)
    assert not list(tmp_path.glob("*.partial"))
    os.close(held[0])
    os.close(use(cache, 3))
    assert there(tmp_path) == {2, 3}
    os.close(held[1])


def test_a_shard_larger_than_the_cache_is_refused_before_it_is_fetched(tmp_path):
    fetched = []
    with pytest.raises(TsgcError, match=r"train-000001.tar has 1,000 bytes, the whole cache may take 999"):
        use(ShardCache(tmp_path, 999), 1, fetched)
    assert not fetched


def test_a_fetch_that_fails_leaves_nothing(tmp_path):
    def fetch(file):
        file.write(b"half")
        raise TsgcError("the server is away")

    with pytest.raises(TsgcError, match="the server is away"):
        ShardCache(tmp_path, 2000).open(shard(1), fetch)
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]


def test_a_full_disk_is_one_line(tmp_path):
    def fetch(file):
        raise OSError(28, "No space left on device")

    with pytest.raises(TsgcError, match="no space left on the disk; free some, or give --cache"):
        ShardCache(tmp_path, 2000).open(shard(1), fetch)


def test_a_file_where_the_folder_should_be_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TsgcError, match="file: cannot be used as a cache: File exists"):
        ShardCache(tmp_path / "file", 2000)


def test_a_cached_file_that_was_cut_is_fetched_again(tmp_path):
    cache, fetched = ShardCache(tmp_path, 2000), []
    os.close(use(cache, 1, fetched))
    next(tmp_path.glob("*.tar")).write_bytes(b"cut")
    os.close(use(cache, 1, fetched))
    assert fetched == [1, 1]


def test_what_is_not_the_cache_s_stays(tmp_path):
    (tmp_path / "precious.tar").write_bytes(bytes(10_000))
    cache = ShardCache(tmp_path, 1000)
    for number in (1, 2):
        os.close(use(cache, number))
    assert (tmp_path / "precious.tar").stat().st_size == 10_000


def _die_while_fetching(folder: Path) -> None:
    def fetch(file):
        file.write(b"half")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    ShardCache(folder, 2000).open(shard(1), fetch)


def test_what_a_killed_process_left_half_done_is_fetched_by_the_next(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=_die_while_fetching, args=(tmp_path,))
    process.start()
    process.join()
    left = next(tmp_path.glob("*.partial"))
    assert left.stat().st_size == 1000  # its space is spoken for
    os.close(use(ShardCache(tmp_path, 2000), 2))
    assert not left.exists()  # and given back, as nobody holds it
    os.close(use(ShardCache(tmp_path, 2000), 1))
    assert there(tmp_path) == {1, 2}


def _race(folder: Path, log: Path, seed: int) -> None:
    """Open shards in an order of its own, in a cache that holds a third of them."""
    cache = ShardCache(folder, 4000)

    for turn in range(60):
        number = (turn * 7 + seed * 5) % 12

        def fetch(file, number=number):
            with log.open("a") as lines:
                lines.write(f"{number}\n")
            half = content(number)[:500]
            file.write(half)
            file.flush()
            time.sleep(0.0005)
            file.write(half)

        descriptor = cache.open(shard(number), fetch)
        with cache._alone():  # while nobody counts, reserves or renames
            held = sum(file.stat().st_size for file in folder.iterdir())
        assert held <= 4000, held
        assert os.pread(descriptor, 2000, 0) == content(number)
        os.close(descriptor)


def test_processes_that_race_read_whole_shards_and_stay_within_the_limit(tmp_path):
    context = multiprocessing.get_context("fork")
    log = tmp_path / "log"
    racers = [context.Process(target=_race, args=(tmp_path / "cache", log, seed)) for seed in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(300)
    assert [racer.exitcode for racer in racers] == [0] * 4
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_two_processes_that_want_one_shard_fetch_it_once(tmp_path):
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    cache = tmp_path / "cache"
    cache.mkdir()
    gate = os.open(cache / f"{shard(0).sha256}.partial", os.O_CREAT | os.O_RDWR)
    fcntl.flock(gate, fcntl.LOCK_EX)  # both come to wait for the same lock
    racers = [context.Process(target=_one, args=(cache, log, gate)) for _ in range(4)]
    for racer in racers:
        racer.start()
    time.sleep(0.3)
    os.close(gate)
    for racer in racers:
        racer.join(300)
    assert [racer.exitcode for racer in racers] == [0] * 4
    assert log.read_text() == "fetched\n"


def _one(folder: Path, log: Path, gate: int) -> None:
    os.close(gate)  # a forked process would hold the lock as its parent does

    def fetch(file):
        with log.open("a") as lines:
            lines.write("fetched\n")
        file.write(content(0))

    os.close(ShardCache(folder, 4000).open(shard(0), fetch))
