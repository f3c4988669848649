"""The report: its figures, what it says of runs that lack something, and the page in a real browser."""

import re
import shutil
from dataclasses import asdict
from html.parser import HTMLParser

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from made.browser import visit
from made.command import fails, quick, tsgc

from pipelines.datasets.table import DATASETS
from pipelines.skeleton import NTU_25
from tsgc.config import TrainConfig, to_yaml
from tsgc.drawing.html import ASSETS
from tsgc.evaluation.scores import Scores, ScoreSource, write_scores
from tsgc.network.adjacency import adjacency
from tsgc.report import analysis, charts, gather, learned_adjacency
from tsgc.training.run_folder import write_environment
from tsgc.workspace.runs import open_run

VOID = {"meta", "link", "br", "input", "hr", "img"}


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """Two runs of made data: joint and bone."""
    root = tmp_path_factory.mktemp("runs")
    for modality in ("joint", "bone"):
        words = quick("epochs=3", "eval_every=1", f"modality={modality}")
        tsgc("train", "ntu60/xsub", "--data-root", made, "--runs", root, *words)
    return root / "ntu60/xsub/tiny"


@pytest.fixture
def copy(here, trained):
    """The joint run, to be damaged, at ./runs/joint."""
    return shutil.copytree(trained / "joint/seed0", here / "runs/joint")


def made_run(folder, classes, clips, config=None, seed=0):
    """A run folder of made scores and figures, without checkpoint."""
    rng = np.random.default_rng(seed)
    config = config or TrainConfig(epochs=300)
    (folder / "scores").mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(config))
    write_environment(folder, "ntu120/xsub", {"preset": "reference", "device": "cuda"})
    labels = rng.integers(0, len(classes), clips)
    logits = rng.normal(0, 1, (clips, len(classes))).astype(np.float32)
    logits[np.arange(clips), labels] += 3 * rng.random(clips)
    names = np.array([f"clip{index:06d}" for index in range(clips)])
    source = ScoreSource(
        "ntu120/xsub", "test", "reference", "252", config.modality, seed, "last", "none", classes
    )
    write_scores(folder / "scores/last.npz", Scores(names, labels, logits, np.zeros(clips, bool), source))
    lines = [
        {"epoch": epoch, "loss": 3 / epoch, "lr": 1e-3, "clips_per_second": 3000.0, "gpu_memory_gb": 10.7}
        for epoch in range(1, 301)
    ]
    (folder / "metrics.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    return folder


class Checked(HTMLParser):
    """Fails on tags that are not closed in order, and collects every attribute that could load something."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.links += [
            value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")
        ]

    def handle_endtag(self, tag):
        assert tag not in VOID and self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)


def read(page):
    """A page's text without tags, its links, and all of it; asserts that it is well formed and alone."""
    whole = page.read_text()
    parsed = Checked()
    parsed.feed(whole)
    assert not parsed.open
    assert all(link.startswith("#") or link == "data:," for link in parsed.links), parsed.links
    assert not re.search(r"https?:|//\w+\.\w|@import|url\(", whole)
    assert "default-src 'none'" in whole  # the browser itself is told to load nothing
    return re.sub(r"\s+", " ", " ".join(parsed.text))


@given(st.integers(1, 6), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=40))
def test_the_confusion_matrix_counts_as_a_plain_loop_does(K, pairs):
    pairs = np.array([(true % K, predicted % K) for true, predicted in pairs], int).reshape(-1, 2)
    expected = np.zeros((K, K), int)
    for true, predicted in pairs:
        expected[true, predicted] += 1
    matrix = analysis.confusion(pairs[:, 1], pairs[:, 0], K)
    assert np.array_equal(matrix, expected)
    found = analysis.confused_pairs(matrix, most=100)
    assert sum(pair.count for pair in found) == expected.sum() - expected.trace()
    assert [pair.count for pair in found] == sorted((pair.count for pair in found), reverse=True)
    assert all(pair.back == expected[pair.predicted, pair.true] for pair in found)
    right, totals = analysis.class_accuracy(matrix)
    assert np.array_equal(np.isnan(right), totals == 0)


