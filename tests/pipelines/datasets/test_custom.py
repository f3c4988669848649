"""Your own data: the worked example of the guide, every format of clips, everything that can be wrong."""

import csv
import io
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made.command import fails, tsgc

from pipelines.datasets.custom_clips import Layout, read
from pipelines.errors import TsgcError
from pipelines.prepare import prepare_dataset
from pipelines.prepared.store import open_store
from pipelines.skeleton import Skeleton
from shards.load_manifest import load_manifest
from tsgc.checkpoint import load_model

GUIDE = (Path(__file__).parents[3] / "docs/your-own-data.md").read_text()
ARM = Skeleton("arm", ("shoulder", "elbow", "hand"), (0, 0, 1), ((0, 2),), 1)
XYZ = Layout(ARM, "xyz", None)
XYS = Layout(ARM, "xys", (200.0, 100.0))
XY = Layout(ARM, "xy", (200.0, 100.0))


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", GUIDE, re.DOTALL)


def test_the_guide_leads_from_nothing_to_a_trained_network(here: Path) -> None:
    (description,) = blocks("yaml")
    (script,) = blocks("python")
    (here / "data/gestures").mkdir(parents=True)
    (here / "data/gestures/dataset.yaml").write_text(description)
    exec(script, {})
    (console,) = blocks("console")
    lines = console.strip().splitlines()
    assert all(line.startswith("$ tsgc ") for line in lines) and len(lines) == 5
    said = [tsgc(*shlex.split(line.removeprefix("$ tsgc "))) for line in lines]
    assert "72 found, 72 read, 72 kept" in said[0]
    assert "48 train, 24 test" in said[2]
    looked_at = tsgc("inspect", "data/prepared/gestures.h5")
    assert "\n  0 of 4,114 body-frames lost\n" in looked_at and "split_people" not in looked_at

    known = yaml.safe_load(description)
    with open_store(here / "data/prepared/gestures.h5", dataset="gestures") as store:
        body = store.info.body
        assert list(body.joints) == known["joints"] and body.joints[body.centre] == "chest"
        assert store.info.class_names == ("wave", "clap")
        assert (store.clip(0).joints[0, 0, body.centre] == 0).all()
    manifest = load_manifest(here / "data/shards/gestures/people")
    assert manifest.body == body
    _, about = load_model(here / "runs/gestures/people/tiny/joint/seed0/checkpoints/last.safetensors")
    assert about.body == body and about.axes == "xyz"
    run = here / "runs/gestures/people/tiny/joint/seed0"
    scores = np.load(run / "scores/last.npz")
    assert (scores["logits"].argmax(1) == scores["labels"]).mean() >= 0.9

    for look in (
        "data/prepared/gestures.h5",
        "data/shards/gestures/people",
        run / "checkpoints/last.safetensors",
    ):
        assert "gestures" in tsgc("inspect", look)
    assert "whole" in tsgc("verify", "data/shards/gestures/people")
    refuse_another_skeleton(here, run)


def refuse_another_skeleton(here: Path, run: Path) -> None:
    """The same clips with other bones are other data: the trained network is not judged on them."""
    path = here / "data/gestures/dataset.yaml"
    path.write_text(path.read_text().replace("head: chest", "head: hip"))
    tsgc("prepare", "custom", "--raw", path.parent, "--jobs", 1, "--overwrite")
    tsgc("shard", "gestures", "--jobs", 1, "--overwrite")
    error = fails("evaluate", run, "--shards", "data/shards/gestures/people")
    assert "trained for skeleton's definition" in error


# Formats of clips -------------------------------------------------------------------------------------------


def as_npy(joints: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, joints)
    return stream.getvalue()


def as_json(joints: np.ndarray) -> bytes:
    return json.dumps(joints.tolist()).encode()


def long_csv(joints: np.ndarray, by_name: bool = True, first: int = 0) -> bytes:
    """(T, M, V, C), a line a joint; absent bodies have none."""
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow(["frame", "body", "joint", *("xyz" if joints.shape[-1] == 3 else "xy")])
    for t, m, v in np.ndindex(joints.shape[:3]):
        if joints[t, m].any():
            out.writerow(
                [t + first, m, ARM.joints[v] if by_name else v, *map(repr, joints[t, m, v].tolist())]
            )
    return text.getvalue().encode()


def wide_csv(joints: np.ndarray) -> bytes:
    """(T, M, V, 3), a line a body of a frame."""
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow(["frame", "body", *(f"{joint}_{axis}" for joint in ARM.joints for axis in "xyz")])
    for t, m in np.ndindex(joints.shape[:2]):
        if joints[t, m].any():
            out.writerow([t, m, *map(repr, joints[t, m].ravel().tolist())])
    return text.getvalue().encode()


