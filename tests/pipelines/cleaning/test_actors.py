"""The corrected preset: each quirk of the reference put right, on a tiny made clip."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.clips import ntu_text, nw_ucla_clip
from made.people import LYING, STANDING, V, any_clip, person

from pipelines.cleaning import actors, linking
from pipelines.datasets import ntu, nw_ucla
from pipelines.errors import TsgcError
from pipelines.reading.track import Track
from pipelines.skeleton import NTU_25
from pipelines.synthetic.raw_files import ntu_clip as made_clip
from pipelines.synthetic.raw_files import ntu_text as made_text


def track(body, frames, joints):
    return Track(body, np.array(list(frames)), joints.astype(np.float32))


def counted(cleaned, tracks):
    """Nothing is lost without being counted."""
    seen = sum(len(one.frames) for one in tracks)
    assert cleaned.present.sum() + sum(cleaned.lost.values()) == seen
    assert ((cleaned.joints != 0).any((2, 3)) == cleaned.present).all()
    return cleaned


def clean(*tracks, frames=None):
    last = max(int(one.frames[-1]) for one in tracks)
    return counted(actors.clean(tracks, frames or last + 1), tracks)


# Frames ---------------------------------------------------------------------------------------------------


def test_frames_after_a_gap_keep_their_number():
    body = person(20)
    frames = [*range(8), *range(12, 24)]
    cleaned = clean(track("1", frames, body))
    np.testing.assert_array_equal(cleaned.joints[frames, 0], body)
    assert np.flatnonzero(~cleaned.present[:, 0]).tolist() == [8, 9, 10, 11]
    assert cleaned.rules == {actors.GAPS: 4}


def test_a_gap_of_one_body_does_not_shift_it_against_the_other():
    one, two = person(30), person(30, at=1.0, move=0.05)
    gap = [*range(8), *range(12, 30)]
    cleaned = clean(track("1", range(30), one), track("2", gap, two[gap]))
    np.testing.assert_array_equal(cleaned.joints[gap, 1], two[gap])


def test_empty_frames_of_the_file_stay_between_others_and_go_at_the_ends():
    body = person(20)
    frames = [{}] * 3 + [{"1": joints} for joints in body[:10]] + [{}] * 2
    frames += [{"1": joints} for joints in body[10:]] + [{}]
    prepared = ntu.read_corrected("clip", ntu_text(frames))
    assert prepared.present[:, 0].tolist() == [True] * 10 + [False] * 2 + [True] * 10
    assert prepared.rules == {actors.GAPS: 2, actors.TRIMMED: 4}
    assert len(ntu.read_reference("clip", ntu_text(frames)).joints) == 20


# Motion ---------------------------------------------------------------------------------------------------


def test_motion_of_a_still_body_is_zero():
    assert actors.motion(person(20, move=0)) == 0


def test_motion_is_the_mean_over_joints_of_their_variance_over_time():
    joints = np.zeros((4, 2, 3), np.float32)
    joints[:, 0, 1] = [1, -1, 1, -1]
    assert actors.motion(joints) == 0.5


def test_actor_1_is_who_moves_not_who_is_spread_out():
    wide, moving = person(20, move=0.02, shape=3 * (STANDING - STANDING[0])), person(20, move=0.2, at=3)
    cleaned = clean(track("1", range(20), wide), track("2", range(20), moving))
    np.testing.assert_array_equal(cleaned.joints[:, 0], moving)


# Tracks ---------------------------------------------------------------------------------------------------


def test_one_shared_frame_is_not_overwritten():
    one, two = person(20), person(30, at=1.5)
    cleaned = clean(track("1", range(20), one), track("2", range(19, 49), two))
    both = cleaned.joints[19][cleaned.present[19]]
    assert sorted(both[:, 0, 0].tolist()) == sorted([one[19, 0, 0], two[0, 0, 0]])


def test_a_late_partner_is_found_wherever_actor_2_begins():
    """The reference's second hull starts at frame 0 and drops the third body here."""
    main, early, late = person(40, move=0.3), person(12, at=1.5), person(20, at=-1.5)
    tracks = track("1", range(40), main), track("2", range(20, 40), late), track("3", range(5, 17), early)
    cleaned = clean(*tracks)
    assert cleaned.present[:, 1].sum() == 32 and not cleaned.lost


