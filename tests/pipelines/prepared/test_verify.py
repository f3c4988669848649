"""`verify_store` finds whatever was done to a prepared file."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.clips import ntu_clip, write_folder
from made.command import fails, tsgc

from pipelines.prepare import prepare_dataset
from pipelines.prepared import store as store_module
from pipelines.prepared.store import open_store
from pipelines.prepared.verify import verify_store
from pipelines.prepared.writer import COMPRESSION


@pytest.fixture(scope="module", params=[None, *COMPRESSION])
def whole(tmp_path_factory, request) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    clips = {
        f"S001C00{c}P00{p}R001A007.skeleton": ntu_clip(p, 14, 1 + p % 2) for c in (1, 2) for p in (1, 2, 3)
    }
    raw = write_folder(folder / "raw", clips)
    prepare_dataset("ntu60", [raw], folder / "made.h5", data_root=folder, jobs=1, compress=request.param)
    return folder / "made.h5"


@pytest.fixture
def own(whole, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copy(whole, tmp_path / "own.h5"))


def test_a_whole_file_has_no_problem(whole):
    assert verify_store(whole) == []


def test_a_file_larger_than_the_buffer_has_no_problem(whole, monkeypatch):
    monkeypatch.setattr(store_module, "READ_ROWS", 10)
    assert verify_store(whole) == []


def set_value(name: str, index: int, value: object):
    def edit(file: h5py.File) -> None:
        file[name][index] = value

    return edit


def set_attribute(name: str, value: object):
    def edit(file: h5py.File) -> None:
        file.attrs[name] = value

    return edit


FIRST = "S001C001P001R001A007"
UNPUBLISHED = f"is not the published split: {FIRST}"
AGAIN = "run `tsgc prepare` again"
DIGEST = "the content is not what was written (its digest differs); run `tsgc prepare` again"


@pytest.mark.parametrize(
    ("edit", "problems"),
    [
        (set_value("joints", 30, np.nan), ["numbers that are not finite: S001C001P002R001A007", DIGEST]),
        (set_value("joints", 0, 0.5), [DIGEST]),
        (set_value("origins", 5, np.inf), ["numbers that are not finite: S001C002P003R001A007", DIGEST]),
        (set_value("present", slice(0, 28), False), ["no body in any frame: S001C001P001R001A007", DIGEST]),
        (set_value("names", 1, FIRST.encode()), [f"names that repeat: {FIRST} (2 times)", DIGEST]),
        (
            set_value("splits/xview", 2, 7),
            ["splits/xview is not 0 (train), 1 (test) or -1 (unused): S001C001P003R001A007", DIGEST],
        ),
        (
            set_value("splits/xsub", 0, 1),
            [f"splits/xsub {UNPUBLISHED}", DIGEST],
        ),
        (set_value("labels", 0, 8), [DIGEST]),
        (set_value("cameras", slice(0, 1), 3), [f"splits/xview {UNPUBLISHED}", DIGEST]),
        (set_attribute("preset", b"corrected"), [DIGEST]),
        (set_attribute("fps", 25), [DIGEST]),
        (set_value("offsets", 1, 3), [f"damaged (offsets disagree with num_frames and num_bodies); {AGAIN}"]),
        (set_value("labels", 0, 60), ["damaged (labels outside 0..59); run `tsgc prepare` again"]),
    ],
)  # fmt: skip
def test_whatever_changed_is_told(own, edit, problems):
    with h5py.File(own, "r+") as file:
        edit(file)
    assert verify_store(own) == [f"{own}: {problem}" for problem in problems]


def test_a_file_whose_content_has_changed_is_not_sharded(own):
    with h5py.File(own, "r+") as file:
        file["joints"][3, 0, 0] += 1
    assert DIGEST in fails("shard", "--prepared", own, "--out", own.parent / "out")
    assert not (own.parent / "out").exists()


def test_a_folder_is_no_prepared_file(tmp_path):
    assert "a folder; expected a file that `tsgc prepare` made" in fails("shard", "--prepared", tmp_path)


def test_a_file_without_a_digest_is_sharded(own):
    with h5py.File(own, "r+") as file:
        del file.attrs["content_digest"]
    tsgc("shard", "--prepared", own, "--out", own.parent / "out", "--jobs", 1)
    assert (own.parent / "out/own/xsub/manifest.json").exists()


def test_a_file_without_a_digest_says_so(own):
    with h5py.File(own, "r+") as file:
        del file.attrs["content_digest"]
    (problem,) = verify_store(own)
    assert problem.startswith(f"{own}: no content digest; it was written by an older version")


def test_no_file_and_no_hdf5_are_told(tmp_path):
    assert verify_store(tmp_path / "a.h5") == [f"{tmp_path}/a.h5: no such file; make it with `tsgc prepare`"]
    (tmp_path / "a.h5").write_bytes(b"hello")
    assert verify_store(tmp_path / "a.h5")[0].startswith(f"{tmp_path}/a.h5: not a whole HDF5 file")


@given(st.data())
def test_a_damaged_byte_never_changes_what_a_verified_file_says(whole, tmp_path_factory, data):
    damaged = bytearray(whole.read_bytes())
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("damaged") / "a.h5"
    path.write_bytes(damaged)
    if not verify_store(path):  # a byte that means nothing, such as free space
        with open_store(path) as one, open_store(whole) as other:
            assert one.info == other.info
            for (name, pieces), (_, others) in zip(one.arrays(), other.arrays(), strict=True):
                assert all(map(np.array_equal, pieces, others)), name


def test_the_command_verifies_a_file(own):
    assert tsgc("verify", own) == f"{own}: whole\n"
    own.write_bytes(own.read_bytes()[:-100])
    said = tsgc("verify", own, expect=1)
    assert said.startswith(f"{own}: not a whole HDF5 file")
    assert said.splitlines()[-1].startswith("error: problems found: 1;")
    none = own.with_name("none")
    assert fails("verify", none).startswith(f"error: {none}: nothing to verify")
    assert fails("verify", "--data-root", none).startswith(f"error: {none}: nothing to verify")