numbers = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
clips = st.tuples(st.integers(1, 6), st.integers(1, 3), st.just(3), st.just(3)).flatmap(
    lambda shape: hnp.arrays(np.float32, shape, elements=numbers)
)


@given(joints=clips)
def test_every_format_gives_the_same_clip(joints: np.ndarray) -> None:
    joints[0, 0, 0] = joints[-1, -1, 0] = 1  # ends that a table can tell
    found = read("a.npy", as_npy(joints), XYZ, "reference")
    kept = joints[:, (joints != 0).any(axis=(0, 2, 3))]
    assert found.joints.shape == kept.shape
    for name, data in {
        "a.json": as_json(joints), "a.csv": long_csv(joints), "b.csv": long_csv(joints, by_name=False),
        "c.csv": wide_csv(joints),
    }.items():  # fmt: skip
        other = read(name, data, XYZ, "reference")
        np.testing.assert_array_equal(other.joints, found.joints)
        np.testing.assert_array_equal(other.present, found.present)
        np.testing.assert_array_equal(other.origin, found.origin)


def test_a_table_may_count_frames_from_any_number() -> None:
    joints = np.ones((3, 1, 3, 3), np.float32)
    joints[:, :, :, 0] = np.arange(3)
    found = read("a.csv", long_csv(joints, first=17), XYZ, "reference")
    np.testing.assert_array_equal(found.joints, read("a.npy", as_npy(joints), XYZ, "reference").joints)


def test_one_body_needs_no_axis() -> None:
    joints = np.random.default_rng(0).random((4, 3, 3), np.float32)
    one, same = (read("a.npy", as_npy(array), XYZ, "reference") for array in (joints, joints[:, None]))
    np.testing.assert_array_equal(one.joints, same.joints)
    assert one.joints.shape == (4, 1, 3, 3) and (one.joints[0, 0, ARM.centre] == 0).all()


def test_pictures_are_stored_from_their_middle_in_halves() -> None:
    joints = np.array([[[150, 25, 0.5], [200, 100, 1], [7, 7, 0]]], np.float32)
    found = read("a.npy", as_npy(joints), XYS, "reference").joints[0, 0]
    np.testing.assert_allclose(found, [[0.5, -0.5, 0.5], [1, 1, 1], [0, 0, 0]])


def test_pictures_without_scores_have_one_where_something_is_seen() -> None:
    joints = np.array([[[150, 25], [200, 100], [0, 0]]], np.float32)
    found = read("a.npy", as_npy(joints), XY, "reference").joints[0, 0]
    np.testing.assert_allclose(found, [[0.5, -0.5, 1], [1, 1, 1], [0, 0, 0]])


def test_a_body_that_is_never_there_is_dropped_and_an_empty_clip_has_no_frames() -> None:
    joints = np.ones((4, 3, 3, 3), np.float32)
    joints[:, 1] = 0
    assert read("a.npy", as_npy(joints), XYZ, "reference").joints.shape[1] == 2
    assert len(read("a.npy", as_npy(0 * joints), XYZ, "reference").joints) == 0


