"""What parts of a body do, as numbers: known answers, and what turns, mirrors and scales leave of them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nw_ucla.ideas.parts import JOINTS, LIMBS, NAMES, describe, places

from pipelines.errors import TsgcError
from pipelines.skeleton import KINECT1_20, NTU_25, NW_UCLA_20, SKELETONS, Skeleton

FRAMES = 64
STANDING = {
    "shoulder": (0.2, 1.5, 0.0), "wrist": (0.25, 0.95, 0.0), "hand": (0.25, 0.85, 0.0),
    "hip": (0.1, 1.0, 0.0), "ankle": (0.1, 0.1, 0.0), "foot": (0.1, 0.0, -0.15),
}  # fmt: skip
"""Where right joints of somebody are who looks against z, whose spine is half a metre."""
SPINE = 0.5


def standing(frames=FRAMES):
    """Somebody who stands still: (frames, J, 3)."""
    where = {"head": (0.0, 1.75, 0.0)}
    for joint, (x, y, z) in STANDING.items():
        where |= {f"right {joint}": (x, y, z), f"left {joint}": (-x, y, z)}
    return np.tile(np.array([where[joint] for joint in JOINTS]), (frames, 1, 1))


def moved(joints, names, by, frames=slice(32, None)):
    """The clip with joints moved by `by` in some frames."""
    clip = joints.copy()
    clip[frames, [[JOINTS.index(name)] for name in names]] += np.asarray(by)
    return clip


def numbers(clip, seen=None):
    """Numbers of a clip by name."""
    seen = np.ones(len(clip), bool) if seen is None else seen
    (found,) = describe(torch.from_numpy(clip)[None], torch.from_numpy(seen)[None])
    assert found.isfinite().all() and len(found) == len(NAMES) == 50
    return dict(zip(NAMES, found.tolist(), strict=True))


def changed(clip, other):
    """Names of the numbers in which two clips differ."""
    one, two = numbers(clip), numbers(other)
    return {name for name in NAMES if one[name] != pytest.approx(two[name], abs=1e-9)}


def turned(clip, degrees):
    """The clip turned about the vertical."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return clip @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]).T


def mirrored(clip):
    order = [JOINTS.index(swapped(joint)) for joint in JOINTS]
    return clip[:, order] * [-1, 1, 1]


def swapped(name):
    sides = {"left": "right", "right": "left"}
    return " ".join(sides.get(word, word) for word in name.split(" "))


