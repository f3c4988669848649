"""`tsgc init`: what it finds in folders as people have them, and that the result is ready to prepare."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from made import recordings as made
from made.command import fails, tsgc
from made.recordings import MADE, write

from pipelines.first_look.labels import classes_of, pattern_of, split_of
from pipelines.formats.table import FORMATS
from pipelines.skeleton import SKELETONS

STANDING = {"head": (0.0, 1.7, 3), "left hip": (-0.1, 0.9, 3), "right hip": (0.1, 0.9, 3)}


def described(folder: Path) -> dict:
    return yaml.safe_load((folder / "dataset.yaml").read_text())


@pytest.mark.parametrize("name", [name for name in MADE if name not in ("openpose", "utkinect")])
def test_recordings_of_a_known_format_are_ready_to_prepare(here: Path, name: str) -> None:
    case = MADE[name]
    data = case.write(case.joints(SKELETONS[case.skeleton].num_joints))
    ending = "_skeleton3D.txt" if name == "msr-action3d" else ".json"
    for action in (1, 2):
        for person in range(1, 7):
            write(here / f"mine/a{action:02}_s{person:02}_e01{ending}", data)
    said = tsgc("init", "mine")
    assert "mine/dataset.yaml: 12 clips\n" in said and f"format: {name} ({FORMATS[name].what})" in said
    assert "6 performers in the names, 3 of them to test on" in said
    assert "next: look through mine/dataset.yaml, then tsgc prepare custom --raw mine" in said
    found = described(here / "mine")
    assert found["format"] == name and found["skeleton"] == case.skeleton and found["clips"] == "."
    assert len(found["classes"]) == 2 and len(found["labels"]) == 2
    assert found["splits"]["people"]["test"] == ["*_s02_*", "*_s04_*", "*_s06_*"]
    assert ("image_size" in found) == (FORMATS[name].units == "pixels" and name != "coco")
    assert "12 kept" in tsgc("prepare", "custom", "--raw", "mine", "--jobs", 1)
    assert "exists already; pass --overwrite" in fails("init", "mine")
    assert "12 clips" in tsgc("init", "mine", "--overwrite")


def test_folders_name_classes_and_words_name_performers(here: Path) -> None:
    for label in ("wave", "clap"):
        for person in ("anna", "ben", "carla"):
            for number in (1, 2):
                folder = here / f"mine/clips/{label}/{person}-{number}"
                write(folder / "v_000000000000_keypoints.json", made.openpose_frame(made.filmed(25)[0]))
    said = tsgc("init", "mine")
    found = described(here / "mine")
    assert found["classes"] == ["clap", "wave"] and "labels" not in found and "clips" not in found
    assert found["splits"] == {"people": {"train": ["*/anna-*", "*/ben-*"], "test": ["*/carla-*"]}}
    assert found["format"] == "openpose" and found["skeleton"] == "openpose-25"
    assert found["image_size"] == [640, 480] and "a guess by the largest x and y" in said
    assert "12 kept" in tsgc("prepare", "custom", "--raw", "mine", "--jobs", 1)


def test_arrays_are_told_by_their_numbers_and_the_head_by_its_place(here: Path) -> None:
    names = SKELETONS["ntu-25"].joints
    standing = np.zeros((9, 25, 3))
    for joint, (x, y, z) in STANDING.items():
        standing[:, names.index(joint)] = x, z, y  # z up
    for word in ("wave", "clap"):
        for number in range(4):
            write(here / f"mine/{word}_{number}.npy", made.as_npy(standing * (1 + 0.01 * number)))
    said = tsgc("init", "mine")
    found = described(here / "mine")
    assert found["format"] == "arrays" and found["channels"] == "xyz" and found["skeleton"] == "ntu-25"
    assert found["up"] == "z" and found["classes"] == ["clap", "wave"]
    assert "no performers in the names" in said
    for label in ("wave", "clap"):
        write(here / f"more/{label}/1.npy", made.as_npy(made.filmed(17)))
    tsgc("init", "more")
    found = described(here / "more")
    assert found["channels"] == "xys" and found["skeleton"] == "coco-17" and found["image_size"] == [640, 480]


def test_tables_name_their_joints_and_what_is_missing_is_said(here: Path) -> None:
    for label in ("up", "down"):
        for number in (1, 2):
            text = "frame,joint,x,y,z\n0,left hand,0,1,2\n0,right hand,1,1,2\n0,elbow,2,1,2\n"
            write(here / f"arms/{label}/{number}.csv", text.encode())
    said = tsgc("init", "arms")
    found = described(here / "arms")
    assert found["joints"] == ["left hand", "right hand", "elbow"]
    assert found["left_right"] == [["left hand", "right hand"]]
    assert "warning: no file tells the bones: write joints, parents" in said
    assert "which axis points up; `up: y` is assumed" in said


def test_bvh_defines_its_bones_and_its_rate(here: Path) -> None:
    for label in ("wave", "clap"):
        for number in (1, 2):
            write(here / f"mine/{label}/{number}.bvh", made.ARM_BVH.encode())
    said = tsgc("init", "mine")
    found = described(here / "mine")
    assert found["format"] == "bvh" and found["fps"] == 30 and "skeleton" not in found
    assert "fps: 30 (as the files say)" in said
    assert "4 kept" in tsgc("prepare", "custom", "--raw", "mine", "--jobs", 1)


def test_a_folder_without_clips_is_one_line(here: Path) -> None:
    assert "no such folder" in fails("init", "nowhere")
    (here / "empty").mkdir()
    assert "no clips in empty" in fails("init", "empty")
    write(here / "odd/a.json", b'{"what": 1}')
    assert "of no format that is known; docs/your-own-data.md lists them" in fails("init", "odd")
    assert not list(here.rglob("dataset.yaml"))


# Names ---------------------------------------------------------------------------------------------------


def test_patterns_fit_their_clips_and_no_others() -> None:
    clips = ["a/s1_x", "a/s10_x", "a/s11_y", "b/s1_x"]
    tokens = dict(zip(clips, ("s1", "s10", "s11", "s1")))
    assert pattern_of(clips, tokens, "s1") == "*/s1_*"
    assert pattern_of(["x1", "x12"], {"x1": "1", "x12": "12"}, "1") == "*x1"
    odd = ["wave[1]", "wave[2]"]
    assert pattern_of(odd, dict(zip(odd, ("[1]", "[2]"))), "[1]") == "*e[[]1]*"


def test_what_names_do_not_tell_is_not_made_up() -> None:
    assert classes_of(["1", "2", "3"], "arrays") is None
    split = split_of([f"{number}" for number in range(9)], {})
    assert split.name == "thirds" and len(split.test) == 3 and not split.by_person
    assert not set(split.train) & set(split.test)


def test_few_performers_are_split_too() -> None:
    clips = [f"wave/{person}-{number}" for person in ("anna", "ben") for number in (1, 2)]
    split = split_of(clips, dict.fromkeys(clips, "wave"))
    assert (split.train, split.test) == (["*/anna-*"], ["*/ben-*"])
    sessions = [f"w{number}_session{part}" for number in range(3) for part in (1, 2)]
    assert split_of(sessions, {}).name == "sessions"
