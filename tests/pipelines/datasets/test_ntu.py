"""Names, splits and the reference preset of NTU."""

from pathlib import Path

import numpy as np
import pytest
from made.clips import V, ntu_text, standing

from pipelines.datasets import ntu
from pipelines.datasets.table import DATASETS
from pipelines.errors import TsgcError


@pytest.mark.parametrize("text", [b"0\r\n", ntu_text([{}, {}]), ntu_text([{"1": np.zeros((V, 3))}])])
def test_a_clip_without_bodies_comes_back_without_frames(text):
    prepared = ntu.read_reference("clip", text)
    assert prepared.joints.shape == (0, 1, V, 3)


def test_a_clip_of_two_bodies_has_two_actors_and_says_who_is_present():
    tracks = {"1": standing(20, 1), "2": standing(16, 2)}
    frames = [{body: joints[t] for body, joints in tracks.items() if t < len(joints)} for t in range(20)]
    prepared = ntu.read_reference("clip", ntu_text(frames))
    assert prepared.joints.shape == (20, 2, V, 3)
    assert prepared.present.sum(axis=0).tolist() in ([20, 16], [16, 20])
    assert prepared.origin.dtype == np.float32


def test_real_clips_equal_the_reference(shared: Path):
    golden = np.load(shared / "golden/ntu_reference_centred.npz")
    for name in golden:
        path = shared / f"data/nturgbd_raw/nturgb+d_skeletons/{name}.skeleton"
        joints = ntu.read_reference(str(path), path.read_bytes()).joints
        np.testing.assert_allclose(joints.reshape(golden[name].shape), golden[name], rtol=0, atol=1e-5)


def test_a_name_tells_label_and_fields():
    identity = DATASETS["ntu60"].identify("S001C002P003R002A060")
    assert identity.label == 59
    assert identity.fields == {"setups": 1, "cameras": 2, "performers": 3, "replications": 2}


@pytest.mark.parametrize("name", ["S018C001P008R001A001", "S001C001P001R001A061"])
def test_clips_of_ntu120_are_not_part_of_ntu60(name):
    assert DATASETS["ntu60"].identify(name) is None
    assert DATASETS["ntu120"].identify(name) is not None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("S001C001P001R001", "unknown name 'S001C001P001R001', expected SsssCcccPpppRrrrAaaa"),
        ("S001C001P001R001A121", "unknown action 121 in 'S001C001P001R001A121', expected 1 to 120"),
        ("S033C001P001R001A001", "unknown setup 33"),
        ("S001C004P001R001A001", "unknown camera 4"),
        ("S001C001P000R001A001", "unknown performer 0"),
    ],
)
@pytest.mark.parametrize("dataset", ["ntu60", "ntu120"])
def test_an_unknown_name_is_an_error(dataset, name, message):
    with pytest.raises(TsgcError, match=message):
        DATASETS[dataset].identify(name)


def test_splits_follow_the_published_protocols():
    fields = {
        "setups": np.array([1, 2, 3]),
        "cameras": np.array([1, 2, 3]),
        "performers": np.array([1, 3, 45]),
        "replications": np.array([1, 1, 1]),
    }
    splits60, splits120 = (DATASETS[name].splits(fields) for name in ("ntu60", "ntu120"))
    assert {name: split.tolist() for name, split in splits60.items()} == {
        "xsub": [0, 1, 1],
        "xview": [1, 0, 0],
    }
    assert {name: split.tolist() for name, split in splits120.items()} == {
        "xsub": [0, 1, 0],
        "xset": [1, 0, 1],
    }
    assert all(split.dtype == np.int8 for split in [*splits60.values(), *splits120.values()])
    assert next(iter(splits60)) == next(iter(splits120)) == "xsub"


def test_the_published_training_performers_are_all_there():
    assert len(ntu.XSUB60) == 20 and len(ntu.XSUB120) == 53
    assert len(set(ntu.NTU120_ACTIONS)) == 120


@pytest.mark.parametrize("train", [ntu.XSUB60, ntu.XSUB120, range(1, 107), range(1, 5), range(1, 3)])
def test_the_holdout_is_whole_performers_and_about_a_tenth(train):
    performers = np.repeat(sorted(train), 30)
    held = ntu.hold_out_performers({"performers": performers})
    assert not set(performers[held]) & set(performers[~held])
    smallest = 1 / len(train)
    assert held.mean() == pytest.approx(max(0.1, smallest), abs=smallest / 2)


def test_a_single_performer_is_not_held_out():
    assert not ntu.hold_out_performers({"performers": np.ones(5, int)}).any()
