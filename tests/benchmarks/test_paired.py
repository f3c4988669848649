"""Clips of two cameras laid over each other: the same movement from elsewhere, and what the script tells."""

import numpy as np
import paired_nw_ucla
import pytest
from made.search import script
from paired_nw_ucla import Group, agreement, at_rate, by_distance, nearest_residual, residual


def turned(joints, degrees=40.0):
    """The same movement seen by a camera elsewhere."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return joints @ turn.T + [0.5, -0.1, 2.0]


@pytest.fixture
def movement():
    """A smooth movement of 20 joints, 40 frames: (40, 20, 3) metres."""
    steps = np.random.default_rng(1).normal(0, 0.05, (40, 20, 3))
    return np.random.default_rng(2).normal(0, 0.4, (20, 3)) + steps.cumsum(0)


def test_the_same_movement_from_elsewhere_has_no_residual(movement):
    assert residual(movement, turned(movement)) == pytest.approx(0, abs=1e-6)
    assert residual(movement, movement + np.array([0.3, 0, 0])) == pytest.approx(0, abs=1e-6)


def test_a_mirrored_body_and_noise_have_one(movement):
    assert residual(movement, turned(movement * [-1, 1, 1])) > 0.1
    noise = np.random.default_rng(0).normal(0, 0.03, movement.shape)
    assert residual(movement, turned(movement) + noise) == pytest.approx(0.03 * np.sqrt(3), rel=0.05)


def test_a_clip_is_found_where_it_lies_in_time(movement):
    assert nearest_residual(movement, turned(movement[9:35])) == pytest.approx(0, abs=1e-6)
    assert nearest_residual(turned(movement[9:35]), movement) == pytest.approx(0, abs=1e-6)
    assert nearest_residual(movement[:30], turned(movement[5:])) == pytest.approx(0, abs=1e-6)  # they overlap
    assert nearest_residual(movement[:20], turned(movement[12:])) > 0.05  # too little of them does


def test_frames_at_another_rate_lie_between_the_clips_own():
    joints = np.arange(5.0)[:, None, None] * np.ones((5, 20, 3))
    assert at_rate(joints, 1.0) == pytest.approx(joints)
    assert at_rate(joints, 1.8)[:, 0, 0] == pytest.approx(np.linspace(0, 4, 9))
    assert at_rate(joints, 0.5)[:, 0, 0] == pytest.approx([0, 4])


def test_rows_of_known_distances():
    metres = np.array([[0.1, 0.3, 0.2], [0.3, 0.2, 0.1], [0.9, 0.3, 0.3]])
    group = Group(
        "sit down", ((0, 1, 4), (0, 1, 2)), metres, np.array([0.4, 0.5, 0.9])
    )  # take 4 has none of its number
    assert group.pairs == [(0, 0), (1, 1)] and not group.alike
    assert agreement("x", [group]) == ("x", "2", "50 %", "33 %", "50 %", "0.150", "0.250", "0.500")
    assert by_distance([group]) == [("0.08 to 0.12", "1", "100 %"), ("0.2 to 0.3", "1", "0 %")]


def test_the_script_tells_of_made_clips(trained):
    said = script(paired_nw_ucla, "--shards", trained / "data/shards/nw-ucla/xview", "--rates", 1)
    assert "takes numbered alike in both views" in said and "drop trash" in said
    assert "sit down" not in said  # no made clip
