"""PYSKL's pickles: 3D NTU and 2D COCO key points, whole data sets in a file."""

import os
from pathlib import Path

import numpy as np
import pytest
from made.command import fails, quick, tsgc
from made.raw_sets import ntu_names, pyskl_2d, pyskl_3d, write_pickle

from pipelines.cleaning.missing import AT_NEAREST, OVER_TIME
from pipelines.datasets.arrays import ArrayClip, read_arrays
from pipelines.datasets.pyskl import read_2d, read_3d, read_splits
from pipelines.errors import TsgcError
from pipelines.prepare import prepare_dataset
from pipelines.prepared.store import open_store
from pipelines.spec import PRESETS


def run(tmp_path: Path, content: object, preset: str = "reference", name: str | None = None):
    path = write_pickle(tmp_path / "ntu60_made.pkl", content)
    report = prepare_dataset(
        "pyskl",
        [path],
        tmp_path / "out.h5",
        data_root=tmp_path,
        preset=preset,
        name=name,
        jobs=1,
        overwrite=True,
    )
    return report, open_store(tmp_path / "out.h5")


def test_a_3d_clip_is_stored_centred_without_absent_bodies(tmp_path: Path) -> None:
    content = pyskl_3d()
    report, store = run(tmp_path, content)
    assert report.kept == 240 and store.info.skeleton == "ntu-25" and store.info.channels == "xyz"
    assert store.info.dataset == "ntu60_made" and store.info.class_names[0] == "drink water"
    for index in (0, 1):
        clip, annotation = store.clip(index), content["annotations"][index]
        assert clip.name == annotation["frame_dir"] and clip.label == annotation["label"]
        kept = annotation["keypoint"].astype(np.float32).transpose(1, 0, 2, 3)[:, : 1 + (index == 0)]
        np.testing.assert_allclose(clip.joints, kept - kept[0, 0, 1], atol=1e-6)
        np.testing.assert_array_equal(clip.origin, kept[0, 0, 1])


def test_a_2d_clip_is_in_halves_of_the_picture_with_its_scores(tmp_path: Path) -> None:
    content = pyskl_2d()
    _, store = run(tmp_path, content)
    assert store.info.skeleton == "coco-17" and store.info.channels == "xys"
    clip, annotation = store.clip(1), content["annotations"][1]
    x, y = annotation["keypoint"][0].astype(np.float32).transpose(2, 0, 1)
    np.testing.assert_allclose(clip.joints[:, 0, :, 0], (x - 960) / 960, atol=1e-6)
    np.testing.assert_allclose(clip.joints[:, 0, :, 1], (y - 540) / 540, atol=1e-6)
    np.testing.assert_array_equal(clip.joints[:, 0, :, 2], annotation["keypoint_score"][0].astype(np.float32))
    assert (clip.origin == 0).all()


def two_d(keypoint: np.ndarray, score: np.ndarray, shape=(100, 200), frames=None) -> bytes:
    frames = np.asarray(keypoint.shape[1] if frames is None else frames)
    return ArrayClip("", (keypoint, frames, score, np.asarray(shape))).read()


def test_joints_that_were_not_found_are_zero_and_absent() -> None:
    keypoint, score = np.full((3, 4, 17, 2), 30.0), np.ones((3, 4, 17))
    score[0, :, 5] = 0
    score[1] = 0
    score[2, 2:] = 0
    prepared = read_2d("a", two_d(keypoint, score), "reference")
    assert prepared.joints.shape == (4, 2, 17, 3)
    assert (prepared.joints[:, 0, 5] == 0).all() and (prepared.joints[:, 0, 4] != 0).all()
    assert prepared.present.tolist() == [[True, True], [True, True], [True, False], [True, False]]


