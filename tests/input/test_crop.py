"""Which frames are picked: the draw without replacement, jitter, speed."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsgc.input import crop
from tsgc.input.crop import (
    FRAME_COPIES,
    crop_positions,
    even_times,
    play_at_speeds,
    random_frames,
    ticket_draws,
)


def picked(frames, count, seed=0):
    frames = np.asarray(frames)
    return random_frames(
        frames, np.random.default_rng(seed).random((len(frames), ticket_draws(count))), count
    )


@given(st.lists(st.integers(1, 250), min_size=1, max_size=5), st.integers(1, 130), st.integers(0, 2**32))
def test_random_frames_are_sorted_and_no_ticket_is_drawn_twice(frames, count, seed):
    for clip, numbers in zip(frames, picked(frames, count, seed)):
        assert len(numbers) == count
        assert (np.diff(numbers) >= 0).all() and numbers[0] >= 0 and numbers[-1] < clip
        copies = max(FRAME_COPIES, -(-count // clip))
        assert np.bincount(numbers).max() <= copies


@pytest.mark.parametrize(("clip", "count", "reserve"), [(3, 2, 10), (2, 3, 0), (3, 2, 0), (1, 4, 1)])
def test_every_set_of_tickets_is_as_likely(monkeypatch, clip, count, reserve):
    """With 2 copies of each frame all sets can be counted; without reserve most go Floyd's way."""
    monkeypatch.setattr(crop, "FRAME_COPIES", 2)
    monkeypatch.setattr(crop, "_reserve", lambda count: reserve)
    tries, copies = 60_000, max(2, -(-count // clip))
    drawn = picked(np.full(tries, clip), count)
    sets = list(combinations(range(clip * copies), count))
    expected = {}
    for tickets in sets:
        numbers = tuple(ticket // copies for ticket in tickets)
        expected[numbers] = expected.get(numbers, 0) + tries / len(sets)
    found, counts = np.unique(drawn, axis=0, return_counts=True)
    assert {tuple(row) for row in found.tolist()} == set(expected)
    chi = sum(
        (n - expected[tuple(row)]) ** 2 / expected[tuple(row)] for row, n in zip(found.tolist(), counts)
    )
    assert chi < 6 * max(1, len(expected) - 1)  # six times its mean: one in many millions


def test_the_spread_of_a_frames_count_is_the_hypergeometric():
    """Variance of how often a frame comes up: n K/N (1 - K/N) (N - n) / (N - 1), not the binomial's."""
    clip, count = 2, 64
    counts = (picked(np.full(20_000, clip), count) == 0).sum(1)
    N, share = clip * FRAME_COPIES, 1 / clip
    variance = count * share * (1 - share) * (N - count) / (N - 1)
    assert counts.mean() == pytest.approx(count * share, abs=0.1)
    assert counts.var() == pytest.approx(variance, rel=0.05)
    assert variance < 0.7 * count * share * (1 - share)  # the binomial's is far off


def test_clips_are_picked_from_by_their_own_numbers():
    together = picked([7, 1, 100], 16)
    uniform = np.random.default_rng(0).random((3, ticket_draws(16)))
    alone = random_frames(np.array([100]), uniform[2:], 16)
    assert np.array_equal(alone[0], together[2])


def test_jitter_moves_frames_within_their_step_and_keeps_their_order():
    start, length = np.array([3, 0]), np.array([64, 16])
    still = crop_positions(start, length, 32)
    jitter = np.random.default_rng(0).random((2, 32)) - 0.5
    moved = crop_positions(start, length, 32, even_times(32) + jitter)
    step = (length / 32)[:, None]
    inside = np.clip(still + jitter * step, start[:, None], (start + length - 1)[:, None])
    np.testing.assert_allclose(moved, inside)
    assert (np.diff(moved) >= 0).all()
    assert np.array_equal(crop_positions(start, length, 32, even_times(32) + np.zeros((2, 32))), still)


def test_speed_runs_through_the_crop_at_the_rates_given():
    start, length = np.array([0, 10]), np.array([100, 100])
    even = crop_positions(start, length, 40)
    alike = play_at_speeds(even_times(40), np.full((2, 4), 3.0))
    np.testing.assert_allclose(crop_positions(start, length, 40, alike), even)
    times = play_at_speeds(even_times(40), np.array([[1.0, 1, 1, 1], [3.0, 1, 1, 1]]))
    places = crop_positions(start, length, 40, times)
    np.testing.assert_allclose(places[0], even[0])
    # Half of the second crop goes by in a quarter of the frames, the rest in the other three.
    np.testing.assert_allclose(np.diff(places[1])[1:9], 5.0)
    np.testing.assert_allclose(np.diff(places[1])[11:-1], 100 / 6 / 10)
    assert places[1, 9] < 60 < places[1, 10]
