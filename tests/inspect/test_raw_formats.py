"""`tsgc inspect` of raw Kinetics clips and of clips of one's own: text, pictures, the presets compared."""

import json
import re

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made import recordings
from made.browser import visit
from made.clips import nw_ucla_clip, write_zip
from made.command import fails, tsgc
from made.raw_sets import kinetics_clip, kinetics_frame, write_kinetics
from PIL import Image

from pipelines.datasets import kinetics
from pipelines.prepared.store import open_store
from tsgc.inspect.clip_picture import padded, raw_clip_picture
from tsgc.inspect.raw_formats import FORMATS, open_raw, own_folder, ranges

ARM = ["shoulder", "elbow", "hand"]
DESCRIPTION = {
    "name": "arms", "joints": ARM, "parents": [None, 0, 1], "left_right": [], "centre": "elbow",
    "classes": ["wave", "rest"], "splits": {"people": {"train": ["wave/*"], "test": ["rest/*"]}},
}  # fmt: skip


def bodies(frames=9, count=1, channels=3):
    return np.random.default_rng(0).uniform(0.5, 1, (frames, count, 3, channels)).round(4)


def own(folder, joints, *, suffix=".npy", name="wave/anna", **description):
    """A data set of one's own with one clip (and another, so that both splits have one); the clip's path."""
    (folder / "clips/wave").mkdir(parents=True, exist_ok=True)
    (folder / "clips/rest").mkdir(exist_ok=True)
    (folder / "dataset.yaml").write_text(yaml.safe_dump(DESCRIPTION | description))
    np.save(folder / "clips/rest/ben.npy", joints)
    path = folder / f"clips/{name}{suffix}"
    if suffix == ".npy":
        np.save(path, joints)
    elif suffix == ".json":
        path.write_text(json.dumps(joints.tolist()))
    else:
        lines = ["frame,body,joint,x,y,z"] + [
            f"{t},{m},{ARM[v]},{','.join(map(repr, joints[t, m, v].tolist()))}"
            for t, m, v in np.ndindex(joints.shape[:3])
            if joints[t, m].any()
        ]
        path.write_text("\n".join(lines))
    return path


@pytest.fixture
def crowd(here):
    """A Kinetics clip whose frames hold 2, 3, nobody, 1 and 2 people."""
    rng = np.random.default_rng(1)
    clip = kinetics_clip("zumba", 2, frames=0)
    clip["data"] = [kinetics_frame(n, m, rng) for n, m in enumerate((2, 3, 0, 1, 2), 1)]
    for score in (body["score"] for body in clip["data"][1]["skeleton"]):
        score[0] = 0
    (here / "abcdefghijk.json").write_text(json.dumps(clip))
    return here / "abcdefghijk.json"


# Kinetics ------------------------------------------------------------------------------------------------


def test_a_raw_kinetics_clip_is_shown_body_by_body_and_preset_by_preset(crowd):
    lines = tsgc("inspect", crowd).splitlines()
    assert lines[0].endswith("abcdefghijk.json: kinetics, zumba (class 2)")
    assert lines[1] == "file: 5 frames, 3 bodies, 8 body-frames, frames without a body: 2"
    assert lines[2].startswith("body 1 (entry 1 of each frame): 4 frames, 0-1, 3-4; x 0.2")
    assert lines[4].startswith("body 3 (entry 3 of each frame): 1 frames, 1; x ")
    assert re.search(r"; extent 0\.\d\d x 0\.\d\d; score 0\.\d\d$", lines[4])
    assert lines[5] == "reference: 5 frames, 2 bodies; of 8 body-frames 4 in track 1, 3 in track 2"
    assert lines[6] == f"  {kinetics.EXTRA}: 1" and lines[7].startswith("corrected: 5 frames, 2 bodies")
    assert " m" not in "".join(lines[2:])