def test_bodies_beyond_the_second_are_counted() -> None:
    prepared = read_2d("a", two_d(np.ones((4, 5, 17, 2)), np.ones((4, 5, 17))), "reference")
    assert prepared.joints.shape[1] == 2
    assert prepared.rules == {"bodies beyond the first 2 dropped": 2}
    assert prepared.seen == int(prepared.present.sum()) + sum(prepared.lost.values())
    assert prepared.lost["bodies beyond the first 2 dropped"] == 2 * len(prepared.joints)


def test_an_empty_frame_moves_along_in_the_reference_preset_alone() -> None:
    keypoint = np.ones((1, 3, 25, 3))
    keypoint[0, :, :, 0] = np.arange(25)
    keypoint[0, 1] = 0
    data = ArrayClip("", (keypoint, np.asarray(3))).read()
    assert (read_3d("a", data, "corrected").joints[1] == 0).all()
    assert (read_3d("a", data, "reference").joints[1, 0] == (-1, -1, -1)).all()


def test_joints_that_were_not_found_are_filled_in_the_corrected_preset() -> None:
    keypoint, score = np.full((1, 4, 17, 2), 30.0), np.ones((1, 4, 17))
    keypoint[0, :, :, 0] += np.arange(4)[:, None] * 10
    score[0, 1, 5] = score[0, 3, 15] = 0  # left shoulder, left ankle
    keypoint[0, 1, 5] = keypoint[0, 3, 15] = 0
    prepared = read_2d("a", two_d(keypoint, score), "corrected")
    assert prepared.rules == {OVER_TIME: 1, AT_NEAREST: 1}
    np.testing.assert_array_equal(prepared.joints[1, 0, 5], np.float32([-0.6, -0.4, 0]))
    np.testing.assert_array_equal(prepared.joints[3, 0, 15, :2], prepared.joints[3, 0, 13, :2])


def test_in_space_a_joint_at_zero_is_no_place_in_either_preset() -> None:
    keypoint = np.random.default_rng(0).normal(0, 0.2, (1, 6, 25, 3)) + np.array([0, 1, 3])
    whole = [read_3d("a", ArrayClip("", (keypoint, np.asarray(6))).read(), p) for p in PRESETS]
    gone = keypoint.copy()
    gone[0, 2, 11] = gone[0, :2, 1] = 0  # a hand; the centre, in the first frames
    for preset, plain in zip(PRESETS, whole):
        found = read_3d("a", ArrayClip("", (gone, np.asarray(6))).read(), preset)
        seen = (gone != 0).any(axis=3).transpose(1, 0, 2)
        np.testing.assert_array_equal(found.joints_seen, seen)
        np.testing.assert_array_equal(found.origin, keypoint[0, 2, 1].astype(np.float32))
        shift = plain.origin - found.origin
        np.testing.assert_allclose(found.joints[seen], plain.joints[seen] + shift, atol=1e-5)
        assert np.abs(found.joints).max() < 2


def test_splits_come_from_the_file(tmp_path: Path) -> None:
    content = pyskl_3d()
    _, store = run(tmp_path, content)
    assert list(store.splits) == ["xsub", "xview"]
    for benchmark, codes in store.splits.items():
        for role, code in (("train", 0), ("val", 1)):
            names = {name for name, split in zip(store.names, codes) if split == code}
            assert names == set(content["split"][f"{benchmark}_{role}"])
    assert store.fields["performers"][:4].tolist() == [1, 2, 3, 4]


CLIPS = {"a": 0, "b": 0, "c": 0}