def test_a_third_body_is_dropped_only_while_both_tracks_are_taken_and_counted():
    tracks = [
        track("1", range(60), person(60, move=0.3)),
        track("2", range(30), person(30, at=1.5, move=0.2)),
        track("3", range(10, 60), person(50, at=-1.5)),
    ]
    cleaned = clean(*tracks)
    assert cleaned.rules == {actors.THIRD: 1} and cleaned.lost == {actors.THIRD: 20}
    np.testing.assert_array_equal(cleaned.joints[30:, 1], tracks[2].joints[20:])


def test_a_third_body_never_flits_into_a_short_gap_of_a_track():
    gap = [*range(20), *range(26, 60)]
    tracks = [
        track("1", range(60), person(60, move=0.3)),
        track("2", gap, person(54, at=1.5, move=0.2)),
        track("3", range(60), person(60, at=-1.5)),
    ]
    cleaned = clean(*tracks)
    assert cleaned.lost == {actors.THIRD: 60}
    assert not cleaned.present[20:26, 1].any()


def test_one_body_gives_one_body():
    assert clean(track("1", range(20), person(20))).joints.shape == (20, 1, V, 3)


# Identity -------------------------------------------------------------------------------------------------


def test_a_body_found_again_under_another_id_near_by_is_the_same_person():
    body = person(40)
    cleaned = clean(track("1", range(20), body[:20]), track("2", range(23, 40), body[23:]))
    assert cleaned.joints.shape[1] == 1
    assert cleaned.rules == {actors.JOINED: 1, actors.GAPS: 3}


@pytest.mark.parametrize(("missed", "limit"), [(0, 0.5), (4, 0.7), (20, 1.5), (200, 1.5)])
def test_how_far_a_body_may_be_found_again_grows_with_the_frames_missed(missed, limit):
    still = person(20, move=0)
    for beyond, bodies in ((-0.01, 1), (0.01, 2)):
        found = track("2", range(20 + missed, 40 + missed), still + np.float32([limit + beyond, 0, 0]))
        assert clean(track("1", range(20), still), found).joints.shape[1] == bodies


def test_ids_that_swap_people_are_divided_and_each_person_stays_in_one_track():
    left, right = person(40, at=-1, move=0.2), person(40, at=1)
    swapped = [np.concatenate([left[:20], right[20:]]), np.concatenate([right[:20], left[20:]])]
    cleaned = clean(track("1", range(40), swapped[0]), track("2", range(40), swapped[1]))
    np.testing.assert_array_equal(cleaned.joints[:, 0], left)
    np.testing.assert_array_equal(cleaned.joints[:, 1], right)
    assert cleaned.rules == {actors.DIVIDED: 2, actors.JOINED: 2}


def test_an_id_keeps_its_person_over_a_gap_further_than_others_may_be_found():
    still, other = person(20, move=0), person(60, at=-3, move=0.3)
    walked = np.concatenate([still, still + np.float32([2.0, 0, 0])])
    cleaned = clean(track("1", [*range(20), *range(40, 60)], walked), track("2", range(60), other))
    assert cleaned.present.sum() == 100 and not cleaned.lost
    assert cleaned.joints.shape[1] == 2


def test_of_two_lost_bodies_the_nearer_one_is_found_again():
    left, right = person(40, at=-0.2, move=0), person(40, at=0.2, move=0)
    tracks = [
        track("1", range(20), left[:20]),
        track("2", range(21), right[:21]),
        track("3", range(23, 40), left[23:]),
    ]
    people = linking.people_of(tracks)
    assert [one.bodies for one in people] == [("1", "3"), ("2",)]


