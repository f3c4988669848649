"""Clips that move: the data of a page's player, one control for panels that belong together, films."""

import base64
import io
import os
import sys
from fractions import Fraction
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.browser import visit
from made.clips import ntu_clip, write_folder
from made.command import fails, tsgc
from PIL import Image

from pipelines.skeleton import COCO_17, NTU_25
from tsgc.drawing import film
from tsgc.drawing.picture import Pictured, gif, mp4, page, png
from tsgc.drawing.player import ABSENT, encode_points, make_player
from tsgc.drawing.skeleton import Panel, places

NAME = "S001C001P001R001A007"


def walk(frames=5, bodies=1, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (frames, bodies, 25, 3))


def decoded(text, shape):
    numbers = np.frombuffer(base64.b64decode(text), "<u2").reshape(shape).astype(float)
    return np.where(numbers == ABSENT, np.nan, numbers)


@given(st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 99))
def test_a_players_points_are_the_joints_in_their_proportions(factor, shift, seed):
    joints = walk(3, 2, seed) * factor + shift
    joints[1, 1] = 0  # nobody
    seen = places(joints, NTU_25)
    text, middle = encode_points(seen)
    found = decoded(text, seen.shape)
    assert np.array_equal(np.isnan(found), np.isnan(seen))
    spans = np.nanmax(seen, (0, 1, 2)) - np.nanmin(seen, (0, 1, 2))
    scale = 65_000 / spans.max()
    np.testing.assert_allclose(found, (seen - np.nanmin(seen, (0, 1, 2))) * scale, atol=0.51)
    np.testing.assert_allclose(middle, spans * scale / 2, atol=0.06)


def test_joints_in_space_keep_their_depth_and_those_of_pictures_have_none():
    joints = walk(4)
    assert np.array_equal(places(joints, NTU_25), joints * (1, -1, 1))
    joints[2, 0, 3, 2] = np.nan
    assert places(joints, NTU_25)[2, 0, 3, 2] == 0
    assert make_player(Panel("a", joints), NTU_25, fps=30).turns
    flat = np.concatenate([walk(4)[:, :, :17, :2], np.ones((4, 1, 17, 1))], -1)
    player = make_player(Panel("a", flat, channels="xys"), COCO_17, fps=30)
    assert not player.turns and player.data["axes"] == 2


@pytest.mark.parametrize("joints", (np.zeros((2, 1, 25, 3)), np.full((2, 1, 25, 3), 3.0), walk(0), walk(1)))
def test_any_clip_is_encoded(joints):
    player = make_player(Panel("a", joints), NTU_25, fps=30)
    assert len(base64.b64decode(player.data["points"])) == joints.size * 2


TOGETHER = """
const boxes = document.querySelectorAll(".player");
const slider = document.querySelector(".player input");
slider.value = 9; slider.dispatchEvent(new Event("input"));
const canvas = document.querySelector(".view canvas");
const pixels = () => [...document.querySelectorAll(".view canvas")].map(
  (each) => each.toDataURL());
const before = pixels();
canvas.dispatchEvent(new PointerEvent("pointermove", {buttons: 1, movementX: 80, movementY: 0}));
const turned = pixels().filter((each, index) => each !== before[index]).length;
document.documentElement.dataset.said = [boxes.length, document.querySelectorAll(".view").length, turned,
  [...document.querySelectorAll(".frame")].map((each) => each.textContent).join(" "),
  document.querySelector(".time").textContent,
  document.documentElement.scrollWidth - innerWidth, canvas.clientWidth].join("; ");
"""