def test_calibration_of_a_known_case():
    """Four clips of confidence 0.81, three of them right; two of 0.62, both wrong."""
    confident, doubtful = np.log([0.81, 0.19]), np.log([0.62, 0.38])
    logits = np.array([confident] * 4 + [doubtful] * 2)
    found = analysis.calibrate(logits, np.array([0, 0, 0, 1, 1, 1]))
    assert found.ece == pytest.approx(100 * (4 * 0.06 + 2 * 0.62) / 6)
    assert found.mean_confidence == pytest.approx(100 * (4 * 0.81 + 2 * 0.62) / 6)
    assert found.counts.sum() == 6 and found.counts[12] == 4 and found.counts[9] == 2
    assert found.nll == pytest.approx(-(3 * np.log(0.81) + np.log(0.19) + 2 * np.log(0.38)) / 6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_ece_is_that_of_a_plain_loop(seed, N):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(0, 3, (N, 4)), rng.integers(0, 4, N)
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    total = 0.0
    for low in range(analysis.BINS):
        inside = [
            (p.max(), p.argmax() == label)
            for p, label in zip(probability, labels)
            if min(int(p.max() * analysis.BINS), analysis.BINS - 1) == low
        ]
        if inside:
            confidence, right = np.mean(inside, axis=0)
            total += len(inside) / N * abs(confidence - right)
    assert analysis.calibrate(logits, labels).ece == pytest.approx(100 * total, abs=1e-9)


def test_the_worst_clips_are_wrong_and_surest():
    logits = np.array([[5, 0, 0], [0, 5, 0], [0, 9, 0], [0, 0, 0.1]], float)
    assert analysis.worst_clips(logits, np.array([0, 0, 0, 0]), 5).tolist() == [2, 1, 3]
    assert analysis.worst_clips(logits, np.array([0, 0, 0, 0]), 1).tolist() == [2]


@example(0.0, 5e-324, 3, False)
@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.integers(3, 8), st.booleans())
def test_ticks_are_even_and_cover_what_they_are_for(a, b, most, whole):
    low, high = min(a, b), max(a, b)
    marks = charts.ticks(low, high, most, whole=whole)
    slack = 1e-6 * max(abs(low), abs(high), marks[-1] - marks[0])
    assert marks[0] <= low + slack and marks[-1] >= high - slack
    assert 2 <= len(marks) <= most + 4
    assert np.ptp(np.diff(marks)) < slack
    assert not whole or all(mark == int(mark) for mark in marks)


def test_a_curve_breaks_where_it_is_not_finite_and_one_epoch_is_a_dot():
    x, y = [1, 2, 3, 4], [1.0, float("nan"), 2.0, 3.0]
    drawn = str(charts.line_chart(charts.Chart("loss", "", [charts.Series("a", 0, False, x, y)])))
    assert re.search('class="line c0" d="M[^"]* M[^"]* L[^"]*"', drawn)
    once = str(charts.line_chart(charts.Chart("loss", "", [charts.Series("a", 0, False, [3], [0.5])])))
    assert "<circle" in once and "nan" not in once.lower()


def test_the_strongest_changes_of_a_graph():
    start = adjacency(NTU_25)[1]
    learned = start.copy()
    learned[3, 7] -= 0.5
    learned[7, 3] += 0.25
    learned[4, 4] += 0.125
    edges = learned_adjacency.strongest(learned, start)
    assert edges == [
        learned_adjacency.LearnedEdge(3, 7, -0.5),
        learned_adjacency.LearnedEdge(7, 3, 0.25),
        learned_adjacency.LearnedEdge(4, 4, 0.125),
    ]
    drawn = str(learned_adjacency.draw_adjacency(NTU_25, edges, 0.5, "made"))
    assert "left hand → head: -0.5000" in drawn and "head → left hand: +0.2500" in drawn
    assert drawn.count('class="edge more"') == 2 and drawn.count('class="edge less"') == 1
    assert learned_adjacency.strongest(start, start) == []


def test_a_run_is_reported_whole(here, trained):
    said = tsgc("report", trained / "joint/seed0")
    assert "report.html" in said and "No " not in said
    text = read(here / "report.html")
    for part in (
        "ntu60/xsub tiny joint seed 0", "reference", "Training loss", "Accuracy while training",
        "Learning rate", "Throughput", "Not recorded: GPU memory", "Expected calibration error",
        "Most confused", "Stage 3, block 1", "started as outward", "warmup_epochs", "git_commit",
        "versions.torch", "selected on the test split", "drink water",
    ):  # fmt: skip
        assert part in text, part
    assert "Fusion" not in text and "Worst clips" not in text
    assert "--overwrite" in fails("report", trained / "joint/seed0")
    tsgc("report", trained / "joint/seed0", "--ema", "--overwrite")
    assert "Checkpoint last-ema" in read(here / "report.html")