def test_an_id_twice_in_a_frame_is_two_people():
    left, right = person(20, at=-1, move=0.2), person(20, at=1)
    both = np.stack([left, right], axis=1).reshape(40, V, 3)
    cleaned = clean(track("1", np.repeat(np.arange(20), 2), both))
    np.testing.assert_array_equal(cleaned.joints[:, 0], left)
    np.testing.assert_array_equal(cleaned.joints[:, 1], right)


# Who is a person ------------------------------------------------------------------------------------------


def test_a_lying_person_survives_beside_a_standing_one():
    tracks = track("1", range(40), person(40)), track("2", range(40), person(40, at=2, shape=LYING))
    assert clean(*tracks).present.all()
    fallen = np.concatenate([person(20, move=0), person(60, move=0.001, shape=LYING)])
    assert actors.is_person(linking.Person(("1",), np.arange(80), fallen))


def sofa(frames, seed=0):
    rng = np.random.default_rng(seed)
    places = rng.uniform((-0.6, -0.7, 2.5), (0.6, -0.3, 2.8), (V, 3))
    return (places + rng.normal(0, 0.008, (frames, V, 3))).astype(np.float32)


@pytest.mark.parametrize(
    "thing",
    [
        sofa(40),
        person(40, move=0.01, shape=LYING),
        person(40, shape=0.4 * STANDING),
        person(40, shape=2 * STANDING),
        np.random.default_rng(0).normal(0, 0.3, (40, V, 3)),
    ],
    ids=["sofa", "wide and still", "too short", "too long", "bones that change their length"],
)
def test_furniture_goes(thing):
    cleaned = clean(track("1", range(40), thing + np.float32([2, 0, 0])), track("2", range(40), person(40)))
    assert cleaned.joints.shape[1] == 1
    assert cleaned.rules[actors.FURNITURE] == 1 and cleaned.lost == {actors.FURNITURE: 40}


def test_the_only_body_of_a_clip_is_never_judged():
    assert clean(track("1", range(5), sofa(5))).present.all()


def test_a_rule_that_would_drop_everybody_drops_nobody():
    cleaned = clean(
        track("1", range(20), sofa(20)), track("2", range(20), sofa(20, seed=1) + np.float32([0, 0, 2]))
    )
    assert cleaned.present.all() and cleaned.rules == {actors.SPARED: 1}


@pytest.mark.parametrize(("frames", "bodies"), [(11, 1), (12, 2)])
def test_a_glimpse_of_eleven_frames_is_dropped(frames, bodies):
    cleaned = clean(track("1", range(40), person(40)), track("2", range(frames), person(frames, at=2)))
    assert cleaned.joints.shape[1] == bodies


def test_short_pieces_of_one_person_are_not_a_glimpse():
    body = person(30)
    tracks = [
        track(str(start), range(start, start + 6), body[start : start + 6]) for start in range(0, 30, 6)
    ]
    assert clean(*tracks).present.shape == (30, 1)


def test_a_body_of_one_point_is_absent():
    body = person(20)
    body[5] = 0
    body[7] = body[7, 3]
    cleaned = clean(track("1", range(20), body))
    assert np.flatnonzero(~cleaned.present[:, 0]).tolist() == [5, 7]
    assert cleaned.lost == {actors.POINT: 2}


@pytest.mark.parametrize("action", [7, 24, 35, 50, 58])
def test_made_clips_come_out_with_exactly_their_actors(action):
    """Ghosts and furniture gone, late partners and changed ids kept whole."""
    for performer in range(1, 9):
        clip = made_clip(1, 1 + performer % 3, performer, 1, action)
        prepared = ntu.read_corrected(clip.name, made_text(clip))
        actors_there = [one for one in clip.tracks if one.actor >= 0]
        assert prepared.present.shape[1] == 1 + max(one.actor for one in actors_there)
        assert prepared.present.sum() == sum(len(one.frames) for one in actors_there)


