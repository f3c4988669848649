"""The random numbers of a step: laws, keys, and that what is off draws nothing."""

import sys

import numpy as np
import pytest
from made.batches import drawn

from pipelines.skeleton import SKELETONS
from tsgc.config import TrainConfig
from tsgc.input.augmentations import DROPPED_JOINTS
from tsgc.input.random_numbers import draw

UCLA = SKELETONS["nw-ucla-20"]


def test_the_published_recipe_draws_what_it_did_and_nothing_else():
    draws = draw(TrainConfig(), 2, 7, 128, 2, 9, UCLA)
    rng = np.random.default_rng([0, 2, 7])
    mixed, lam = rng.random(4) < 0.5, rng.beta(0.8, 0.8, 4)
    assert np.array_equal(draws.lam, np.repeat(np.where(mixed, lam, 1), 32).astype(np.float32))
    assert np.array_equal(draws.crop, rng.random((128, 2)))
    assert np.array_equal(draws.arrays["rotation"], rng.uniform(-0.3, 0.3, (128, 3)).astype(np.float32))
    assert np.array_equal(draws.survival, rng.random((128, 2, 9), dtype=np.float32))
    used = {"lam", "crop", "rotation", "survival"}
    assert all(array.size == 0 for name, array in draws.arrays.items() if name not in used)


def test_switching_one_augmentation_on_leaves_the_published_ones():
    one, two = drawn(noise=0.0, limbs=0.0).arrays, drawn().arrays
    for name in ("crop", "rotation", "survival"):
        assert np.array_equal(one[name], two[name])


def test_all_numbers_repeat_for_a_step_and_differ_between_steps():
    one, again, other = (drawn(64, 1, step).arrays for step in (4, 4, 5))
    for name, array in one.items():
        if name == "frames":
            continue  # sampling=crop picks none
        assert np.array_equal(array, again[name]), name
        assert not np.array_equal(array, other[name]), name


def test_turns_are_about_the_vertical_by_any_angle_and_tilts_small():
    angles = np.rad2deg(drawn().arrays["rotation"])
    assert 88 < angles[:, 1].max() < 90.01 and -90.01 < angles[:, 1].min() < -88
    assert np.abs(angles[:, (0, 2)]).max() < 15.01
    assert angles[:, 1].std() == pytest.approx(180 / 12**0.5, rel=0.05)
    assert (angles[:, 1] % 1 != 0).any()


def test_left_and_right_limbs_change_alike():
    limbs = drawn().arrays["limbs"]
    for left, right in UCLA.left_right:
        assert np.array_equal(limbs[:, left], limbs[:, right])
    assert 0.8 <= limbs.min() < 0.81 and 1.19 < limbs.max() <= 1.2
    assert np.abs(np.corrcoef(limbs[:, 5], limbs[:, 6])[0, 1]) < 0.05


def test_scale_is_one_factor_times_one_an_axis():
    scale = drawn(scale_axes=0.0).arrays["scale"]
    assert np.array_equal(scale[:, 0], scale[:, 2]) and 0.8 <= scale.min() < 0.81
    axes = drawn(scale=0.0).arrays["scale"]
    assert axes.min() >= 0.9 and not np.array_equal(axes[:, 0], axes[:, 1])


def test_clips_lose_joints_and_axes_as_often_as_asked():
    draws = drawn().arrays
    keep_joints, keep_axes = draws["drop_joints"], draws["drop_axis"]
    losing = (keep_joints == 0).any(1)
    assert losing.mean() == pytest.approx(0.5, abs=0.03)
    assert (keep_joints[losing] == 0).mean() == pytest.approx(DROPPED_JOINTS, abs=0.02)
    lost = 3 - keep_axes.sum(1)
    assert set(lost.tolist()) == {0.0, 1.0} and lost.mean() == pytest.approx(0.3, abs=0.03)
    assert (keep_axes == 0).sum(0).min() > 300


def test_a_mixed_group_is_blended_or_trades_a_span_or_a_part():
    draws = drawn()
    spans = draws.cut_frames.mean(1) < 1
    parts = draws.cut_joints.mean(1) < 1
    assert not (spans & parts).any()
    for which, share in ((spans, 0.4), (parts, 0.3)):
        groups = which.reshape(-1, 8)
        assert (groups == groups[:, :1]).all()
        assert groups[:, 0].mean() == pytest.approx(share, abs=0.07)
    assert (draws.mixup_lam[spans | parts] == 0).all()
    own = np.where(spans, 1 - draws.cut_frames.mean(1), 1 - draws.cut_joints.mean(1))
    own = np.where(spans | parts, own, draws.mixup_lam)
    np.testing.assert_allclose(draws.lam, own, atol=1e-6)


def test_a_groups_spans_are_of_one_length_at_places_of_their_own():
    """Partners are mirrored in the group: one length makes both halves' shares add up over a batch."""
    draws = drawn(cutmix_span=1.0, cutmix_part=0.0)
    lengths = draws.cut_frames.sum(1).reshape(-1, 8)
    assert (lengths == lengths[:, :1]).all() and lengths.min() >= 1 and lengths.max() <= 63
    assert lengths[:, 0].mean() == pytest.approx(32, abs=3)
    starts = draws.cut_frames.argmax(1).reshape(-1, 8)
    assert (starts != starts[:, :1]).any()
    assert (np.abs(np.diff(draws.cut_frames, axis=1)).sum(1) <= 2).all()  # one piece


@pytest.mark.parametrize("sampling", ["crop", "frames"])
def test_a_steps_numbers_are_drawn_for_all_clips_at_once(sampling):
    """All augmentations on: as much Python for many clips as for few, about a millisecond of it."""
    changes = {"sampling": sampling}
    if sampling == "frames":
        changes |= {"time_jitter": 0.0, "speed": 0.0}
    drawn(8, **changes)  # what is only done the first time
    few, many = (instructions(lambda clips=clips: drawn(clips, **changes)) for clips in (8, 1024))
    assert few == many < 20_000


def instructions(work) -> int:
    """Python's own instructions that a call takes: a measure of its time that no other load changes."""
    count, before = 0, sys.gettrace()

    def trace(frame, event, arg):
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
