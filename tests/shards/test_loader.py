"""Training and evaluation batches, over ranks, resumed, and from damaged shards."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from made.loading import all_ranks, global_batches
from made.shard_sets import make_shards

from pipelines.errors import TsgcError
from pipelines.prepared.store import open_store
from shards.batch import PackedBatch
from shards.loader import EvalLoader, TrainLoader
from shards.manifest import Manifest

WORLDS = (1, 2, 3, 8)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_shards(tmp_path_factory.mktemp("loader"))


@pytest.fixture
def own(tmp_path: Path) -> Manifest:
    """Shards that a test may damage."""
    return make_shards(tmp_path)


def clip_joints(batch: PackedBatch, b: int) -> np.ndarray:
    T, M = int(batch.frames[b]), int(batch.bodies[b])
    start = int(batch.offsets[b])
    return batch.joints[start : start + T * M].reshape(T, M, *batch.joints.shape[1:]).numpy()


def test_batches_hold_the_prepared_clips_exactly(manifest):
    with open_store(manifest.folder.parent / "made.h5") as store:
        for split in ("train", "test"):
            loader = EvalLoader(manifest, split, batch=7)
            for batch in loader:
                for b, index in enumerate(batch.indices.tolist()):
                    clip = store.clip(store.names.index(loader.names[index]))
                    assert np.array_equal(clip_joints(batch, b), clip.joints)
                    assert int(batch.labels[b]) == clip.label == loader.labels[index]
                assert batch.joints.dtype == torch.float32
                assert len(batch.joints) == int((batch.frames * batch.bodies).sum())


@pytest.mark.parametrize("world", WORLDS)
def test_every_training_clip_comes_exactly_once_an_epoch_over_all_ranks(manifest, world):
    batches = global_batches(all_ranks(manifest, world))
    clips = sorted(clip for batch in batches for clip, _ in batch.values())
    assert clips == list(range(len(manifest.clips["train"])))


@pytest.mark.parametrize("last_batch", ["drop", "spread"])
@pytest.mark.parametrize("world", WORLDS)
def test_every_rank_has_the_same_number_of_steps(manifest, world, last_batch):
    ranks = all_ranks(manifest, world, last_batch=last_batch, accumulation=1)
    expected = {"drop": 76 // 20, "spread": 4}[last_batch]
    assert [len(steps) for steps in ranks] == [expected] * world
    assert all(len(part) for steps in ranks for step in steps for part in step.parts)


@pytest.mark.parametrize(("world", "accumulation"), [(1, 1), (1, 4), (2, 1), (2, 3), (3, 2), (8, 1)])
def test_a_global_batch_is_the_same_whatever_the_world_size(manifest, world, accumulation):
    alone = global_batches(all_ranks(manifest, 1))
    assert global_batches(all_ranks(manifest, world, accumulation=accumulation)) == alone


def test_an_epoch_repeats_and_another_is_in_another_order(manifest):
    first, again, other = (global_batches(all_ranks(manifest, 2, epoch)) for epoch in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("start", [0, 1, 3, 4])
def test_resuming_at_a_step_gives_the_identical_tail_on_another_world(manifest, start):
    whole = global_batches(all_ranks(manifest, 1, epoch=4))
    loaders = [
        TrainLoader(manifest, batch=20, seed=5, last_batch="spread", mix_group=4, rank=rank, world=2)
        for rank in range(2)
    ]
    ranks = [list(loader.epoch(4, start)) for loader in loaders]
    assert [step.step for step in ranks[0]] == list(range(start, 4))
    assert global_batches(ranks) == whole[start:]


def test_repeats_make_an_epoch_of_several_passes(manifest):
    loader = TrainLoader(manifest, batch=16, seed=0, repeats=3, last_batch="spread")
    clips = [i for step in loader.epoch(0) for part in step.parts for i in part.indices.tolist()]
    assert np.bincount(clips).tolist() == [3] * loader.num_clips


def test_holdout_trains_on_the_other_clips_and_evaluates_on_those_held_out(manifest):
    trained = TrainLoader(manifest, batch=8, seed=0, holdout=True, last_batch="spread")
    held_out = EvalLoader(manifest, "holdout")
    assert set(held_out.names).isdisjoint(trained.clips.names)
    assert sorted([*held_out.names, *trained.clips.names]) == sorted(manifest.clips["train"].names)
    seen = [trained.clips.labels[i] for step in trained.epoch(0) for i in step.parts[0].indices.tolist()]
    told = [label for step in trained.epoch(0) for label in step.parts[0].labels.tolist()]
    assert seen == told


@pytest.mark.parametrize("world", WORLDS)
def test_evaluation_is_exact_on_any_world(manifest, world):
    alone = list(EvalLoader(manifest, batch=4))
    ranks = [list(EvalLoader(manifest, batch=4, rank=rank, world=world)) for rank in range(world)]
    assert sum(map(len, ranks)) == len(alone)
    for number, batch in enumerate(alone):
        twin = ranks[number % world][number // world]
        assert torch.equal(batch.joints, twin.joints)
        assert torch.equal(batch.indices, twin.indices)
    assert torch.cat([batch.indices for batch in alone]).tolist() == list(range(25))


def test_threads_and_reading_ahead_change_nothing(manifest):
    plain = [batch.joints for batch in EvalLoader(manifest, batch=3, prefetch=0, threads=1)]
    ahead = [batch.joints for batch in EvalLoader(manifest, batch=3, prefetch=50, threads=4)]
    assert all(torch.equal(a, b) for a, b in zip(plain, ahead, strict=True))


def test_stopping_early_stops_the_threads(manifest):
    epoch = TrainLoader(manifest, batch=4, seed=0).epoch(0)
    next(epoch)
    assert any(thread.name.startswith("shards") for thread in threading.enumerate())
    epoch.close()
    assert not any(thread.name.startswith("shards") for thread in threading.enumerate())


def test_a_batch_moves_whole(manifest):
    batch = next(iter(EvalLoader(manifest))).to("cpu")
    assert isinstance(batch, PackedBatch)
    assert len(batch) == 25


def test_too_small_a_batch_for_the_ranks_is_refused_on_every_rank(manifest):
    for rank in range(8):
        with pytest.raises(TsgcError, match="batch of 15 clips cannot feed 8"):
            TrainLoader(manifest, batch=15, seed=0, rank=rank, world=8)


def test_an_unknown_split_is_refused(manifest):
    with pytest.raises(TsgcError, match="'val', expected one of train, test, holdout"):
        EvalLoader(manifest, "val")


def test_a_changed_payload_raises_naming_shard_and_clip(own):
    clips = own.clips["train"]
    path = own.folder / own.shards["train"][clips.shards[20]].file
    data = bytearray(path.read_bytes())
    data[clips.offsets[20] + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        TsgcError, match=rf"{path.name}: damaged: clip {clips.names[20]} has bytes that do not"
    ):
        list(EvalLoader(own, "train", batch=4))
    with pytest.raises(TsgcError, match=clips.names[20]):
        list(TrainLoader(own, batch=4, seed=0, last_batch="spread").epoch(0))


def test_a_file_that_shrinks_after_opening_raises_naming_the_clip(own):
    loader = EvalLoader(own, "train", batch=4)  # opens whole
    path = own.folder / own.shards["train"][-1].file
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(TsgcError, match=rf"{path.name}: damaged: clip S001\w+ has 312 of \d+ bytes"):
        list(loader)


@pytest.mark.parametrize("cut", [1, 512, 10_240])
def test_a_cut_shard_raises_when_opened(own, cut):
    path = own.folder / own.shards["train"][1].file
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(
        TsgcError, match=rf"{path.name}: cut: .* bytes, the manifest says .*tsgc shard --overwrite"
    ):
        TrainLoader(own, batch=4, seed=0)
    assert len(list(EvalLoader(own, "test"))) == 1  # the other split is whole


def test_a_missing_shard_raises_when_opened(own):
    path = own.folder / own.shards["test"][0].file
    path.unlink()
    with pytest.raises(
        TsgcError, match=rf"{path.name}: No such file or directory, but the manifest lists it"
    ):
        EvalLoader(own, "test")


def test_swapped_shards_of_one_size_raise_naming_one(tmp_path):
    own = make_shards(tmp_path, frames=(4, 5))
    one, two = (own.folder / shard.file for shard in own.shards["train"][:2])
    assert one.stat().st_size == two.stat().st_size
    one.rename(own.folder / "aside")
    two.rename(one)
    (own.folder / "aside").rename(two)
    with pytest.raises(TsgcError, match=r"train-00000[01].tar: damaged: clip S001"):
        list(EvalLoader(own, "train"))