HEAD = "frame,joint,x,y,z\n"


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.npy", b"", "not a whole .npy"),
        ("a.npy", as_npy(np.ones((4, 3, 3)))[:-9], "not a whole .npy"),
        ("a.npy", as_npy(np.ones((4, 3, 3))).replace(b"(4, 3, 3)", b"(4,9**99)"), "not a whole .npy"),
        ("a.npy", as_npy(np.array([None])), "not a whole .npy"),
        ("a.npy", as_npy(np.ones((4, 4, 3))), "shape (4, 4, 3), expected (frames, 3, 3) or"),
        ("a.npy", as_npy(np.ones((4, 3, 2))), "shape (4, 3, 2)"),
        ("a.npy", as_npy(np.ones(9)), "shape (9,)"),
        ("a.npy", as_npy(np.full((4, 3, 3), -np.inf)), "not finite"),
        ("a.npy", as_npy(np.full((4, 3, 3), "x")), "expected numbers"),
        ("a.npy", as_npy(np.full((4, 3, 3), 1e39)), "not finite"),
        ("a.json", b"[[[1, 2, 3]", "line 1: not JSON"),
        ("a.json", b"[[[1, 2, 3]], [[1, 2]]]", "unequal length"),
        ("a.json", b"[[[1, 2, null]]]", "shape (1, 1, 3)"),
        ("a.json", b'[[[1, 2, "3"], [1, 2, 3], [1, 2, 3]], null]', "expected numbers"),
        ("a.json", b'{"joints": 3}', "expected numbers"),
        ("a.csv", b"", "line 1: columns , expected frame,joint,x,y,z or frame,shoulder_x"),
        ("a.csv", b"frame,joint,x,y\n", "line 1: columns frame, joint, x, y, expected"),
        ("a.csv", b"frame,joint,x,x,y,z\n", "a column comes twice"),
        ("a.csv", HEAD.encode(), "no lines below"),
        ("a.csv", (HEAD + "0,hand,1,2\n").encode(), "line 2: 4 values, expected 5"),
        ("a.csv", (HEAD + "0,foot,1,2,3\n").encode(), "line 2: joint 'foot', expected a name or 0 to 2"),
        ("a.csv", (HEAD + "0,3,1,2,3\n").encode(), "line 2: joint '3'"),
        ("a.csv", (HEAD + "-1,2,1,2,3\n").encode(), "line 2: '-1', expected a whole number"),
        ("a.csv", (HEAD + "0,2,1,2,three\n").encode(), "line 2: 'three', expected a number"),
        ("a.csv", (HEAD + "0,2,1,2,inf\n").encode(), "not finite"),
        ("a.csv", (HEAD + "0,2,1,2,3\n" * 2).encode(), "of body 0 in frame 0 comes twice"),
        ("a.csv", (HEAD + "0,2,1,2,3\n9999999999,2,1,2,3\n").encode(), "line 3: '9999999999', expected"),
        ("a.csv", b"frame,body,joint,x,y,z\n0,0,2,1,2,3\n999999,99,2,1,2,3\n", "900,000,000 numbers"),
        ("a.csv", b"\xff\xfe\x00", "not CSV"),
    ],
)  # fmt: skip
def test_a_malformed_clip_is_one_line(name: str, data: bytes, said: str) -> None:
    with pytest.raises(TsgcError) as caught:
        read(name, data, XYZ, "reference")
    assert str(caught.value).startswith(f"{name}: ") and said in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


@given(data=st.binary(max_size=200), suffix=st.sampled_from([".npy", ".json", ".csv"]))
def test_any_bytes_are_a_clip_or_one_line(data: bytes, suffix: str) -> None:
    try:
        assert np.isfinite(read(f"a{suffix}", data, XYZ, "corrected").joints).all()
    except TsgcError as error:
        assert "\n" not in str(error)


@given(text=st.text(alphabet="0123,.-\n\"'ehandx", max_size=80))
def test_any_table_is_a_clip_or_one_line(text: str) -> None:
    try:
        read("a.csv", (HEAD + text).encode(), XYZ, "reference")
    except TsgcError as error:
        assert "\n" not in str(error)


# The description --------------------------------------------------------------------------------------------

ARMS: Mapping[str, object] = {
    "joints": ["shoulder", "elbow", "hand"],
    "parents": {"elbow": "shoulder", "hand": "elbow"},
    "left_right": [],
    "centre": "shoulder",
    "classes": ["up", "down"],
    "splits": {"half": {"train": ["*/1", "*/2"], "test": "*/3"}},
}


def write_arms(folder: Path, description: Mapping[str, object] = ARMS) -> Path:
    rng = np.random.default_rng(0)
    for gesture in ("up", "down"):
        (folder / "clips" / gesture).mkdir(parents=True, exist_ok=True)
        for number in (1, 2, 3):
            np.save(folder / "clips" / gesture / f"{number}.npy", rng.random((20, 3, 3)))
    (folder / "dataset.yaml").write_text(yaml.safe_dump(dict(description), sort_keys=False))
    return folder


def prepared(tmp_path: Path, description: Mapping[str, object], name: str | None = None):
    folder = write_arms(tmp_path / "arms", description)
    out = tmp_path / "out.h5"
    report = prepare_dataset("custom", [folder], out, data_root=tmp_path, name=name, jobs=1, overwrite=True)
    return report, open_store(out)


def test_names_labels_and_splits_come_from_folders_and_patterns(tmp_path: Path) -> None:
    report, store = prepared(tmp_path, ARMS)
    assert store.names == ["down-1", "down-2", "down-3", "up-1", "up-2", "up-3"]
    assert store.labels.tolist() == [1, 1, 1, 0, 0, 0]
    assert store.splits["half"].tolist() == [0, 0, 1, 0, 0, 1]
    assert store.info.dataset == "arms" and report.official is None
    assert not any("official" in line for line in report.lines())


