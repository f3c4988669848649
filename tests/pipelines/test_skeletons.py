"""The skeletons that are known by name: whole trees, sides that pair, the orders that makers publish."""

import numpy as np
import pytest

from pipelines.skeleton import SKELETONS, Skeleton
from tsgc.drawing.rest_pose import POSE, rest_pose
from tsgc.drawing.skeleton import COLOURS, LEFT, PANEL, RIGHT, Panel, draw_strip

BODIES = [pytest.param(body, id=body.name) for body in SKELETONS.values()]
DOT = 4  # pixels; a joint near the middle reaches over it
# Joint -> its number, as the makers' own documents have it.
ORDERS = {
    "openpose-25": {"nose": 0, "neck": 1, "left wrist": 7, "mid hip": 8, "left ankle": 14, "left heel": 21},
    "openpose-18": {"neck": 1, "left wrist": 7, "right hip": 8, "left ear": 17},
    "mediapipe-33": {"nose": 0, "left shoulder": 11, "right wrist": 16, "left hip": 23, "left heel": 29},
    "azure-32": {"pelvis": 0, "neck": 3, "left hand tip": 9, "right thumb": 17, "head": 26, "right ear": 31},
    "h36m-17": {"hip centre": 0, "right hip": 1, "left hip": 4, "head": 10, "left shoulder": 11},
    "smpl-24": {"pelvis": 0, "left hip": 1, "upper spine": 9, "head": 15, "left wrist": 20, "right hand": 23},
    "kinect1-20": {"hip centre": 0, "head": 3, "left hand": 7, "right hand": 11, "right foot": 19},
    "hand-21": {"wrist": 0, "thumb tip": 4, "index knuckle": 5, "little tip": 20},
    "coco-17": {"nose": 0, "left eye": 1, "right wrist": 10, "left hip": 11, "right ankle": 16},
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_every_skeleton_is_one_tree(body: Skeleton) -> None:
    V = body.num_joints
    assert len(body.joints) == len(set(body.joints)) == V and 0 <= body.centre < V
    roots = [joint for joint, parent in enumerate(body.parents) if joint == parent]
    assert len(roots) == 1 and len(body.edges) == V - 1
    for joint in range(V):
        above = joint
        for _ in range(V):
            above = body.parents[above]
        assert above == roots[0]


@pytest.mark.parametrize("body", BODIES)
def test_left_pairs_with_right_and_bones_stay_on_their_side(body: Skeleton) -> None:
    lefts = {name for name in body.joints if name.startswith("left ")}
    paired = set()
    for left, right in body.left_right:
        left, right = sorted((left, right), key=lambda joint: not body.joints[joint].startswith("left "))
        assert body.joints[left].replace("left", "right", 1) == body.joints[right]
        paired.add(body.joints[left])
        mirror = dict(body.left_right) | {b: a for a, b in body.left_right}
        assert mirror.get(body.parents[left], body.parents[left]) == body.parents[right]
    assert paired == lefts


@pytest.mark.parametrize("name", ORDERS)
def test_joints_are_in_their_makers_order(name: str) -> None:
    body = SKELETONS[name]
    assert {joint: body.joints.index(joint) for joint in ORDERS[name]} == ORDERS[name]
    assert body.up in ("y", "-y", "z")


@pytest.mark.parametrize("body", [case for case in BODIES if case.id != "hand-21"])
def test_a_drawn_body_stands_on_its_feet_left_of_itself(body: Skeleton) -> None:
    """Heads above, feet below, and each side in its colour on its half, as in a mirror."""
    assert set(body.joints) <= set(POSE)
    pose = rest_pose(body)
    high = {name: y for name, (_, y) in zip(body.joints, pose)}
    assert max(high, key=lambda name: high[name]).split()[-1] in ("eye", "head", "inner")
    assert min(high, key=lambda name: high[name]).split()[-1] in ("foot", "ankle", "toe", "index")
    clip = np.concatenate([pose, np.zeros((body.num_joints, 1))], axis=1)[None, None]
    picture = np.asarray(draw_strip([Panel("", clip)], body, frames=1))[: PANEL[1]].astype(int)
    for side, is_left in ((LEFT, True), (RIGHT, False)):
        columns = np.nonzero(np.abs(picture - COLOURS[side]).max(axis=-1) < 20)[1]
        assert len(columns) > 30
        assert (columns.max() < PANEL[0] / 2 + DOT) if is_left else (columns.min() > PANEL[0] / 2 - DOT)


def test_a_drawn_hand_has_five_fingers() -> None:
    body = SKELETONS["hand-21"]
    tips = [place for name, place in zip(body.joints, rest_pose(body)) if name.endswith(" tip")]
    across = [x for x, _ in tips]
    assert len(tips) == 5 and across == sorted(across)
    children = [body.parents.count(joint) - (body.parents[joint] == joint) for joint in range(21)]
    assert children[0] == 5 and sorted(children)[:5] == [0] * 5 and children.count(1) == 15
