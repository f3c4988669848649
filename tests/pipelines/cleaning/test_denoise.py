"""Each rule and quirk of the reference's cleaning, on a tiny made clip."""

from collections import Counter

import numpy as np
import pytest
from made.clips import UPRIGHT, V, standing

from pipelines.cleaning import denoise as d

WIDE = UPRIGHT[:, [1, 0, 2]]  # lying: wider than tall


def track(body: str, frames: range | list[int], joints: np.ndarray | None = None) -> d.Track:
    frames = list(frames)
    if joints is None:
        joints = standing(len(frames), seed=int(body))
    return d.Track(body, np.array(frames), joints.astype(np.float32))


def moving(amount: float, frames: int = 20) -> np.ndarray:
    """Upright joints whose motion grows with `amount`."""
    return UPRIGHT + amount * np.linspace(-1, 1, frames)[:, None, None] * [0, 0, 1.0]


def test_a_body_that_comes_back_counts_as_present_in_the_gap():
    assert track("1", [3, 4, 9, 10]).interval == (3, 6)


def test_motion_of_a_still_body_is_the_spread_of_its_posture():
    still = np.repeat(UPRIGHT[None], 4, axis=0)
    assert d.motion(still) == pytest.approx(UPRIGHT.var(axis=0).sum())


def test_motion_takes_the_population_variance():
    two_points = np.zeros((1, 2, 3))
    two_points[0, 1, 0] = 2.0
    assert d.motion(two_points) == 1.0


def test_one_body_is_kept_however_short_and_wide():
    lying = np.repeat(WIDE[None], 3, axis=0)
    joints, rules = d.denoise([track("1", range(3), lying)], num_frames=3)
    np.testing.assert_array_equal(joints[:, 0], lying.astype(np.float32))
    assert not +rules


def test_one_body_with_an_all_zero_frame_keeps_that_frame():
    still = standing(4)
    still[2] = 0
    joints, _ = d.denoise([track("1", range(4), still)], num_frames=4)
    assert len(joints) == 4


@pytest.mark.parametrize(("frames", "kept"), [(11, 1), (12, 2)])
def test_a_body_of_eleven_frames_is_dropped_and_one_of_twelve_is_kept(frames, kept):
    rules = Counter()
    assert len(d.drop_short([track("1", range(20)), track("2", range(frames))], rules)) == kept
    assert rules[d.SHORT] == 2 - kept


def test_of_only_short_bodies_the_longest_is_kept():
    joints, rules = d.denoise([track("1", range(5)), track("2", range(8)), track("3", range(8))], 8)
    np.testing.assert_array_equal(joints[:, 0], standing(8, seed=2))
    assert rules == {d.SHORT: 2, d.LONGEST: 1, d.EMPTY: 0}


def test_one_body_left_by_length_gives_one_actor():
    joints, rules = d.denoise([track("1", range(5)), track("2", range(20))], num_frames=20)
    assert joints.shape == (20, 1, V, 3)
    assert rules[d.SHORT] == 1


def test_a_frame_is_bad_when_the_body_is_wider_than_four_fifths_of_its_height():
    body = np.zeros((3, 2, 3), np.float32)
    body[:, 1] = [[0.75, 1.0, 0.0], [0.85, 1.0, 0.0], [0.0, 0.0, 0.0]]
    assert d.spread_frames(body).tolist() == [False, True, False]


@pytest.mark.parametrize(("bad", "dropped"), [(69, False), (70, True)])
def test_a_body_with_seventy_percent_bad_frames_is_dropped(bad, dropped):
    body = np.concatenate([np.repeat(WIDE[None], bad, axis=0), np.repeat(UPRIGHT[None], 100 - bad, axis=0)])
    rules = Counter()
    kept, _ = d.drop_spread([track("1", range(100), body), track("2", range(100))], rules)
    assert [one.body for one in kept] == (["2"] if dropped else ["1", "2"])
    assert rules[d.SPREAD] == dropped


def test_the_last_body_left_is_not_judged():
    lying = np.repeat(WIDE[None], 20, axis=0)
    tracks = [track(body, range(20), lying) for body in "123"]
    kept, _ = d.drop_spread(tracks, Counter())
    assert [one.body for one in kept] == ["3"]


