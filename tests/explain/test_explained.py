"""A clip explained by `tsgc predict --explain` and `tsgc inspect --run`: words, pictures, the page."""

import base64
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.browser import visit
from made.command import fails, tsgc
from PIL import Image

from pipelines.skeleton import NTU_25
from tsgc.drawing.player import make_player
from tsgc.drawing.saliency import body_drawing, joint_weights, time_bars, time_map
from tsgc.drawing.skeleton import AGAINST, FOR, Panel, draw_strip
from tsgc.explain.summary import (
    BINS,
    Saliency,
    along_time,
    class_mean,
    joint_rows,
    movement_line,
    strongest_joints,
)
from tsgc.inference.recogniser import load_run

RUN = "runs/ntu60/xsub/tiny/joint/seed0"
NAME = "S001C001P003R001A001"  # of a test performer, two bodies
WIDER_THAN_THE_SCREEN = """
const { scrollWidth, clientWidth } = document.documentElement;
document.documentElement.dataset.said = String(scrollWidth > clientWidth);
"""


@pytest.fixture
def there(trained, monkeypatch):
    """The folder of the trained runs, to work in."""
    monkeypatch.chdir(trained)
    return trained


def raw(folder):
    return next(folder.glob(f"data/**/{NAME}.skeleton"))


def answer_in_json(clip, *words):
    """The one answer of `tsgc predict --json`, without what progress says before it on a slow machine."""
    said = tsgc("predict", clip, "--run", RUN, *words, "--json")
    return json.loads(said[said.index("{\n") :])["predictions"][0]


def made_values(frames=30, bodies=2, seed=0):
    values = np.random.default_rng(seed).normal(0, 0.1, (frames, bodies, 25)).astype(np.float32)
    values[:, 0, 11] += 1  # the right hand
    return values


@given(st.integers(1, 400), st.integers(1, 40))
def test_parts_along_time_add_up(frames, bins):
    values = np.random.default_rng(frames).normal(size=(frames, 3))
    parts = along_time(values, bins)
    assert parts.shape == (bins, 3) and np.allclose(parts.sum(0), values.sum(0))
    if frames % bins == 0:
        assert np.allclose(parts, values.reshape(bins, -1, 3).sum(1))


def test_the_strongest_joints_are_named_with_their_share():
    values = made_values()
    first, *others = strongest_joints(values, NTU_25, 3)
    assert (first.body, first.joint) == (1, "right hand") and len(others) == 2
    positive = np.maximum(values.sum(0), 0)
    assert first.share == pytest.approx(positive[0, 11] / positive.sum())
    assert strongest_joints(-np.ones((4, 1, 25)), NTU_25, 3) == []
    (row, *_) = joint_rows(values, NTU_25)
    assert row[0] == "right hand, body 1" and len(row[2]) == BINS and "█" in row[2]
    assert joint_rows(np.zeros((4, 1, 25)), NTU_25) == []


def test_the_mean_of_a_class_pads_bodies_and_lengths():
    long, short = made_values(60), made_values(7, bodies=1)
    mean = class_mean([Saliency(4, long, 3.0, 1.0), Saliency(4, short, 2.0, 1.0)])
    assert (mean.label, mean.clips, mean.score, mean.still) == (4, 2, 2.5, 1.0)
    assert mean.values.shape == (BINS, 2, 25)
    assert np.allclose(mean.values.sum(0)[1], long.sum(0)[1] / 2, atol=1e-5)
    assert "2.50 above the mean of all classes, and 1.00 if nothing moved; the movement adds 1.50" in (
        movement_line(mean)
    )


def test_joints_that_matter_stand_out_in_pictures():
    joints = np.random.default_rng(0).normal(0, 1, (5, 1, 25, 3))
    weights = np.zeros((5, 1, 25))
    plain = np.asarray(draw_strip([Panel("", joints, weights=weights)], NTU_25))
    assert np.array_equal(plain, np.asarray(draw_strip([Panel("", joints)], NTU_25)))
    weights[:, 0, 11], weights[:, 0, 3] = 1, -1
    drawn = np.asarray(draw_strip([Panel("", joints, weights=weights)], NTU_25))
    for colour in (FOR, AGAINST):
        assert (drawn == colour).all(-1).sum() > 5 * 20 and not (plain == colour).all(-1).any()
    data = make_player(Panel("", joints, weights=weights), NTU_25, fps=30).data
    assert np.array_equal(
        np.frombuffer(base64.b64decode(data["weights"]), np.int8).reshape(weights.shape), 127 * weights
    )


def test_weights_are_smooth_and_at_most_one():
    values = np.zeros((300, 1, 25))
    values[::5, 0, 11] = 2  # a network that sees every fifth frame
    weights = joint_weights(values)
    assert weights.max() == 1 and weights[10:-10, 0, 11].min() > 0.5 and not weights[:, 0, :11].any()
    assert not joint_weights(np.zeros((3, 1, 25))).any()


