"""What a file is that is not what it was taken for, and which way is up."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import recordings as made
from made.command import fails, tsgc
from made.recordings import MADE, write

from pipelines.datasets.table import DATASETS
from pipelines.errors import TsgcError
from pipelines.formats.directions import UP, axis_of, from_hips_to_head, turn_up
from pipelines.formats.other_files import what_is
from pipelines.skeleton import SKELETONS

NTU = (
    b"103\n1\n72057594037931101 0 1 1 1 1 0 0.02764709 0.05745083 2\n25\n"
    + b"1 2 3 4 5 6 7 8 9 10 11 2\n" * 25
)


@pytest.mark.parametrize(
    ("source", "data", "name"),
    [
        ("a.mp4", b"", "empty"),
        ("a.json", b"\0\0\0\x20ftypisom" + bytes(50), "video"),
        ("a.avi", b"RIFF....AVI LIST", "video"),
        ("a.mkv", b"\x1aE\xdf\xa3....", "video"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "picture"),
        ("a.json", b"<!DOCTYPE html><html>", "page"),
        ("a.npz", b"version https://git-lfs.github.com/spec/v1\noid", "pointer"),
        ("a.json", NTU, "ntu"),
        ("a.skeleton", NTU.replace(b"\n", b"\r\n"), "ntu"),
        ("a.json", b'{"file_name": "a01", "skeletons": [[[1, 2, 3]]], "label": 1}', "nw-ucla"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", "hdf5"),
        ("a.zip", b"PK\x03\x04", "zip"),
        ("a.json", b"[[[1, 2, 3]]]", ""),
        ("a.txt", b"1 2 3\n", ""),
    ],
)
def test_files_are_told_by_their_first_bytes(source: str, data: bytes, name: str) -> None:
    found, words = what_is(source, data)
    assert found == name and bool(words) == bool(name)


@pytest.mark.parametrize("name", [name for name in MADE if name != "openpose"])
def test_every_format_is_told(name: str) -> None:
    case = MADE[name]
    joints = case.joints(SKELETONS[case.skeleton].num_joints)
    assert what_is(case.name, case.write(joints))[0] == name


@given(
    data=st.binary(max_size=200),
    suffix=st.sampled_from([".json", ".npy", ".txt", ".csv", ".bvh", ".c3d", ""]),
)
def test_any_bytes_are_something_or_nothing(data: bytes, suffix: str) -> None:
    name, words = what_is(f"a{suffix}", data)
    assert bool(name) == bool(words)


def test_a_wrong_format_says_the_right_one() -> None:
    azure = made.azure_json(made.walking(32))
    for dataset, source, data, said in (
        ("nw-ucla", "x/a01_s01_e01_v01.json", NTU, "it is NTU RGB+D text: for `tsgc prepare ntu60`"),
        ("nw-ucla", "a.json", azure, "it is Azure Kinect's body tracking: `format: azure-kinect` of"),
        ("ntu60", "S001C001P001R001A001.skeleton", b"<html>sign in", "it is a web page, not the file"),
    ):
        for read in DATASETS[dataset].presets.values():
            with pytest.raises(TsgcError) as caught:
                read(source, data)
            assert str(caught.value).startswith(f"{source}: ") and said in str(caught.value)
            assert "\n" not in str(caught.value)


def test_a_damaged_clip_of_its_own_kind_says_what_is_damaged() -> None:
    with pytest.raises(TsgcError, match="expected \\(frames, 20, 3\\)"):
        DATASETS["nw-ucla"].presets["reference"]("a.json", b'{"skeletons": [[[1, 2, 3]]], "label": 1}')


def test_a_folder_of_videos_says_what_comes_first(here: Path) -> None:
    write(here / "mine/clips/wave/a.mp4", b"\0")
    assert "1 video is there: a pose estimator finds the joints first" in fails("init", "mine")
    for label in ("wave", "clap"):
        for number in (1, 2):
            write(here / f"mine/clips/{label}/{number}.json", MADE["coco"].write(made.filmed(17)))
    write(here / "mine/clips/wave/1.json", NTU)
    tsgc("init", "mine", "--overwrite")
    assert "; it is NTU RGB+D text" in fails("prepare", "custom", "--raw", "mine", "--jobs", 1)


# Which way is up -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("up", UP)
def test_turning_puts_what_is_up_on_y_and_keeps_sides(up: str) -> None:
    axis, sign = "xyz".index(up[-1]), -1 if up[0] == "-" else 1
    head = np.zeros(3)
    head[axis] = sign
    np.testing.assert_array_equal(turn_up(head, up), [0, 1, 0])
    turn = np.stack([turn_up(unit, up) for unit in np.eye(3)])
    assert np.linalg.det(turn) == pytest.approx(1)  # a rotation: no mirror image
    scored = turn_up(np.array([[1.0, 2.0, 3.0, 0.5]]), up)
    assert scored[0, 3] == 0.5


@pytest.mark.parametrize("name", [name for name in SKELETONS if name != "hand-21"])
def test_every_body_tells_where_its_head_is(name: str) -> None:
    from tsgc.drawing.rest_pose import rest_pose

    body = SKELETONS[name]
    pose = np.concatenate([rest_pose(body), np.full((body.num_joints, 1), 3.0)], axis=1)
    for up in UP:
        axis, sign = "xyz".index(up[-1]), -1 if up[0] == "-" else 1
        lying = np.stack([pose[:, 0], pose[:, 2], pose[:, 2]], axis=-1)
        lying[:, axis] = sign * pose[:, 1]
        way = from_hips_to_head(lying[None, None], body.joints)
        assert way is not None and axis_of(way) == up
        turned = from_hips_to_head(turn_up(lying, up)[None, None], body.joints)
        assert turned is not None and axis_of(turned) == "y"


def test_what_is_not_seen_or_not_named_does_not_tell() -> None:
    names = SKELETONS["ntu-25"].joints
    assert from_hips_to_head(np.zeros((3, 1, 25, 3)), names) is None
    assert from_hips_to_head(np.full((3, 1, 25, 3), np.nan), names) is None
    assert from_hips_to_head(np.ones((3, 1, 2, 3)), ("wrist", "thumb")) is None
    assert axis_of(np.zeros(3)) is None and axis_of(np.array([1, 1.2, 0])) is None


def test_clips_on_their_heads_are_a_warning_and_up_turns_them(here: Path) -> None:
    names = SKELETONS["ntu-25"].joints
    down = made.walking(25, frames=12)
    down[:, names.index("head"), 1] = -2
    for label in ("wave", "clap"):
        for number in (1, 2):
            write(here / f"mine/clips/{label}/{number}.npy", made.as_npy(down))
    description = {
        "skeleton": "ntu-25", "classes": ["wave", "clap"],
        "splits": {"half": {"train": "*1", "test": "*2"}},
    }  # fmt: skip
    (here / "mine/dataset.yaml").write_text(json.dumps(description))
    said = tsgc("prepare", "custom", "--raw", "mine", "--jobs", 1)
    assert "in 4 of the first 4 clips the head is above the hips along -y, expected y: `up: -y`" in said
    (here / "mine/dataset.yaml").write_text(json.dumps(description | {"up": "-y"}))
    assert "warning" not in tsgc("prepare", "custom", "--raw", "mine", "--jobs", 1, "--overwrite")
    (here / "mine/dataset.yaml").write_text(json.dumps(description | {"up": "w"}))
    assert "up is 'w', expected y, -y" in fails("prepare", "custom", "--raw", "mine", "--overwrite")
