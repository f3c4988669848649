"""`/seen` in a prepared file: there where a joint was not seen, and only then."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipelines.errors import TsgcError
from pipelines.prepared import writer as writer_module
from pipelines.prepared.report import Report, read_report
from pipelines.prepared.store import Clip, Info, open_store
from pipelines.prepared.verify import check_content, verify_store
from pipelines.prepared.writer import StoreWriter
from pipelines.skeleton import NTU_25
from pipelines.spec import Prepared

INFO = Info("mine", "corrected", "ntu-25", "xyz", "metres", 29.97, "zeros", ("wave",), "abc", "1.2")


def clip(index: int, missing: bool) -> Clip:
    rng = np.random.default_rng(index)
    frames, bodies = 5 + index, 1 + index % 2
    present = rng.random((frames, bodies)) < 0.8
    present[0] = True
    seen = present[..., None] & (rng.random((frames, bodies, 25)) < 0.9) if missing else None
    joints = rng.normal(size=(frames, bodies, 25, 3)).astype(np.float32)
    return Clip(f"clip{index}", 0, joints, present, np.zeros(3, np.float32), {}, seen)


def write(path: Path, clips: list[Clip], compress: str | None = None) -> Path:
    with StoreWriter(path, INFO, (), compress) as writer:
        for one in clips:
            writer.append(one)
        writer.finish({"all": np.zeros(len(clips), np.int8)})
    return path


def test_a_file_in_which_all_joints_were_seen_says_nothing_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", [clip(index, missing=False) for index in range(3)])
    with h5py.File(path) as file:
        assert "seen" not in file
    with open_store(path) as store:
        assert store.clip(0).seen is None and store.info.fps == 29.97


@pytest.mark.parametrize("buffer", [4, 16, 16384])
@pytest.mark.parametrize("first", [0, 3, 9])
def test_what_was_seen_comes_back_wherever_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffer: int, first: int
) -> None:
    monkeypatch.setattr(writer_module, "BUFFER_ROWS", buffer)
    clips = [clip(index, missing=index in (first, first + 2)) for index in range(12)]
    path = write(tmp_path / "a.h5", clips)
    with open_store(path) as store:
        for index, one in enumerate(clips):
            back = store.clip(index)
            expected = np.repeat(one.present[..., None], 25, axis=2) if one.seen is None else one.seen
            np.testing.assert_array_equal(back.seen, expected)
            np.testing.assert_array_equal(back.joints, one.joints)
    check_content(path)
    assert not verify_store(path)
    again = write(tmp_path / "b.h5", clips)
    assert path.read_bytes() == again.read_bytes()
    packed = write(tmp_path / "c.h5", clips, compress="lzf")
    with open_store(packed) as store, open_store(path) as plain:
        assert store.digest() == plain.digest()
        np.testing.assert_array_equal(store.clip(first).seen, plain.clip(first).seen)


def test_a_changed_or_misshapen_seen_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", [clip(0, missing=True)])
    with h5py.File(path, "r+") as file:
        file["seen"][0, 0] = ~file["seen"][0, 0]
    with pytest.raises(TsgcError, match="digest"):
        check_content(path)
    with h5py.File(path, "r+") as file:
        del file["seen"]
        file["seen"] = np.ones((3, 2), np.bool_)
    with pytest.raises(TsgcError, match=r"damaged \(seen of shape \(3, 2\), expected"):
        open_store(path)


def test_whole_rates_are_whole_numbers_again(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "a.h5", replace(INFO, fps=30), ()) as writer:
        writer.append(clip(0, missing=False))
        writer.finish({"all": np.zeros(1, np.int8)})
    with open_store(tmp_path / "a.h5") as store:
        assert store.info.fps == 30 and isinstance(store.info.fps, int)


def test_the_report_counts_joints_by_name_and_clip(tmp_path: Path) -> None:
    report = Report("mine", "corrected", [], "a.h5", None, joint_names=NTU_25.joints)
    seen = np.ones((4, 1, 25), np.bool_)
    seen[1:, 0, 3] = seen[2, 0, 7] = False
    present = np.ones((4, 1), np.bool_)
    present[3] = False
    empty = np.zeros(3, np.float32)
    joints = np.ones((4, 1, 25, 3), np.float32)
    report.count("a", Prepared(joints, present, empty, seen=4, joints_seen=seen & present[..., None]))
    report.count("b", Prepared(joints, present, empty, seen=4))
    assert report.unseen == {"head": 2, "left hand": 1} and report.unseen_clips == {"a": 3}
    assert report.unseen_line() == "3 of 150 joints (head 2, left hand 1), in 1 clip, most in a (3)"
    assert any(line.startswith("not seen: 3 of 150") for line in report.lines())
    report.to_json(tmp_path / "a.report.json")
    assert read_report(tmp_path / "a.report.json") == report