def test_the_presets_of_a_kinetics_clip_differ_in_who_is_who_and_in_joints_not_seen(crowd):
    said = tsgc("inspect", crowd, "--compare")
    assert "body 3 is entry 3 of each frame\n" in said and "corrected follows people\n" in said
    clip = kinetics_clip("zumba", 2, frames=6, bodies=1)
    path = crowd.parent / "one.json"
    path.write_text(json.dumps(clip))
    assert tsgc("inspect", path, "--compare").endswith("no difference: both presets give the same numbers\n")
    clip["data"][3]["skeleton"][0]["score"][2:4] = [0, 0]
    path.write_text(json.dumps(clip))
    said = tsgc("inspect", path, "--compare")
    assert said.endswith("track 1: 2 joints not seen: reference at 0, corrected filled\n")


def test_raw_kinetics_joints_are_those_of_the_file_and_the_prepared_ones_those_of_prepare(here):
    folder = write_kinetics(here / "data/kinetics-skeleton")
    tsgc("prepare", "kinetics", "--jobs", 1)
    path = folder / "kinetics_train/-t00000002_.json"
    pictured = raw_clip_picture(path, None)
    raw, _, corrected = pictured.panels
    content = json.loads(path.read_text())["data"]
    first = np.array(content[4]["skeleton"][1]["pose"], np.float32).reshape(18, 2)
    assert np.array_equal(raw.joints[4, 1, :, :2], first) and raw.channels == "xys"
    with open_store(here / "data/prepared/kinetics.h5") as store:
        clip = store.clip(store.names.index("-t00000002_"))
        assert store.info.class_names[clip.label] in pictured.lines[0]
    assert np.array_equal(corrected.joints, clip.joints) and np.array_equal(corrected.present, clip.present)


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_raw_kinetics_clip_is_drawn_beside_what_the_presets_make_of_it(crowd, suffix):
    assert f"picture: a.{suffix}" in tsgc("inspect", crowd, "--out", f"a.{suffix}")
    picture = Image.open(crowd.parent / f"a.{suffix}").convert("RGB")
    columns, rows = (5, 3) if suffix == "png" else (3, 1)
    assert picture.width == 176 * columns and picture.height >= 230 * rows
    colours = {colour for _, colour in picture.getcolors(1 << 20)}
    assert any(blue > red + 80 for red, _, blue in colours) and any(
        red > blue + 80 for red, _, blue in colours
    )


def test_a_raw_kinetics_clip_plays_in_a_browser(crowd):
    tsgc("inspect", crowd, "--out", "a.html")
    seen = visit(crowd.parent / "a.html", "document.documentElement.dataset.said = 'here'")
    assert seen.console == [] and 'data-players="3"' in seen.dom
    assert "kinetics, zumba (class 2)" in (crowd.parent / "a.html").read_text()


def test_a_kinetics_clip_without_anybody_or_a_label_is_told(here):
    (here / "a.json").write_text(json.dumps({"data": []}))
    said = tsgc("inspect", here / "a.json")
    assert "kinetics, of no class that the file tells" in said and said.count("the clip is dropped") == 2
    tsgc("inspect", here / "a.json", "--out", "a.png")
    (here / "b.json").write_text(json.dumps(kinetics_clip("a", 0, frames=4, bodies=0) | {"label": None}))
    assert "file: 4 frames, 0 bodies, 0 body-frames, frames without a body: 0-3" in tsgc("inspect", "b.json")


def test_unseen_joints_are_in_no_figure(here):
    clip = kinetics_clip("a", 0, frames=3, bodies=1)
    for frame in clip["data"]:
        frame["skeleton"][0]["score"] = [0.0] * 18
    (here / "a.json").write_text(json.dumps(clip))
    assert "3 frames, 0-2; no joint seen" in tsgc("inspect", "a.json")


