"""People without identifiers: followed by distance, in pictures too."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cleaning.following import FORGOTTEN, follow, in_tracks, stack
from pipelines.cleaning.linking import MAX_REACH, REACH

FPS = 30
BODY = np.array([[0, 0], [0, 100], [-30, 60], [30, 60], [0, 150]], np.float32)  # pixels; 150 high: BOX metres


def walking(paths: list[list[tuple[float, float] | None]], channels: int = 3, size: float = 1) -> np.ndarray:
    """Bodies whose first joint is at each place of a path, None where not seen: (T, M, V, C), score 1."""
    frames = []
    for places in zip(*paths):
        bodies = [
            np.full((5, channels), np.nan) if at is None else body_at(at, channels, size) for at in places
        ]
        frames.append(bodies)
    return np.array(frames, np.float32)


def body_at(at: tuple[float, float], channels: int, size: float) -> np.ndarray:
    body = np.ones((5, channels), np.float32)
    body[:, :2] = size * BODY + at
    return body


def shuffled(joints: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The bodies of each frame in another order, and that order."""
    rng = np.random.default_rng(seed)
    order = np.array([rng.permutation(joints.shape[1]) for _ in joints])
    return np.take_along_axis(joints, order[..., None, None], axis=1), order


def seen(joints: np.ndarray) -> np.ndarray:
    return ~np.isnan(joints).any(axis=3)


@pytest.mark.parametrize("size", [0.1, 1, 10])
def test_two_who_pass_each_other_keep_their_places_near_and_far(size: float) -> None:
    step = 4 * size  # pixels a frame: 4 cm of a body of 1.5 m
    left = [(step * t, 0.0) for t in range(60)]
    right = [(step * (60 - t), 70 * size) for t in range(60)]
    joints = walking([left, right], size=size)
    mixed, _ = shuffled(joints)
    tracks = in_tracks(mixed, seen(mixed), "xys", FPS)
    assert tracks.joints.shape == joints.shape and not tracks.dropped
    first = int(mixed[0, 0, 0, 0] != joints[0, 0, 0, 0])  # equally long: who comes first comes first
    np.testing.assert_array_equal(tracks.joints, joints[:, [first, 1 - first]])


def test_a_person_is_found_again_within_reach_and_is_another_beyond_it() -> None:
    metre = 100  # pixels of this body
    for away, missed, people in (
        (0.9 * REACH, 0, 2), (1.1 * REACH, 0, 3), (1.1 * REACH, 10, 2),
        (1.05 * MAX_REACH, 200, 3), (0, FORGOTTEN * FPS - 1, 2), (0, FORGOTTEN * FPS, 3),
    ):  # fmt: skip
        path = [(0.0, 0.0)] * 5 + [None] * missed + [(away * metre, 0.0)] * 5
        other = [(5000.0, 0.0)] * len(path)
        joints = walking([path, other])
        assert len(follow(joints, seen(joints), "xys", FPS)) == people, (away, missed)


def test_the_only_body_is_one_person_wherever_it_jumps() -> None:
    joints = walking([[(0.0, 0.0), (9000.0, 0.0), None, (0.0, 0.0)]])
    (person,) = follow(joints, seen(joints), "xys", FPS)
    assert person.frames == [0, 1, 3] and person.bodies == [0, 0, 0]
    assert follow(joints[:0], seen(joints)[:0], "xys", FPS) == []


def test_what_a_person_shows_may_change_from_frame_to_frame() -> None:
    """Whose legs are hidden has not moved up: places are compared joint by joint."""
    joints = walking([[(0.0, 0.0)] * 20, [(90.0, 0.0)] * 20])
    joints[::2, 0, [0, 2]] = np.nan
    joints[1::2, 1, [1, 4]] = np.nan
    mixed, order = shuffled(joints)
    people = follow(mixed, seen(mixed), "xys", FPS)
    assert len(people) == 2
    for person in people:
        who = {int(order[t, m]) for t, m in zip(person.frames, person.bodies)}
        assert len(who) == 1


def test_more_people_than_tracks_are_counted() -> None:
    still = [[(1000.0 * m, 0.0)] * 40 for m in range(3)]
    still[2][:10] = still[1][25:] = [None] * 15
    joints = walking([still[0], still[1], still[2][:40]])
    tracks = in_tracks(joints, seen(joints), "xys", FPS, most=2)
    assert tracks.joints.shape[1] == 2
    kept = int(np.any(tracks.seen, axis=2).sum())
    assert kept + tracks.lost == int(np.any(seen(joints), axis=2).sum()) and tracks.dropped == 1
    everybody = in_tracks(joints, seen(joints), "xys", FPS)
    assert everybody.joints.shape[1] == 3 and not everybody.lost


def test_frames_of_any_number_of_bodies_are_stacked() -> None:
    one, two = np.ones((5, 3)), np.zeros((5, 3))
    joints = stack([[one], [], [one, two]], 5, 3)
    assert joints.shape == (3, 2, 5, 3) and joints.dtype == np.float32
    assert np.isnan(joints[[0, 1], [1, 0]]).all() and (joints[2, 1] == 0).all()
    assert stack([], 5, 3).shape == (0, 0, 5, 3)


@given(data=st.data(), T=st.integers(1, 12), M=st.integers(1, 4), most=st.sampled_from([None, 1, 2]))
def test_every_body_frame_is_in_one_place_or_counted(
    data: st.DataObject, T: int, M: int, most: int | None
) -> None:
    places = st.one_of(st.none(), st.tuples(st.floats(0, 300), st.floats(0, 300)))
    joints = walking([data.draw(st.lists(places, min_size=T, max_size=T)) for _ in range(M)])
    people = follow(joints, seen(joints), "xys", FPS)
    there = np.any(seen(joints), axis=2)
    told = [(t, m) for person in people for t, m in zip(person.frames, person.bodies)]
    assert sorted(told) == [tuple(at) for at in np.argwhere(there).tolist()]
    assert all(a < b for person in people for a, b in zip(person.frames, person.frames[1:]))
    tracks = in_tracks(joints, seen(joints), "xys", FPS, most)
    for t in range(T):
        found = [tracks.joints[t, m].tobytes() for m in np.flatnonzero(np.any(tracks.seen[t], axis=1))]
        given_bodies = [joints[t, m].tobytes() for m in np.flatnonzero(there[t])]
        assert all(found.count(body) <= given_bodies.count(body) for body in found)
    assert int(np.any(tracks.seen, axis=2).sum()) + tracks.lost == len(told)
    assert most is None or tracks.joints.shape[1] <= most
    if most is None:
        assert not tracks.lost