def test_a_bare_report_is_of_the_newest_run(here, trained):
    assert "tiny bone seed 0" in tsgc("report", "--runs", trained)
    assert "tiny bone seed 0" in read(here / "report.html")


def test_runs_are_compared(here, trained):
    tsgc("report", trained / "joint/seed0", trained / "bone/seed0", "--out", "both.html")
    text = read(here / "both.html")
    assert "fused, 2 streams" in text and "without A" in text and "McNemar" in text
    page = (here / "both.html").read_text()
    marked = re.findall('<tr class="marked"><th scope="row">([^<]*)', page.split('id="config-table"')[1])
    assert marked[0] == "modality" and "batch" not in marked
    assert page.count("Confusion matrix of") == 2


def test_runs_that_cannot_be_fused_are_still_compared(here, trained):
    other = made_run(here / "other", ["walk", "run"], 30)
    tsgc("report", trained / "joint/seed0", other)
    text = read(here / "report.html")
    assert "cannot be fused" in text and "2 classes" in text
    assert "ntu60/xsub" in text and "ntu120/xsub" in text and "walk" in text


def test_what_a_run_lacks_is_said(here, copy):
    lines = (copy / "metrics.jsonl").read_bytes().splitlines()
    (copy / "metrics.jsonl").write_bytes(b"\n".join([*lines[:2], b"[1]", b'{"epoch": "x"}', lines[2][:20]]))
    for checkpoint in copy.glob("checkpoints/*.safetensors"):
        checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    (copy / "scores/best.npz").write_bytes(b"no zip")
    said = tsgc("report", copy, "--clips", 2)
    assert "best.npz: not a score file" in said and "not a whole safetensors" in said
    assert "No worst clips: data/shards: no shards" in said
    text = read(here / "report.html")
    assert "2 of 3" in text and "No learned graphs" in text and "No worst clips" in text

    for path in (*copy.glob("scores/*"), *copy.glob("checkpoints/*"), copy / "metrics.jsonl"):
        path.unlink()
    tsgc("report", copy, "--overwrite")
    text = read(here / "report.html")
    assert "No curves" in text and "No scores to show" in text and "tsgc evaluate" in text
    assert "warmup_epochs" in text


def test_wrong_runs_get_one_line(here, copy):
    assert "not a run" in fails("report", here)
    assert "given twice" in fails("report", copy, here / "runs/../runs/joint", code=2)
    shutil.rmtree(here / "runs")
    assert "no runs" in fails("report")
    assert not (here / "report.html").exists()


def test_the_worst_clips_come_only_when_asked_for_and_with_a_warning(here, made, copy):
    said = tsgc("report", copy, "--data-root", made, "--clips", 3)
    assert "terms may forbid" in said
    text = read(here / "report.html")
    assert "Think before you share" in text and text.count("taken for:") == 3
    assert "not the shard set" not in said
    environment = orjson.loads((copy / "environment.json").read_bytes())
    (copy / "environment.json").write_bytes(orjson.dumps(environment | {"manifest_digest": "another"}))
    said = tsgc("report", copy, "--data-root", made, "--clips", 1, "--overwrite")
    assert "not the shard set of the run" in said


def test_names_cannot_become_markup(here):
    run = made_run(here / "run", ['<script>alert("x")</script>', "</script><b>&", "plain"], 40)
    tsgc("report", run)
    text = read(here / "report.html")  # fails where tags do not close
    assert '<script>alert("x")</script>' in text
    assert "<script>alert" not in (here / "report.html").read_text()


def test_120_classes_stay_small(here):
    runs = [
        made_run(here / str(seed), list(DATASETS["ntu120"].class_names), 20_000, seed=seed) for seed in (0, 1)
    ]
    tsgc("report", *runs)
    assert (here / "report.html").stat().st_size < 3e6
    assert "GPU memory" in read(here / "report.html")


def test_metrics_of_an_epoch_that_was_repeated_count_once(tmp_path):
    lines = [{"epoch": 2, "loss": 3.0}, {"epoch": 1, "loss": 4.0, "note": "x"}, {"epoch": 2, "loss": 1.0}]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    expected = [{"epoch": 1, "loss": 4.0}, {"epoch": 2, "loss": 1.0}]
    assert gather.read_metrics(tmp_path / "metrics.jsonl") == expected


def test_labels_of_many_runs_are_unlike():
    labels = [gather.letters(index) for index in range(100)]
    assert labels[0] == "A" and labels[26] == "AA" and len(set(labels)) == 100