# Centring -------------------------------------------------------------------------------------------------


def test_the_origin_is_actor_1s_and_absent_bodies_stay_zero():
    wild, calm = person(30, move=0.3), person(40, at=1.5)
    frames = [{"1": calm[t]} | ({"2": wild[t - 10]} if t >= 10 else {}) for t in range(40)]
    prepared = ntu.read_corrected("clip", ntu_text(frames))
    np.testing.assert_array_equal(prepared.origin, wild[0, NTU_25.centre])
    assert (prepared.joints[10, 0, NTU_25.centre] == 0).all()
    assert (prepared.joints[:10, 0] == 0).all() and not prepared.present[:10, 0].any()
    np.testing.assert_array_equal(prepared.joints[:, 1], calm - prepared.origin)


def test_nw_ucla_is_the_references_but_for_frames_without_a_body():
    clip = nw_ucla_clip(3, frames=7)
    one, other = nw_ucla.read_reference("made", clip), nw_ucla.read_corrected("made", clip)
    np.testing.assert_array_equal(one.joints, other.joints)
    joints = nw_ucla.parse("made", clip)
    joints[[0, 3]] = 0
    text = b'{"label": 3, "skeletons": %s}' % str(joints.tolist()).encode()
    gappy = nw_ucla.read_corrected("made", text)
    assert gappy.present[:, 0].tolist() == [True, True, False, True, True, True]
    np.testing.assert_array_equal(gappy.origin, joints[1, 1])
    assert (gappy.joints[2] == 0).all()


# Any clip -------------------------------------------------------------------------------------------------


@given(any_clip())
def test_no_clip_raises_and_no_body_frame_is_lost_uncounted(frames):
    prepared = ntu.read_corrected("clip", ntu_text(frames))
    if not len(prepared.joints):
        return
    assert prepared.seen == sum(map(len, frames))
    assert prepared.seen == prepared.present.sum() + sum(prepared.lost.values())
    assert np.isfinite(prepared.joints).all() and prepared.joints.dtype == np.float32
    assert (prepared.joints[~prepared.present] == 0).all()
    assert prepared.present[[0, -1]].any(axis=1).all() and prepared.present[:, 0].any()


@given(st.integers(1, 40), st.integers(0, 2**32), st.sampled_from([0.0, 0.01, 1.0, 50.0]))
def test_one_body_without_a_gap_is_prepared_as_in_the_reference(frames, seed, wild):
    joints = (STANDING + wild * np.random.default_rng(seed).normal(size=(frames, V, 3))).astype(np.float32)
    text = ntu_text([{"7": body} for body in joints])
    one, other = ntu.read_reference("clip", text), ntu.read_corrected("clip", text)
    for name in ("joints", "present", "origin"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.rules == other.rules == {}


def test_a_malformed_clip_is_the_same_error_in_both_presets():
    for read in (ntu.read_reference, ntu.read_corrected):
        with pytest.raises(TsgcError, match="not a text file"):
            read("clip", b"\x00\xff")


def test_the_real_clips_come_out_whole(shared):
    files = sorted((shared / "data/nturgbd_raw").rglob("*.skeleton"))
    assert len(files) == 5
    for file in files:
        one, other = (read(file.name, file.read_bytes()) for read in (ntu.read_reference, ntu.read_corrected))
        assert one.joints.shape == other.joints.shape and other.present.all() and not other.lost
        # Its two people change places: they are ranked by how they move, not by how they are spread out.
        swapped = file.stem == "S001C003P008R002A058"
        raw_one, raw_other = one.joints + one.origin, other.joints + other.origin
        np.testing.assert_allclose(raw_one[:, ::-1] if swapped else raw_one, raw_other, atol=1e-5)
