"""What things show of themselves in Jupyter: escaped, apart from each other, and in a real kernel."""

import copy
import html
import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from made.browser import visit
from made.clips import nw_ucla_clip, write_folder, write_zip
from made.command import tsgc as command

import tsgc
from pipelines.skeleton import NW_UCLA_20
from tsgc.drawing.notebook import Table, framed
from tsgc.drawing.player import make_player
from tsgc.drawing.skeleton import Panel
from tsgc.inference.prediction import Guess, Prediction

NOTEBOOK = Path(__file__).parents[2] / "docs/notebook.ipynb"
UCLA = "runs/nw-ucla/xview/tiny/joint/seed0"
NASTY = '"><script>alert(1)</script></iframe>&amp;'


def page(output: str) -> str:
    """The page in the one frame of an output."""
    (inside,) = re.findall(r'srcdoc="([^"]*)"', output)
    return html.unescape(inside)


def text(output: str) -> str:
    """What its page says: without style, scripts and tags."""
    bare = re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", page(output), flags=re.DOTALL)
    return html.unescape(" ".join(bare.split()))


@pytest.fixture(scope="module")
def recogniser(trained):
    return tsgc.load_run(trained / UCLA)


def test_names_are_escaped_in_the_frame_and_in_its_page():
    output = framed(NASTY, lines=[NASTY], text=NASTY, tables=[Table(("class", NASTY), [[NASTY, "1"]])])
    assert output.startswith("<iframe") and output.count("<") == 2  # its own two tags
    inside = page(output)
    assert "alert(1)</script>" not in inside and inside.count("&lt;script&gt;alert(1)") == 7
    assert "http" not in re.sub(r'http-equiv="[^"]*"', "", inside)  # nothing is loaded


def test_an_answer_plays_its_clip_beside_its_classes(recogniser, here):
    path = write_folder(here, {"a01_s01_e00_v01.json": nw_ucla_clip(1, frames=12)}) / "a01_s01_e00_v01.json"
    (answer,) = recogniser.predict(path, top=2)
    said = text(answer._repr_html_())
    for guess in answer.top:
        assert f"{guess.name} {100 * guess.probability:.2f}" in said
    assert page(answer._repr_html_()).count("<canvas") == 1
    assert '"frames": 12' in page(answer._repr_html_())
    part = recogniser.predict(path, window=6, stride=3)[1]
    assert '"frames": 6' in page(part._repr_html_()) and "Recording" not in repr(part)
    path.unlink()
    said = text(answer._repr_html_())
    assert "not drawn" in said and "no such file" in said and answer.top[0].name in said


def test_an_answer_finds_its_clip_in_a_zip_and_in_memory(recogniser, here):
    clips = {f"a0{k}_s01_e00_v01.json": nw_ucla_clip(k, frames=8 + k) for k in (1, 2)}
    write_zip(here / "clips.zip", clips)
    zipped = recogniser.predict(here / "clips.zip")
    joints = np.random.default_rng(0).normal(size=(7, 2, 20, 3)).astype(np.float32)
    for answer, frames in zip([*zipped, *recogniser.predict([joints, joints[:5]])], (9, 10, 7, 5)):
        assert f'"frames": {frames}' in page(answer._repr_html_())


def test_copies_and_pickles_of_an_answer_go_without_its_clip(recogniser):
    (answer,) = recogniser.predict(np.random.default_rng(0).normal(size=(7, 1, 20, 3)))
    for other in (copy.deepcopy(answer), pickle.loads(pickle.dumps(answer))):
        assert other.recording is None and other.top == answer.top
        assert "<canvas" not in page(other._repr_html_()) and answer.top[0].name in text(other._repr_html_())


def test_an_answer_made_by_hand_shows_itself():
    answer = Prediction("x", NASTY, (0, 3), (0.0, 0.1), [Guess(0, "wave", 0.5)], np.zeros(2, np.float32))
    assert "wave 50.00" in text(answer._repr_html_())


def test_a_recogniser_says_what_it_is(recogniser):
    said = text(recogniser._repr_html_())
    for word in (
        "nw-ucla/xview",
        "joint",
        "tiny",
        "raw",
        "10 classes",
        "20 joints (xyz)",
        *recogniser.classes,
    ):
        assert word in said, word