@pytest.mark.parametrize(("width", "least"), ((1440, 400), (390, 300)))
def test_panels_that_belong_together_have_one_control_and_turn_together(here, width, least):
    path = write_folder(here, {f"{NAME}.skeleton": ntu_clip(frames=20, bodies=2)}) / f"{NAME}.skeleton"
    tsgc("inspect", path, "--out", "clip.html")
    seen = visit(here / "clip.html", TOGETHER, width=width)
    assert seen.console == []
    boxes, views, turned, frames, time, wide, size = seen.said.split("; ")
    assert (boxes, views, turned) == ("1", "3", "3")
    assert frames == "10/20 10/20 10/20" and time == "0.30 of 0.67 s"
    assert int(wide) <= 0 and int(size) >= least  # larger on large screens
    assert "throw (class 6)" in seen.dom


def pictured(frames):
    return Pictured("clip", ["about it"], [Panel("", walk(frames))], NTU_25, 30, label="throw")


def test_a_clip_of_one_frame_is_a_still():
    text = page(pictured(1)).decode()
    assert "A still: the clip has one frame" in text and 'type="range"' not in text and "clip: throw" in text
    assert 'type="range"' in page(pictured(2)).decode()


def test_pictures_say_class_and_seconds(monkeypatch):
    from tsgc.drawing import skeleton

    said = []
    monkeypatch.setattr(skeleton, "_text", lambda draw, place, text, width: said.append(text))
    png(pictured(3)), gif(pictured(3))
    assert said[:4] == ["frame 1/3, 0.00 s", "frame 2/3, 0.03 s", "frame 3/3, 0.07 s", "clip: throw"]
    assert said[4:6] == ["1/3, 0.00 s", "clip: throw"]


def test_a_heading_that_is_wider_than_its_picture_goes_on_below():
    clip = pictured(1)
    tall = png(
        Pictured("clip", [], clip.panels, NTU_25, 30, label="a name of very many words indeed, so long")
    )
    short, tall = (Image.open(io.BytesIO(data)) for data in (png(clip), tall))
    assert short.width == tall.width and tall.height > short.height


@pytest.mark.parametrize("frames", (1, 7, pytest.param(400, marks=pytest.mark.slow)))
def test_a_film_plays_at_the_clips_own_speed(frames):
    av = pytest.importorskip("av")
    with av.open(io.BytesIO(mp4(pictured(frames)))) as film:
        stream = film.streams.video[0]
        shown = sum(1 for _ in film.decode(video=0))
        assert shown == min(frames, 300) and stream.width % 2 == stream.height % 2 == 0
        assert float(stream.duration * stream.time_base) == pytest.approx(frames / 30, rel=0.01)


def test_a_film_without_pyav_is_written_by_ffmpeg(tmp_path, monkeypatch):
    fake = tmp_path / "ffmpeg"
    fake.write_text(
        f"#!{sys.executable}\nimport sys\ndata = sys.stdin.buffer.read()\n"
        "open(sys.argv[-1], 'w').write(' '.join([str(len(data)), *sys.argv[1:-1]]))\n"
    )
    fake.chmod(0o755)
    monkeypatch.setattr(film, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    said = film.encode_film([Image.new("RGB", (31, 21))] * 3, 12.5).decode().split()
    assert (
        int(said[0]) == 3 * 32 * 22 * 3 and "32x22" in said and Fraction(said[said.index("-r") + 1]) == 12.5
    )
    fake.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no such encoder')\n")
    with pytest.raises(film.TsgcError, match="no such encoder"):
        film.encode_film([Image.new("RGB", (31, 21))], 12.5)


def test_where_nothing_writes_films_one_line_says_what_to_install(here, monkeypatch):
    path = write_folder(here, {f"{NAME}.skeleton": ntu_clip(frames=2)}) / f"{NAME}.skeleton"
    monkeypatch.setattr(film, "find_spec", lambda name: None)
    monkeypatch.setattr(film.shutil, "which", lambda name: None)
    said = fails("inspect", path, "--out", "a.mp4")
    assert "pip install av" in said and "ffmpeg" in said
    said = fails("inspect", path, "--out", "a.pdf", code=2)
    assert "a.pdf" in said and ".png, .gif, .html, .mp4" in said
    assert not list(here.glob("a.*"))
    assert find_spec("av") is not None  # CI has it