# Clips of one's own --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npy", ".json", ".csv"])
def test_a_raw_clip_of_one_s_own_is_shown_in_its_own_joints_and_unit(here, suffix):
    joints = bodies(count=2)
    joints[:4, 1] = 0
    path = own(here / "arms", joints, suffix=suffix, units="feet")
    lines = tsgc("inspect", path).splitlines()
    assert lines[0] == f"{path}: arms, wave (class 0), train in people"
    assert lines[1] == "file: 9 frames, 2 bodies, 14 body-frames, frames without a body: none"
    assert (
        lines[2].startswith("body 1 (body 0 of the file): 9 frames, 0-8; x 0.5") and " feet rms" in lines[2]
    )
    assert lines[3].startswith("body 2 (body 1 of the file): 5 frames, 4-8; x ")
    assert lines[4].startswith("reference: 9 frames, 2 bodies; of 14 body-frames 9 in track 1, 5 in track 2;")
    assert lines[5].startswith("corrected: ") and lines[5].endswith(" feet")


def test_where_nobody_is_the_presets_of_one_s_own_clip_differ(here):
    joints = bodies()
    joints[[0, 5, 6]] = 0
    said = tsgc("inspect", own(here / "arms", joints), "--compare").splitlines()
    origin = ", ".join(f"{-part:.3f}" for part in joints[1, 0, 1])
    assert said[2] == "body 1 is body 0 of the file"
    assert said[3:] == [
        f"track 1: nobody in frames 0, 5-6; reference all joints at ({origin}), corrected at 0, absent"
    ]
    said = tsgc("inspect", own(here / "arms", bodies()), "--compare")
    assert said.endswith("no difference: both presets give the same numbers\n")


@given(
    hnp.arrays(
        np.float32, st.tuples(st.integers(1, 6), st.integers(1, 3), st.just(3), st.just(3)),
        elements=st.sampled_from([0, 0, 0, 1, -1, 0.5]),
    )
)  # fmt: skip
def test_no_difference_is_said_exactly_where_the_numbers_are_the_same(tmp_path_factory, joints):
    look = open_raw(own(tmp_path_factory.mktemp("any") / "arms", joints))
    one, other = look.prepared["reference"], look.prepared["corrected"]
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("joints", "present", "origin")]
    assert (not look.differences()) == all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.parametrize("channels", ["xy", "xys"])
def test_clips_in_pictures_are_drawn_as_the_file_and_as_the_presets_have_them(here, channels):
    joints = 100 * bodies(count=2, channels=len(channels))
    joints[:3, 1] = 0
    path = own(here / "arms", joints, channels=channels, image_size=[200, 100])
    raw, reference, corrected = raw_clip_picture(path, None).panels
    assert np.array_equal(raw.joints[..., :2], joints[..., :2].astype(np.float32)) and raw.channels == "xys"
    assert raw.present.sum(axis=0).tolist() == [9, 6]
    assert np.array_equal(reference.joints, corrected.joints)
    np.testing.assert_allclose(reference.joints[:, 0, :, 0], joints[:, 0, :, 0] / 100 - 1, atol=1e-5)
    if channels == "xy":
        assert (raw.joints[3:, 1, :, 2] == 1).all()
    said = tsgc("inspect", path, "--out", here / "a.png", "--compare")
    assert said.count("no difference: both presets give the same numbers") == 1 and (here / "a.png").is_file()


def test_prepared_as_prepare_stores_it(here):
    path = own(here / "arms", bodies(count=2))
    tsgc("prepare", "custom", "--raw", here / "arms", "--jobs", 1, "--out", here / "a.h5")
    with open_store(here / "a.h5") as store:
        stored = store.clip(store.names.index("wave-anna")).joints
    assert np.array_equal(open_raw(path).prepared["reference"].joints, stored)
    said = tsgc("inspect", here / "a.h5", "--clip", "wave-anna")
    assert "people: train" in said and "split_people" not in said


# Which data set a clip is of -----------------------------------------------------------------------------


def test_the_nearest_description_with_the_clip_below_its_clips_counts(here, monkeypatch):
    path = own(here / "arms", bodies())
    inner = own(here / "arms/clips/wave/inner", bodies())
    assert own_folder(path) == here / "arms" and own_folder(inner) == here / "arms/clips/wave/inner"
    monkeypatch.chdir(here / "arms/clips")
    assert "arms, wave (class 0)" in tsgc("inspect", "wave/anna.npy")
    (here / "arms/other").mkdir()
    assert own_folder(here / "arms/other/anna.npy") is None