def test_bad_frames_lower_the_motion_but_never_raise_it():
    wild, calm = track("1", range(20), moving(0.1)), track("2", range(20), moving(0.1))
    wild.joints[5] = 30 * WIDE
    calm.joints[5] = 0.01 * WIDE + [0, 0, 3]  # bad, and close to the mean
    good = np.arange(20) != 5
    _, motions = d.drop_spread([wild, calm], Counter())
    assert motions[0] == d.motion(wild.joints[good]) < d.motion(wild.joints)
    assert motions[1] == d.motion(calm.joints) < d.motion(calm.joints[good])


def test_actor_1_is_the_body_of_most_motion():
    calm, wild = moving(0.1), moving(0.5)
    joints, _ = d.denoise([track("1", range(20), calm), track("2", range(20), wild)], num_frames=20)
    np.testing.assert_array_equal(joints[:, 0], wild.astype(np.float32))
    np.testing.assert_array_equal(joints[:, 1], calm.astype(np.float32))


def test_bodies_of_equal_motion_keep_their_order():
    tracks = [track(body, range(20), moving(0.1)) for body in "12"]
    assert [one.body for one in d.rank_by_motion(tracks, [1.0, 1.0])] == ["1", "2"]


def test_one_shared_frame_is_no_overlap_and_is_overwritten():
    assert not d.overlap((0, 12), (12, 30))
    assert d.overlap((0, 13), (12, 30))
    tracks = [track("1", range(13)), track("2", range(12, 31))]
    joints = d.two_actors(tracks, 31, Counter())
    np.testing.assert_array_equal(joints[12, 0], tracks[1].joints[0])
    assert not joints[:, 1].any()


def test_two_actors_come_back_even_when_the_second_got_nothing():
    wild, calm = moving(0.5, 13), moving(0.1, 15)
    joints, _ = d.denoise([track("1", range(13), wild), track("2", range(14, 29), calm)], num_frames=29)
    assert joints.shape == (28, 2, V, 3)  # frame 13 has no body left
    assert not joints[:, 1].any()


def test_a_body_that_overlaps_both_actors_is_dropped():
    rules = Counter()
    tracks = [track(body, range(20)) for body in "123"]
    joints = d.two_actors(tracks, 20, rules)
    np.testing.assert_array_equal(joints[:, 1], tracks[1].joints)
    assert rules[d.OVERLAP] == 1


def test_the_hull_of_actor_2_starts_at_frame_0():
    # Actor 2 is first seen at frame 20; still, a body of frames 5 to 16 counts as overlapping it.
    rules = Counter()
    d.two_actors([track("1", range(40)), track("2", range(20, 40)), track("3", range(5, 17))], 40, rules)
    assert rules[d.OVERLAP] == 1


def test_the_hull_of_actor_1_covers_the_gaps_between_its_bodies():
    # Bodies 1 and 2 leave frames 12 to 27 free, yet body 3 there overlaps their hull and is actor 2.
    tracks = [track("1", range(12)), track("2", range(28, 40)), track("3", range(13, 27))]
    joints = d.two_actors(tracks, 40, Counter())
    np.testing.assert_array_equal(joints[13:27, 1], tracks[2].joints)


def test_a_gap_shifts_what_follows_it():
    tracks = [track("1", range(20)), track("2", [*range(8), *range(12, 20)])]
    joints = d.two_actors(tracks, 20, Counter())
    np.testing.assert_array_equal(joints[:16, 1], tracks[1].joints)
    assert not joints[16:, 1].any()


def test_frames_that_only_dropped_bodies_were_in_are_removed():
    joints, rules = d.denoise([track("1", range(5)), track("2", range(4, 24))], num_frames=24)
    assert joints.shape == (20, 1, V, 3)
    assert rules[d.EMPTY] == 4


def test_a_frame_whose_joints_sum_to_exactly_0_is_removed_though_a_body_is_there():
    joints = np.ones((3, 1, 2, 3), np.float32)
    joints[1, 0, 1] = -1
    assert len(d.drop_empty_frames(joints, Counter())) == 2
