"""Joints that were not seen: found, filled, never a place of their own."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipelines.cleaning.missing import AT_NEAREST, LONGEST_GAP, OVER_TIME, fill, nearest, seen_joints
from pipelines.datasets.arrays import Bodies, finish, keep_present
from pipelines.skeleton import COCO_17, NTU_25, NW_UCLA_20, Skeleton

ARM = Skeleton("arm", ("shoulder", "elbow", "hand"), (0, 0, 1), (), 1)
TREE = Skeleton("tree", ("hip", "chest", "head", "hand", "alone"), (0, 0, 1, 1, 4), (), 1)
FPS = 30
GAP = round(LONGEST_GAP * FPS)


def standing(T: int = 6, M: int = 1, body: Skeleton = ARM) -> np.ndarray:
    """Bodies three metres off, (T, M, V, 3), each number a multiple of 1/64, which float32 adds exactly."""
    rng = np.random.default_rng(0)
    bones = rng.integers(-16, 16, (body.num_joints, 3)) / 64
    places = np.zeros((body.num_joints, 3))
    for joint in range(body.num_joints):  # put together along the bones, from any joint upwards
        above = joint
        while True:
            places[joint] += bones[above]
            if body.parents[above] == above:
                break
            above = body.parents[above]
    moves = rng.integers(-4, 4, (T, M, body.num_joints, 3)) / 64
    return (places + moves + np.array([0, 1, 3])).astype(np.float32)


# Which joints were seen ------------------------------------------------------------------------------------


def test_nan_zeros_and_a_score_of_zero_are_not_seen() -> None:
    joints = standing(T=4)
    joints[0, 0, 2] = 0
    joints[1, 0, 1, 1] = np.nan
    joints[2, 0, 0, :2] = 0  # one coordinate is enough for a place
    expected = np.ones((4, 1, 3), bool)
    expected[0, 0, 2] = expected[1, 0, 1] = False
    np.testing.assert_array_equal(seen_joints(joints, "xyz", ARM), expected)
    scores = np.ones((4, 1, 3, 1), np.float32)
    scores[3, 0, 0], scores[3, 0, 1] = 0, np.nan
    expected[3, 0, :2] = False
    np.testing.assert_array_equal(seen_joints(np.concatenate([joints, scores], 3), "xyzs", ARM), expected)
    flat = np.concatenate([joints[..., :2], scores], 3)
    expected[2, 0, 0] = False  # (0, 0) of a picture
    np.testing.assert_array_equal(seen_joints(flat, "xys", ARM), expected)
    assert seen_joints(flat, "xys", ARM, zeros=False)[2, 0, 0]


@pytest.mark.parametrize("joint", [1, 20])
def test_where_coordinates_start_is_a_place_and_a_sensor_is_not(joint: int) -> None:
    """Hip-centred recordings have their centre, or root, at 0 in every frame; camera space never has."""
    body = standing(T=20, body=NTU_25)
    relative = body - body[:, :, joint : joint + 1]
    assert seen_joints(relative, "xyz", NTU_25).all()
    body[:, 0, joint] = 0
    seen = seen_joints(body, "xyz", NTU_25)
    assert not seen[..., joint].any() and seen.sum() == 20 * 24
    leaf = body - body[:, :, 7:8]
    assert not seen_joints(leaf, "xyz", NTU_25)[..., 7].any()  # nobody counts from a hand


def test_a_prepared_clip_is_seen_whole() -> None:
    for body in (NTU_25, NW_UCLA_20):
        joints = standing(T=30, M=2, body=body)
        joints[:9, 1] = 0
        bodies = Bodies(joints, seen_joints(joints, "xyz", body))
        prepared = finish(bodies, body, "xyz", FPS, "corrected")
        assert prepared.joints_seen is None and not prepared.rules
        again = seen_joints(prepared.joints, "xyz", body)
        np.testing.assert_array_equal(again, np.repeat(prepared.present[..., None], body.num_joints, 2))


def plainly_seen(joints: np.ndarray, channels: str, body: Skeleton, zeros: bool) -> np.ndarray:
    """`seen_joints`, joint by joint, as its docstring says it."""
    T, _, V, _ = joints.shape
    axes = 2 if channels == "xys" else 3
    known = ~np.isnan(joints).any(3) & ((joints[..., -1] != 0) | (not channels.endswith("s")))
    seen = known & (joints[..., :axes] != 0).any(3) if zeros else known
    found = seen.copy()
    for t, m, v in np.argwhere(known & ~seen):
        beside = [
            joints[t, m, other, :3].astype(np.float64)
            for other in range(V)
            if seen[t, m, other] and other != v and (body.parents[other] == v or body.parents[v] == other)
        ]
        if channels == "xys" or v not in (body.centre, *_roots(body)) or not beside:
            continue
        shown = [joints[each, m, seen[each, m], :3] for each in range(T) if seen[each, m].any()]
        extent = np.median([np.ptp(places, axis=0).max() for places in shown])
        found[t, m, v] = min(np.linalg.norm(place) for place in beside) <= extent / 2
    return found


def _roots(body: Skeleton) -> list[int]:
    return [joint for joint, parent in enumerate(body.parents) if joint == parent]


@given(data=st.data())
def test_joints_are_seen_as_one_by_one(data: st.DataObject) -> None:
    channels = data.draw(st.sampled_from(["xyz", "xyzs", "xys"]))
    body = data.draw(st.sampled_from([ARM, TREE, NW_UCLA_20]))
    T, M = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    joints = standing(T, M, body) - np.float32([0, 1, data.draw(st.sampled_from([0.0, 2.0, 3.0]))])
    if data.draw(st.booleans()):  # where coordinates start
        joints -= joints[:, :, [data.draw(st.sampled_from([body.centre, *_roots(body)]))]]
    scores = rng.integers(0, 4, (*joints.shape[:3], 1)).astype(np.float32)
    joints = np.concatenate([joints, scores], 3)[..., ["xyzs".index(channel) for channel in channels]]
    joints[rng.random(joints.shape[:3]) < data.draw(st.sampled_from([0, 0.1, 0.5]))] = 0
    joints[rng.random(joints.shape) < data.draw(st.sampled_from([0, 0.05]))] = np.nan
    joints[rng.random(joints.shape[:2]) < data.draw(st.sampled_from([0, 0.3]))] = 0  # absent bodies
    zeros = channels == "xyz" or data.draw(st.booleans())  # else the score says who is not there
    found = seen_joints(joints, channels, body, zeros=zeros)
    np.testing.assert_array_equal(found, plainly_seen(joints, channels, body, zeros))


# Filling ---------------------------------------------------------------------------------------------------


def test_a_body_at_one_and_three_metres_gets_no_joint_at_minus_one_and_three() -> None:
    joints = np.tile(np.array([[0, 1, 3], [0.25, 1, 3], [0.5, 1, 3]], np.float32), (5, 1, 1, 1))
    joints[2, 0, 2] = 0
    for preset in ("reference", "corrected"):
        found = finish(Bodies(joints, seen_joints(joints, "xyz", ARM)), ARM, "xyz", FPS, preset)
        np.testing.assert_array_equal(found.joints[2, 0], [[-0.25, 0, 0], [0, 0, 0], [0.25, 0, 0]])
        assert found.rules == {OVER_TIME: 1, AT_NEAREST: 0} or found.rules == {OVER_TIME: 1}


def test_a_clip_whose_centre_is_missing_first_is_centred_where_it_is_seen() -> None:
    joints = standing(T=5)
    joints[:2, 0, 1] = np.nan
    found = finish(Bodies(joints, seen_joints(joints, "xyz", ARM)), ARM, "xyz", FPS, "corrected")
    np.testing.assert_array_equal(found.origin, joints[2, 0, 1])
    np.testing.assert_array_equal(found.joints[2:], joints[2:] - joints[2, 0, 1])
    np.testing.assert_array_equal(found.joints[:2, 0, 1], found.joints[:2, 0, 0])  # at its parent
    assert found.joints_seen is not None and found.joints_seen.sum() == 13


def test_a_centre_that_is_never_seen_does_not_leave_the_clip_three_metres_off() -> None:
    joints = standing(T=5)
    joints[:, 0, 1] = 0
    found = finish(Bodies(joints, seen_joints(joints, "xyz", ARM)), ARM, "xyz", FPS, "corrected")
    np.testing.assert_array_equal(found.origin, joints[0, 0, 0])
    assert np.abs(found.joints).max() < 2


def test_half_a_second_is_bridged_and_no_more() -> None:
    joints = standing(T=GAP + 3)
    for missing, rule in ((GAP, OVER_TIME), (GAP + 1, AT_NEAREST)):
        gone = joints.copy()
        gone[1 : 1 + missing, 0, 2] = np.nan
        filled = fill(gone, seen_joints(gone, "xyz", ARM), ARM, "xyz", FPS)
        assert filled.counts[rule] == missing == sum(filled.counts.values())
        if rule == AT_NEAREST:
            np.testing.assert_array_equal(filled.joints[1:-1, 0, 2], joints[1:-1, 0, 1])
        else:
            ends = joints[[0, GAP + 1], 0, 2]
            middle = ends[0] + (ends[1] - ends[0]) * (np.arange(1, GAP + 1) / (GAP + 1))[:, None]
            np.testing.assert_allclose(filled.joints[1 : GAP + 1, 0, 2], middle, atol=1e-6)


def test_frames_without_the_body_count_as_time_and_stay_empty() -> None:
    joints = standing(T=7)
    joints[1:6, 0, 2] = np.nan
    joints[2:5] = np.nan
    filled = fill(joints, seen_joints(joints, "xyz", ARM), ARM, "xyz", FPS)
    assert (filled.joints[2:5] == 0).all() and filled.counts == {OVER_TIME: 2, AT_NEAREST: 0}
    step = (joints[6, 0, 2] - joints[0, 0, 2]) / 6
    np.testing.assert_allclose(
        filled.joints[[1, 5], 0, 2], joints[0, 0, 2] + np.outer([1, 5], step), atol=1e-6
    )


def test_the_nearest_are_ancestors_then_others_by_bones() -> None:
    assert nearest(ARM) == ([1, 2], [0, 2], [1, 0])
    assert nearest(TREE) == ([1, 2, 3, 4], [0, 2, 3, 4], [1, 0, 3, 4], [1, 0, 2, 4], [0, 1, 2, 3])
    for body in (NTU_25, COCO_17):
        for joint, order in enumerate(nearest(body)):
            assert sorted([joint, *order]) == list(range(body.num_joints))
            assert body.parents[joint] in (joint, order[0])


def test_a_score_says_not_seen_and_is_no_coordinate() -> None:
    joints = np.concatenate([standing(T=4), np.full((4, 1, 3, 1), 0.5, np.float32)], axis=3)
    joints[1, 0, 2, 3] = 0
    joints[1, 0, 2, :3] = 77  # a detector's guess, of which it says itself that it is none
    found = finish(Bodies(joints, seen_joints(joints, "xyzs", ARM)), ARM, "xyzs", FPS, "corrected")
    np.testing.assert_array_equal(found.origin, [*joints[0, 0, 1, :3], 0])
    assert found.joints[1, 0, 2, 3] == 0 and (np.delete(found.joints[..., 3].ravel(), 5) == 0.5).all()
    middle = (joints[0, 0, 2, :3] + joints[2, 0, 2, :3]) / 2 - found.origin[:3]
    np.testing.assert_allclose(found.joints[1, 0, 2, :3], middle, atol=1e-6)


# Any pattern -----------------------------------------------------------------------------------------------

patterns = st.tuples(st.integers(1, 40), st.integers(1, 3)).flatmap(
    lambda shape: hnp.arrays(np.bool_, (*shape, 5), elements=st.booleans())
)
offsets = st.tuples(*[st.integers(-4096, 4096)] * 3).map(lambda three: np.array(three, np.float32) / 64)


@given(seen=patterns, fps=st.sampled_from([10, 29.97, 30, 120]))
def test_whatever_is_missing_the_rest_stays_and_the_filled_lies_between(seen: np.ndarray, fps: float) -> None:
    T, M, V = seen.shape
    joints = standing(T, M, TREE)
    given_joints = np.where(seen[..., None], joints, np.nan)
    filled = fill(given_joints, seen, TREE, "xyz", fps).joints
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[seen], joints[seen])
    present = seen.any(axis=2)
    assert (filled[~present] == 0).all()
    for m in range(M):
        for v in range(V):
            frames = np.flatnonzero(seen[:, m, v])
            bridged = np.zeros(T, bool)
            for a, b in pairwise(frames.tolist()):
                if b - a - 1 <= round(LONGEST_GAP * fps):
                    bridged[a + 1 : b] = True
                    low, high = np.sort(joints[[a, b], m, v], axis=0)
                    between = filled[a + 1 : b, m, v][present[a + 1 : b, m]]
                    assert ((between >= low) & (between <= high)).all()
            for t in np.flatnonzero(present[:, m] & ~seen[:, m, v] & ~bridged):  # the plain twin
                assert any((filled[t, m, v] == filled[t, m, other]).all() for other in nearest(TREE)[v])


@given(seen=patterns, offset=offsets, preset=st.sampled_from(["reference", "corrected"]))
def test_a_clip_that_stands_elsewhere_is_the_same_clip(
    seen: np.ndarray, offset: np.ndarray, preset: str
) -> None:
    joints = standing(*seen.shape[:2], TREE)
    gone = np.where(seen[..., None], joints, np.float32(np.nan))
    # No multiple of what the joints are multiples of: the reference preset takes a sum of 0 for nobody.
    elsewhere = gone + (offset + np.float32(0.0123))
    one, other = (
        finish(keep_present(j, seen, most=None), TREE, "xyz", FPS, preset) for j in (gone, elsewhere)
    )
    if not seen.any():
        assert not len(one.joints)
        return
    kept = seen.any(axis=(0, 2))
    seen, joints, there = seen[:, kept], joints[:, kept], one.present
    np.testing.assert_array_equal(there, other.present)
    np.testing.assert_allclose(other.joints[there], one.joints[there], atol=1e-4)
    np.testing.assert_array_equal(one.joints[seen], joints[seen] - one.origin)
    reach = np.ptp(joints[seen], axis=0)  # nothing is further from the origin than joints from one another
    assert (np.abs(one.joints[there]) <= reach).all()


@given(seen=patterns)
def test_zeros_nan_and_scores_say_the_same(seen: np.ndarray) -> None:
    joints = standing(*seen.shape[:2], TREE)
    clips = [np.where(seen[..., None], joints, np.float32(mark)) for mark in (np.nan, 0)]
    found = [finish(Bodies(c, seen_joints(c, "xyz", TREE)), TREE, "xyz", FPS, "corrected") for c in clips]
    scored = np.concatenate([joints, seen[..., None].astype(np.float32)], axis=3)
    bodies = Bodies(scored, seen_joints(scored, "xyzs", TREE))
    found.append(finish(bodies, TREE, "xyzs", FPS, "corrected"))
    for other in found[1:]:
        np.testing.assert_array_equal(other.joints[..., :3], found[0].joints)
        np.testing.assert_array_equal(other.present, found[0].present)
