"""The field's `.npz`: padded clips and one-hot labels, back to ragged clips."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.command import fails, quick, tsgc
from made.raw_sets import npz_arrays, write_npz

from pipelines.datasets.npz import depad
from pipelines.prepare import prepare_dataset
from pipelines.prepared.store import open_store


def run(tmp_path: Path, arrays: dict, *, name: str = "NTU60_CS.npz", jobs: int = 1, **options):
    path = write_npz(tmp_path / name, arrays, **options)
    report = prepare_dataset(
        "npz", [path], tmp_path / "out.h5", data_root=tmp_path, jobs=jobs, overwrite=True
    )
    return report, open_store(tmp_path / "out.h5")


def test_clips_come_back_without_padding_and_absent_bodies(tmp_path: Path) -> None:
    arrays = npz_arrays()
    _, store = run(tmp_path, arrays)
    assert store.names == [f"train_{i}" for i in range(12)] + [f"test_{i}" for i in range(8)]
    assert store.splits["xsub"].tolist() == [0] * 12 + [1] * 8
    assert store.info.class_names[4] == "drop" and store.info.skeleton == "ntu-25"
    for index, name in enumerate(store.names):
        split, row = name.split("_")
        clip, dense = store.clip(index), arrays[f"x_{split}"][int(row)]
        T, M = 18 + int(row) % 12, 1 if int(row) % 3 else 2
        assert clip.joints.shape == (T, M, 25, 3) and clip.label == int(row)
        np.testing.assert_array_equal(clip.joints, dense[:T].reshape(T, 2, 25, 3)[:, :M])


def test_the_references_own_clips_come_back_unchanged(shared: Path, tmp_path: Path) -> None:
    """Three real clips as the published preparation leaves them, padded as it pads them."""
    with np.load(shared / "golden/ntu_reference_centred.npz") as golden:
        clips = {name: golden[name] for name in golden.files}
    x = np.zeros((len(clips), 300, 150), np.float32)
    for row, clip in enumerate(clips.values()):
        x[row, : len(clip), : clip.shape[1]] = clip
    y = np.eye(60)[: len(clips)]
    _, store = run(tmp_path, {"x_train": x, "y_train": y, "x_test": x[:1], "y_test": y[:1]})
    for index, clip in enumerate(clips.values()):
        found = store.clip(index).joints
        assert found.shape[0] == len(clip)
        kept = clip.reshape(len(clip), -1, 25, 3)[:, : found.shape[1]]
        np.testing.assert_array_equal(found, kept)
        assert not clip.reshape(len(clip), -1, 25, 3)[:, found.shape[1] :].any()


def test_packed_and_parallel_give_the_same_bytes(tmp_path: Path) -> None:
    arrays = npz_arrays(train=40)
    run(tmp_path, arrays)
    plain = (tmp_path / "out.h5").read_bytes()
    for options in ({"packed": True}, {"jobs": 2}, {"packed": True, "jobs": 2}):
        run(tmp_path, arrays, **options)
        assert (tmp_path / "out.h5").read_bytes() == plain


clips = st.lists(st.lists(st.integers(-1, 1), min_size=3, max_size=3), max_size=8)


@given(clip=clips, padding=st.integers(0, 5))
def test_padding_comes_off_and_nothing_else(clip: list, padding: int) -> None:
    frames = np.array(clip, np.float32).reshape(-1, 3)
    padded = np.concatenate([frames, np.zeros((padding, 3), np.float32)])
    found = depad(padded)
    assert not len(found) or found[-1].any()
    assert not padded[len(found) :].any()
    np.testing.assert_array_equal(found, padded[: len(found)])


def test_empty_frames_inside_a_clip_stay(tmp_path: Path) -> None:
    arrays = npz_arrays()
    arrays["x_train"][0, 5] = 0
    _, store = run(tmp_path, arrays)
    assert store.num_frames[0] == 18 and not store.clip(0).present[5].any()


def test_an_empty_clip_is_dropped_and_told(tmp_path: Path) -> None:
    arrays = npz_arrays()
    arrays["x_test"][3] = 0
    report, store = run(tmp_path, arrays)
    assert list(report.dropped["no bodies"]) == ["test_3"] and "test_3" not in store.names


@pytest.mark.parametrize(
    ("name", "benchmark"),
    [("NTU60_CV", "xview"), ("NTU120_CSub", "xsub"), ("NTU120_CSet", "xset"), ("mine", "official")],
)
def test_the_file_name_tells_the_benchmark(tmp_path: Path, name: str, benchmark: str) -> None:
    _, store = run(tmp_path, npz_arrays(), name=f"{name}.npz")
    assert list(store.splits) == [benchmark] and store.info.dataset == name


@pytest.mark.parametrize(
    ("numbers", "skeleton", "channels", "bodies"),
    [
        (75, "ntu-25", "xyz", 1),
        (60, "nw-ucla-20", "xyz", 1),
        (102, "coco-17", "xys", 2),
        (108, "openpose-18", "xys", 2),
    ],
)
def test_the_skeleton_follows_from_the_numbers_a_frame(
    tmp_path: Path, numbers: int, skeleton: str, channels: str, bodies: int
) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        key: rng.random((4, 9, numbers)) if key[0] == "x" else np.arange(4) % 2
        for key in ("x_train", "y_train", "x_test", "y_test")
    }
    _, store = run(tmp_path, arrays, name="mine.npz")
    assert (store.info.skeleton, store.info.channels, store.clip(0).joints.shape[1]) == (
        skeleton,
        channels,
        bodies,
    )
    assert store.info.class_names == ("class 0", "class 1")


def without(key: str) -> dict:
    return {name: array for name, array in npz_arrays().items() if name != key}


SOME = npz_arrays()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (without("x_test"), "no array x_test, expected x_train, y_train, x_test, y_test; has x_train.npy"),
        (without("y_train"), "no array y_train"),
        ({**SOME, "x_train": np.zeros((12, 30, 77)), "x_test": np.zeros((8, 30, 77))}, "77 numbers a"),
        ({**SOME, "x_train": np.zeros((12, 30, 75))}, "75 and 150 numbers a frame"),
        ({**SOME, "x_train": np.zeros((12, 4500))}, "x of shape (12, 4500), expected (clips, "),
        ({**SOME, "x_train": np.zeros((11, 30, 150))}, "y_train of shape (12, 60), expected 11 clips"),
        ({**SOME, "y_test": np.zeros((8, 60))}, "row 0 of y_test is not one-hot"),
        ({**SOME, "y_test": np.eye(8) * 2}, "row 0 of y_test is not one-hot"),
        ({**SOME, "y_test": np.full((8, 60), np.nan)}, "row 0 of y_test is not one-hot"),
        ({**SOME, "y_test": np.full(8, -1)}, "expected classes from 0"),
        ({**SOME, "y_test": np.full(8, 0.5)}, "expected classes from 0"),
        ({**SOME, "x_test": np.full((8, 30, 150), "a")}, "x_test is <U1, expected plain numbers"),
        ({**SOME, "x_test": np.array([None] * 8)}, "x_test is object, expected plain numbers"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line(here: Path, arrays: dict, said: str) -> None:
    write_npz(here / "NTU60_CS.npz", arrays)
    error = fails("prepare", "npz", "--raw", "NTU60_CS.npz", "--jobs", 1)
    assert "NTU60_CS.npz: " in error and said in error
    assert not (here / "data/prepared/NTU60_CS.h5").exists()


def test_a_clip_that_is_not_finite_is_skipped_and_told(tmp_path: Path) -> None:
    arrays = npz_arrays(train=150)
    arrays["x_train"][7, 3, 2] = np.inf
    report, _ = run(tmp_path, arrays)
    (line,) = report.dropped["malformed"].values()
    assert "NTU60_CS.npz/x_train[7]: joints that are not finite" in line


def test_a_cut_a_damaged_and_a_lying_file_are_one_line(here: Path) -> None:
    path = write_npz(here / "NTU60_CS.npz", npz_arrays())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "not a whole .npz" in fails("prepare", "npz", "--raw", path)
    path.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    assert "Bad CRC-32" in fails("prepare", "npz", "--raw", path, "--jobs", 1)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", (here / "none").name)
    assert "x_train: not a whole .npz" in fails("prepare", "npz", "--raw", path)
    with zipfile.ZipFile(path, "w") as archive:
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999999, 300, 150), }"
        archive.writestr("x_train.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    assert "x_train says (999999999, 300, 150) float32 in 0 bytes" in fails("prepare", "npz", "--raw", path)


def test_the_file_becomes_shards_and_a_trained_network(here: Path) -> None:
    write_npz(here / "data/npz/NTU60_CS.npz", npz_arrays())
    tsgc("prepare", "npz", "--name", "field", "--jobs", 1)
    assert "12 train, 8 test" in tsgc("shard", "--jobs", 1)
    assert "field/xsub" in tsgc("train", *quick("epochs=1", "warmup_epochs=0"))


def test_the_npy_of_other_generations_is_told_how_to_become_one(here: Path) -> None:
    clips = np.random.default_rng(0).normal(size=(6, 3, 20, 25, 2)).astype(np.float32)  # (N, C, T, V, M)
    np.save(here / "train_data_joint.npy", clips)
    said = fails("prepare", "npz", "--raw", "train_data_joint.npy", "--jobs", 1)
    assert "(N, C, T, V, M) with its label pickle" in said and "transpose(0, 2, 4, 3, 1)" in said
    x = clips.transpose(0, 2, 4, 3, 1).reshape(6, 20, -1)  # as the line says
    np.savez(here / "ours.npz", x_train=x, y_train=np.arange(6), x_test=x[:2], y_test=np.arange(2))
    tsgc("prepare", "npz", "--raw", "ours.npz", "--jobs", 1)
    with open_store(here / "data/prepared/ours.h5") as store:
        place = store.names.index("train_3")
        np.testing.assert_allclose(store.clip(place).joints, clips[3].transpose(1, 3, 2, 0), rtol=1e-6)