def test_labels_may_be_patterns_and_clips_may_be_left_out(tmp_path: Path) -> None:
    more = {
        "labels": {"up/3": "down", "u*": "up", "*": "down"},
        "splits": {"a": {"train": "up/1", "test": "up/3"}},
    }
    _, store = prepared(tmp_path, {**ARMS, **more})
    assert store.labels.tolist() == [1, 1, 1, 0, 0, 1]
    assert store.splits["a"].tolist() == [-1, -1, -1, 0, -1, 1]


def test_a_known_skeleton_needs_no_definition(tmp_path: Path) -> None:
    description = {"skeleton": "coco-17", "classes": ARMS["classes"], "splits": ARMS["splits"],
                   "channels": "xys", "image_size": [640, 480]}  # fmt: skip
    folder = write_arms(tmp_path / "arms", description)
    for path in folder.rglob("*.npy"):
        np.save(path, np.random.default_rng(0).random((9, 17, 3)))
    prepare_dataset("custom", [folder], tmp_path / "out.h5", data_root=tmp_path, jobs=1)
    store = open_store(tmp_path / "out.h5")
    assert store.info.skeleton == "coco-17" and not store.info.skeleton_definition


def test_the_file_may_be_moved_and_its_skeleton_goes_with_it(tmp_path: Path) -> None:
    _, store = prepared(tmp_path, {**ARMS, "name": "limbs"})
    assert store.info.dataset == "limbs" == store.info.body.name
    assert store.info.body.parents == (0, 0, 1)


def test_a_damaged_definition_is_one_line_wherever_it_is_read(here: Path) -> None:
    write_arms(here / "arms")
    tsgc("prepare", "custom", "--raw", "arms", "--jobs", 1)
    tsgc("shard", "--jobs", 1)
    manifest = here / "data/shards/arms/half/manifest.json"
    content = json.loads(manifest.read_text())
    definition = json.loads(content["skeleton_definition"])
    fewer = {"joints": definition["joints"][:2], "parents": [0, 0], "left_right": [], "centre": 0}
    wrong = {
        "{": "not JSON", json.dumps(definition | {"centre": 3}): "3 is no joint",
        json.dumps(fewer): "3 joints, arms has 2", "": "skeleton 'arms' is unknown",
    }  # fmt: skip
    for text, said in wrong.items():
        manifest.write_text(json.dumps(content | {"skeleton_definition": text}))
        with pytest.raises(TsgcError, match=r"manifest\.json: ") as caught:
            load_manifest(manifest.parent)
        assert said in str(caught.value) and "\n" not in str(caught.value)
    path = here / "data/prepared/arms.h5"
    for text, said in {**wrong, json.dumps(fewer): "joints of shape (3, 3), expected (2, 3)"}.items():
        with h5py.File(path, "r+") as file:
            file.attrs["skeleton_definition"] = text
        with pytest.raises(TsgcError, match=r"arms\.h5: ") as caught:
            open_store(path)
        assert said in str(caught.value) and "\n" not in str(caught.value)


def test_files_of_known_skeletons_are_as_before(made: Path) -> None:
    manifest = json.loads((made / "shards/ntu60/xsub/manifest.json").read_text())
    assert "skeleton_definition" not in manifest
    with h5py.File(next(made.glob("*.h5"))) as file:
        assert "skeleton_definition" not in file.attrs


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"joints": None}, "skeleton 'arms': joints: expected a list"),
        ({"centre": "foot"}, "skeleton 'arms': 'foot' is no joint"),
        ({"skeleton": "ntu-25"}, "both `skeleton` and `joints`"),
        ({"classes": []}, "classes is [], expected a list of names"),
        ({"classes": ["up", "up"]}, "classes has a name twice"),
        ({"classes": ["up"]}, "clip down/1 has class 'down', expected one of up"),
        ({"channels": "rgb"}, "channels is 'rgb', expected xyz, xys, xy"),
        ({"channels": "xys"}, "image_size is None, expected [width, height]"),
        ({"channels": "xy", "image_size": [0, 3]}, "image_size is [0, 3]"),
        ({"image_size": [3, 3]}, "image_size is for channels xy and xys"),
        ({"fps": 0}, "fps 0"),
        ({"splits": {}}, "splits is missing"),
        ({"splits": {"half": {"train": "*"}}}, "split half: expected the lists `train` and `test`"),
        ({"splits": {"half": {"train": "*/9", "test": "*"}}}, "no clip is named or matches '*/9' (train)"),
        ({"splits": {"half": {"train": "*", "test": "up/1"}}}, "clip up/1 is in train and in test"),
        ({"splits": {"a/b": {"train": "*/1", "test": "*/2"}}}, "benchmark 'a/b', expected a name"),
        ({"labels": ["up"]}, "labels is no table"),
        ({"jonts": []}, "unknown key 'jonts'; known: centre"),
    ],
)
def test_a_wrong_description_is_one_line(here: Path, change: dict, said: str) -> None:
    write_arms(here / "data/arms", {**ARMS, **change})
    error = fails("prepare", "custom", "--raw", "data/arms", "--jobs", 1)
    assert error.startswith("error: data/arms/dataset.yaml: ") and said in error
    assert not (here / "data/prepared").exists()


