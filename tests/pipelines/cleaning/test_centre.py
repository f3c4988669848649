"""Centring on the first actor."""

import numpy as np

from pipelines.cleaning.centre import centre_on_first_actor, present_bodies


def bodies(T: int = 4, M: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(1, 0.1, (T, M, 3, 3)).astype(np.float32)


def test_the_joint_of_actor_1_in_its_first_frame_becomes_the_origin():
    joints = bodies()
    centred, origin = centre_on_first_actor(joints, joint=1)
    np.testing.assert_array_equal(origin, joints[0, 0, 1])
    np.testing.assert_array_equal(centred, joints - joints[0, 0, 1])
    assert centred.dtype == origin.dtype == np.float32


def test_the_origin_is_taken_where_actor_1_first_appears():
    joints = bodies()
    joints[:2, 0] = 0
    _, origin = centre_on_first_actor(joints, joint=1)
    np.testing.assert_array_equal(origin, joints[2, 0, 1])


def test_a_missing_actor_of_two_is_zero_again():
    joints = bodies()
    joints[1, 1] = 0
    joints[2, 0] = 0
    centred, _ = centre_on_first_actor(joints, joint=1)
    assert not centred[1, 1].any()
    assert not centred[2, 0].any()
    assert centred[1, 0].any()


def test_a_zero_frame_of_a_single_body_is_shifted_like_any_other():
    joints = bodies(M=1)
    joints[2] = 0
    centred, origin = centre_on_first_actor(joints, joint=1)
    np.testing.assert_array_equal(centred[2, 0, 0], -origin)


def test_without_actor_1_nothing_is_subtracted():
    joints = bodies()
    joints[:, 0] = 0
    centred, origin = centre_on_first_actor(joints, joint=1)
    np.testing.assert_array_equal(centred, joints)
    assert not origin.any()


def test_a_body_is_present_with_any_non_zero_joint():
    joints = np.zeros((2, 2, 3, 3), np.float32)
    joints[0, 1, 2, 0] = 0.5
    joints[1, 0, 0] = [1, -1, 0]  # sums to 0, but is there
    assert present_bodies(joints).tolist() == [[False, True], [True, False]]
