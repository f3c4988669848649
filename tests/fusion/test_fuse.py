"""The arithmetic of fusion and of what is learned for it, against plain loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.scores import make_scores, shuffled

from pipelines.errors import TsgcError
from tsgc.evaluation.scores import hits
from tsgc.fusion.calibrate import cross_entropy, fit_mixture, fit_scales, temperature
from tsgc.fusion.fuse import FUSIONS, fuse, learn_weights

STREAMS = [
    make_scores(seed, clips=40, classes=6, skill=0.7 + 0.3 * seed, modality=f"m{seed}") for seed in range(3)
]


def plain_softmax(row):
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


def plain_fuse(streams, weights, method):
    """name -> fused row, one clip at a time."""
    fused = {}
    for name in streams[0].names:
        rows = [part.logits[part.names.tolist().index(name)].tolist() for part in streams]
        if method != "logits":
            rows = [plain_softmax(row) for row in rows]
        total = [sum(w * row[k] for w, row in zip(weights, rows)) for k in range(len(rows[0]))]
        fused[name] = total if method == "logits" else [math.log(value / sum(weights)) for value in total]
    return fused


@pytest.mark.parametrize("method", FUSIONS)
def test_fusion_is_the_plain_sum_clip_by_clip(method):
    weights = [0.6, 0.0, 0.3]
    streams = [STREAMS[0], shuffled(STREAMS[1]), shuffled(STREAMS[2], 5)]
    fused = fuse(streams, weights, method)
    for name, row in zip(fused.names, fused.logits):
        np.testing.assert_allclose(row, plain_fuse(streams, weights, method)[name], atol=1e-5)


@pytest.mark.parametrize("method", FUSIONS)
@given(order=st.permutations(range(3)), seed=st.integers(0, 1000))
def test_neither_the_order_of_clips_nor_of_streams_matters(method, order, seed):
    weights = [0.5, 1.0, 0.25]
    expected = fuse(STREAMS, weights, method)
    mixed = [shuffled(STREAMS[index], seed + index) for index in order]
    fused = fuse(mixed, [weights[index] for index in order], method)
    place = {name: index for index, name in enumerate(fused.names)}
    rows = [place[name] for name in expected.names]
    np.testing.assert_allclose(fused.logits[rows], expected.logits, atol=1e-5)
    assert np.array_equal(fused.labels[rows], expected.labels)


def test_probabilities_that_vanish_in_float32_still_rank():
    """Both streams are sure of class 0; 1 is ahead of 2 by less than float32 can add to 1."""
    sure = replace(STREAMS[0], logits=np.tile(np.float32([300, -200, -260, -400, -400, -400]), (40, 1)))
    fused = fuse([sure, sure], method="softmax")
    assert np.isfinite(fused.logits).all() and (np.argsort(-fused.logits[0])[:3] == [0, 1, 2]).all()


def test_weights_are_equal_by_default_and_checked():
    np.testing.assert_array_equal(fuse(STREAMS).logits, fuse(STREAMS, [1, 1, 1]).logits)
    for weights, said in (
        ([1, 1], "2 weights for 3 streams"),
        ([1, 1, -1], "0 or more"),
        ([0, 0, 0], "not all 0"),
        ([1, 1, math.nan], "numbers"),
    ):
        with pytest.raises(TsgcError, match=said):
            fuse(STREAMS, weights)
    with pytest.raises(TsgcError, match="no streams"):
        fuse([])


def test_streams_of_other_clips_are_told_apart_with_counts_and_examples():
    one = STREAMS[0]
    fewer = replace(one, names=one.names[:35], labels=one.labels[:35], logits=one.logits[:35])
    with pytest.raises(TsgcError, match=rf"5 lacking \({one.names[35]}, .*\.\.\.\), 0 surplus"):
        fuse([one, fewer])
    with pytest.raises(TsgcError, match=r"0 lacking, 5 surplus"):
        fuse([fewer, one])
    with pytest.raises(TsgcError, match="labels differ"):
        fuse([one, replace(one, labels=(one.labels + 1) % 6)])
    with pytest.raises(TsgcError, match="5 classes, the first stream has 6"):
        fuse([one, replace(one, logits=one.logits[:, :5])])


def test_the_temperature_is_the_best_of_a_fine_grid():
    for factor in (0.2, 1.0, 7.0):
        part = make_scores(3, clips=300, skill=2)
        logits = factor * part.logits
        grid = np.exp(np.linspace(math.log(0.02), math.log(50), 2000))
        best = min(grid, key=lambda T: cross_entropy(logits / T, part.labels))
        assert temperature(logits, part.labels) == pytest.approx(best, rel=0.01)


def test_calibration_of_a_perfect_or_useless_stream_is_bounded():
    part = make_scores(skill=9)  # every clip right: the colder, the better
    assert 0.01 <= temperature(part.logits, part.labels) < 1
    assert temperature(-part.logits, part.labels) == pytest.approx(100)


def test_scales_are_the_best_of_a_grid():
    a, b = (make_scores(seed, clips=300, skill=1.0 + seed) for seed in (0, 1))
    scales = fit_scales([a.logits, b.logits], a.labels)
    least = cross_entropy(scales[0] * a.logits + scales[1] * b.logits, a.labels)
    grid = np.linspace(0, 4, 41)
    losses = [cross_entropy(x * a.logits + y * b.logits, a.labels) for x in grid for y in grid]
    assert least <= min(losses) and least == pytest.approx(min(losses), abs=1e-3)


def test_mixture_weights_are_the_best_of_a_grid():
    a, b = (make_scores(seed, clips=300, skill=1.0 + seed) for seed in (0, 1))
    sharp = [4 * a.logits, 4 * b.logits]
    weights = fit_mixture(sharp, a.labels)
    assert weights.sum() == pytest.approx(1)

    def loss(x):
        pair = [replace(part, logits=logits) for part, logits in zip((a, b), sharp)]
        return cross_entropy(fuse(pair, [x, 1 - x], "softmax").logits, a.labels)

    best = min(np.linspace(0, 1, 201), key=loss)
    assert weights[0] == pytest.approx(best, abs=0.01)


def top1(streams, weights, method):
    return hits(fuse(streams, weights, method).logits, streams[0].labels)[0].mean()


@pytest.mark.parametrize("method", FUSIONS)
@given(st.integers(0, 10**6), st.integers(2, 5), st.lists(st.floats(-1, 4), min_size=5, max_size=5))
def test_learned_weights_are_never_worse_where_they_were_learned(method, seed, count, skills):
    streams = [make_scores(seed + index, clips=50, classes=5, skill=skills[index]) for index in range(count)]
    weights = learn_weights(streams, method)
    assert (weights >= 0).all() and weights.mean() == pytest.approx(1)
    assert top1(streams, weights, method) >= top1(streams, None, method)


def test_a_useless_stream_gets_next_to_no_weight_and_twins_share():
    good, noise = make_scores(0, clips=2000, skill=3), make_scores(1, clips=2000, skill=0)
    weights = learn_weights([good, noise])
    assert weights[1] < 0.1 < weights[0]
    weights = learn_weights([good, good, noise])
    assert weights[0] == pytest.approx(weights[1], rel=1e-3) and weights[0] > 1
    assert top1([good, noise], learn_weights([good, noise]), "logits") > top1([good, noise], None, "logits")


def test_learned_weights_do_not_depend_on_the_order_of_streams():
    weights = learn_weights(STREAMS)
    np.testing.assert_allclose(learn_weights(STREAMS[::-1])[::-1], weights, atol=1e-5)
