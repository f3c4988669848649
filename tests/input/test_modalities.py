"""Every stream against its formula, written out as loops over frames and joints."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made.command import fails, quick, tsgc

from pipelines.skeleton import SKELETONS
from tsgc.modalities import MODALITIES

STREAMS = (Path(__file__).parents[2] / "docs/streams.md").read_text()
BODIES = [pytest.param(body, id=name) for name, body in SKELETONS.items()]


def up(skeleton, joint, hops):
    for _ in range(hops):
        joint = skeleton.parents[joint]
    return joint


def plain_bone(clip, skeleton, hops):
    """clip (T, V, C): joint minus the joint `hops` steps up."""
    bones = np.zeros_like(clip)
    for t, frame in enumerate(clip):
        for v in range(len(frame)):
            bones[t, v] = frame[v] - frame[up(skeleton, v, hops)]
    return bones


def plain_motion(clip, stride):
    moved = np.zeros_like(clip)
    for t in range(len(clip) - stride):
        moved[t] = clip[t + stride] - clip[t]
    return moved


def cosine(a, b):
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / lengths if lengths > 0 else 0.0


def plain_angle(clip, skeleton):
    result = np.zeros_like(clip)
    bones = plain_bone(clip, skeleton, 1)
    roots = [v for v, parent in enumerate(skeleton.parents) if v == parent]
    for t, frame in enumerate(clip):
        trunk = sum(frame[v] for v in roots) / len(roots) - frame.mean(0)
        for v, parent in enumerate(skeleton.parents):
            onward = sum((bones[t, child] for child, up in skeleton.edges if up == v), np.zeros(3))
            for c, direction in enumerate((onward, bones[t, parent], trunk)):
                result[t, v, c] = cosine(bones[t, v], direction)
    return result


PLAIN = {
    "joint": lambda clip, body: clip,
    "bone": lambda clip, body: plain_bone(clip, body, 1),
    "bone2": lambda clip, body: plain_bone(clip, body, 2),
    "bone3": lambda clip, body: plain_bone(clip, body, 3),
    "joint_motion": lambda clip, body: plain_motion(clip, 1),
    "joint_motion2": lambda clip, body: plain_motion(clip, 2),
    "joint_motion4": lambda clip, body: plain_motion(clip, 4),
    "bone_motion": lambda clip, body: plain_motion(plain_bone(clip, body, 1), 1),
    "bone_motion2": lambda clip, body: plain_motion(plain_bone(clip, body, 1), 2),
    "bone_motion4": lambda clip, body: plain_motion(plain_bone(clip, body, 1), 4),
    "angle": plain_angle,
    # Without times; tests/input/test_velocity.py has them.
    "joint_velocity": lambda clip, body: plain_motion(clip, 1),
    "bone_velocity": lambda clip, body: plain_motion(plain_bone(clip, body, 1), 1),
}


def made(skeleton, frames=7):
    """Joints (2 clips, 2 bodies, T, V, 3); the second clip's second body is absent."""
    joints = np.random.default_rng(0).standard_normal((2, 2, frames, skeleton.num_joints, 3))
    joints[1, 1] = 0
    return joints


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("name", MODALITIES)
def test_a_stream_is_its_formula(name, body):
    joints = made(body)
    got = MODALITIES[name](torch.from_numpy(joints), body).numpy()
    for clip, bodies in enumerate(joints):
        for m, one in enumerate(bodies):
            np.testing.assert_allclose(got[clip, m], PLAIN[name](one, body), atol=1e-12)


@pytest.mark.parametrize("name", MODALITIES)
def test_an_absent_body_stays_zero_and_short_clips_work(name):
    body = SKELETONS["ntu-25"]
    for frames in (1, 2, 3, 4, 5):
        x = MODALITIES[name](torch.from_numpy(made(body, frames)), body)
        assert x.shape == (2, 2, frames, 25, 3) and (x[1, 1] == 0).all() and x.isfinite().all()


def test_motion_beyond_the_clip_is_zero():
    body = SKELETONS["ntu-25"]
    x = torch.from_numpy(made(body))
    for name, stride in (("joint_motion", 1), ("joint_motion2", 2), ("bone_motion4", 4)):
        moved = MODALITIES[name](x, body)
        assert (moved[:, :, -stride:] == 0).all() and (moved[0, :, -stride - 1] != 0).any()


@pytest.mark.parametrize("body", BODIES)
def test_angles_do_not_change_when_the_body_turns_moves_or_grows(body):
    x = torch.from_numpy(made(body))[:1]
    turn, _ = torch.linalg.qr(torch.from_numpy(np.random.default_rng(1).standard_normal((3, 3))))
    torch.testing.assert_close(
        MODALITIES["angle"](2.5 * x @ turn + 4, body), MODALITIES["angle"](x, body), atol=1e-9, rtol=0
    )


def test_a_straight_limb_has_a_cosine_of_one():
    body = SKELETONS["ntu-25"]
    x = torch.randn(1, 1, 1, 25, 3, dtype=torch.float64)
    shoulder, elbow, wrist = 4, 5, 6
    step = torch.tensor([0.0, -0.3, 0.0], dtype=torch.float64)
    x[..., elbow, :], x[..., wrist, :] = x[..., shoulder, :] + step, x[..., shoulder, :] + 2 * step
    cosines = MODALITIES["angle"](x, body)[0, 0, 0]
    assert cosines[elbow, 0] == pytest.approx(1) and cosines[wrist, 1] == pytest.approx(1)
    assert cosines[body.parents.index(20), 1] == 0  # its parent is the root, which has no bone


def test_loose_points_without_bones_have_no_angles():
    points = replace(SKELETONS["ntu-25"], parents=tuple(range(25)))
    assert (MODALITIES["angle"](torch.randn(1, 1, 3, 25, 3), points) == 0).all()


def test_the_guide_lists_exactly_the_streams_there_are():
    listed = re.findall(r"^\| `(\w+)` \|", STREAMS, re.MULTILINE)
    assert listed == list(MODALITIES)


def test_a_wrong_stream_is_told_which_there_are(here, made):
    said = fails("train", "ntu60/xsub", "--data-root", made, "--modality", "bones", code=2)
    assert f"modality is bones, expected one of {', '.join(MODALITIES)}" in said


def test_each_new_stream_trains_from_the_option_alone(here, made):
    tsgc("train", "ntu60/xsub", "--data-root", made, "--modality", "angle", *quick("epochs=1"))
    assert (here / "runs/ntu60/xsub/tiny/angle/seed0/scores/last.npz").is_file()
