"""Which clips a folder has in each format, and what the first of them say."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from made import recordings as made
from made.command import fails, tsgc
from made.recordings import MADE, write

from pipelines.errors import TsgcError
from pipelines.formats.clips import find_clips, look
from pipelines.formats.frame_files import FrameFiles, find_frames, frames_of
from pipelines.formats.openpose import FILE
from pipelines.formats.table import FORMATS
from pipelines.prepared.store import open_store
from pipelines.skeleton import SKELETONS

POINTS = made.filmed(25, frames=3)


def write_frames(folder: Path, clip: str, numbers: range = range(3)) -> None:
    for number in numbers:
        text = made.openpose_frame(POINTS[number % 3])
        write(folder / f"{clip}_{number:012}_keypoints.json", text)


def test_a_folder_of_frames_is_a_clip_and_several_in_one_folder_are_several(tmp_path: Path) -> None:
    write_frames(tmp_path / "wave/anna-1", "video")
    write_frames(tmp_path / "wave/ben-1", "video")
    write_frames(tmp_path / "clap", "anna-2")
    write_frames(tmp_path / "clap", "ben-2", range(12, 14))
    write_frames(tmp_path, "alone")
    write(tmp_path / "wave/anna-1/notes.json", b"{}")
    found = find_frames(tmp_path, FILE)
    assert list(found) == ["alone", "clap/anna-2", "clap/ben-2", "wave/anna-1", "wave/ben-1"]
    clip = found["clap/ben-2"]
    assert isinstance(clip, FrameFiles) and clip.source.endswith("clap/ben-2_000000000012_keypoints.json")
    assert [name for name, _ in frames_of("", clip.read())] == [
        f"ben-2_{number:012}_keypoints.json" for number in (12, 13)
    ]


def test_frames_are_in_the_order_of_their_numbers_however_these_are_written(tmp_path: Path) -> None:
    for number in (2, 10, 9):
        write(tmp_path / f"d/c/frame{number}_keypoints.json", made.openpose_frame(POINTS[0] + number))
    (clip,) = find_frames(tmp_path, FILE).values()
    recording = FORMATS["openpose"].read(clip.source, clip.read(), SKELETONS["openpose-25"])
    assert [len(frame) for frame in recording.frames] == [1, 0, 0, 0, 0, 0, 0, 1, 1]


def test_a_frame_that_vanished_is_one_line(tmp_path: Path) -> None:
    write_frames(tmp_path / "a/b", "video")
    (clip,) = find_frames(tmp_path, FILE).values()
    (tmp_path / "a/b/video_000000000001_keypoints.json").unlink()
    with pytest.raises(TsgcError, match=r"000001_keypoints\.json: cannot be read"):
        clip.read()


def test_a_hundred_thousand_frames_are_found_without_a_look_at_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names alone are listed: files are asked for neither size nor kind, and few bytes are kept of each."""
    names = [f"v{number // 1000:03}_{number % 1000:012}_keypoints.json" for number in range(100_000)]
    monkeypatch.setattr(os, "walk", lambda top, followlinks: iter([(str(top), [], names)]))
    stats = []
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda *words, **options: stats.append(words) or real(*words, **options))
    found = find_frames(tmp_path, FILE)
    assert len(found) == 100 and len(stats) < 10
    assert sum(len(clip.names) for clip in found.values()) < 100_000 * 40


def test_files_of_a_format_may_lie_in_zips_and_behind_links(tmp_path: Path) -> None:
    text = made.msr_text(made.walking(20))
    write(tmp_path / "elsewhere/a01_s01_e01_skeleton3D.txt", text)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/linked").symlink_to(tmp_path / "elsewhere")
    with zipfile.ZipFile(tmp_path / "clips/more.zip", "w") as file:
        file.writestr("Real3D/a01_s02_e01_skeleton3D.txt", text)
        file.writestr("a01_s03_e01_skeleton3D.txt", text)
    found = find_clips(tmp_path / "clips", FORMATS["msr-action3d"])
    assert list(found) == ["linked/a01_s01_e01", "Real3D/a01_s02_e01", "more/a01_s03_e01"]
    assert all(file.read() == text for file in found.values())


def write_utkinect(folder: Path) -> Path:
    joints = made.walking(20, frames=30)
    for recording in ("s01_e01", "s01_e02"):
        write(folder / f"joints/joints_{recording}.txt", made.utkinect_text(joints, first=100))
    text = "s01_e01\nwalk: 100 109 \nsitDown: 112 120\ns01_e02\nwalk: 101 115\nsitDown: NaN NaN\n"
    write(folder / "actionLabel.txt", text.encode())
    return folder


