"""Who reads what, when."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import TsgcError
from shards.plan import (
    batch_sizes,
    clip_order,
    deal,
    epoch_batches,
    eval_batches,
    mixing_partners,
    parts_of_rank,
)

COUNTS = st.integers(1, 400)
BATCHES = st.integers(1, 70)


@given(
    clips=COUNTS, batch=BATCHES, seed=st.integers(0, 9), epoch=st.integers(0, 9), repeats=st.integers(1, 3)
)
def test_spread_takes_every_clip_once_a_pass_in_batches_of_nearly_one_size(
    clips, batch, seed, epoch, repeats
):
    batches = epoch_batches(clips, batch, seed, epoch, "spread", repeats)
    assert np.array_equal(np.sort(np.concatenate(batches)), np.repeat(np.arange(clips), repeats))
    sizes = [len(b) for b in batches]
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1
    assert sizes == batch_sizes(clips, batch, "spread", repeats)


@given(clips=COUNTS, batch=BATCHES, repeats=st.integers(1, 3))
def test_drop_has_the_published_number_of_full_batches(clips, batch, repeats):
    if clips * repeats < batch:
        with pytest.raises(TsgcError, match=f"no global batch of {batch}; use a smaller batch"):
            epoch_batches(clips, batch, 0, 0, "drop", repeats)
        return
    batches = epoch_batches(clips, batch, 0, 0, "drop", repeats)
    assert [len(b) for b in batches] == [batch] * (clips * repeats // batch)
    assert np.bincount(np.concatenate(batches)).max() <= repeats


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(TsgcError, match="'pad', expected one of drop, spread"):
        epoch_batches(10, 2, 0, 0, "pad")


def test_the_order_repeats_for_a_seed_and_epoch_and_differs_between_them():
    orders = {(s, e): tuple(clip_order(50, s, e)) for s in range(4) for e in range(4)}
    assert len(set(orders.values())) == 16
    assert all(tuple(clip_order(50, *key)) == order for key, order in orders.items())


def test_the_order_is_pinned_so_that_resuming_survives_upgrades():
    assert clip_order(10, seed=3, epoch=7).tolist() == [9, 5, 3, 2, 1, 0, 6, 8, 7, 4]


def test_each_pass_of_an_epoch_has_its_own_order():
    first, second = np.split(clip_order(50, 0, 0, repeats=2), 2)
    assert not np.array_equal(first, second)
    assert np.array_equal(np.sort(first), np.sort(second))


def test_batches_of_class_sorted_clips_are_as_mixed_as_a_permutation_s():
    labels = np.repeat(np.arange(60), 200)

    def distinct(order):
        return np.mean([len(np.unique(b)) for b in np.split(labels[order][:11_904], 93)])

    truth = np.mean([distinct(np.random.default_rng(k).permutation(12_000)) for k in range(5)])
    assert distinct(np.concatenate(epoch_batches(12_000, 128, 0, 0))) == pytest.approx(truth, rel=0.02)


@given(size=st.integers(1, 300), group=st.integers(1, 40))
def test_partners_mirror_within_groups_and_are_mutual(size, group):
    partner = mixing_partners(size, group)
    position = np.arange(size)
    assert np.array_equal(partner[partner], position)
    assert np.array_equal(partner // group, position // group)
    for start in range(0, size, group):
        end = min(start + group, size)
        assert np.array_equal(partner[start:end], np.arange(start, end)[::-1])


@given(size=st.integers(2, 300), group=st.integers(1, 40), parts=st.integers(1, 24))
def test_dealing_gives_every_position_once_with_its_partner_in_parts_of_even_size(size, group, parts):
    if size < 2 * parts:
        with pytest.raises(TsgcError, match=f"which takes {2 * parts}; use a larger batch"):
            deal(size, group, parts)
        return
    dealt = deal(size, group, parts)
    assert len(dealt) == parts
    assert np.array_equal(np.sort(np.concatenate([p for p, _ in dealt])), np.arange(size))
    sizes = [len(p) for p, _ in dealt]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 2
    partners = mixing_partners(size, group)
    for positions, partner in dealt:
        assert np.array_equal(positions[partner], partners[positions])  # never another part's


@given(half=st.integers(1, 20), group=st.integers(1, 40), parts=st.integers(1, 24))
def test_parts_are_of_one_size_where_twice_their_number_divides_the_batch(half, group, parts):
    assert {len(positions) for positions, _ in deal(2 * parts * half, group, parts)} == {2 * half}
    assert [len(positions) for positions, _ in deal(30, 32, 2)] == [16, 14]  # partners stay together


def test_groups_that_divide_evenly_stay_whole_as_published():
    dealt = deal(128, 32, 4)
    for part, (positions, partner) in enumerate(dealt):
        assert np.array_equal(positions, np.arange(32) + 32 * part)
        assert np.array_equal(partner, np.arange(32)[::-1])


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_ranks_share_the_parts_of_a_step(world, accumulation):
    parts = [part for rank in range(world) for part in parts_of_rank(rank, world, accumulation)]
    assert parts == list(range(world * accumulation))


@given(clips=COUNTS, batch=BATCHES, world=st.integers(1, 9))
def test_evaluation_has_each_clip_once_in_the_same_batches_on_any_world(clips, batch, world):
    alone = eval_batches(clips, batch)
    assert np.array_equal(np.concatenate(alone), np.arange(clips))
    ranks = [eval_batches(clips, batch, rank, world) for rank in range(world)]
    together = [ranks[i % world][i // world] for i in range(len(alone))]
    assert sum(map(len, ranks)) == len(alone)
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_a_rank_outside_the_world_is_refused():
    with pytest.raises(TsgcError, match="rank 2 of 2"):
        parts_of_rank(2, 2, 1)
    with pytest.raises(TsgcError, match="rank 2 of 2"):
        eval_batches(5, 1, 2, 2)
