"""View alignment: any view of a clip gives the same aligned clip."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.clips import ntu_clip as ntu_text
from made.clips import nw_ucla_clip, write_folder

from pipelines.cleaning.align import JOINTS, SPINE_AND_SHOULDERS, align, reader, upright
from pipelines.datasets.table import DATASETS
from pipelines.errors import TsgcError
from pipelines.prepare import prepare_dataset
from pipelines.prepared.store import open_store
from pipelines.skeleton import COCO_17

MARKS = JOINTS["ntu-25"]


def body(seed=0):
    joints = np.random.default_rng(seed).normal(0, 0.4, (25, 3))
    joints[1] = 0  # centred on the middle of the spine
    joints[0] = [0.05, -0.3, 0.02]
    joints[4], joints[8] = [-0.2, 0.2, 0.0], [0.2, 0.25, 0.1]
    return joints.astype(np.float32)


def turned(joints, seed):
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    matrix[:, 0] *= np.linalg.det(matrix)
    return (joints @ matrix.T).astype(np.float32)


@given(st.integers(0, 2**32), st.integers(1, 2), st.integers(1, 5))
def test_an_aligned_clip_is_the_same_from_every_view(seed, bodies, frames):
    clip = np.random.default_rng(seed).normal(0, 0.3, (frames, bodies, 25, 3)).astype(np.float32)
    clip[0, 0] = body(seed)
    present = np.ones((frames, bodies), bool)
    one, other = (align(view, present, MARKS) for view in (clip, turned(clip, seed)))
    np.testing.assert_allclose(one, other, atol=2e-5)


def test_the_spine_is_up_and_the_shoulders_point_along_x():
    aligned = align(body()[None, None], np.ones((1, 1), bool), MARKS)[0, 0]
    spine, shoulders = aligned[1] - aligned[0], aligned[8] - aligned[4]
    np.testing.assert_allclose(spine, [0, 0, np.linalg.norm(spine)], atol=1e-6)
    assert shoulders[0] > 0.3 and abs(shoulders[1]) < 1e-6


def test_alignment_is_a_rotation():
    rotation = upright(body(), MARKS)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_the_first_frame_that_the_first_body_is_in_decides_and_absent_bodies_stay_zero():
    clip = np.zeros((3, 2, 25, 3), np.float32)
    clip[1:, 0], clip[0, 1] = turned(body(), 1), turned(body(), 2)
    aligned = align(clip, (clip != 0).any((2, 3)), MARKS)
    np.testing.assert_allclose(aligned[1, 0], align(body()[None, None], np.ones((1, 1), bool), MARKS)[0, 0],
                               atol=2e-6)  # fmt: skip
    assert (aligned[0, 0] == 0).all() and (aligned[1:, 1] == 0).all() and aligned[0, 1].any()


@pytest.mark.parametrize("marks_at", [[0, 0, 0, 0], [0, 1, 0, 1]])
def test_a_body_without_a_direction_is_left_as_it_is(marks_at):
    flat = np.ones((25, 3), np.float32) * np.arange(25)[:, None]
    flat[list(MARKS)] = [[0, 0, at] for at in marks_at]
    np.testing.assert_array_equal(align(flat[None, None], np.ones((1, 1), bool), MARKS)[0, 0], flat)


def test_flat_skeletons_cannot_be_aligned():
    flat = replace(DATASETS["ntu60"], skeleton=COCO_17, channels="xys")
    with pytest.raises(TsgcError, match=r"coco-17 skeletons \(xys\) cannot be aligned; --align is for"):
        reader(flat, "reference", SPINE_AND_SHOULDERS)


@pytest.mark.parametrize("preset", ["reference", "corrected"])
def test_a_prepared_file_says_whether_it_is_aligned(tmp_path, preset):
    raw = write_folder(tmp_path / "raw", {"S001C001P001R001A001.skeleton": ntu_text(3, bodies=2)})
    for name, alignment in (("plain", ""), ("aligned", SPINE_AND_SHOULDERS)):
        out = tmp_path / f"{name}.h5"
        prepare_dataset("ntu60", [raw], out, data_root=tmp_path, preset=preset, jobs=1, alignment=alignment)
    with open_store(tmp_path / "plain.h5") as plain, open_store(tmp_path / "aligned.h5") as aligned:
        assert (plain.info.alignment, aligned.info.alignment) == ("", SPINE_AND_SHOULDERS)
        one, other = plain.clip(0), aligned.clip(0)
        np.testing.assert_array_equal(one.present, other.present)
        np.testing.assert_array_equal(align(one.joints, one.present, MARKS), other.joints)


def test_nw_ucla_can_be_aligned_too():
    read = reader(DATASETS["nw-ucla"], "corrected", SPINE_AND_SHOULDERS)
    joints = read("made.json", nw_ucla_clip(1)).joints[:, 0]
    assert np.abs((joints[0, 1] - joints[0, 0])[:2]).max() < 1e-6
