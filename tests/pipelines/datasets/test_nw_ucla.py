"""The JSON reader, names and splits of NW-UCLA."""

import json
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from made.clips import nw_ucla_clip

from pipelines.datasets import nw_ucla
from pipelines.datasets.table import DATASETS
from pipelines.errors import TsgcError

DATASET = DATASETS["nw-ucla"]
SOURCE = "all_sqe/a08_s01_e02_v03.json"  # action 8 is the 7th class


def clip(**changes: object) -> bytes:
    return json.dumps(json.loads(nw_ucla_clip(label=7)) | changes).encode()


def test_joint_2_of_frame_1_is_subtracted_and_nothing_else():
    raw = np.array(json.loads(nw_ucla_clip(label=7))["skeletons"], np.float32)
    prepared = nw_ucla.read_reference(SOURCE, nw_ucla_clip(label=7))
    np.testing.assert_array_equal(prepared.joints[:, 0], raw - raw[0, 1])
    np.testing.assert_array_equal(prepared.origin, raw[0, 1])
    assert prepared.present.all() and prepared.present.shape == (6, 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (nw_ucla_clip(7)[:200], f"{SOURCE}: line 1: not JSON"),
        (b"\xff\x00", f"{SOURCE}: line 1: not JSON"),
        (b"\xff\xfe\x00", f"{SOURCE}: line 1: not JSON"),
        (b"[]", f"{SOURCE}: no `skeletons` and `label`, expected NW-UCLA JSON"),
        (clip(label=8), f"{SOURCE}: label 8, expected 7 for this name; was it renamed?"),
        (clip(skeletons=[]), f"{SOURCE}: joints of shape (0,), expected (frames, 20, 3)"),
        (clip(skeletons=np.zeros((4, 25, 3)).tolist()), f"{SOURCE}: joints of shape (4, 25, 3)"),
        (clip(skeletons=[[[0.0] * 3] * 20, [[0.0] * 3] * 19]), f"{SOURCE}: frames of unequal size"),
        (clip(skeletons=[[["0"] * 3] * 20]), f"{SOURCE}: joints that are no numbers"),
        (clip(skeletons=[[[None] * 3] * 20]), f"{SOURCE}: joints that are no numbers"),
        (clip(skeletons=[[[1e39] * 3] * 20]), f"{SOURCE}: joints that are not finite"),
        (clip(skeletons=[[[float("nan")] * 3] * 20]), f"{SOURCE}: line 1: not JSON"),
    ],
)
def test_a_malformed_clip_is_told(data, message):
    with pytest.raises(TsgcError) as error:
        nw_ucla.read_reference(SOURCE, data)
    assert str(error.value).startswith(message)


def test_a_clip_without_a_label_is_read():
    content = json.loads(nw_ucla_clip(label=7))
    del content["label"]
    for name in (SOURCE, "mine.json"):
        read = nw_ucla.read_reference(name, json.dumps(content).encode())
        np.testing.assert_array_equal(
            read.joints, nw_ucla.read_reference("mine.json", nw_ucla_clip(label=7)).joints
        )


def test_a_clip_of_any_other_file_name_is_read_without_its_label_checked():
    assert nw_ucla.parse("mine.json", nw_ucla_clip(label=3)).shape == (6, 20, 3)


def test_actions_become_classes_in_order():
    labels = [
        DATASET.identify(f"a{action:02}_s01_e00_v01").label for action in (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)
    ]
    assert labels == list(range(10))
    assert DATASET.class_names[8] == "throw"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a01_s01_e00", "unknown name 'a01_s01_e00', expected aAA_sSS_eEE_vVV"),
        ("a07_s01_e00_v01", "unknown action 7 in 'a07_s01_e00_v01', expected one of 1, 2, 3"),
        ("a01_s01_e00_v04", "unknown view 4"),
    ],
)
def test_an_unknown_name_is_an_error(name, message):
    with pytest.raises(TsgcError, match=message):
        DATASET.identify(name)


def test_view_3_is_the_test_and_view_2_is_held_out():
    assert DATASET.splits({"views": np.array([1, 2, 3])})["xview"].tolist() == [0, 0, 1]
    assert DATASET.holdout({"views": np.array([1, 2])}).tolist() == [False, True]


def test_the_real_clips_are_as_published(shared: Path):
    with ZipFile(shared / "data/nw-ucla/all_sqe.zip") as archive:
        lengths = [len(nw_ucla.parse(name, archive.read(name))) for name in archive.namelist()]
        views = [DATASET.identify(Path(name).stem).fields["views"] for name in archive.namelist()]
    assert len(lengths) == 1484
    assert (min(lengths), np.median(lengths), max(lengths)) == (1, 31, 201)
    assert np.bincount(DATASET.splits({"views": np.array(views)})["xview"]).tolist() == [1020, 464]
