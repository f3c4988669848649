"""Kinetics-Skeleton: OpenPose's JSON, one file a clip, two label files."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.command import fails, quick, tsgc
from made.raw_sets import KINETICS_CLASSES, kinetics_clip, write_kinetics

from pipelines.cleaning.actors import THIRD
from pipelines.cleaning.missing import OVER_TIME
from pipelines.datasets.kinetics import ANY_LENGTH, EXTRA, parse, read
from pipelines.errors import TsgcError
from pipelines.prepare import prepare_dataset
from pipelines.prepared.store import open_store
from shards.load_manifest import load_manifest


def body(x: float = 0.25, y: float = 0.25, score: float = 0.5) -> dict:
    return {"pose": [x, y] * 18, "score": [score] * 18}


def clip(*frames: tuple[int, list]) -> bytes:
    return json.dumps({"data": [{"frame_index": n, "skeleton": bodies} for n, bodies in frames]}).encode()


def test_x_and_y_are_from_the_middle_of_the_picture_and_y_goes_up() -> None:
    joints, _ = parse("a.json", clip((1, [body(x=0.25, y=0.25)])))
    assert joints.shape == (1, 1, 18, 3) and joints.dtype == np.float32
    np.testing.assert_array_equal(joints[0, 0, 0], np.float32([-0.25, 0.25, 0.5]))


def test_joints_of_score_zero_are_zero() -> None:
    seen = body()
    seen["score"][3] = 0
    joints, _ = parse("a.json", clip((1, [seen])))
    assert (joints[0, 0, 3] == 0).all() and (joints[0, 0, 2] != 0).all()


def test_the_two_bodies_of_highest_score_are_kept_in_each_frame() -> None:
    frames = clip((1, [body(0.1, score=0.2), body(0.2, score=0.9), body(0.3, score=0.5)]), (2, [body(0.4)]))
    joints, dropped = parse("a.json", frames)
    np.testing.assert_allclose(joints[0, :, 0, 0], [-0.3, -0.2], atol=1e-6)
    assert dropped == 1 and (joints[1, 1] == 0).all()
    prepared = read("a.json", frames, "reference")
    assert prepared.rules == prepared.lost == {EXTRA: 1}
    assert prepared.seen == int(prepared.present.sum()) + 1
    assert prepared.present.tolist() == [[True, True], [True, False]]


def test_empty_frames_stay_between_others_and_go_at_the_ends() -> None:
    joints, _ = parse("a.json", clip((1, []), (2, [body()]), (3, []), (5, [body()]), (6, [])))
    assert (joints != 0).any(axis=(1, 2, 3)).tolist() == [True, False, False, True]


def test_a_clip_without_anybody_has_no_frames() -> None:
    for empty in (clip(), clip((1, [])), clip((1, [body(score=0)]))):
        assert len(read("a.json", empty, "reference").joints) == 0


def changed(change) -> bytes:
    content = kinetics_clip("a", 0, frames=3)
    change(content["data"][1])
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (changed(lambda f: None)[:-40], "not JSON"),
        (b"[]", "no list `data`"),
        (b'{"label": "a"}', "no list `data`"),
        (changed(lambda f: f.pop("skeleton")), "a frame without `skeleton`"),
        (changed(lambda f: f.pop("frame_index")), "frame_index None, expected 0 to 300"),
        (changed(lambda f: f.update(frame_index=301)), "frame_index 301"),
        (changed(lambda f: f.update(frame_index=1)), "frame 1 comes twice"),
        (changed(lambda f: f["skeleton"][0].pop("pose")), "frame 2: a body without whole"),
        (changed(lambda f: f["skeleton"].append(3)), "frame 2: a body without whole"),
        (changed(lambda f: f["skeleton"][0]["pose"].pop()), "frame 2"),
        (changed(lambda f: [b["pose"].pop() for b in f["skeleton"]]), "pose (2, 35)"),
        (changed(lambda f: f["skeleton"][0]["pose"].__setitem__(0, "a")), "that is no number"),
        (changed(lambda f: f["skeleton"][0]["pose"].__setitem__(0, 1e39)), "not finite"),
        (changed(lambda f: f["skeleton"][0]["pose"].__setitem__(0, float("nan"))), "not JSON"),
    ],
)
def test_a_malformed_clip_is_one_line_with_its_file(data: bytes, said: str) -> None:
    with pytest.raises(TsgcError) as caught:
        parse("kinetics_train/a.json", data)
    assert str(caught.value).startswith("kinetics_train/a.json: ") and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_clip_to_recognise_may_be_of_any_length(here: Path) -> None:
    long = clip(*((number, [body(x=number / 1000)]) for number in range(1, 901)))
    for preset in ("reference", "corrected"):
        with pytest.raises(
            TsgcError, match=r"frame_index 301, expected 0 to 300; .* `tsgc predict --window`"
        ):
            read("a.json", long, preset)
        joints = read("a.json", long, preset, ANY_LENGTH).joints
        assert joints.shape == (900, 1, 18, 3)
        np.testing.assert_allclose(joints[:, 0, 0, 0], np.arange(1, 901) / 1000 - 0.5, atol=1e-6)
    with pytest.raises(TsgcError, match="frame_index 1000000000, expected 0 to 320"):
        read("a.json", clip((1, [body()]), (10**9, [body()])), "reference", ANY_LENGTH)


@pytest.mark.parametrize("numbers", [(1, 2, 3), (4, 77, 399)])
def test_classes_from_one_and_a_subset_of_them_are_numbered_in_their_order(
    here: Path, numbers: tuple[int, ...]
) -> None:
    folder = write_kinetics(here / "data/kinetics-skeleton")
    for path in folder.glob("*_label.json"):
        labels = json.loads(path.read_text())
        for entry in labels.values():
            entry["label_index"] = numbers[entry["label_index"]]
        path.write_text(json.dumps(labels))
    said = tsgc("prepare", "kinetics", "--jobs", 1)
    assert (
        f"classes: 3, numbered {numbers[0]} to {numbers[2]} in the label files, here 0 to 2 in the same order"
        in said
    )
    with open_store(here / "data/prepared/kinetics.h5", dataset="kinetics") as store:
        assert store.info.class_names == KINETICS_CLASSES
        assert store.labels[store.names.index("-t00000004_")] == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 301) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "frame_index", "skeleton", "pose", "score"]), inner)
    ),
    max_leaves=10,
)


@given(frames=st.lists(json_values, max_size=3))
def test_any_json_is_a_clip_or_one_line(frames: list) -> None:
    try:
        joints, _ = parse("a.json", json.dumps({"data": frames}).encode())
        assert np.isfinite(joints).all()
    except TsgcError as error:
        assert "\n" not in str(error)


def test_the_download_becomes_shards_and_a_trained_network(here: Path) -> None:
    write_kinetics(here / "data/kinetics-skeleton")
    said = tsgc("prepare", "kinetics", "--jobs", 1)
    assert "15 found, 15 read, 15 kept" in said and "15 clips kept, the official number" in said
    with open_store(here / "data/prepared/kinetics.h5", dataset="kinetics") as store:
        assert store.info.skeleton == "openpose-18" and store.info.channels == "xys"
        assert store.info.class_names == KINETICS_CLASSES
        names = dict(zip(store.names, store.splits["official"].tolist()))
        assert sum(split == 0 for split in names.values()) == 9 and names["-v00000000_"] == 1
        assert store.labels[store.names.index("-t00000004_")] == 1
    tsgc("shard", "--jobs", 1)
    assert len(load_manifest(here / "data/shards/kinetics/official").clips["test"]) == 6
    said = tsgc("train", "--modality", "bone", *quick())
    assert (
        "kinetics/official" in said
        and (here / "runs/kinetics/official/tiny/bone/seed0/scores/last.npz").exists()
    )
    trained = json.loads(tsgc("info", here / "runs/kinetics/official/tiny/bone/seed0", "--json"))
    shape = ("--variant", "tiny", "--frames", trained["frames"], "--classes", len(KINETICS_CLASSES))
    made = json.loads(tsgc("info", "--skeleton", "openpose-18", *shape, "--json"))
    assert made["parts"] == trained["parts"]  # two coordinates and a score: three channels as in space


def test_a_zip_gives_the_same_as_the_folder(tmp_path: Path) -> None:
    import shutil

    folder = write_kinetics(tmp_path / "raw")
    zipped = shutil.make_archive(str(tmp_path / "raw"), "zip", folder)
    for place, out in ((folder, "a.h5"), (Path(zipped), "b.h5")):
        prepare_dataset("kinetics", [place], tmp_path / out, data_root=tmp_path, jobs=1)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_clips_without_a_label_and_missing_clips_are_told(tmp_path: Path) -> None:
    folder = write_kinetics(tmp_path / "raw", train=200, val=50)
    (folder / "kinetics_val/stranger.json").write_text(json.dumps(kinetics_clip("a", 0)))
    (folder / "kinetics_val/-v00000001_.json").unlink()
    report = prepare_dataset("kinetics", [folder], tmp_path / "a.h5", data_root=tmp_path, jobs=1)
    assert report.kept == 249
    assert list(report.dropped["unknown name"]) == ["stranger"]
    assert "unknown name 'stranger', expected one of the 250 listed clips" in report.warnings[0]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (None, "no kinetics_val_label.json"),
        ("{", "not JSON"),
        ("[]", "expected clip names with"),
        ('{"a": {"label": "zumba"}}', "clip 'a' without"),
        (
            '{"a": {"label": "zumba", "label_index": 7}}',
            "'zumba' is class 2 and, for clip a, 7 in the label files",
        ),
        ('{"a": {"label": "yoga", "label_index": 0}}', "class 0 is 'abseiling' and, for clip a, 'yoga'"),
        ('{"-t00000000_": {"label": "abseiling", "label_index": 0}}', "in the training list too"),
    ],
)
def test_wrong_label_files_are_one_line(here: Path, labels: str | None, said: str) -> None:
    folder = write_kinetics(here / "data/kinetics-skeleton")
    path = folder / "kinetics_val_label.json"
    path.unlink() if labels is None else path.write_text(labels)
    assert said in fails("prepare", "kinetics", "--jobs", 1)
    assert not (here / "data/prepared/kinetics.h5").exists()


# Corrected preset ------------------------------------------------------------------------------------------


def person(x: float, score: float) -> dict:
    """A standing body half the picture high, whose neck is at x."""
    places = np.stack([x + np.linspace(-0.05, 0.05, 18), np.linspace(0.2, 0.7, 18)], axis=1)
    return {"pose": places.ravel().tolist(), "score": [score] * 18}


def test_people_keep_their_tracks_where_the_surer_one_changes() -> None:
    frames = [(t, [person(0.3, 0.5 + 0.3 * (t % 2)), person(0.7, 0.6)]) for t in range(1, 21)]
    one, other = (read("a.json", clip(*frames), preset) for preset in ("reference", "corrected"))
    assert len(np.unique(one.joints[:, 0, 0, 0].round(3))) == 2  # who is surer comes first
    for track in range(2):
        assert len(np.unique(other.joints[:, track, 0, 0])) == 1
    assert other.present.all() and not other.rules and other.seen == 40


def test_of_three_people_the_two_who_show_most_are_kept() -> None:
    frames = [(t, [person(0.2, 0.5), person(0.5, 0.9), person(0.8, 0.5)][: 3 - 2 * (t > 15)])
              for t in range(1, 31)]  # fmt: skip
    found = read("a.json", clip(*frames), "corrected")
    assert found.joints.shape[:2] == (30, 2)
    assert found.rules == {THIRD: 1} and found.lost == {THIRD: 15} and found.seen == 60
    np.testing.assert_allclose(found.joints[:, 0, :, 0].mean(axis=1), -0.3, atol=1e-6)


def test_what_openpose_did_not_find_is_filled_and_told_by_its_score() -> None:
    frames = [person(0.5, 0.5) for _ in range(5)]
    for mark in ({"x": 0, "y": 0, "s": 0}, {"x": None, "y": 0.3, "s": 0.5}, {"x": 0, "y": 0, "s": 0.5}):
        body = person(0.5, 0.5)
        body["pose"][6:8], body["score"][3] = [mark["x"], mark["y"]], mark["s"]
        found = read("a.json", clip(*enumerate([[b] for b in [*frames[:2], body, *frames[2:]]])), "corrected")
        assert found.joints[2, 0, 3, 2] == 0 and found.joints_seen is not None
        assert (~found.joints_seen).sum() == 1 and found.rules == {OVER_TIME: 1}
        np.testing.assert_allclose(found.joints[2, 0, 3, :2], found.joints[1, 0, 3, :2], atol=1e-7)
