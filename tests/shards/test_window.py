"""Drawing from a window of shards: every clip once, few shards at a time, shuffled all the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.shard_sets import make_shards

from shards.loader import TrainLoader
from shards.plan import clip_order, epoch_batches


def most_in_use(order, shards):
    """Most shards that are between their first and their last use at any time."""
    used = shards[order]
    change = np.zeros(len(used) + 1, np.int64)
    for shard in np.unique(used):
        places = np.flatnonzero(used == shard)
        change[places[0]] += 1
        change[places[-1] + 1] -= 1
    return int(np.cumsum(change).max())


@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=40),
    window=st.integers(1, 45),
    seed=st.integers(0, 9),
    epoch=st.integers(0, 9),
)
def test_every_clip_comes_once_from_at_most_window_shards_at_a_time(counts, window, seed, epoch):
    shards = np.repeat(np.arange(len(counts)), counts)
    order = clip_order(len(shards), seed, epoch, shards=shards, window=window)
    assert np.array_equal(np.sort(order), np.arange(len(shards)))
    assert len(shards) == 0 or most_in_use(order, shards) <= window
    assert np.array_equal(order, clip_order(len(shards), seed, epoch, shards=shards, window=window))


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=9), window=st.sampled_from([0, 9, 10, 99]))
def test_a_window_of_all_shards_is_the_whole_permutation(counts, window):
    shards = np.repeat(np.arange(len(counts)), counts)
    whole = clip_order(len(shards), 3, 4)
    assert np.array_equal(clip_order(len(shards), 3, 4, shards=shards, window=window), whole)


def test_the_windowed_order_is_pinned_so_that_resuming_survives_upgrades():
    shards = np.repeat(np.arange(4), 3)
    found = clip_order(12, 3, 7, shards=shards, window=2).tolist()
    assert found == [11, 10, 9, 5, 8, 7, 6, 1, 4, 3, 0, 2]


def test_epochs_and_passes_take_shards_in_other_orders():
    shards = np.repeat(np.arange(30), 10)
    firsts = {
        tuple(shards[clip_order(300, 0, epoch, shards=shards, window=3)][::10].tolist()) for epoch in range(9)
    }
    assert len(firsts) == 9
    one, two = np.split(clip_order(300, 0, 0, repeats=2, shards=shards, window=3), 2)
    assert not np.array_equal(one, two) and set(one) == set(two)


def test_a_window_mixes_as_many_shards_a_batch_as_it_may():
    """Shards sorted by class, the worst that could be: a batch has as many classes as the window, evenly."""
    shards = np.repeat(np.arange(64), 1000)
    batches = epoch_batches(64_000, 128, 0, 0, shards=shards, window=16)
    counts = [np.unique(shards[batch], return_counts=True)[1] for batch in batches[120:-120]]
    assert min(len(count) for count in counts) >= 14  # some begin or end
    assert np.mean([count.max() for count in counts]) < 128 * 2 / 16


def test_batches_of_clips_shuffled_at_writing_are_as_mixed_as_a_permutation_s():
    """The order that `tsgc shard` writes: within 2 % of the distinct classes of a true permutation."""
    # Class-sorted clips in the order of the writer.
    labels = np.repeat(np.arange(60), 500)[clip_order(30_000, 0, 0)]
    shards = np.repeat(np.arange(30), 1000)

    def distinct(order):
        return np.mean([len(np.unique(labels[batch])) for batch in np.split(order[: 234 * 128], 234)])

    truth = np.mean([distinct(np.random.default_rng(k).permutation(30_000)) for k in range(5)])
    for window in (1, 4, 16):
        order = clip_order(30_000, 5, 0, shards=shards, window=window)
        assert distinct(order) == pytest.approx(truth, rel=0.02)


@pytest.mark.parametrize("world", [1, 3])
def test_loaders_draw_from_the_window_on_any_world_with_holdout_or_without(tmp_path, world):
    manifest = make_shards(tmp_path)
    options = {"batch": 10, "seed": 2, "last_batch": "spread", "window": 2}
    for holdout in (False, True):
        loaders = [
            TrainLoader(manifest, rank=rank, world=world, holdout=holdout, **options) for rank in range(world)
        ]
        found = {}
        for loader in loaders:
            for step in loader.epoch(1):
                for position, clip in zip(step.parts[0].positions.tolist(), step.parts[0].indices.tolist()):
                    found[step.step, position] = clip
        order = np.array([found[key] for key in sorted(found)])
        assert np.array_equal(np.sort(order), np.arange(loaders[0].num_clips))
        assert most_in_use(order, loaders[0].clips.shards) <= 2