def test_missing_and_broken_descriptions_are_one_line(here: Path) -> None:
    assert "expected data/custom" in fails("prepare", "custom")
    folder = write_arms(here / "arms")
    for text, said in (
        ("a: [", "not YAML"),
        ("- 3", "expected key: value lines, found list"),
        ("joints: 3\nname: arms\njoints: 4", "joints is there twice; keep one of them"),
    ):
        (folder / "dataset.yaml").write_text(text)
        assert said in fails("prepare", "custom", "--raw", "arms")
    (folder / "dataset.yaml").unlink()
    assert "docs/your-own-data.md says what it holds" in fails("prepare", "custom", "--raw", "arms")
    assert "no such folder or zip" in fails("prepare", "custom", "--raw", "legs")


def test_clips_that_are_missing_twice_or_of_one_name_are_one_line(here: Path) -> None:
    folder = write_arms(here / "arms")
    (folder / "clips/up/1.json").write_text("[]")
    assert "one clip in two files" in fails("prepare", "custom", "--raw", "arms")
    (folder / "clips/up/1.json").unlink()
    np.save(folder / "clips/up-1.npy", np.ones((3, 3, 3)))
    (folder / "dataset.yaml").write_text(
        yaml.safe_dump({**ARMS, "labels": {"up*": "up", "*": "down"}}, sort_keys=False)
    )
    tsgc("prepare", "custom", "--raw", "arms")
    names = open_store(here / "data/prepared/arms.h5").names
    assert sum(name.startswith("up-1-") for name in names) == 2 and len(set(names)) == len(names)
    for path in folder.rglob("*.npy"):
        path.unlink()
    assert "no clips in" in fails("prepare", "custom", "--raw", "arms", "--overwrite")


def test_any_file_name_will_do(tmp_path: Path) -> None:
    splits = {"half": {"train": "*/2", "test": "*/3"}}
    folder = write_arms(tmp_path / "arms", {**ARMS, "splits": splits})
    (folder / "clips/up/1.npy").rename(folder / "clips/up/später (2) & more.npy")
    prepare_dataset("custom", [folder], tmp_path / "out.h5", data_root=tmp_path, jobs=1)
    assert open_store(tmp_path / "out.h5").names[-1] == "up-später--2----more"


def test_a_clip_of_the_wrong_shape_stops_a_small_set_and_is_named(here: Path) -> None:
    folder = write_arms(here / "arms")
    np.save(folder / "clips/up/1.npy", np.ones((9, 4, 3)))
    error = fails("prepare", "custom", "--raw", "arms", "--jobs", 1)
    assert "bad clips: 1 of 6" in error and "clips/up/1.npy: joints of shape (9, 4, 3)" in error


LINES = [
    "up/my clip 1",
    "up/my clip 1.npy",
    "up-my-clip-1",
    "clips/up/my clip 1.npy",
    "my clip 1.npy",
    "my clip 1",
]


@pytest.mark.parametrize("line", LINES)
def test_a_clip_of_ones_own_is_excluded_by_any_of_its_names(here: Path, line: str) -> None:
    splits = {"half": {"train": "*/2", "test": "*/3"}}
    folder = write_arms(here / "arms", {**ARMS, "splits": splits})
    (folder / "clips/up/1.npy").rename(folder / "clips/up/my clip 1.npy")
    (here / "list.txt").write_text(f"Held back.\nFor the last test.\n\n{line}\n")
    said = tsgc("prepare", "custom", "--raw", "arms", "--exclude", "list.txt")
    assert "1 names read from list.txt, 1 fit" in " ".join(said.split())
    with open_store(here / "data/prepared/arms.h5") as store:
        assert len(store) == 5 and "up-my-clip-1" not in store.names
    (here / "list.txt").write_text(f"{line}\nup/my clip 7.npy\n")
    again = ("prepare", "custom", "--raw", "arms", "--exclude", "list.txt", "--overwrite")
    assert "line 2: unknown name" in fails(*again)
    (here / "list.txt").write_text("2.npy\n")
    assert "line 1: 2.npy is the file of 2 clips, down-2, up-2; give its folder, too" in fails(*again)
