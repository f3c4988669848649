"""Your own clips with joints that were not seen: every format says it, nothing makes a place of it."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made.command import fails, quick, tsgc

from pipelines.datasets.custom_clips import Layout, read
from pipelines.datasets.table import DATASETS, OPENERS, default_preset
from pipelines.errors import TsgcError
from pipelines.prepare import prepare_dataset
from pipelines.prepared.store import open_store
from pipelines.skeleton import Skeleton
from pipelines.spec import Prepared
from shards.load_manifest import load_manifest
from tsgc.evaluation.scores import read_scores
from tsgc.inference.recogniser import load_run

ARM = Skeleton("arm", ("shoulder", "elbow", "hand"), (0, 0, 1), ((0, 2),), 1)
AXES = {"xyz": "xyz", "xyzs": ("x", "y", "z", "score"), "xys": ("x", "y", "score"), "xy": "xy"}


def layout(channels: str = "xyz") -> Layout:
    return Layout(ARM, channels, None if channels.startswith("xyz") else (200.0, 100.0))


def as_npy(joints: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, joints)
    return stream.getvalue()


def as_json(joints: np.ndarray, whole_joints: bool) -> bytes:
    """null in place of each NaN, or of each joint with one; of bodies and frames that have no joint."""

    def told(part: np.ndarray) -> object:
        if part.ndim == 0:
            return None if np.isnan(part) else float(part)
        if np.isnan(part).all() and (part.ndim > 1 or whole_joints):
            return None
        return [told(one) for one in part]

    frames = [told(frame) for frame in joints]
    return json.dumps(frames).encode()


def as_csv(joints: np.ndarray, channels: str, wide: bool) -> bytes:
    """Lines, or cells, of joints that were seen alone."""
    head = [f"{joint}_{axis}" for joint in ARM.joints for axis in AXES[channels]]
    lines = [",".join(["frame", "body", *head] if wide else ["frame", "body", "joint", *AXES[channels]])]
    for t, m in np.ndindex(joints.shape[:2]):
        cells = [["" if np.isnan(n) else repr(float(n)) for n in joint] for joint in joints[t, m]]
        if wide and any(any(joint) for joint in cells):
            lines.append(",".join([str(t), str(m), *(cell for joint in cells for cell in joint)]))
        elif not wide:
            lines += [f"{t},{m},{v},{','.join(joint)}" for v, joint in enumerate(cells) if any(joint)]
    return "\n".join(lines).encode()


def same(one: Prepared, other: Prepared) -> None:
    np.testing.assert_array_equal(one.joints, other.joints)
    np.testing.assert_array_equal(one.present, other.present)
    np.testing.assert_array_equal(one.origin, other.origin)
    assert one.rules == other.rules
    if one.joints_seen is None or other.joints_seen is None:
        assert one.joints_seen is other.joints_seen
    else:
        np.testing.assert_array_equal(one.joints_seen, other.joints_seen)


@given(
    seen=st.tuples(st.integers(1, 9), st.integers(1, 2), st.just(3)).flatmap(
        lambda shape: hnp.arrays(np.bool_, shape, elements=st.booleans())
    ),
    channels=st.sampled_from(list(AXES)),
    preset=st.sampled_from(["reference", "corrected"]),
    whole_joints=st.booleans(),
)
def test_every_format_says_not_seen_alike(
    seen: np.ndarray, channels: str, preset: str, whole_joints: bool
) -> None:
    seen[0, 0, 0] = seen[-1, -1, 0] = True  # ends that a table can tell
    rng = np.random.default_rng(seen.size)
    joints = rng.uniform(1, 2, (*seen.shape, len(channels)))
    gone = np.where(seen[..., None], joints, np.nan)
    zeros = np.nan_to_num(gone)
    one = read("a.npy", as_npy(gone), layout(channels), preset)
    for name, data in {
        "b.npy": as_npy(zeros), "c.json": as_json(gone, whole_joints), "d.json": as_json(zeros, True),
        "e.csv": as_csv(gone, channels, wide=False), "f.csv": as_csv(gone, channels, wide=True),
    }.items():  # fmt: skip
        same(read(name, data, layout(channels), preset), one)
    if channels.endswith("s"):
        scored = np.concatenate([joints[..., :-1], zeros[..., -1:]], axis=-1)
        same(read("g.npy", as_npy(scored), layout(channels), preset), one)
    assert np.isfinite(one.joints).all()
    kept = seen.any(axis=(0, 2))
    expected = seen[:, kept]
    whole = expected.any(axis=2, keepdims=True)
    found = np.repeat(one.present[..., None], 3, 2) if one.joints_seen is None else one.joints_seen
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(one.present, whole[..., 0])
    if one.joints.shape[-1] > len(channels.strip("s")):
        assert ((one.joints[..., -1] != 0) == expected).all()


def test_a_null_frame_of_one_body_is_a_frame_without_anybody() -> None:
    joints = np.ones((3, 3, 3)) * [[0, 1, 3], [0.5, 1, 3], [0.25, 1, 3]]
    content = joints.tolist()
    content[1] = None
    found = read("a.json", json.dumps(content).encode(), layout(), "corrected")
    assert found.present[:, 0].tolist() == [True, False, True] and (found.joints[1] == 0).all()
    for wrong in ("[null]", "[[null]]", "[[[null, 1]], 3]", "null", '{"joints": [null]}'):
        with pytest.raises(TsgcError):
            read("a.json", wrong.encode(), layout(), "corrected")


# The picture's size --------------------------------------------------------------------------------------


def test_a_clip_may_say_the_size_of_its_picture() -> None:
    joints = np.array([[[150, 25], [200, 100], [7, 7]]], np.float64)
    expected = read("a.npy", as_npy(joints), Layout(ARM, "xy", (400.0, 50.0)), "corrected")
    content = {"joints": joints.tolist(), "image_size": [400, 50]}
    for given_layout in (layout("xy"), Layout(ARM, "xy", None)):
        same(read("a.json", json.dumps(content).encode(), given_layout, "corrected"), expected)
        rows = "\n".join(f"0,{v},{x},{y},400,50" for v, (x, y) in enumerate(joints[0].tolist()))
        table = f"frame,joint,x,y,width,height\n{rows}".encode()
        same(read("a.csv", table, given_layout, "corrected"), expected)
    for name, data, said in (
        ("a.npy", as_npy(joints), "a.npy: pictures of unknown size; say it in the file"),
        ("a.json", json.dumps(content | {"image_size": [0, 9]}).encode(), "image_size is [0, 9], expected"),
        ("a.csv", table.replace(b",400,50", b",400,60", 1), "width and height change"),
        ("a.csv", b"frame,joint,x,y,width\n0,0,1,1,9\n", "width and height are given together"),
        ("a.csv", table.replace(b",400,50", b",400,"), "image_size is [400.0, nan]"),
    ):
        with pytest.raises(TsgcError) as caught:
            read(name, data, Layout(ARM, "xy", None), "corrected")
        assert said in str(caught.value)


DESCRIPTION = {
    "joints": list(ARM.joints), "parents": [None, 0, 1], "left_right": [[0, 2]], "centre": "elbow",
    "classes": ["up", "down"], "splits": {"half": {"train": ["*/1*"], "test": ["*/2*"]}},
}  # fmt: skip


def write_set(folder: Path, channels: str = "xyz", count: int = 6, **more: object) -> Path:
    """Clips of six numbers each, of which some joints are not seen; the folder."""
    rng = np.random.default_rng(0)
    for gesture, sign in (("up", 1), ("down", -1)):
        (folder / "clips" / gesture).mkdir(parents=True, exist_ok=True)
        for number in range(1, 1 + count):
            joints = rng.uniform(1, 2, (20 + number, 1, 3, len(channels)))
            joints[:, 0, 2, 1] += sign * np.linspace(0, 2, 20 + number)
            joints[rng.random(joints.shape[:3]) < 0.1] = np.nan
            np.save(folder / "clips" / gesture / f"{1 + number % 2}-{number}.npy", joints)
    description = yaml.safe_dump(DESCRIPTION | {"channels": channels} | more, sort_keys=False)
    (folder / "dataset.yaml").write_text(description)
    return folder


def test_pictures_may_differ_in_size_from_clip_to_clip(tmp_path: Path) -> None:
    sizes = {"up/1-2": [20, 10], "up/*": [40, 20], "*": [80, 40]}
    folder = write_set(tmp_path / "arms", "xy", image_size=sizes)
    prepare_dataset("custom", [folder], tmp_path / "a.h5", data_root=tmp_path, jobs=1)
    with open_store(tmp_path / "a.h5") as store:
        for name, size in (("up-1-2", (20.0, 10.0)), ("up-1-4", (40.0, 20.0)), ("down-1-2", (80.0, 40.0))):
            clip = store.clip(store.names.index(name))
            raw = (folder / "clips" / name.replace("-", "/", 1)).with_suffix(".npy").read_bytes()
            alone = read("a.npy", raw, Layout(ARM, "xy", size), "corrected")
            np.testing.assert_array_equal(clip.joints, alone.joints)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"image_size": {"left/*": [3, 3]}}, "image_size: no clip is named or matches 'left/*'"),
        ({"image_size": {"up/*": [3]}}, "image_size of 'up/*' is [3], expected [width, height]"),
        ({"fps": 0.5, "image_size": [9, 9]}, "fps 0.5, expected a number from 1 to 1000"),
        ({"fps": "fast", "image_size": [9, 9]}, "fps 'fast'"),
        ({"people": "some", "image_size": [9, 9]}, "people is 'some', expected tracked, untracked"),
    ],
)
def test_what_is_wrong_in_a_description_is_one_line(here: Path, more: dict, said: str) -> None:
    folder = write_set(here / "arms", "xy", **more)
    assert said in fails("prepare", "custom", "--raw", folder, "--jobs", 1)


def test_people_without_names_are_followed(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "arms", people="untracked")
    rng = np.random.default_rng(0)
    body = rng.uniform(0, 1, (1, 1, 3, 3)) + rng.uniform(0, 0.1, (20, 1, 3, 3))
    two = np.concatenate([body, body + np.array([2, 0, 0])], axis=1)
    np.save(folder / "clips/up/2-1.npy", two)
    two[1::2] = two[1::2, ::-1]
    np.save(folder / "clips/up/1-2.npy", two)
    prepare_dataset("custom", [folder], tmp_path / "a.h5", data_root=tmp_path, jobs=1)
    with open_store(tmp_path / "a.h5") as store:
        one, other = (store.clip(store.names.index(name)).joints for name in ("up-2-1", "up-1-2"))
    np.testing.assert_array_equal(one, other)


# From the raw file to a prediction -----------------------------------------------------------------------


def test_what_is_missing_goes_the_same_way_to_training_and_to_prediction(here: Path) -> None:
    folder = write_set(here / "arms", "xyzs", fps=29.97)
    said = tsgc("prepare", "custom", "--raw", folder, "--jobs", 1)
    assert "arms, corrected preset\n" in said and "not seen: " in said and "interpolated between" in said
    report = json.loads((here / "data/prepared/arms.report.json").read_text())
    assert set(report["unseen"]) <= set(ARM.joints) and len(report["unseen_clips"]) == 12
    assert "joints not seen" in tsgc("inspect", here / "data/prepared/arms.h5")
    with open_store(here / "data/prepared/arms.h5") as store:
        assert (store.info.channels, store.info.fps, store.info.preset) == ("xyzs", 29.97, "corrected")
        unseen = {store.names[i]: int((~store.clip(i).seen).sum()) for i in range(len(store))}
    assert unseen == report["unseen_clips"]
    tsgc("verify", here / "data/prepared/arms.h5")
    tsgc("shard", "--jobs", 1)
    manifest = load_manifest(here / "data/shards/arms/half")
    assert (manifest.channels, manifest.fps) == ("xyzs", 29.97)
    rotated = (
        "rotation=radians-xyz",
        "batch=2",
        "mix_group=2",
        "last_batch=spread",
        "drop_axis=0.5",
        "mirror=0.5",
    )
    tsgc("train", "--modality", "bone+angle", *quick("epochs=1", "warmup_epochs=0", *rotated))
    run = next((here / "runs").rglob("config.yaml")).parent
    scores = read_scores(run / "scores/last.npz")
    recogniser = load_run(run)
    assert recogniser.fps == 29.97 and recogniser.joint_shape == (3, 4)
    files = [folder / "clips" / f"{name.replace('-', '/', 1)}.npy" for name in scores.names]
    answers = recogniser.predict(files)
    assert np.abs(np.stack([answer.logits for answer in answers]) - scores.logits).max() <= 1e-5
    arrays = recogniser.predict([np.load(file) for file in files])  # raw, with NaN and far from the origin
    assert np.abs(np.stack([answer.logits for answer in arrays]) - scores.logits).max() <= 1e-5


def test_the_usual_preset_has_the_plain_name_and_the_other_its_own(here: Path) -> None:
    folder = write_set(here / "arms")
    for preset, name in ((None, "arms"), ("corrected", "arms"), ("reference", "arms-reference")):
        words = ("--preset", preset) if preset else ()
        said = tsgc("prepare", "custom", "--raw", folder, "--jobs", 1, "--overwrite", *words)
        assert f"{name}.h5: arms, {preset or 'corrected'} preset\n" in said
    assert {name: default_preset(name) for name in (*DATASETS, *OPENERS)} == {
        "ntu60": "reference", "ntu120": "reference", "nw-ucla": "reference", "npz": "reference",
        "kinetics": "corrected", "pyskl": "corrected", "custom": "corrected",
    }  # fmt: skip
