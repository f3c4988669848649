"""The plan and the batches do not depend on how a process began; threads are the workers."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made.loading import all_ranks, global_batches
from made.shard_sets import make_shards

from shards.load_manifest import load_manifest
from shards.loader import EvalLoader, TrainLoader


def fingerprint(loader: TrainLoader, epoch: int = 3) -> str:
    """All batches of an epoch: clips, positions, partners and numbers."""
    digest = hashlib.sha256()
    for step in loader.epoch(epoch):
        for part in step.parts:
            for tensor in (part.indices, part.positions, part.partner, part.joints):
                digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def make(folder: Path, window: int = 0, **options: int) -> TrainLoader:
    return TrainLoader(folder, batch=20, seed=5, last_batch="spread", window=window, **options)


def _of_own(folder: Path, window: int, queue) -> None:
    queue.put(fingerprint(make(folder, window)))


def _of_parent(loader: TrainLoader, queue) -> None:
    queue.put(fingerprint(loader))


def in_child(method: str, target, *arguments) -> str:
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=target, args=(*arguments, queue))
    process.start()
    found = queue.get(timeout=300)
    process.join()
    return found


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_seed_and_epoch_give_the_same_batches_however_a_process_began(manifest, method):
    expected = fingerprint(make(manifest.folder, window=2))
    assert in_child(method, _of_own, manifest.folder, 2) == expected


def test_a_loader_made_before_a_fork_works_on_both_sides_of_it(manifest):
    loader = make(manifest.folder)
    expected = fingerprint(loader)  # its files are open now
    assert in_child("fork", _of_parent, loader) == expected
    assert fingerprint(loader) == expected


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("clips", [24, 101])
def test_every_clip_comes_once_on_any_world_with_any_threads(tmp_path, world, threads, clips):
    """Odd counts; and 18 training clips lie in fewer shards than 8 ranks."""
    own = make_shards(tmp_path, clips=clips)
    assert clips == 101 or len(own.shards["train"]) < 8
    batches = global_batches(all_ranks(own, world, threads=threads, prefetch=threads - 1))
    found = sorted(clip for batch in batches for clip, _ in batch.values())
    assert found == list(range(len(own.clips["train"])))
    seen = [
        index
        for rank in range(world)
        for batch in EvalLoader(own, "test", batch=4, rank=rank, world=world, threads=threads)
        for index in batch.indices.tolist()
    ]
    assert sorted(seen) == list(range(len(own.clips["test"])))


SECURE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from made.shard_sets import make_shards
from shards.loader import EvalLoader, TrainLoader
from shards.verify import verify_shards
import webdataset.utils
assert webdataset.utils.enforce_security
made = make_shards(Path(sys.argv[1]))
assert verify_shards(made.folder) == []
assert sum(map(len, EvalLoader(made, "train"))) == len(made.clips["train"])
assert sum(step.size for step in TrainLoader(made, batch=9, seed=0, last_batch="spread").epoch(0)) == 76
print(made.digest)
"""


def test_writing_and_reading_work_where_webdataset_is_told_to_be_secure(manifest, tmp_path):
    words = [sys.executable, "-c", SECURE, str(tmp_path), str(Path(__file__).parents[1])]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "WDS_SECURE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == manifest.digest == load_manifest(manifest.folder).digest
