"""The README's pictures: there, small, described, in motion; and what draws them (docs/pictures.py)."""

import io
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

import cli
from pipelines.skeleton import NTU_25
from pipelines.synthetic.bodies import NTU_MOTIONS, make_body, perform

ROOT = Path(cli.__file__).parent
FOLDER = ROOT / "docs/pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def drawing():
    return runpy.run_path(str(ROOT / "docs/pictures.py"))


def frames(data):
    return [
        np.asarray(frame.convert("RGB"), np.float64) for frame in ImageSequence.Iterator(Image.open(data))
    ]


def steps(pictures):
    """How much changes from each frame to the next, and from the last to the first."""
    return [np.abs(one - other).mean() for one, other in zip(pictures, [*pictures[1:], pictures[0]])]


def test_the_readme_shows_them_all_and_says_what_they_show():
    shown = dict(re.findall(r"!\[([^]]+)\]\((docs/pictures/[^)]+)\)", README))
    shown |= dict(
        (alt, path) for path, alt in re.findall(r'<img src="(docs/pictures/[^"]+)" alt="([^"]+)"', README)
    )
    assert all(len(alt) > 40 for alt in shown)
    paths = {*shown.values(), *re.findall(r'srcset="(docs/pictures/[^"]+)"', README)}
    assert {ROOT / path for path in paths} == set(FOLDER.iterdir())
    assert README.index("docs/pictures/predict.gif") < README.index("```")  # a picture comes first


def test_they_are_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 500_000


def test_the_animation_fits_a_readme_and_its_end_leads_into_its_start():
    picture = Image.open(FOLDER / "predict.gif")
    assert picture.info["loop"] == 0 and picture.width <= 850
    *between, seam = steps(frames(FOLDER / "predict.gif"))
    assert len(between) >= 30 and min(between) > 0 and seam <= 1.2 * max(between)


def test_the_reports_are_one_page_in_two_lights():
    light, dark = (Image.open(FOLDER / f"report-{name}.png") for name in ("light", "dark"))
    assert light.size == dark.size
    assert np.asarray(light.convert("L")).mean() > 200 > 80 > np.asarray(dark.convert("L")).mean()


def made_clip(seconds, seed=0):
    rng = np.random.default_rng(seed)
    return perform(make_body(NTU_25, rng), NTU_MOTIONS[24], round(30 * seconds), 0.3, rng)[:, None]


@pytest.mark.parametrize("seconds", [4, 6])
def test_a_loop_is_as_smooth_at_its_seam_as_elsewhere(drawing, seconds):
    loop = drawing["find_loop"](made_clip(seconds), 60)
    assert loop.shape == (60, 1, 25, 3)
    *between, seam = steps(list(loop))
    assert seam <= 1.5 * max(between)
    *_, jump = steps(list(made_clip(seconds)[:60]))  # cut anywhere, it would not be
    assert jump > 2 * seam


def test_a_short_clip_is_taken_whole(drawing):
    clip = made_clip(0.5)
    np.testing.assert_allclose(drawing["find_loop"](clip, 60)[::4], clip)


def test_a_clip_is_drawn_with_what_was_said_of_it(drawing):
    said = {"clip": "a", "top": [{"name": "kick", "probability": 0.9}, {"name": "wave", "probability": 0.1}]}
    kicking = drawing["animation"]([made_clip(4)], NTU_25, [said], 30)
    pictures = frames(io.BytesIO(kicking))
    assert len(pictures) == drawing["FRAMES"] and min(steps(pictures)) > 0
    said["top"][0]["probability"] = 0.2
    other = frames(io.BytesIO(drawing["animation"]([made_clip(4)], NTU_25, [said], 30)))
    changed = np.abs(pictures[0] - other[0]).sum(axis=(1, 2))
    assert changed.any() and not changed[: drawing["BODY"][1]].any()  # the bar, not the body


@pytest.mark.slow  # two short trainings
@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason=f"none of {', '.join(BROWSERS)} is on PATH")
def test_the_script_makes_all_of_them(tmp_path):
    words = [str(ROOT / "docs/pictures.py"), "--out", str(tmp_path / "out"), "--epochs", "2"]
    subprocess.run([sys.executable, *words], check=True, timeout=1700)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in FOLDER.iterdir()}


def test_without_a_browser_it_says_so(drawing, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="error: none of chromium"):
        drawing["screenshot"](tmp_path / "report.html", dark=False)
