"""Small splits stay in memory once they are read: the same batches, damage told, nothing read twice."""

import itertools
import os

import numpy as np
import pytest
import torch
from made.shard_sets import make_shards

from pipelines.errors import TsgcError
from shards.in_memory import MEMORY_BYTES
from shards.loader import TrainLoader
from shards.options import LoaderOptions

OPTIONS = {"batch": 20, "seed": 5, "mix_group": 4, "last_batch": "spread", "repeats": 2}


@pytest.fixture
def manifest(tmp_path):
    return make_shards(tmp_path)


def parts(loader, epochs=2):
    steps = itertools.chain.from_iterable(loader.epoch(epoch) for epoch in range(epochs))
    return [part for step in steps for part in step.parts]


def damage(manifest, clip):
    """One byte of a training clip, changed."""
    clips = manifest.clips["train"]
    path = manifest.folder / manifest.shards["train"][clips.shards[clip]].file
    with path.open("r+b") as file:
        file.seek(int(clips.offsets[clip]) + 5)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 255]))


@pytest.mark.parametrize("threads", [1, 4])
def test_kept_clips_make_the_same_batches(manifest, threads):
    kept, plain = (
        parts(TrainLoader(manifest, threads=threads, memory_bytes=k, **OPTIONS)) for k in (MEMORY_BYTES, 0)
    )
    assert len(kept) == len(plain) > 8
    for one, other in zip(kept, plain, strict=True):
        assert torch.equal(one.joints, other.joints)
        for name in ("frames", "bodies", "offsets", "labels", "indices", "positions", "partner", "missing"):
            assert torch.equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("keep", [0, MEMORY_BYTES])
def test_files_are_read_once_where_clips_are_kept(manifest, keep):
    loader = TrainLoader(manifest, memory_bytes=keep, **OPTIONS)
    first = parts(loader, 1)
    loader.close()
    for shard in manifest.shards["train"]:
        (manifest.folder / shard.file).unlink()
    if keep:
        assert all(map(torch.equal, (p.joints for p in first), (p.joints for p in parts(loader, 1))))
    else:
        with pytest.raises(TsgcError):
            parts(loader, 1)


def test_what_does_not_fit_is_not_kept(manifest):
    size = int(manifest.clips["train"].lengths.sum())
    kept = [TrainLoader(manifest, memory_bytes=keep, **OPTIONS)._reader._memory for keep in (size, size - 1)]
    assert kept[0] is not None and kept[1] is None


def test_damaged_clips_are_told_and_skipped_in_every_epoch(manifest):
    damage(manifest, 7)
    with pytest.raises(TsgcError, match=r"damaged: clip .* bytes that do not match its CRC-32"):
        parts(TrainLoader(manifest, **OPTIONS))
    skip = LoaderOptions(on_error="skip")
    kept, plain = (
        parts(TrainLoader(manifest, memory_bytes=k, options=skip, **OPTIONS)) for k in (MEMORY_BYTES, 0)
    )
    assert sum(len(part.missing) for part in kept) == 2 * OPTIONS["repeats"]
    for one, other in zip(kept, plain, strict=True):
        assert torch.equal(one.joints, other.joints) and torch.equal(one.missing, other.missing)
        assert torch.equal(one.partner, other.partner) and 7 not in one.indices


def test_a_clip_that_appears_twice_in_a_batch_is_there_twice(manifest):
    reader = TrainLoader(manifest, **OPTIONS)._reader
    batch = reader.read(np.array([3, 3, 9]))
    rows = int(batch.frames[0] * batch.bodies[0])
    assert torch.equal(batch.joints[:rows], batch.joints[rows : 2 * rows])
