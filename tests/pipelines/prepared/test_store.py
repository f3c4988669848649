"""The HDF5 store: what is written comes back, and what is damaged is told."""

import errno
import io
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipelines import files
from pipelines.errors import TsgcError
from pipelines.prepared import writer as writer_module
from pipelines.prepared.store import Clip, Info, open_store
from pipelines.prepared.writer import StoreWriter

INFO = Info(
    dataset="ntu60",
    preset="reference",
    skeleton="ntu-25",
    channels="xyz",
    units="metres",
    fps=30,
    absent_body="zeros",
    class_names=("drink", "Händewaschen"),
    source_digest="abc",
    tool_version="1.2",
)
SPLITS = {"xview": np.array([0, 1, -1], np.int8), "xsub": np.array([1, 0, 0], np.int8)}


def made_clip(index: int, frames: int = 7) -> Clip:
    rng = np.random.default_rng(index)
    M = 1 + index % 2
    return Clip(
        name=f"clip-{index}-é",
        label=index % 2,
        joints=rng.normal(size=(frames, M, 25, 3)).astype(np.float32),
        present=rng.random((frames, M)) < 0.5,
        origin=rng.normal(size=3).astype(np.float32),
        fields={"cameras": index, "setups": 10 + index},
    )


def write(path: Path, clips: list[Clip] | None = None) -> Path:
    with StoreWriter(path, INFO, ("setups", "cameras")) as writer:
        for clip in clips or [made_clip(0), made_clip(1, frames=2), made_clip(2)]:
            writer.append(clip)
        writer.finish(SPLITS)
    return path


def test_what_is_written_comes_back(tmp_path):
    clips = [made_clip(0), made_clip(1, frames=2), made_clip(2)]
    with open_store(write(tmp_path / "a.h5", clips), "ntu60") as opened:
        assert opened.info == INFO
        assert len(opened) == 3
        assert opened.names == [clip.name for clip in clips]
        assert opened.labels.tolist() == [0, 1, 0]
        assert opened.num_frames.tolist() == [7, 2, 7]
        assert opened.num_bodies.tolist() == [1, 2, 1]
        assert opened.offsets.tolist() == [0, 7, 11, 18] and opened.offsets.dtype == np.int64
        assert {name: values.tolist() for name, values in opened.fields.items()} == {
            "setups": [10, 11, 12],
            "cameras": [0, 1, 2],
        }
        assert list(opened.splits) == ["xview", "xsub"]  # the main benchmark stays first
        np.testing.assert_array_equal(opened.splits["xview"], SPLITS["xview"])
        np.testing.assert_array_equal(opened.origins, [clip.origin for clip in clips])
        for index, clip in enumerate(clips):
            back = opened.clip(index)
            assert (back.name, back.label, back.fields) == (clip.name, clip.label, clip.fields)
            for one, other in (
                (back.joints, clip.joints),
                (back.present, clip.present),
                (back.origin, clip.origin),
            ):
                np.testing.assert_array_equal(one, other)
                assert one.dtype == other.dtype


def test_the_layout_is_the_documented_one(tmp_path):
    with h5py.File(write(tmp_path / "a.h5")) as file:
        assert file["joints"].shape == (18, 25, 3) and file["joints"].dtype == np.float32
        assert file["present"].shape == (18,) and file["present"].dtype == np.bool_
        assert h5py.check_string_dtype(file["names"].dtype).encoding == "utf-8"
        assert file["splits/xsub"].dtype == np.int8
        assert file.attrs["schema_version"] == 1
        assert [name.decode() for name in file.attrs["class_names"]] == list(INFO.class_names)
        assert h5py.check_string_dtype(file.attrs.get_id("dataset").dtype).encoding == "utf-8"


def test_clips_longer_than_the_buffer_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BUFFER_ROWS", 10)
    clips = [made_clip(index, frames=13 * (1 + index)) for index in range(3)]
    with open_store(write(tmp_path / "a.h5", clips)) as opened:
        for index, clip in enumerate(clips):
            np.testing.assert_array_equal(opened.clip(index).joints, clip.joints)


