"""The report's headline and comparison: seeds together, differences, and the tables beside the page."""

import csv
import re
from dataclasses import replace

import numpy as np
import orjson
import pytest
from made.browser import visit
from made.command import fails, tsgc
from made.scores import make_run

from shards.load_manifest import load_manifest
from tsgc.config import read_run_config, to_yaml
from tsgc.evaluation.scores import accuracy, read_scores, write_scores
from tsgc.evaluation.statistics import wilson
from tsgc.report.gather import gather
from tsgc.report.pairs import differences, disagreements, pair_up
from tsgc.report.sections.accuracy import rows
from tsgc.report.sections.comparison import class_changes
from tsgc.report.sections.headline import figures
from tsgc.workspace.runs import open_run


def gathered(*folders):
    return gather([open_run(folder) for folder in folders], ema=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three seeds of joint and three of bone, which is better; of the 200 clips 30 repeat training clips."""
    root = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        make_run(root, seed=seed, repeats=30)
        make_run(root, "bone", seed=seed, skill=2.5, repeats=30)
    return root / "ntu60/xsub/252"


def right(folder):
    """Clip name -> whether it is right, as a plain reading of the score file has it."""
    scores = read_scores(folder / "scores/last.npz")
    return dict(zip(scores.names.tolist(), scores.logits.argmax(1) == scores.labels))


def test_runs_that_differ_in_their_seed_alone_are_together(runs):
    one, two = gathered(runs / "joint/seed2", runs / "bone/seed0", runs / "joint/seed0")
    assert [run.label for run in one.runs] == ["A1", "A2"] and [run.label for run in two.runs] == ["B"]
    assert one.title.endswith("joint seeds 2, 0") and two.title.endswith("bone seed 0")
    assert one.name == "joint 252, 2 seeds"
    by_name = [right(runs / f"joint/seed{seed}") for seed in (2, 0)]
    names = one.scores[0].names.tolist()
    assert one.right.tolist() == [np.mean([each[name] for each in by_name]) for name in names]


def test_the_headlines_figures_are_those_of_the_score_files(runs):
    (group,) = gathered(*(runs / f"joint/seed{seed}" for seed in range(3)))
    files = [read_scores(runs / f"joint/seed{seed}/scores/last.npz") for seed in range(3)]
    whole, clean = figures(group)
    expected = [accuracy(each.logits, each.labels).top1 for each in files]
    assert whole.percent == pytest.approx(np.mean(expected)) and whole.clips == 200
    assert whole.deviation == pytest.approx(np.std(expected, ddof=1))
    assert (whole.low, whole.high) == pytest.approx(wilson(sum(expected) / 3 * 2, 200))
    expected = [accuracy(each.logits[~each.repeats], each.labels[~each.repeats]).top1 for each in files]
    assert clean.percent == pytest.approx(np.mean(expected)) and clean.clips == 170


def test_differences_are_those_of_a_plain_count(runs):
    one, two = gathered(runs / "joint/seed1", runs / "bone/seed1")
    first, second = right(runs / "joint/seed1"), right(runs / "bone/seed1")
    whole, clean = differences(pair_up(one, two))
    assert whole.difference == pytest.approx(100 * np.mean([second[n] - int(first[n]) for n in first]))
    assert whole.low < whole.difference < whole.high and clean.clips == 170
    (test,) = whole.tests
    assert (test.first, test.second) == ("A", "B")
    assert test.result.first_only == sum(first[n] and not second[n] for n in first)
    assert test.result.second_only == sum(second[n] and not first[n] for n in first)


def test_seeds_are_tested_in_pairs_of_the_same_seed(runs):
    one, two = gathered(runs / "joint/seed0", runs / "joint/seed2", runs / "bone/seed2", runs / "bone/seed1")
    (test,) = differences(pair_up(one, two))[0].tests
    assert (test.first, test.second) == ("A2", "B1")  # seed 2 alone is in both
    one, two = gathered(runs / "joint/seed0", runs / "bone/seed2")
    assert len(differences(pair_up(one, two))[0].tests) == 1  # none in common: in their order


def test_clips_and_classes_that_changed(runs):
    one, two = gathered(runs / "joint/seed1", runs / "bone/seed1")
    pair = pair_up(one, two)
    taken = {}
    for folder in ("joint", "bone"):
        scores = read_scores(runs / folder / "seed1/scores/last.npz")
        taken[folder] = dict(zip(scores.names.tolist(), scores.logits.argmax(1).tolist()))
    found = disagreements(pair)
    assert {clip.name for clip in found} == {
        name for name in taken["joint"] if taken["joint"][name] != taken["bone"][name]
    }
    assert all(
        (clip.first, clip.second) == (taken["joint"][clip.name], taken["bone"][clip.name]) for clip in found
    )
    clear = [clip for clip in found if clip.winner != "neither"]
    assert found[: len(clear)] == clear  # those that neither gets right come last
    gaps = [abs(clip.second_probability - clip.first_probability) for clip in clear]
    assert gaps == sorted(gaps, reverse=True)
    changes = class_changes(pair)
    assert [change.points for change in changes] == sorted((c.points for c in changes), reverse=True)
    whole = differences(pair)[0].difference
    assert sum(change.points * change.clips for change in changes) / 200 == pytest.approx(whole)


def test_rows_that_repeat_are_one(runs, tmp_path):
    folder = make_run(tmp_path)
    (folder / "scores/best.npz").write_bytes((folder / "scores/last.npz").read_bytes())
    lines = rows(gathered(folder)[0].first)
    assert [line.checkpoint for line in lines] == ["last = best", "last-ema"]
    folder = make_run(tmp_path, seed=1, repeats=9)
    (folder / "scores/best.npz").write_bytes((folder / "scores/last.npz").read_bytes())
    lines = rows(gathered(folder)[0].first)
    assert [line.checkpoint for line in lines] == [
        "last = best", "last = best, clean", "last-ema", "last-ema, clean",
    ]  # fmt: skip


def test_a_folder_of_seeds_stands_for_all_of_them(here, runs):
    said = tsgc("report", runs / "joint", runs / "bone", "--out", "two.html")
    (done,) = (line for line in said.splitlines() if line.startswith("report on"))
    assert done.count("joint seed") == 3 and done.count("bone seed") == 3
    page = (here / "two.html").read_text()
    assert page.count("± ") >= 2 and "3 seeds" in page
    assert "given twice" in fails("report", runs / "joint", runs / "joint/seed1", code=2)


def test_what_cannot_be_compared_is_said(here, runs):
    other = make_run(here / "other", seed=0)
    scores = read_scores(other / "scores/last.npz")
    write_scores(other / "scores/last.npz", replace(scores, names=np.char.add("x", scores.names)))
    tsgc("report", runs / "bone/seed0", other)
    assert "They cannot be compared" in (here / "report.html").read_text()
    for path in (other / "scores").iterdir():
        path.unlink()
    tsgc("report", runs / "bone/seed0", other, "--overwrite")
    assert "B has no scores" in (here / "report.html").read_text()


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_tables_beside_the_page_are_the_score_files(here, runs):
    folders = [runs / "joint/seed0", runs / "bone/seed0"]
    tsgc("report", *folders, "--out", "both.html")
    predictions, classes = table(here / "both-predictions.csv"), table(here / "both-classes.csv")
    assert len(predictions) == 400 and len(classes) == 20
    for label, folder in zip("AB", folders):
        scores = read_scores(folder / "scores/last.npz")
        rows = [row for row in predictions if row["run"] == label]
        assert [row["clip"] for row in rows] == scores.names.tolist()
        assert [int(row["predicted"]) for row in rows] == scores.logits.argmax(1).tolist()
        assert [int(row["repeats_training"]) for row in rows] == scores.repeats.astype(int).tolist()
        exact = np.exp(scores.logits.astype(float))
        exact = (exact / exact.sum(1, keepdims=True))[np.arange(200), scores.labels]
        np.testing.assert_allclose([float(row["true_probability"]) for row in rows], exact, atol=1e-6)
        for row in (row for row in classes if row["run"] == label):
            of_class = scores.labels == int(row["class"])
            hit = of_class & (scores.logits.argmax(1) == scores.labels)
            assert int(row["clips"]) == of_class.sum() and int(row["right"]) == hit.sum()
            assert float(row["top1"]) == pytest.approx(100 * hit.sum() / of_class.sum(), abs=1e-4)
            assert int(row["clean_clips"]) == (of_class & ~scores.repeats).sum()
    (here / "both.html").unlink()
    assert "both-classes.csv" in fails("report", *folders, "--out", "both.html")  # nothing is written over


def test_a_report_is_a_page_and_nothing_else(here, runs):
    said = fails("report", runs / "joint/seed0", "--out", "a.pdf", code=2)
    assert "a.pdf" in said and ".html" in said and ".csv" in said
    assert not list(here.glob("a*"))


def test_what_differs_from_the_recipe_is_on_top_and_the_rest_is_folded(here, tmp_path):
    folder = make_run(tmp_path, benchmark="ntu120/xsub")
    config = read_run_config(folder / "config.yaml")
    (folder / "config.yaml").write_text(to_yaml(replace(config, epochs=70, lr=0.5)))
    tsgc("report", folder)
    page = (here / "report.html").read_text().split('id="configuration"')[1]
    top, folded = page.split("<details>")[:2]
    keys = re.findall('<th scope="row">([^<]*)', top)
    assert {"epochs", "lr"} <= set(keys) and "batch" not in keys
    assert "batch" in re.findall('<th scope="row">([^<]*)', folded)


def test_the_published_figure_stands_beside_ones_own(here, tmp_path):
    tsgc("report", make_run(tmp_path))
    page = (here / "report.html").read_text()
    head = page[: page.index("</header>")]
    assert "92.02 %" in head and "arXiv 2304.11631" in head and "best epoch on the test split" in head
    tsgc("report", make_run(tmp_path, benchmark="mine/people"), "--out", "mine.html")
    page = (here / "mine.html").read_text()
    assert "Published" not in page


@pytest.fixture(scope="module")
def with_clips(made, tmp_path_factory):
    """Two seeds of joint and one of bone, scored on the test clips of the made shards."""
    root = tmp_path_factory.mktemp("with_clips")
    manifest = load_manifest(made / "shards/ntu60/xsub")
    clips = manifest.clips["test"]
    for modality, seed in (("joint", 0), ("joint", 1), ("bone", 0)):
        folder = make_run(root, modality, seed=seed)
        environment = {"benchmark": "ntu60/xsub", "manifest_digest": manifest.digest, "preset": "reference"}
        (folder / "environment.json").write_bytes(orjson.dumps(environment))
        rng = np.random.default_rng(10 * seed + len(modality))
        logits = rng.normal(0, 1, (len(clips), 60)).astype(np.float32)
        logits[np.arange(len(clips)), clips.labels] += 5 * rng.random(len(clips))
        scores = read_scores(folder / "scores/last.npz")
        source = replace(scores.source, class_names=list(manifest.class_names))
        write_scores(
            folder / "scores/last.npz",
            replace(
                scores, names=np.array(clips.names), labels=clips.labels, logits=logits,
                repeats=clips.repeats, source=source,
            ),
        )  # fmt: skip
        (folder / "scores/last-ema.npz").unlink()
        lines = [{"epoch": e, "loss": 3.0 / e + seed, "test_top1": 10.0 * e} for e in range(1, 4)]
        (folder / "metrics.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    return root / "ntu60/xsub/252"


LOOK = """
const key = (where, name) => where.dispatchEvent(
  new KeyboardEvent("keydown", {key: name, cancelable: true, bubbles: true}));
const pixels = (canvas) => canvas.toDataURL();
const box = document.querySelector("#disagreement .player");
const body = box.querySelector("canvas");
const slider = box.querySelector("input");
if (slider) { slider.value = 0; slider.dispatchEvent(new Event("input")); }
body.focus();
const focused = document.activeElement === body;
const before = pixels(body);
key(body, "ArrowRight");
const turned = pixels(body) !== before;
key(body, "0");
const back = pixels(body) === before;
let played = null;
if (slider) { const was = box.querySelector(".play").textContent; key(body, " ");
  played = was + " " + box.querySelector(".play").textContent; }
const side = box.querySelector('[data-turn="90"]');
side.click();
const pressed = side.getAttribute("aria-pressed");
const matrix = document.querySelector(".matrix canvas");
matrix.focus(); key(matrix, "ArrowDown");
const wide = document.documentElement.scrollWidth - innerWidth;
const cut = [...document.querySelectorAll("main *, header *")].filter((each) =>
  !each.closest(".wide, svg, script") && each.getBoundingClientRect().right > innerWidth + 1).length;
const figures = Object.fromEntries(
  [...document.querySelectorAll("[data-figure]")].map(
    (each) => [each.dataset.figure, each.textContent.trim()]));
const bands = document.querySelectorAll(".band").length;
document.documentElement.dataset.said = JSON.stringify({
  focused, turned, back, played, pressed, wide, cut, figures, bands,
  readout: document.querySelector(".matrix .readout").textContent,
  order: [...document.querySelectorAll("h2")].map((each) => each.textContent)});
"""


@pytest.mark.parametrize("width", (1440, 390))
def test_the_comparison_in_a_browser(here, made, with_clips, width):
    tsgc("report", with_clips / "joint", with_clips / "bone/seed0", "--data-root", made, "--clips", 2)
    seen = visit(here / "report.html", LOOK, width=width)
    assert seen.console == [] and 'data-ready="yes"' in seen.dom
    said = orjson.loads(seen.said)
    assert said["wide"] <= 0 and said["cut"] == 0  # tables scroll by themselves
    assert said["focused"] and said["turned"] and said["back"] and said["pressed"] == "true"
    assert said["played"] in (None, "Play Pause")
    assert said["bands"] > 0
    assert re.match(r"eat meal.* taken for drink water: \d+ of \d+", said["readout"])
    assert said["order"] == ["How good", "Where wrong", "Why", "How trained"]
    for label, folders in (("A", ("joint/seed0", "joint/seed1")), ("B", ("bone/seed0",))):
        files = [read_scores(with_clips / folder / "scores/last.npz") for folder in folders]
        top1 = np.mean([accuracy(each.logits, each.labels).top1 for each in files])
        assert said["figures"][f"{label} all"] == f"{top1:.2f} %"
    assert "It holds recordings of people" in seen.dom
