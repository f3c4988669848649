"""Clips that several trainings share on a device: the batches of a loader that reads, number for number."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shards.load_manifest import load_manifest
from shards.loader import EvalLoader, TrainLoader
from shards.local_files import DamagedError
from shards.resident import ResidentClips

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def manifest(made):
    return load_manifest(made / "shards/ntu60/xsub")


def same(one, two):
    return all(torch.equal(getattr(one, name), tensor) for name, tensor in vars(two).items())


@pytest.mark.parametrize("holdout", [False, True])
def test_training_batches_are_those_that_are_read(manifest, holdout):
    options = {
        "batch": 12, "seed": 3, "accumulation": 2, "mix_group": 6, "last_batch": "spread", "repeats": 2,
        "holdout": holdout,
    }  # fmt: skip
    shared = ResidentClips(manifest, "train", CPU)
    ours, theirs = TrainLoader(manifest, resident=shared, **options), TrainLoader(manifest, **options)
    assert ours.steps_per_epoch == theirs.steps_per_epoch > 2
    for one, two in zip(ours.epoch(1, 1), theirs.epoch(1, 1), strict=True):
        assert (one.step, one.size) == (two.step, two.size)
        assert all(map(same, one.parts, two.parts)) and len(one.parts) == 2
    ours.close()


@pytest.mark.parametrize("split", ["test", "train", "holdout"])
def test_evaluated_batches_are_those_that_are_read(manifest, split):
    shared = ResidentClips(manifest, "test" if split == "test" else "train", CPU)
    ours = EvalLoader(manifest, split, batch=7, resident=shared)
    assert all(map(same, ours, EvalLoader(manifest, split, batch=7)))
    assert len(list(ours)) == len(ours) > 0


@given(st.data())
def test_any_clips_in_any_order_keep_their_joints_and_their_own_labels(manifest, data):
    shared = ResidentClips(manifest, "train", CPU)
    clips = manifest.clips["train"]
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(clips), max_size=len(clips))))
    kept[0] = True
    part = dataclasses.replace(clips.select(kept), labels=np.arange(kept.sum()))
    indices = np.array(data.draw(st.lists(st.integers(0, len(part) - 1), max_size=9)), np.int64)
    batch = shared.reader(part).read(indices)
    whole = shared.reader(clips)
    assert batch.labels.tolist() == indices.tolist()
    for place, index in enumerate(np.flatnonzero(kept)[indices].tolist()):
        start = int(batch.offsets[place])
        rows = batch.joints[start : start + int(batch.frames[place] * batch.bodies[place])]
        assert torch.equal(rows, whole.read(np.array([index])).joints)


def test_a_damaged_clip_is_found_at_once(manifest, tmp_path):
    clips = manifest.clips["train"]
    crc = clips.crc32.copy()
    crc[5] ^= 1
    damaged = {**manifest.clips, "train": dataclasses.replace(clips, crc32=crc)}
    with pytest.raises(DamagedError, match=clips.names[5]):
        ResidentClips(dataclasses.replace(manifest, clips=damaged), "train", CPU)