def test_equal_clips_give_equal_bytes(tmp_path):
    assert write(tmp_path / "a.h5").read_bytes() == write(tmp_path / "b.h5").read_bytes()


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError), StoreWriter(tmp_path / "a.h5", INFO, ()) as writer:
        writer.append(made_clip(0))
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_store_that_is_not_finished_is_discarded(tmp_path):
    with StoreWriter(tmp_path / "a.h5", INFO, ()) as writer:
        writer.append(made_clip(0))
    assert not list(tmp_path.iterdir())


def test_a_failure_keeps_the_file_that_was_there(tmp_path):
    before = write(tmp_path / "a.h5").read_bytes()
    with pytest.raises(ZeroDivisionError), StoreWriter(tmp_path / "a.h5", INFO, ()):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    assert (tmp_path / "a.h5").read_bytes() == before


@pytest.mark.parametrize("room", [0, 100, 5_000, 20_000, 25_000])
def test_a_full_disk_is_one_clear_line_wherever_it_strikes(tmp_path, monkeypatch, room):
    class SmallDisk(io.FileIO):
        """Takes `room` bytes in all; HDF5 itself crashes on such a disk."""

        left = room

        def write(self, data):
            self.left -= len(data)
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    small = type("SmallPatientFile", (files.PatientFile, SmallDisk), {})
    monkeypatch.setattr(writer_module, "PatientFile", small)
    with pytest.raises(TsgcError) as error:
        write(tmp_path / "a.h5")
    assert str(error.value) == f"{tmp_path}/a.h5: no space left on the disk; free some or write elsewhere"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TsgcError, match=r"file/a\.h5: cannot be written: "):
        write(tmp_path / "file" / "a.h5")


def broken(path: Path, change) -> Path:
    with h5py.File(write(path), "r+") as file:
        change(file)
    return path


def replaced(name: str, values) -> object:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = values

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f.attrs.modify("schema_version", 2),
            "schema version 2, expected 1; run `tsgc prepare` again",
        ),
        (lambda f: f.attrs.pop("schema_version"), "an HDF5 file, but not one made by `tsgc prepare`"),
        (lambda f: f.attrs.pop("fps"), r"damaged \(no attribute fps\)"),
        (lambda f: f.attrs.create("skeleton", b"cat-9"), "skeleton 'cat-9' is unknown; known: ntu-25"),
        (lambda f: f.attrs.create("skeleton", b"coco-17"), r"joints of shape \(25, 3\), expected \(17, 3\)"),
        (lambda f: f.pop("offsets"), r"damaged \(no offsets\)"),
        (lambda f: f.pop("splits"), r"damaged \(no splits\)"),
        (replaced("labels", [0, 1]), r"labels has 2 entries, expected 3"),
        (replaced("labels", [0, 1, 2]), r"labels outside 0\.\.1"),
        (replaced("splits/xsub", [0]), r"splits/xsub has 1 entries, expected 3"),
        (replaced("offsets", [0, 7, 10, 18]), "offsets disagree with num_frames and num_bodies"),
        (lambda f: f["joints"].resize(17, axis=0), "17 rows of joints, expected 18"),
        (replaced("names", [1, 2, 3]), "damaged"),
    ],
)
def test_a_damaged_store_is_told(tmp_path, change, message):
    path = broken(tmp_path / "a.h5", change)
    with pytest.raises(TsgcError, match=message) as error:
        open_store(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_a_missing_store_is_told(tmp_path):
    with pytest.raises(TsgcError, match="no such file; make it with `tsgc prepare`"):
        open_store(tmp_path / "a.h5")


@pytest.mark.parametrize("size", [0, 4, 700, -1])
def test_a_cut_store_or_another_file_is_told(tmp_path, size):
    path = write(tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(TsgcError, match="not a whole HDF5 file"):
        open_store(path)


def test_another_data_set_than_asked_for_is_told(tmp_path):
    with pytest.raises(TsgcError, match="holds ntu60, expected ntu120"):
        open_store(write(tmp_path / "a.h5"), "ntu120")


def test_the_digest_given_at_the_end_is_kept(tmp_path):
    with StoreWriter(tmp_path / "a.h5", INFO, ()) as writer:
        writer.append(made_clip(0))
        writer.finish({}, source_digest="later")
    with open_store(tmp_path / "a.h5") as opened:
        assert opened.info == replace(INFO, source_digest="later")
