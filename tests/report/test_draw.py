"""Skeletons as pictures: the flat view, strips, animations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.skeleton import COCO_17, NTU_25, SKELETONS
from tsgc.drawing.rest_pose import rest_pose
from tsgc.drawing.skeleton import (
    COLOURS,
    LEFT,
    PANEL,
    RIGHT,
    Panel,
    draw_frames,
    draw_strip,
    even_indices,
    front_view,
    gif_milliseconds,
    joint_sides,
)

SIZE = (200.0, 100.0)


def walk(frames=5, bodies=1, seed=0):
    """(T, M, 25, 3) of random joints."""
    return np.random.default_rng(seed).normal(0, 1, (frames, bodies, 25, 3))


@given(st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 99))
def test_distances_keep_their_proportions_wherever_and_however_large_the_body(factor, shift, seed):
    joints = walk(seed=seed)
    points = front_view(joints * factor + shift, NTU_25, size=SIZE)
    flat = joints[..., :2] * (1, -1)
    ratio = (points[1, 0, 3] - points[0, 0, 7]) / (flat[1, 0, 3] - flat[0, 0, 7])
    assert ratio[0] == pytest.approx(ratio[1], rel=1e-6) and ratio[0] > 0
    assert (points >= 0).all() and (points <= SIZE).all()


def test_one_scale_for_the_whole_clip():
    joints = walk(2)
    joints[1] *= 3
    points = front_view(joints, NTU_25, size=SIZE)
    spans = np.ptp(points, axis=(1, 2))
    assert np.allclose(
        spans[1], np.ptp(joints[1, ..., :2], axis=(0, 1)) * spans[0, 0] / np.ptp(joints[0, ..., 0])
    )


def test_absent_bodies_are_nan_and_do_not_move_the_others():
    alone = walk(4)
    pair = np.concatenate([alone, np.zeros_like(alone)], axis=1)
    pair[2, 1] = 1e6
    present = np.array([[True, False]] * 4)
    points = front_view(pair, NTU_25, present, size=SIZE)
    assert np.isnan(points[:, 1]).all()
    assert np.array_equal(points[:, :1], front_view(alone, NTU_25, size=SIZE))
    assert np.isnan(front_view(np.zeros((3, 2, 25, 3)), NTU_25, size=SIZE)).all()
    broken = walk(2)
    broken[1, 0, 3] = np.inf
    assert np.isnan(front_view(broken, NTU_25, size=SIZE)[1]).all()


def test_joints_in_one_place_are_drawn_in_the_middle():
    points = front_view(np.full((2, 1, 25, 3), 4.2), NTU_25, size=SIZE)
    assert np.array_equal(points, np.broadcast_to([100.0, 50.0], points.shape))
    line = np.ones((1, 1, 25, 3))
    line[..., 1] = np.arange(25)  # no width at all
    assert np.isfinite(front_view(line, NTU_25, size=SIZE)).all()


def test_pictures_upside_down_are_turned_and_unseen_joints_left_out():
    pose = np.concatenate([rest_pose(COCO_17), np.ones((17, 1))], 1)[None, None]  # y up, score 1
    pose[0, 0, 9] = 0
    up = front_view(pose, COCO_17, size=SIZE, channels="xys")
    down = front_view(pose * (1, -1, 1), COCO_17, size=SIZE, channels="xys")
    assert np.array_equal(up, down, equal_nan=True)
    assert up[0, 0, 0, 1] < up[0, 0, 15, 1]  # the nose above the ankle
    assert np.isnan(up[0, 0, 9]).all() and np.isfinite(np.delete(up[0, 0], 9, 0)).all()


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=str)
def test_sides_are_the_bodys_own(skeleton):
    sides = joint_sides(skeleton)
    for name, side in zip(skeleton.joints, sides):
        assert (side == LEFT) == name.startswith("left ") and (side == RIGHT) == name.startswith("right ")


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=str)
def test_the_resting_body_is_symmetric_and_no_joints_coincide(skeleton):
    pose = rest_pose(skeleton)
    for left, right in skeleton.left_right:
        assert np.array_equal(pose[left], pose[right] * (-1, 1))
    assert len(np.unique(pose.round(3), axis=0)) == skeleton.num_joints


@given(st.integers(0, 500), st.integers(1, 40))
def test_spread_has_the_first_and_the_last(count, wanted):
    indices = even_indices(count, wanted)
    assert len(indices) == min(count, wanted) and indices == sorted(set(indices))
    assert count == 0 or indices[0] == 0
    assert min(count, wanted) < 2 or indices[-1] == count - 1


def test_a_strip_shows_left_and_right_in_their_colours():
    pose = np.concatenate([rest_pose(NTU_25), np.zeros((25, 1))], 1)[None, None].repeat(3, 0)
    picture = np.asarray(draw_strip([Panel("raw", pose), Panel("prepared", pose)], NTU_25, frames=2))
    width = 2 * PANEL[0]
    assert picture.shape[1] == width
    columns = {}
    for side in (LEFT, RIGHT):
        off = np.abs(picture[: PANEL[1], : PANEL[0]].astype(int) - COLOURS[side]).max(-1)
        columns[side] = np.nonzero(off < 20)[1]
        assert len(columns[side]) > 50
    assert columns[LEFT].max() < PANEL[0] / 2 < columns[RIGHT].min()


@pytest.mark.parametrize("frames", (0, 1, 7))
def test_clips_of_any_length_are_drawn(frames):
    panels = [Panel("a", walk(frames)), Panel("b", walk(3, 2))]
    assert draw_strip(panels, NTU_25).width > PANEL[0]
    pictures = draw_frames(panels, NTU_25, most=4)
    assert len(pictures) == min(4, max(3, frames)) and len({picture.size for picture in pictures}) == 1
    empty = np.zeros((2, 1, 25, 3))
    assert draw_strip([Panel("nobody", empty)], NTU_25).width == 2 * PANEL[0]


def test_a_thinned_animation_keeps_its_own_time():
    assert gif_milliseconds(90, 90, 30) == 30  # GIFs count in hundredths of a second
    assert gif_milliseconds(900, 300, 30) == 100
    assert gif_milliseconds(10, 10, 1000) == 20