def lively(seed, frames=FRAMES):
    """Somebody whose joints all wander, smoothly."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 0.02, (frames, len(JOINTS), 3)).cumsum(0)
    return standing(frames) + steps


def test_somebody_who_stands_still_is_described():
    found = numbers(standing())
    still = [
        name for name in NAMES if name.split(": ")[-1] in ("path", "up", "ahead", "outward", "when", "turns")
    ]
    assert len(still) == 4 * 5 + 4 and all(found[name] == 0 for name in still)
    for side in ("left", "right"):
        assert found[f"{side} arm: highest"] == found[f"{side} arm: lowest"] == pytest.approx(-0.6 / SPINE)
        assert found[f"{side} leg: shortest"] == pytest.approx(np.hypot(0.95, 0.075) / SPINE)
        assert found[f"{side} hand to floor"] == pytest.approx(0.85 / SPINE)
        assert found[f"{side} hand to head"] == pytest.approx(np.hypot(0.25, 0.85) / SPINE)
        assert found[f"{side} hand to hip"] == pytest.approx(np.hypot(0.15, 0.1) / SPINE)
    assert found["hands, nearest"] == found["hands, farthest"] == pytest.approx(0.5 / SPINE)
    assert found["feet, farthest"] == pytest.approx(0.2 / SPINE)
    assert found["trunk: leans ahead"] == found["trunk: rises"] == found["trunk: sinks"] == 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_arm_that_goes_up_is_told_of_that_arm_alone(side):
    still = standing()
    clip = moved(still, [f"{side} wrist", f"{side} hand"], (0, 0.9, 0))
    found = numbers(clip)
    assert found[f"{side} arm: up"] == found[f"{side} arm: path"] == pytest.approx(0.9 / SPINE)
    assert found[f"{side} arm: highest"] == pytest.approx(0.3 / SPINE)
    assert found[f"{side} arm: lowest"] == pytest.approx(-0.6 / SPINE)
    assert found[f"{side} arm: outward"] == found[f"{side} arm: ahead"] == 0
    own = {f"{side} arm: {what}" for what in ("up", "path", "highest", "shortest", "when")}
    assert changed(clip, still) <= own | {f"{side} hand to head", f"{side} hand to hip", "hands, farthest"}
    assert changed(clip, still) >= own - {f"{side} arm: when"} | {f"{side} hand to head", "hands, farthest"}


@pytest.mark.parametrize(
    ("joints", "by", "expected"),
    [
        (["right wrist", "right hand"], (0.3, 0, 0), {"right arm: outward": 0.6}),
        (["left wrist", "left hand"], (0.3, 0, 0), {"left arm: outward": -0.6}),
        (["left ankle", "left foot"], (0, 0.2, -0.4), {"left leg: ahead": 0.8, "left leg: up": 0.4}),
        (JOINTS, (0, 0, -1), {"trunk: ahead": 2, "trunk: path": 2, "trunk: to the right": 0}),
        (JOINTS, (0, 0, 1), {"trunk: ahead": -2, "left leg: path": 0}),
        (JOINTS, (1, 0, 0), {"trunk: ahead": 0, "trunk: path": 2, "trunk: to the right": 2}),
        (JOINTS, (0, -0.4, 0), {"trunk: sinks": -0.8, "trunk: rises": 0, "trunk: path": 0}),
        (JOINTS, (0, 0.4, 0), {"trunk: sinks": 0, "trunk: rises": 0.8, "trunk: leans ahead": 0}),
    ],
)  # fmt: skip
def test_ways_are_the_bodys_own(joints, by, expected):
    for degrees in (0, 70, 180):
        found = numbers(turned(moved(standing(), joints, by), degrees))
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, abs=1e-9), (degrees, name)


@pytest.mark.parametrize(
    ("by", "leans"), [((0, 0, -0.3), (0.6, 0)), ((0.3, 0, 0), (0, 0.6)), ((-0.3, 0, 0), (0, -0.6))]
)
def test_a_trunk_leans_ahead_or_aside(by, leans):
    clip = moved(standing(), ["left shoulder", "right shoulder", "head"], by)
    spine = (1 + np.hypot(0.5, 0.3) / SPINE) / 2  # in the mean, over the standing one
    found = numbers(clip)
    there = found["trunk: leans ahead"], found["trunk: leans to the right"]
    assert there == pytest.approx([lean / spine for lean in leans])


@pytest.mark.parametrize("degrees", [-200, -90, 90, 350])
def test_turning_is_told_in_all_and_moves_no_limb(degrees):
    """A turn to the right takes what looks against z towards x."""
    clip = np.stack(
        [turned(pose[None], -angle)[0] for pose, angle in zip(standing(), np.linspace(0, degrees, FRAMES))]
    )
    found = numbers(clip)
    middles = degrees * (1 - 4 / FRAMES) * FRAMES / (FRAMES - 1)  # from the first 4 frames to the last 4
    assert found["trunk: turns"] == pytest.approx(np.deg2rad(middles), rel=1e-3)
    assert found["trunk: path"] == pytest.approx(0, abs=1e-9)
    assert all(abs(found[f"{limb}: path"]) < 0.1 for limb in LIMBS)


@pytest.mark.parametrize(("frames", "expected"), [((4, 8), -1), ((30, 34), 0), ((60, 64), 1)])
def test_when_a_part_moves_is_told(frames, expected):
    for joints, name in ((["right wrist", "right hand"], "right arm: when"), (JOINTS, "trunk: when")):
        assert numbers(moved(standing(), joints, (0, 0, -0.5), slice(*frames)))[name] == pytest.approx(
            expected, abs=0.15
        )


@pytest.mark.parametrize("frames", [1, 2, 15, 16, 33, 64, 100])
def test_clips_of_any_length_without_a_body_and_in_one_point_are_zeros_or_finite(frames):
    assert set(numbers(np.zeros((frames, len(JOINTS), 3)), np.zeros(frames, bool)).values()) == {0}
    assert set(numbers(np.zeros((frames, len(JOINTS), 3))).values()) == {0}
    assert set(numbers(np.ones((frames, len(JOINTS), 3))).values()) == {0}
    assert numbers(lively(frames, frames))["right arm: path"] >= 0
    assert changed(standing(frames), standing(64)) == set()


def test_frames_without_a_body_are_as_those_before_them():
    clip = moved(standing(), ["right wrist", "right hand"], (0, 0.9, 0))
    absent = clip.copy()
    seen = np.ones(FRAMES, bool)
    for gap in (slice(0, 9), slice(20, 29), slice(41, 50)):
        absent[gap], seen[gap] = 0, False
    one, two = numbers(clip), numbers(absent, seen)
    assert one == pytest.approx(two, abs=1e-9)


@given(
    seed=st.integers(0, 99), degrees=st.floats(-360, 360), size=st.floats(0.01, 100), shift=st.floats(-5, 5)
)
def test_turn_scale_and_place_change_nothing(seed, degrees, size, shift):
    clip = lively(seed)
    one, two = numbers(clip), numbers(size * turned(clip, degrees) + size * shift * np.array([1, -2, 3]))
    assert one == pytest.approx(two, rel=1e-6, abs=1e-6)


@given(seed=st.integers(0, 99))
def test_a_mirror_swaps_sides_and_turns_right_into_left(seed):
    clip = lively(seed)
    one, two = numbers(clip), numbers(mirrored(clip))
    signed = {"trunk: to the right", "trunk: leans to the right", "trunk: turns"}
    for name in NAMES:
        sign = -1 if name in signed else 1
        there = name if name in signed else swapped(name)
        assert two[there] == pytest.approx(sign * one[name], abs=1e-9), name


def test_clips_beside_change_nothing():
    clips = torch.from_numpy(np.stack([lively(seed) for seed in range(5)])).float()
    seen = torch.rand(5, FRAMES, generator=torch.Generator().manual_seed(0)) < 0.5
    alone = torch.cat([describe(clips[n : n + 1], seen[n : n + 1]) for n in range(5)])
    torch.testing.assert_close(describe(clips, seen), alone, rtol=1e-5, atol=1e-5)


def test_joints_are_found_by_name():
    assert places(NW_UCLA_20) == places(KINECT1_20)
    for skeleton in (NW_UCLA_20, NTU_25):
        assert [skeleton.joints[place] for place in places(skeleton)] == list(JOINTS)
    with pytest.raises(
        TsgcError, match=r"describe: skeleton two is without left shoulder, .*, expected a Kinect"
    ):
        places(Skeleton("two", ("head", "spine"), (0, 0), (), 1))
    with pytest.raises(
        TsgcError, match="coco-17 is without left hand, right hand, left foot, right foot, head"
    ):
        places(SKELETONS["coco-17"])