def test_a_file_that_tells_no_data_set_says_what_would(here):
    np.save(here / "a.npy", bodies())
    said = fails("inspect", "a.npy")
    assert "its name tells no data set; a clip of your own lies below clips/, beside a dataset.yaml" in said
    assert "no dataset.yaml beside a clips/ that holds it" in fails("inspect", "a.npy", "--dataset", "custom")
    (here / "b.json").write_text('{"skeletons": []}')
    assert "give --dataset nw-ucla or kinetics; a clip of your own" in fails("inspect", "b.json", code=2)
    (here / "c.json").write_text('{"data": [')
    assert "c.json: line 1: not JSON" in fails("inspect", "c.json")
    assert "kinetics clips end in .json" in fails("inspect", "a.npy", "--dataset", "kinetics", code=2)
    assert set(FORMATS) == {"ntu60", "ntu120", "nw-ucla", "kinetics", "custom"}


def test_a_clip_in_a_zip_is_looked_at_where_it_lies(here):
    names = {f"all/a01_s01_e00_v0{view}.json": nw_ucla_clip(1, seed=view) for view in (1, 2)}
    path = write_zip(here / "data/all.zip", names)
    whole = tsgc("inspect", path / "all/a01_s01_e00_v02.json")
    assert "nw-ucla, pick up with one hand (class 0), performer 1, episode 0, view 2" in whole
    assert tsgc("inspect", path / "a01_s01_e00_v02.json") == whole.replace("all.zip/all/", "all.zip/")
    tsgc("inspect", path / "a01_s01_e00_v02.json", "--out", here / "a.png")
    assert f"one of its clips, such as {path}/a01_s01_e00_v01.json" in fails("inspect", path)
    assert "no such file" in fails("inspect", path / "a01_s01_e00_v03.json")
    assert "no *.skeleton files" in fails("inspect", path / "a.skeleton")
    (here / "cut.zip").write_bytes(path.read_bytes()[:100])
    assert "not a whole zip" in fails("inspect", here / "cut.zip/a01_s01_e00_v01.json")
    assert "nothing that can be looked at; give a raw clip" in fails("inspect", here / "cut.zip")


def test_a_folder_is_answered_with_what_can_be_looked_at_in_it(here, made):
    said = fails("inspect", made)
    assert f"{made}/shards/ntu60/xsub, a shard set" in said and f"{made}/made.h5, a prepared file" in said
    own(here / "arms", bodies())
    assert "arms/clips/rest/ben.npy, a raw clip" in fails("inspect", here / "arms")
    (here / "empty").mkdir()
    assert "give a raw clip (.skeleton" in fails("inspect", here / "empty")


def test_what_is_wrong_with_a_clip_or_its_description_is_one_line(here):
    path = own(here / "arms", bodies()[..., :2])
    assert "joints of shape (9, 1, 3, 2), expected (frames, 3, 3)" in fails("inspect", path)
    path = own(here / "arms", bodies(), classes=["wave"])
    assert "dataset.yaml: clip rest/ben has class 'rest', expected one of wave" in fails("inspect", path)
    (here / "k.json").write_text(json.dumps({"data": [{"frame_index": 1}]}))
    assert "k.json: a frame without `skeleton`" in fails("inspect", "k.json")


def test_padded_bodies_have_the_channels_of_pictures(crowd):
    look = open_raw(crowd)
    joints, present = padded(look.raw, 18)
    assert joints.shape == (5, 3, 18, 3) and present.sum(axis=0).tolist() == [4, 3, 1]
    assert (joints[1, :, 0, 2] == 0).all() and ranges(np.flatnonzero(present[:, 0])) == "0-1, 3-4"


def test_a_recording_of_an_estimator_is_looked_at_as_its_description_says(here):
    for label in ("wave", "clap"):
        for number in (1, 2):
            joints = recordings.walking(32, seed=number)
            recordings.write(here / f"mine/{label}/{number}.json", recordings.azure_json(joints))
    tsgc("init", "mine")
    said = tsgc("inspect", here / "mine/wave/2.json")
    assert "mine, wave (class 1)" in said
