"""Joints that were not seen, in arrays given to `predict` and in live frames."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from made.clips import standing
from typer.testing import CliRunner

import cli
from pipelines.cleaning.align import JOINTS, SPINE_AND_SHOULDERS, align
from pipelines.cleaning.missing import fill
from pipelines.errors import TsgcError
from pipelines.skeleton import NTU_25
from tsgc.inference.raw_format import raw_format
from tsgc.inference.recogniser import load_run


def run_folder(trained):
    return trained / "runs/ntu60/xsub/tiny/joint/seed0"


@pytest.fixture(scope="module")
def recogniser(trained):
    return load_run(run_folder(trained))


def filmed(frames=24, missing=0.1):
    """A body that stands far from the sensor, some joints of which are NaN; and which are seen."""
    joints = (standing(frames, seed=1, move=0.1)[:, None] + np.array([0, 1, 3])).astype(np.float32)
    seen = np.random.default_rng(0).random(joints.shape[:3]) >= missing
    return np.where(seen[..., None], joints, np.float32(np.nan)), seen


def test_arrays_with_nan_zeros_and_filled_ones_get_the_same_answer(recogniser):
    joints, seen = filmed()
    filled = fill(joints, seen, NTU_25, "xyz", recogniser.fps).joints
    first = int(seen[:, 0, NTU_25.centre].argmax())
    centred = filled - filled[first, 0, NTU_25.centre]
    answers = recogniser.predict([joints, np.nan_to_num(joints), centred])
    assert np.array_equal(answers[0].logits, answers[1].logits)
    assert np.array_equal(answers[0].logits, answers[2].logits)  # centred once, never again
    recording = recogniser.prepare_joints(joints, "a")
    assert np.array_equal(recording.joints, centred) and np.array_equal(recording.seen, seen)
    assert np.abs(recording.joints).max() < 2.5  # and not the three metres to the sensor


def test_a_clip_whose_centre_is_missing_at_first_has_its_windows_centred(recogniser):
    joints, _ = filmed(missing=0)
    joints[:3, 0, NTU_25.centre] = np.nan
    recording = recogniser.prepare_joints(joints, "a")
    assert not recording.joints[3, 0, NTU_25.centre].any() and recording.joints[0, 0, NTU_25.centre].any()
    for start, end in ((0, 9), (9, 20)):
        window = recogniser.cut(recording, (start, end))
        first = 3 if start == 0 else 0
        assert not window[first, 0, NTU_25.centre].any()


def test_own_clips_of_an_aligned_run_are_aligned(recogniser):
    said = replace(
        recogniser.streams[0].description, dataset="own", reader="custom", preset="corrected",
        alignment=SPINE_AND_SHOULDERS, axes="xyzs",
    )  # fmt: skip
    joints, _ = filmed()
    trunk = np.float32([[0, -0.5, 0], [0, -0.2, 0.1], [-0.2, 0, 0], [0.2, 0, 0]])
    joints[:, 0, [0, 1, 4, 8]] = trunk + np.float32([0, 1, 3])
    joints[:2, 0, 0] = np.nan
    stream = io.BytesIO()
    np.save(stream, np.concatenate([joints, np.full_like(joints[..., :1], 0.5)], axis=3))
    plain, turned = (
        raw_format(one).read("a.npy", stream.getvalue()) for one in (replace(said, alignment=""), said)
    )
    marks = JOINTS["ntu-25"]
    assert np.array_equal(turned.joints, align(plain.joints, plain.present, marks, plain.joints_seen))
    assert np.array_equal(turned.joints[..., 3], plain.joints[..., 3])
    assert not plain.joints_seen[0, 0, list(marks)].all()  # what stands at its parent has no direction
    first = plain.joints_seen[:, 0, list(marks)].all(axis=1).argmax()
    spine = turned.joints[first, 0, marks[1], :3] - turned.joints[first, 0, marks[0], :3]
    assert spine[2] > 0 and np.abs(spine[:2]).max() < 1e-6


def test_nobody_and_infinite_numbers_are_one_line(recogniser):
    joints, _ = filmed()
    for wrong, said in (
        (np.nan, "no joint in it is seen"),
        (0, "no joint in it is seen"),
        (np.inf, "not finite"),
    ):
        with pytest.raises(TsgcError, match=said):
            recogniser.predict(np.full_like(joints, wrong))


def live(run, frames):
    """What `--live` says of frames, each a list of bodies."""
    words = ["predict", "--live", "--quiet", "--run", str(run), "--window", "24"]
    lines = "".join(json.dumps({"bodies": bodies}) + "\n" for bodies in frames)
    return CliRunner().invoke(cli.app, words, input=lines.encode())


@pytest.mark.parametrize("mark", [None, [None, 1, None], [0, 0, 0]])
def test_live_joints_and_numbers_that_are_null_are_not_seen(trained, recogniser, mark):
    joints, seen = filmed()
    (expected,) = recogniser.predict(joints)
    frames = [
        [[joint if there else mark for joint, there in zip(body.tolist(), known)]]
        for body, known in zip(joints[:, 0], seen[:, 0])
    ]
    done = live(run_folder(trained), frames)
    assert done.exit_code == 0, done.stderr
    (answer,) = map(json.loads, done.stdout.splitlines())
    assert answer["top"][0]["label"] == expected.top[0].label
    assert answer["top"][0]["probability"] == pytest.approx(expected.top[0].probability, abs=1e-6)


def test_live_frames_without_a_joint_are_dropped(trained):
    done = live(run_folder(trained), [[[None] * 25], [None], [[[0, 0, 0]] * 25]])
    assert done.exit_code == 0 and not done.stdout