def test_the_actions_of_utkinect_are_clips_of_their_frames(tmp_path: Path) -> None:
    found = find_clips(write_utkinect(tmp_path), FORMATS["utkinect"])
    assert list(found) == ["sitDown/s01_e01", "sitDown/s01_e02", "walk/s01_e01", "walk/s01_e02"]
    clip = found["sitDown/s01_e01"]
    recording = FORMATS["utkinect"].read(clip.source, clip.read(), SKELETONS["kinect1-20"])
    joints = made.walking(20, frames=30)[12:21]
    np.testing.assert_allclose([frame[0].joints for frame in recording.frames], joints)
    with pytest.raises(TsgcError, match=r"gives frames NaN to NaN of sitDown/s01_e02"):
        found["sitDown/s01_e02"].read()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s01_e01\nwalk 100 109\n", "line 2: 'walk 100 109', expected such as `walk: 252 390`"),
        ("s09_e01\nwalk: 100 109\n", "s09_e01: no joints_s09_e01.txt is there"),
        ("s01_e01\nwalk: 1 2\nwalk: 3 4\n", "walk of s01_e01 comes twice"),
        (None, "0 files actionLabel.txt, expected one beside the recordings"),
    ],
)
def test_a_wrong_list_of_actions_is_one_line(tmp_path: Path, text: str | None, said: str) -> None:
    write_utkinect(tmp_path)
    if text is None:
        (tmp_path / "actionLabel.txt").unlink()
    else:
        (tmp_path / "actionLabel.txt").write_text(text)
    with pytest.raises(TsgcError) as caught:
        find_clips(tmp_path, FORMATS["utkinect"])
    assert said in str(caught.value)


# What the first clips say --------------------------------------------------------------------------------


def test_the_first_frames_with_anybody_say_the_skeleton(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"a/b/v_{number:012}_keypoints.json", made.openpose_frame())
    write(tmp_path / "a/b/v_000000000003_keypoints.json", made.openpose_frame(made.filmed(18)[0]))
    seen = look(tmp_path, None, "x")
    assert seen.form is FORMATS["openpose"] and seen.skeleton is SKELETONS["openpose-18"]


def test_arrays_of_ones_own_skeleton_are_not_taken_for_mediapipes(tmp_path: Path) -> None:
    write(tmp_path / "a.npy", made.as_npy(made.walking(33)))
    assert look(tmp_path, None, "x", skeleton="").form is None
    assert look(tmp_path, None, "x", skeleton="coco-17").form is None
    assert look(tmp_path, None, "x").form is FORMATS["mediapipe"]
    assert look(tmp_path, "arrays", "x").form is None


def describe(folder: Path, **more: object) -> Path:
    description = {"classes": ["wave", "clap"], "splits": {"half": {"train": "*1*", "test": "*2*"}}, **more}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.yaml").write_text(yaml.safe_dump(description))
    return folder


JSON = [name for name, case in MADE.items() if case.name == "a.json"]


@pytest.mark.parametrize("name", JSON)
def test_every_format_is_prepared_as_one_finds_it(here: Path, name: str) -> None:
    case, form = MADE[name], FORMATS[name]
    V = SKELETONS[case.skeleton].num_joints
    more = {"image_size": [640, 480]} if form.units == "pixels" else {}
    if form.units == "parts of the picture":
        more = {"image_size": [1, 1]}
    folder = describe(here / "mine", **more)
    for label in ("wave", "clap"):
        for number in (1, 2):
            write(folder / f"clips/{label}/{number}.json", case.write(case.joints(V)))
    said = tsgc("prepare", "custom", "--raw", folder, "--jobs", 1)
    assert "4 found, 4 read, 4 kept" in said
    assert f"format: {name} ({form.what}), {case.skeleton}\n" in said
    with open_store(here / "data/prepared/mine.h5") as store:
        assert store.info.skeleton == case.skeleton and store.info.channels.startswith(form.channels)
        assert store.clip(0).joints.shape == (6, 1, V, len(store.info.channels))
    again = ("--raw", folder, "--overwrite", "--format")
    assert "choose one of arrays, openpose" in fails("prepare", "custom", *again, "x", code=2)
    assert "--format is for custom" in fails("prepare", "ntu60", *again, "mmpose", code=2)


def test_folders_of_frames_bvh_and_a_list_of_actions_are_prepared(here: Path) -> None:
    size = {"image_size": [640, 480]}
    folder = describe(here / "open", **size)
    for label in ("wave", "clap"):
        for number in (1, 2):
            write_frames(folder / f"clips/{label}/{number}", "video")
    assert "4 kept" in tsgc("prepare", "custom", "--raw", folder, "--jobs", 1)
    moved = describe(here / "moved", clips=".")
    for label in ("wave", "clap"):
        for number in (1, 2):
            write(moved / f"{label}/{number}.bvh", made.ARM_BVH.encode())
    assert "4 kept" in tsgc("prepare", "custom", "--raw", moved, "--jobs", 1)
    with open_store(here / "data/prepared/moved.h5") as store:
        assert store.clip(0).joints.shape == (2, 1, 5, 3) and "LeftArm end" in store.info.body.joints
    splits = {"half": {"train": "*e01", "test": "walk/*e02"}}
    kinect = describe(here / "utk", classes=["walk", "sitDown"], splits=splits)
    write_utkinect(kinect / "clips")
    (kinect / "clips/actionLabel.txt").write_text(
        "s01_e01\nwalk: 100 109\nsitDown: 112 120\ns01_e02\nwalk: 101 115"
    )
    assert "3 kept" in tsgc("prepare", "custom", "--raw", kinect, "--jobs", 1)
