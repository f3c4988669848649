"""No clip is passed over without a word."""

import io
import json
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from made.clips import ntu_clip, write_folder, write_zip

from pipelines.prepare import prepare_dataset
from pipelines.prepared.report import Report
from pipelines.prepared.store import open_store

NAMES = [f"S001C001P{performer:03}R001A001" for performer in range(1, 9)]
DESCRIPTION = """
joints: [hip, chest, head]
parents: [null, hip, chest]
centre: hip
classes: [up, down]
splits: {half: {train: ["*/1"], test: ["*/2"]}}
"""


def write_own(folder: Path) -> Path:
    for name in ("up/1", "up/2", "down/1", "down/2"):
        file = folder / f"clips/{name}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.random.default_rng(0).normal(size=(4, 3, 3)))
    (folder / "dataset.yaml").write_text(DESCRIPTION)
    return folder


def prepare(tmp_path: Path, dataset: str, raw: Path) -> Report:
    return prepare_dataset(dataset, [raw], tmp_path / "out.h5", data_root=tmp_path, jobs=1, overwrite=True)


@pytest.mark.parametrize("suffix", [".skeleton", ".SKELETON", ".Skeleton"])
def test_capitals_of_a_suffix_mean_nothing(tmp_path: Path, suffix: str) -> None:
    files = {f"{NAMES[0]}{suffix}": ntu_clip(), f"{NAMES[1]}.skeleton": ntu_clip()}
    assert prepare(tmp_path, "ntu60", write_folder(tmp_path / "raw", files)).kept == 2
    assert prepare(tmp_path, "ntu60", write_zip(tmp_path / "raw.ZIP", files)).kept == 2


def test_own_clips_with_capitals_are_read(tmp_path: Path) -> None:
    folder = write_own(tmp_path / "own")
    (folder / "clips/up/1.npy").rename(folder / "clips/up/1.NPY")
    report = prepare(tmp_path, "custom", folder)
    assert report.kept == 4 and not report.passed_over
    assert set(open_store(tmp_path / "out.h5").names) == {"up-1", "up-2", "down-1", "down-2"}


def test_what_looks_like_a_clip_and_is_not_read_is_named_and_counted(tmp_path: Path) -> None:
    folder = write_own(tmp_path / "own")
    clips = folder / "clips"
    np.savez(clips / "up/3.npz", np.ones((4, 3, 3)))
    (clips / "up/notes.txt").write_text("nothing")
    (clips / "up/._1.npy").write_text("macOS")
    (clips / "up/gone").symlink_to(tmp_path / "nowhere")
    (clips / "zz").symlink_to(clips / "up")
    (clips / "loop").symlink_to(clips)
    (clips / "up/4.tar.gz").write_bytes(b"")
    inner = io.BytesIO()
    with ZipFile(inner, "w") as archive:
        archive.writestr("up/9.npy", b"")
    with ZipFile(clips / "more.zip", "w") as archive:
        archive.write(clips / "up/1.npy", "up/7.npy")
        archive.writestr("up/inner.zip", inner.getvalue())
        archive.writestr("up/8.MAT", b"")
    report = prepare(tmp_path, "custom", folder)
    assert report.kept == 5  # the zip's clip beside the four
    assert sorted(line.removeprefix(f"{clips}/") for line in report.passed_over) == sorted(
        [
            "zz (a folder that was read already, by a link)",
            "loop (a folder that was read already, by a link)",
            "more.zip/up/8.MAT",
            "more.zip/up/inner.zip (a zip inside a zip; unpack it)",
            "up/3.npz",
            "up/4.tar.gz (an archive; unpack it)",
            "up/gone (a link to nothing)",
        ]
    )
    (said,) = [line for line in report.lines() if "look like clips" in line]
    assert said.startswith("warning: 7 files or links look like clips and were not read: ")
    assert json.loads((tmp_path / "out.report.json").read_text())["passed_over"] == report.passed_over


def test_links_are_followed_and_what_is_read_is_not_named(tmp_path: Path) -> None:
    elsewhere = write_folder(tmp_path / "elsewhere", {f"{name}.skeleton": ntu_clip() for name in NAMES[:2]})
    raw = write_folder(tmp_path / "raw", {f"{NAMES[2]}.skeleton": ntu_clip()})
    (raw / "link").symlink_to(elsewhere)
    (raw / f"{NAMES[3]}.skeleton").symlink_to(elsewhere / f"{NAMES[0]}.skeleton")
    write_zip(raw / "more.zip", {f"{NAMES[4]}.skeleton": ntu_clip()})
    report = prepare(tmp_path, "ntu60", raw)
    assert (report.kept, report.passed_over) == (5, [])
