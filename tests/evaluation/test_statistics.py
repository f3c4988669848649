"""Bootstrap intervals and McNemar's test against plain loops and numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.scores import make_scores

from tsgc.evaluation.scores import accuracy, hits
from tsgc.evaluation.statistics import bootstrap, mcnemar, paired_difference, wilson


def made_hits(clips=60, classes=7):
    parts = [make_scores(seed, clips, classes, skill=0.5 + seed) for seed in range(3)]
    top1, top5 = zip(*(hits(part.logits, part.labels) for part in parts))
    return parts, parts[0].labels, np.stack(top1, 1), np.stack(top5, 1)


def test_intervals_are_those_of_clips_drawn_one_by_one():
    parts, labels, top1, top5 = made_hits()
    rng = np.random.default_rng(4)
    drawn = []
    for _ in range(250):
        clips = rng.integers(len(labels), size=len(labels))
        figures = [accuracy(part.logits[clips], labels[clips]) for part in parts]
        drawn.append([(each.top1, each.top5, each.mean_class) for each in figures])
    low, high = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
    intervals = bootstrap(labels, top1, top5, resamples=250, seed=4)
    np.testing.assert_allclose(intervals, np.stack([low, high], -1), atol=1e-9)


def test_a_classifiers_interval_does_not_depend_on_the_others():
    _, labels, top1, top5 = made_hits()
    assert np.array_equal(bootstrap(labels, top1[:, :1], top5[:, :1])[0], bootstrap(labels, top1, top5)[0])


def test_another_seed_gives_another_interval_and_the_same_seed_the_same():
    _, labels, top1, top5 = made_hits()
    one, again, other = (bootstrap(labels, top1, top5, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Of 200 samples of coins that fall right 70 times in 100, about 95 % have 70 in their interval."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        right = rng.random((300, 1)) < 0.7
        low, high = bootstrap(np.zeros(300, int), right, right, resamples=200)[0, 0]
        inside += low <= 70 <= high
    assert 180 <= inside <= 198


def test_no_clips_have_no_interval():
    none = np.zeros((0, 2), bool)
    assert np.isnan(bootstrap(np.zeros(0, int), none, none)).all()


def split(first_only, second_only, both=3):
    first = np.array([True] * first_only + [False] * second_only + [True] * both)
    second = np.array([False] * first_only + [True] * second_only + [True] * both)
    return first, second


@pytest.mark.parametrize(
    ("first_only", "second_only", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),  # 2 * 1/2
        (5, 0, 2 / 32),
        (5, 1, 2 * (1 + 6) / 64),
        (2, 8, 2 * (1 + 10 + 45) / 1024),
        (5, 5, 1.0),  # capped
    ],
)
def test_mcnemar_is_the_binomial_worked_out_by_hand(first_only, second_only, p):
    test = mcnemar(*split(first_only, second_only))
    assert (test.first_only, test.second_only) == (first_only, second_only)
    assert test.p == pytest.approx(p)


def test_mcnemar_of_thousands_of_clips_is_exact_enough_and_quick():
    one, two = 2600, 2400
    z = (abs(one - two) - 1) / np.sqrt(one + two)  # the normal approximation with continuity correction
    assert mcnemar(*split(one, two)).p == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.01)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_takes_no_side(first_only, second_only):
    test = mcnemar(*split(first_only, second_only))
    assert 0 < test.p <= 1 and test.p == mcnemar(*split(second_only, first_only)).p


@pytest.mark.parametrize(
    ("right", "total", "interval"),
    [(10, 10, (72.25, 100.0)), (0, 10, (0.0, 27.75)), (50, 100, (40.38, 59.62)), (1, 2, (9.45, 90.55))],
)
def test_wilsons_interval_of_known_cases(right, total, interval):
    assert wilson(right, total) == pytest.approx(interval, abs=0.01)


@given(st.integers(1, 500), st.data())
def test_wilsons_interval_holds_the_accuracy_and_narrows(total, data):
    right = data.draw(st.integers(0, total))
    low, high = wilson(right, total)
    assert 0 <= low <= 100 * right / total + 1e-9 and 100 * right / total - 1e-9 <= high <= 100
    wide, narrow = high - low, np.subtract(*wilson(4 * right, 4 * total)[::-1])
    assert narrow < wide
    assert all(map(math.isnan, wilson(0, 0)))


def test_a_paired_difference_is_that_of_clips_drawn_one_by_one():
    rng = np.random.default_rng(0)
    first = rng.random(200) < 0.7
    second = np.where(rng.random(200) < 0.85, first, rng.random(200) < 0.8)
    drawn = [np.mean((second * 1.0 - first)[rng.integers(200, size=200)]) for _ in range(4000)]
    middle, low, high = paired_difference(first, second, resamples=4000)
    assert middle == pytest.approx(100 * (second.mean() - first.mean()))
    assert (low, high) == pytest.approx(100 * np.percentile(drawn, [2.5, 97.5]), abs=0.6)
    assert paired_difference(first, first) == (0, 0, 0)
    assert all(map(math.isnan, paired_difference(first[:0], second[:0])))