def test_drawings_name_joints_and_tell_for_from_against():
    values = made_values()
    values[:, 1, 3] = -5
    body = str(body_drawing(NTU_25, values.sum(0)[0], "<made>"))
    assert body.count("<circle") == 25 and "right hand: +" in body and "&lt;made&gt;" in body
    times = along_time(values)
    drawn = str(time_map(NTU_25, times, 1.0, "made"))
    assert "head, body 2" in drawn and 'class="against"' in drawn and "1.0 s" in drawn
    assert str(time_bars(times.sum((1, 2)), "made")).count("<rect") == BINS
    assert "<rect" not in str(time_bars(np.zeros(BINS), "made"))


def test_predict_explains_its_answer(there):
    said = tsgc("predict", raw(there), "--run", RUN, "--explain")
    best = re.search(r"│ (\w[\w /]*\w) +│ +\d+\.\d\d │", said)[1]
    assert f"{best}: its logit is " in said and f"{NAME}: what speaks for {best}" in said
    assert "if nothing moved; the movement" in said
    found = answer_in_json(raw(there), "--explain")
    saliency = found["saliency"]
    assert saliency["label"] == found["top"][0]["label"] and len(saliency["joints"]) == 2
    added = sum(value for body in saliency["joints"] for value in body.values())
    assert added == pytest.approx(sum(saliency["frames"]), abs=1e-4)
    assert added == pytest.approx(saliency["score"] - saliency["still"], rel=0.1, abs=0.1)
    plain = answer_in_json(raw(there))
    assert plain == {name: value for name, value in found.items() if name != "saliency"}


def test_python_explains_windows_and_fusions(there):
    recogniser = load_run([RUN, RUN.replace("joint", "bone")])
    windows = recogniser.predict(raw(there), window=20, explain=True)
    assert [len(one.saliency.values) for one in windows] == [one.frames[1] - one.frames[0] for one in windows]
    assert all(one.saliency.label == one.top[0].label for one in windows)
    assert recogniser.predict(raw(there))[0].saliency is None


@pytest.mark.parametrize("words", [(raw,), (NAME,), ("data/shards/ntu60/xsub", "--clip", NAME)])
def test_a_clip_is_one_and_the_same_by_file_by_name_and_in_its_set(there, words):
    path = [word(there) if callable(word) else word for word in words]
    lines = tsgc("inspect", "--run", RUN, *path).splitlines()
    assert any("its logit is" in line for line in lines)
    joints = lines[lines.index(next(line for line in lines if line.startswith("what speaks"))) + 1 :]
    whole = tsgc("inspect", "--run", RUN, "data/prepared/ntu60.h5", "--clip", NAME).splitlines()
    assert joints == whole[-len(joints) :] and all(re.search(r" \d+ % \|", line) for line in joints)


def test_pictures_of_an_explained_clip(there, tmp_path):
    for ending in ("png", "gif", "html"):
        said = tsgc("inspect", "--run", RUN, NAME, "--out", tmp_path / f"why.{ending}")
        assert f"why.{ending}" in said
    plain = tsgc("inspect", "data/shards/ntu60/xsub", "--clip", NAME, "--out", tmp_path / "plain.png")
    assert "plain.png" in plain
    assert Image.open(tmp_path / "why.png").height > Image.open(tmp_path / "plain.png").height
    text = (tmp_path / "why.html").read_text()
    assert text.count("<svg") == 3 and "body 2, the whole clip" in text and "speaks for" in text


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_of_an_explained_clip_in_a_browser(there, tmp_path, width):
    page = tmp_path / "why.html"
    tsgc("inspect", "--run", RUN, NAME, "--out", page)
    seen = visit(page, WIDER_THAN_THE_SCREEN, width)
    assert seen.console == [] and seen.said == "false" and 'data-players="1"' in seen.dom


def test_what_cannot_be_explained_is_told_in_a_line(there, tmp_path):
    assert "goes with files, as a table or JSON" in fails(
        "predict", raw(there), "--run", RUN, "--explain", "--format", "csv", code=2
    )
    assert "leave out --compare" in fails("inspect", NAME, "--run", RUN, "--compare", code=2)
    assert "no clip 'nobody' among its" in fails("inspect", "nobody", "--run", RUN)
    assert "no such file, and no clip of the run's data by that name: " in fails(
        "inspect", "nobody", "--run", RUN, "--data-root", tmp_path
    )
    assert "clips; name one of them" in fails("inspect", "data/nturgbd_raw", "--run", RUN)
    other = "data/prepared/nw-ucla.h5"
    assert "skeleton nw-ucla-20, the run was trained on ntu-25" in fails(
        "inspect", other, "--clip", "x", "--run", RUN
    )
    assert "trained for preset reference" in fails(
        "inspect", "data/shards/ntu60-corrected/xsub", "--clip", NAME, "--run", RUN
    )
    assert "not a run" in fails("inspect", NAME, "--run", "nothing")