def test_the_learned_graphs_are_those_of_the_network(trained):
    run = open_run(trained / "joint/seed0")
    from tsgc.checkpoint import load_model

    graphs = gather.read_adjacency(run.checkpoint("last"))
    model, description = load_model(run.checkpoint("last"))
    assert asdict(graphs.description) == asdict(description)
    assert list(graphs.learned) == [(0, 0), (1, 0), (2, 0)]
    for (stage, block), learned in graphs.learned.items():
        assert np.array_equal(learned, model.stages[stage][block].graphs.detach().numpy())


def luminance(colour):
    """Relative luminance of #rrggbb (WCAG 2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", (0, 1), ids=("light", "dark"))
def test_text_can_be_read_in_both_themes(theme):
    """WCAG 2 AA: 4.5 for text; chips are text in the paper's colour on a run's."""
    style = (ASSETS / "style.css").read_text()
    colours = dict(
        re.findall(r"--([\w-]+): (#[0-9a-f]{6})", re.findall(r":root \{(.*?)\}", style, re.DOTALL)[theme])
    )
    for name in ("ink", "quiet", "accent", *(f"c{index}" for index in range(charts.COLOURS))):
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    assert contrast(colours["ink"], colours["mark"]) >= 4.5
    assert contrast(colours["ink"], colours["raised"]) >= 4.5


READ_MATRIX = """
const canvas = document.querySelector(".matrix canvas");
const key = (name) => canvas.dispatchEvent(new KeyboardEvent("keydown", {key: name, cancelable: true}));
key("ArrowDown"); key("ArrowUp");
const first = document.querySelector(".matrix .readout").textContent;
const chart = document.querySelector(".chart .curves").getBoundingClientRect();
document.querySelector(".chart .curves").dispatchEvent(
  new PointerEvent("pointermove", {clientX: chart.left + 0.99 * chart.width, clientY: chart.top + 9}));
const curve = document.querySelector(".chart .readout").textContent;
const box = canvas.getBoundingClientRect();
canvas.dispatchEvent(
  new PointerEvent("pointermove", {clientX: box.right - 1, clientY: box.top + 1, bubbles: true}));
const corner = document.querySelector(".matrix .readout").textContent;
const list = document.querySelector(".classes");
const before = list.firstElementChild.dataset.number;
const select = document.querySelector("select[data-sorts]");
select.value = "number";
select.dispatchEvent(new Event("change"));
const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
document.documentElement.dataset.said =
  JSON.stringify({first, curve, corner, order: list.firstElementChild.dataset.number, wide});
"""


@pytest.mark.parametrize("width", (1280, 420))
def test_the_page_works_in_a_browser(here, made, trained, width):
    runs = [trained / "joint/seed0", trained / "bone/seed0"]
    tsgc("report", *runs, "--data-root", made, "--clips", 2)
    seen = visit(here / "report.html", READ_MATRIX, width=width)
    assert seen.console == []
    assert 'data-ready="yes"' in seen.dom and 'data-players="4"' in seen.dom
    said = orjson.loads(seen.said)
    names = DATASETS["ntu60"].class_names
    assert re.match(rf"{re.escape(names[0])}: \d+ of \d+ clips right", said["first"])
    assert re.match(rf"{re.escape(names[0])} taken for {re.escape(names[-1])}: \d+ of", said["corner"])
    assert re.match(r"epoch 3: A [\d.]+, B [\d.]+", said["curve"])
    assert said["order"] == "0"
    assert said["wide"] <= 0  # no sideways scrolling of the page, only of its tables


def test_a_page_without_anything_works_in_a_browser(here, copy):
    for path in (*copy.glob("scores/*"), *copy.glob("checkpoints/*"), copy / "metrics.jsonl"):
        path.unlink()
    tsgc("report", copy)
    seen = visit(here / "report.html")
    assert seen.console == [] and 'data-ready="yes"' in seen.dom


def test_the_browser_test_notices_errors(tmp_path):
    page = tmp_path / "broken.html"
    page.write_text("<!DOCTYPE html><html><body><p>x</p></body></html>")
    assert visit(page).console == []
    assert visit(page, "nothing.at.all();").console != []
    page.write_text('<!DOCTYPE html><html><body><img src="absent.png"></body></html>')
    policy = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\">"
    page.write_text(page.read_text().replace("<body>", f"<head>{policy}</head><body>"))
    assert visit(page).console != []  # the policy refuses what is loaded, and says so
