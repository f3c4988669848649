"""Joints by people's words for them: sides, parts, and skeletons that match each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.skeleton import SKELETONS
from pipelines.skeletons.joint_names import PARTS, common_names, side_of

SPELLINGS = [
    lambda side, part: f"{part.upper().replace(' ', '_')}_{side.upper()}",
    lambda side, part: f"{side[0].upper()}{part.title().replace(' ', '')}",
    lambda side, part: f"{side[0]}_{part.replace(' ', '_')}",
    lambda side, part: f"{side} {part}",
    lambda side, part: f"{side}{part.title().replace(' ', '')}",
    lambda side, part: f"mixamorig:{side.title()}{part.title().replace(' ', '')}",
    lambda side, part: f"{part.title().replace(' ', '')}.{side[0].upper()}",
    lambda side, part: f"{side}_{part.replace(' ', '')}" if " " not in part else f"{side}-{part}",
]
LIMBS = ["shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "foot", "eye", "ear", "collar"]


@given(side=st.sampled_from(["left", "right"]), part=st.sampled_from(LIMBS), spell=st.sampled_from(SPELLINGS))
def test_any_spelling_of_a_side_and_a_part_is_the_fields_name(side, part, spell):
    assert common_names([spell(side, part)]) == [f"{side} {part}"]
    assert side_of(spell(side, part)) == side


@pytest.mark.parametrize(
    "words", ["SHOULDER_LEFT", "LShoulder", "l_shoulder", "LeftArm", "left shoulder", "lshoulder"]
)
def test_the_left_shoulder_in_peoples_words(words):
    assert common_names([words]) == ["left shoulder"]


def test_motion_captures_words_mean_the_joints_that_they_end_at():
    joints = ["Hips", "Spine", "LeftShoulder", "LeftArm", "LeftForeArm", "LeftHand",
              "LeftUpLeg", "LeftLeg", "LeftFoot", "LeftToeBase", "Neck", "Head"]  # fmt: skip
    assert common_names(joints) == [
        "spine base", "spine middle", "left collar", "left shoulder", "left elbow", "left wrist",
        "left hip", "left knee", "left ankle", "left foot", "neck", "head",
    ]  # fmt: skip


def test_every_word_of_the_table_leads_to_its_part():
    for part, words in PARTS.items():
        for word in words:
            side = "" if part.startswith("spine") or part in ("neck", "head", "nose") else "left "
            assert common_names([side + word]) == [(side + part)], word


@pytest.mark.parametrize("name", SKELETONS)
def test_a_skeletons_joints_keep_a_name_each_and_its_pairs_are_left_and_right(name):
    skeleton = SKELETONS[name]
    assert len(set(common_names(skeleton.joints))) == skeleton.num_joints
    for left, right in skeleton.left_right:
        assert (side_of(skeleton.joints[left]), side_of(skeleton.joints[right])) == ("left", "right")


@pytest.mark.parametrize(
    ("name", "least"), [("azure-32", 22), ("nw-ucla-20", 19), ("coco-17", 12), ("smpl-24", 18)]
)
def test_skeletons_match_kinects(name, least):
    kinect = set(common_names(SKELETONS["ntu-25"].joints))
    assert len(kinect & set(common_names(SKELETONS[name].joints))) >= least


@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_text_has_a_name(joints):
    assert len(common_names(joints)) == len(joints)
