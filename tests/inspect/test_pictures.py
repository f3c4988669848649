"""`tsgc inspect` of clips as pictures, shard sets and checkpoints."""

import io
import json
import shutil

import numpy as np
import pytest
import torch
from made.browser import visit
from made.clips import ntu_clip, write_folder
from made.command import fails, quick, tsgc
from made.released import reference_state
from made.shard_sets import make_store
from PIL import Image

from pipelines.prepared.store import open_store
from pipelines.reading.track import Track
from shards.load_manifest import load_manifest
from tsgc.inspect.clip_picture import padded
from tsgc.inspect.preset_differences import TrackedClip
from tsgc.inspect.shard_set import balance
from tsgc.workspace.clips_by_name import clips_by_name

NAME = "S001C002P003R001A005"
PICTURES = (("png", "PNG"), ("gif", "GIF"))


@pytest.fixture
def raw(here):
    return write_folder(here, {f"{NAME}.skeleton": ntu_clip(frames=20, bodies=2)}) / f"{NAME}.skeleton"


@pytest.mark.parametrize(("suffix", "kind"), PICTURES)
def test_a_raw_clip_is_drawn_beside_what_the_presets_make_of_it(here, raw, suffix, kind):
    said = tsgc("inspect", raw, "--out", f"clip.{suffix}")
    assert f"picture: clip.{suffix}" in said and "20 frames" in said
    picture = Image.open(here / f"clip.{suffix}")
    assert picture.format == kind
    if kind == "GIF":
        assert picture.n_frames == 20 and picture.info["duration"] == 30
    assert not list(here.glob(".clip*"))
    assert "--overwrite" in fails("inspect", raw, "--out", f"clip.{suffix}")
    tsgc("inspect", raw, "--out", f"clip.{suffix}", "--overwrite")


def test_a_raw_clip_plays_in_a_browser(here, raw):
    tsgc("inspect", raw, "--out", "clip.html")
    step = """
      const slider = document.querySelector(".player input");
      slider.value = 7;
      slider.dispatchEvent(new Event("input"));
      const pen = document.querySelector(".player canvas").getContext("2d");
      const pixels = pen.getImageData(0, 0, 240, 240).data;
      document.documentElement.dataset.said =
        document.querySelector(".player .frame").textContent + " " + pixels.some((value) => value > 0);
    """
    seen = visit(here / "clip.html", step)
    assert seen.console == [] and 'data-players="3"' in seen.dom  # raw, reference, corrected
    assert seen.said == "8/20 true"
    whole = (here / "clip.html").read_text()
    assert "http:" not in whole and "https:" not in whole and "may forbid sharing" in whole


def test_tracks_stand_in_their_frames():
    joints = np.ones((2, 25, 3), np.float32)
    tracks = [Track("a", np.array([1, 3]), joints), Track("b", np.array([0, 1]), 2 * joints)]
    whole, present = padded(TrackedClip(5, tracks, {}), 25)
    assert present.T.astype(int).tolist() == [[0, 1, 0, 1, 0], [1, 1, 0, 0, 0]]
    assert whole[:, :, 0, 0].T.tolist() == [[0, 1, 0, 1, 0], [2, 2, 0, 0, 0]]
    assert padded(TrackedClip(3, [], {}), 25)[0].shape == (3, 1, 25, 3)


def test_one_clip_of_a_data_set(here, made):
    store = make_store(here / "ntu60.h5", clips=61)
    name = load_manifest(made / "shards/ntu60/xsub").clips["test"].names[3]
    for path in (store, made / "shards/ntu60/xsub"):
        said = tsgc("inspect", path, "--clip", name)
        assert name in said and "test" in said and "reference preset" in said and "frames a clip" not in said
        tsgc("inspect", path, "--clip", name, "--out", here / "clip.png", "--overwrite")
        assert Image.open(here / "clip.png").format == "PNG"
        wrong = fails("inspect", path, "--clip", "S001x")
        assert "no clip 'S001x' among its 61" in wrong and "names are like S001" in wrong
    one, other = ((here / f"{kind}.png") for kind in ("store", "shards"))
    tsgc("inspect", store, "--clip", name, "--out", one)
    tsgc("inspect", made / "shards/ntu60/xsub", "--clip", name, "--out", other)
    assert np.array_equal(Image.open(one), Image.open(other))