@pytest.mark.parametrize(
    ("split", "found"),
    [
        ({"train": ["a"], "val": ["b"]}, {"official": {"a": 0, "b": 1}}),
        ({"train1": ["a"], "test1": ["b"]}, {"split1": {"a": 0, "b": 1}}),
        ({"xset_train": ["a"], "xset_val": ["b", "c"]}, {"xset": {"a": 0, "b": 1, "c": 1}}),
        ({"train": ["a"], "val": ["b"], "test": ["c"]}, {"official": {"a": 0, "c": 1}}),
    ],
)
def test_pairs_of_lists_are_benchmarks(split: dict, found: dict) -> None:
    assert read_splits(Path("x.pkl"), split, CLIPS) == found


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({}, "names no lists"),
        (None, "names no lists"),
        ({"train": ["a"]}, "split official has train, expected train and val or test"),
        ({"train": ["a"], "val": ["z", "y"]}, "'val' names 2 clips without an annotation (z, y)"),
        ({"train": ["a"], "val": ["a"]}, "trains and tests on a"),
        ({"train": "a", "val": ["b"]}, "'train' is no list"),
        ({"train": [1], "val": ["b"]}, "'train' is no list"),
        ({"all": ["a"]}, "split 'all', expected a name such as xsub_train"),
        ({3: ["a"]}, "split 3"),
    ],
)
def test_wrong_splits_are_one_line(split: object, said: str) -> None:
    with pytest.raises(TsgcError, match=r"x\.pkl: ") as caught:
        read_splits(Path("x.pkl"), split, CLIPS)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def other(change, make=pyskl_3d) -> dict:
    content = make(12)
    change(content)
    return content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "expected a PYSKL pickle"),
        ({"split": {}}, "expected a PYSKL pickle"),
        (other(lambda c: c.update(annotations=[])), "no list of clips"),
        (other(lambda c: c["annotations"].append(7)), "annotation 12 has no `frame_dir`"),
        (other(lambda c: c["annotations"].append(c["annotations"][0])), "comes twice"),
        (other(lambda c: c["annotations"][0].pop("keypoint")), "is none, expected (M, T, 25, 3)"),
        (other(lambda c: c["annotations"][0].update(keypoint=np.zeros((1, 2, 3, 3)))), "is (1, 2, 3, 3)"),
        (other(lambda c: c["annotations"][0].update(label=-1)), "is -1, expected a class from 0"),
        (other(lambda c: c["annotations"][0].update(label=1)), "has label 1, expected 0 for this name"),
        (other(lambda c: c["annotations"][0].pop("label")), "is None, expected a class"),
    ],
)
def test_a_wrong_pickle_is_one_line(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(TsgcError, match=r"ntu60_made\.pkl: ") as caught:
        run(tmp_path, content)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize(
    ("make", "change", "said"),
    [
        (pyskl_3d, {"total_frames": 3}, "`total_frames` is 3, `keypoint` has 20 frames"),
        (pyskl_3d, {"total_frames": None}, "`total_frames` is"),
        (pyskl_3d, {"keypoint": np.zeros((1, 20, 24, 3))}, "of shape (1, 20, 24, 3), expected (M, T, 25, 3)"),
        (pyskl_3d, {"keypoint": np.full((1, 20, 25, 3), np.inf)}, "not finite"),
        (pyskl_3d, {"keypoint": np.full((1, 20, 25, 3), "a")}, "type <U1, expected numbers"),
        (pyskl_3d, {"keypoint": np.full((1, 20, 25, 3), 1e39)}, "not finite"),
        (pyskl_2d, {"keypoint_score": np.zeros((1, 2, 17))}, "`keypoint_score` of shape (1, 2, 17)"),
        (pyskl_2d, {"keypoint_score": np.full((1, 20, 17), np.inf)}, "not finite"),
        (pyskl_2d, {"img_shape": (0, 5)}, "`img_shape` is [0, 5]"),
        (pyskl_2d, {"img_shape": None}, "`img_shape`"),
    ],
)
def test_a_bad_clip_is_skipped_and_told(tmp_path: Path, make, change: dict, said: str) -> None:
    content = make(240)
    content["annotations"][2].update(change)
    report, store = run(tmp_path, content)
    assert report.kept == len(store) == 239
    (line,) = report.dropped["malformed"].values()
    assert f"clip {ntu_names(3)[2]}: " in line and said in line and "\n" not in line


def test_a_clip_that_is_never_there_is_dropped(tmp_path: Path) -> None:
    content = pyskl_3d(12)
    content["annotations"][0]["keypoint"][:] = 0
    report, _ = run(tmp_path, content)
    assert list(report.dropped["no bodies"]) == [ntu_names(1)[0]]


@pytest.mark.parametrize(("last", "classes"), [("A003", 60), ("A061", 120)])
def test_a_part_of_ntu_keeps_all_its_classes(tmp_path: Path, last: str, classes: int) -> None:
    content = pyskl_3d(12)
    content["annotations"][-1].update(frame_dir=f"S018C001P003R001{last}", label=int(last[1:]) - 1)
    content["split"] = {"xset_train": ntu_names(11), "xset_val": [f"S018C001P003R001{last}"]}
    _, store = run(tmp_path, content)
    assert len(store.info.class_names) == classes


def test_any_clip_name_will_do(tmp_path: Path) -> None:
    content = pyskl_2d(3)
    for number, annotation in enumerate(content["annotations"]):
        annotation.update(frame_dir=f"film {number}!", label=0)
    _, store = run(tmp_path, content | {"split": {"train": ["film 0!", "film 1!"], "val": ["film 2!"]}})
    assert store.names == ["film-0-", "film-1-", "film-2-"]
    assert store.splits["official"].tolist() == [0, 0, 1]


def test_classes_of_other_data_sets_are_numbers(tmp_path: Path) -> None:
    content = pyskl_2d(12)
    for number, annotation in enumerate(content["annotations"]):
        annotation.update(frame_dir=f"film-{number}", label=number % 4)
    names = [f"film-{number}" for number in range(12)]
    _, store = run(tmp_path, content | {"split": {"train": names[:8], "val": names[8:]}}, name="films")
    assert store.info.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert store.info.dataset == "films" and list(store.splits) == ["official"]


class Bomb:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("made-by-a-pickle",)


def test_a_pickle_that_wants_to_run_something_is_refused(here: Path) -> None:
    content = pyskl_3d(12)
    content["annotations"].append(Bomb())
    write_pickle(here / "bad.pkl", content)
    assert "only NumPy arrays and plain containers" in fails("prepare", "pyskl", "--raw", "bad.pkl")
    assert not (here / "made-by-a-pickle").exists()


def test_a_cut_pickle_and_a_folder_are_one_line(here: Path) -> None:
    path = write_pickle(here / "cut.pkl", pyskl_3d(12))
    path.write_bytes(path.read_bytes()[:-100])
    assert "no whole pickle" in fails("prepare", "pyskl", "--raw", "cut.pkl")
    assert "expected one PYSKL pickle" in fails("prepare", "pyskl", "--raw", here)
    assert "no such folder or zip" in fails("prepare", "pyskl", "--raw", "none.pkl")
    assert "which one?" in fails("prepare", "pyskl", "--raw", path, "--raw", path, code=2)
    assert "expected data/pyskl/ntu60_3danno.pkl or" in fails("prepare", "pyskl")
    assert "is another data set's; give another with --name" in fails(
        "prepare", "pyskl", "--raw", path, "--name", "ntu60", code=2
    )


@pytest.mark.parametrize(("name", "make"), [("ntu60_hrnet", pyskl_2d), ("ntu60_3danno", pyskl_3d)])
def test_a_pickle_becomes_shards_and_a_trained_network(here: Path, name: str, make) -> None:
    write_pickle(here / f"data/pyskl/{name}.pkl", make())
    tsgc("prepare", "pyskl", "--jobs", 1)
    tsgc("shard", name, "--benchmark", "xsub", "--jobs", 1)
    said = tsgc("train", "--modality", "joint_motion", "--holdout", *quick("epochs=1", "batch=32"))
    assert f"{name}/xsub" in said


def test_arrays_keep_their_shapes_and_types() -> None:
    arrays = (np.zeros((2, 0, 3), np.float16), np.asarray(5), np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    for array, again in zip(arrays, read_arrays(ArrayClip("", arrays).read()), strict=True):
        assert array.dtype == again.dtype
        np.testing.assert_array_equal(array, again)