def test_results_of_a_run_are_its_files(trained):
    run = trained / UCLA
    results = tsgc.run_results(run)
    said = text(results._repr_html_())
    assert results.epoch == 1 and repr(results).startswith(
        "RunResults(nw-ucla/xview tiny joint seed 0, epoch 1"
    )
    assert results.metrics == [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = results.scores["last"]
    top1 = 100 * float((last.logits.argmax(1) == last.labels).mean())
    assert f"{top1:.2f}" in said and f"{top1:.2f}" in text(last._repr_html_())
    assert "Training loss" in said and "batch 8" in said and "frames 40" in said
    assert "selected on the test split" in text(results.scores["best"]._repr_html_())


def test_results_of_a_run_that_has_hardly_begun(trained, here):
    run = shutil.copytree(trained / UCLA, here / "run")
    for name in ("metrics.jsonl", "scores", "checkpoints"):
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    results = tsgc.run_results(run)
    assert results.epoch == 0 and len(results.missing) == 3
    assert "No curves to show" in text(results._repr_html_())


def test_an_inspection_is_what_the_command_prints_and_plays_clips(trained):
    for words in ([trained / "data/prepared/nw-ucla.h5"], [trained / UCLA]):
        found = tsgc.inspect_path(*words)
        assert f"{found}\n" == command("inspect", *words) and "<canvas" not in page(found._repr_html_())
        assert found.lines[-1].strip() in text(found._repr_html_())
    clip = trained / "data/NW-UCLA/all_sqe/a01_s01_e00_v01.json"
    found = tsgc.inspect_path(clip)
    assert f"{found}\n" == command("inspect", clip)
    assert page(found._repr_html_()).count("<canvas") == 3  # raw, and two presets
    named = tsgc.inspect_path(trained / "data/prepared/nw-ucla.h5", clip="a01_s01_e00_v01")
    assert page(named._repr_html_()).count("<canvas") == 1


def test_the_report_is_that_of_the_command(trained, here):
    path = tsgc.write_report(trained / UCLA, here / "mine.html")
    command("report", trained / UCLA, "--out", here / "theirs.html")
    mine, theirs = [
        re.sub(r"Written by .*?\. Every", "", file.read_text()) for file in (path, here / "theirs.html")
    ]
    assert mine == theirs


def test_the_notebook_is_kept_without_outputs():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 5
    assert [cell["source"] for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []


FRAMES = """
const frames = [...document.querySelectorAll("iframe[srcdoc]")].map((frame) => {
  const root = frame.contentDocument.documentElement;
  const body = frame.contentDocument.querySelector("main").getBoundingClientRect();
  return [frame.clientHeight - Math.ceil(body.bottom), root.scrollWidth - root.clientWidth,
          root.querySelectorAll("canvas").length, root.querySelectorAll("svg.curves").length,
          [...root.querySelectorAll(".player .frame")].every((shown) => shown.textContent.includes("/"))];
});
document.documentElement.dataset.said = JSON.stringify(frames);
"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_outputs_fit_their_frames_in_a_browser(trained, recogniser, here, width):
    clips = sorted((trained / "data/NW-UCLA/all_sqe").glob("*.json"))
    joints = np.random.default_rng(0).normal(size=(30, 2, 20, 3))
    nasty = make_player(Panel(NASTY, joints), NW_UCLA_20, fps=30)
    outputs = [
        tsgc.inspect_path(clips[0])._repr_html_(),
        tsgc.run_results(trained / UCLA)._repr_html_(),
        *(answer._repr_html_() for answer in recogniser.predict([clips[0], joints])),
        recogniser._repr_html_(),
        framed(NASTY, players=[nasty], lines=["w" * 300]),
    ]
    path = here / "outputs.html"
    path.write_text(f"<!DOCTYPE html><body>{''.join(outputs)}</body>")
    seen = visit(path, f'window.addEventListener("load", () => setTimeout(() => {{{FRAMES}}}, 500));', width)
    assert seen.console == []
    shown = json.loads(seen.said)
    assert [frame[2] for frame in shown] == [3, 0, 1, 1, 0, 1]
    assert [frame[3] > 3 for frame in shown] == [False, True, False, False, False, False]
    for room, over, *_, playing in shown:
        assert 0 <= room <= 40 and over <= 0 and playing, shown


@pytest.mark.slow
def test_the_notebook_runs(trained, here, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: it runs the notebook")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: it runs the notebook's code")
    (here / "demo").symlink_to(trained)
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(here)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    frames = [output for output in shown if "srcdoc" in output]
    assert len(frames) == 10 and all(output.output_type != "error" for output in outputs)
    assert sum(page(frame).count("<canvas") for frame in frames) == 3 + 1 + 1 + 2 + 1
    assert (here / "report.html").is_file() and "report.html" in shown[-1]