def test_clips_of_shards_are_those_of_the_prepared_file(made):
    manifest = load_manifest(made / "shards/ntu60/xsub")
    names = manifest.clips["train"].names[5:0:-2]
    found = clips_by_name(manifest, "train", [*names, "absent"])
    assert list(found) == list(names)
    with open_store(made / "made.h5") as store:
        for name, joints in found.items():
            assert np.array_equal(joints, store.clip(store.names.index(name)).joints)
    assert clips_by_name(manifest, "train", ["absent"]) == {}


def test_a_shard_set_in_figures(made):
    folder = made / "shards/ntu60/xsub"
    manifest = load_manifest(folder)
    for path in (folder, folder / "manifest.json"):
        said = tsgc("inspect", path)
        for split, clips in manifest.clips.items():
            assert f"{split}: {len(clips):,} clips in {len(manifest.shards[split])} shards" in said
        assert f"{int(manifest.clips['train'].holdout.sum())} of {len(manifest.clips['train'])}" in said
        assert f"training clip's: 1 of {len(manifest.clips['test'])}" in said
        assert "frames a clip, train:" in said and "bodies a clip, test:" in said and "0 drink water" in said
    shutil.copytree(folder, folder.parent / "broken")
    (folder.parent / "broken/manifest.json").write_text("{")
    assert "not whole JSON" in fails("inspect", folder.parent / "broken")
    shutil.rmtree(folder.parent / "broken")


def test_balance_of_classes():
    assert balance({0: 3, 1: 0, 2: 9}, 4) == "2 of 4 have clips, 3 to 9 each"
    assert balance({}, 4) == "no clips"


def test_a_checkpoint_says_what_it_is_and_from_what(here, made):
    tsgc("train", "ntu60/xsub", "--data-root", made, *quick("epochs=1", "eval_every=1", "lr=0.5e-3"))
    run = here / "runs/ntu60/xsub/tiny/joint/seed0"
    said = tsgc("inspect", run / "checkpoints/last-ema.safetensors")
    digest = load_manifest(made / "shards/ntu60/xsub").digest[:12]
    for words in (
        "TSGCNeXt tiny, joint, averaged weights", "ntu60/xsub, reference preset", "epoch 1 of 1",
        "chosen by nothing", "2 x 25 joints (ntu-25)", "60 classes", f"shards {digest}", "lr=0.0005",
    ):  # fmt: skip
        assert words in said, words
    assert "on the test split" in tsgc("inspect", run / "checkpoints/best.safetensors")
    assert tsgc("inspect", run) == tsgc("inspect", run / "checkpoints/last.safetensors")
    (run / "environment.json").write_text("[]")
    assert "run: unknown" in tsgc("inspect", run / "checkpoints/last.safetensors")
    assert "no picture" in fails("inspect", run / "checkpoints/last.safetensors", "--out", "a.png", code=2)
    weights = run / "checkpoints/last.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    assert "not a whole safetensors file" in fails("inspect", weights)


def test_a_released_checkpoint_says_what_can_be_told(here, shared):
    shapes = json.loads((shared / "golden/model_reference.json").read_text())["ntu25_252"]["state"]
    state = reference_state({**shapes, "fc.weight": [60, 384], "fc.bias": [60]})
    torch.save({"model": state, "model_ema": state}, here / "released.pth")
    said = tsgc("inspect", here / "released.pth")
    assert "published code, TSGCNeXt 252; raw and averaged weights" in said
    assert "150 numbers a frame over 25 joints, gives 60 classes" in said
    torch.save({"model": state}, here / "released.pth")
    assert "raw weights alone" in tsgc("inspect", here / "released.pth")


def test_a_file_of_torch_that_is_no_checkpoint_is_refused(here):
    buffer = io.BytesIO()
    torch.save({"something": torch.zeros(3)}, buffer)
    (here / "other.pth").write_bytes(buffer.getvalue())
    assert "no 'model' inside" in fails("inspect", here / "other.pth")


def test_wishes_without_a_meaning_are_refused(here, raw, made):
    shards = made / "shards/ntu60/xsub"
    assert "name the one to draw with --clip" in fails("inspect", shards, "--out", "a.png", code=2)
    assert "pictures end in .png, .gif, .html" in fails("inspect", raw, "--out", "a.jpg", code=2)
    assert "--clip is for" in fails("inspect", raw, "--clip", "x", code=2)
    assert "are for raw clips" in fails("inspect", shards, "--compare", code=2)
