"""The report's reasons: joints that speak for a class, and test clips as points, by logits or features."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made.browser import visit
from made.command import tsgc

from pipelines.errors import TsgcError
from shards.load_manifest import load_manifest
from tsgc.evaluation.scores import read_scores
from tsgc.explain import embedding
from tsgc.explain.embedding import pca, split_features
from tsgc.inference.recogniser import load_run
from tsgc.report.sections.embedding import GRID, on_grid
from tsgc.report.sections.saliency import right_clips

RUN = "runs/ntu60/xsub/tiny/joint/seed0"


@pytest.fixture
def report(trained, tmp_path, monkeypatch):
    """Makes the report of the trained run; returns its page and what was printed."""
    monkeypatch.chdir(trained)

    def make(*words):
        out = tmp_path / "report.html"
        said = tsgc("report", RUN, "--out", out, "--overwrite", *words)
        return out, said

    return make


def points_of(page):
    """The data of the page's points."""
    part = page.read_text().partition('<div class="embedding">')[2]
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', part, re.S)[1])


@given(st.integers(3, 40), st.integers(1, 6), st.integers(0, 99))
def test_principal_components_are_those_of_the_singular_values(N, D, seed):
    features = np.random.default_rng(seed).normal(size=(N, D)) * np.arange(1, D + 1)
    points, share = pca(features)
    centred = features - features.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    two = min(2, D)
    assert np.allclose(np.abs(points[:, :two]), np.abs(left[:, :two] * sizes[:two]), atol=1e-6 * N * D)
    assert share == pytest.approx((sizes[:2] ** 2).sum() / (sizes**2).sum())
    assert (points.max(0) >= -points.min(0) - 1e-9).all()


def test_points_keep_their_proportions_on_the_grid():
    points = np.array([[0, 0], [4, 0], [4, 2]], float)
    grid = np.array(on_grid(points)).reshape(-1, 2)
    assert grid.min() >= 0 and grid.max() <= GRID
    assert grid[1, 0] - grid[0, 0] == GRID and abs(grid[1, 1] - grid[2, 1] - GRID / 2) <= 1
    assert on_grid(np.zeros((2, 2))) == [round(GRID / 2)] * 4


def test_clips_of_a_class_are_right_ones_and_at_most_so_many():
    logits = np.eye(3)[[0, 0, 0, 1, 2, 2]]
    assert right_clips(logits, np.array([0, 0, 0, 2, 2, 1]), 2) == {0: [0, 1], 2: [4]}


def test_features_are_what_the_last_layer_makes_the_logits_of(trained):
    recogniser = load_run(trained / RUN, device="cpu")
    manifest = load_manifest(trained / "data/shards/ntu60/xsub")
    scores = read_scores(trained / RUN / "scores/last.npz")
    names = list(manifest.clips["test"].names)
    wanted = np.arange(len(names)) % 2 == 0
    features = split_features(recogniser.streams[0], manifest, "test", wanted, torch.device("cpu"))
    logits = recogniser.streams[0].model.head(torch.from_numpy(features)).detach().numpy()
    kept = [name for name, here in zip(names, wanted) if here]
    places = [scores.names.tolist().index(name) for name in kept]
    assert np.allclose(logits, scores.logits[places], atol=1e-4)


def test_umap_is_asked_for_only_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    with pytest.raises(TsgcError, match=r"pip install 'tsgc\[umap\]'"):
        embedding.umap(np.zeros((20, 3)))


def test_umap_keeps_groups_together():
    pytest.importorskip("umap", reason="umap-learn is not installed")
    rng = np.random.default_rng(0)
    groups = np.repeat([[0.0] * 8, [9.0] * 8], 30, axis=0) + rng.normal(size=(60, 8))
    points = embedding.umap(groups.astype(np.float32))
    inside = max(np.ptp(part, axis=0).max() for part in (points[:30], points[30:]))
    assert np.linalg.norm(points[:30].mean(0) - points[30:].mean(0)) > inside / 2


def test_a_bare_report_places_clips_by_their_logits_without_checkpoint_or_shards(trained, here):
    run = shutil.copytree(trained / RUN, here / "run")
    shutil.rmtree(run / "checkpoints")
    tsgc("report", run, "--data-root", here / "nothing")
    page = here / "report.html"
    text, data = page.read_text(), points_of(page)
    scores = read_scores(run / "scores/last.npz")
    assert "by their logits" in text and 'id="saliency"' not in text
    assert data["names"] == scores.names.tolist() and data["labels"] == scores.labels.tolist()
    assert data["predicted"] == scores.logits.argmax(1).tolist()
    assert len(data["places"]["PCA"]) == 2 * len(scores.labels) and "stills" not in data
    said = tsgc("report", run, "--data-root", here / "nothing", "--explain", 1, "--overwrite")
    assert "No saliency: " in said and "by their logits, not their features: " in said


def test_an_explained_report_draws_classes_and_places_clips_by_features(report):
    page, _ = report("--explain", 1)
    text = page.read_text()
    assert 'id="saliency"' in text and "by their features" in text and "1 clip<" in text
    assert "above the mean of all classes" in text and 'class="saliency body"' in text
    assert "stills" not in points_of(page)


READ = """
const box = document.querySelector(".embedding");
const canvas = box.querySelector(".cloud canvas");
canvas.focus();
for (const key of ["ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"]) {
  canvas.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
}
const { scrollWidth, clientWidth } = document.documentElement;
const still = box.querySelector("canvas.still");
const drawn = still && still.getContext("2d").getImageData(0, 0, 192, 192).data.some((part) => part > 0);
document.documentElement.dataset.said =
  JSON.stringify({ said: box.querySelector(".readout").textContent, wide: scrollWidth > clientWidth, drawn });
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_points_are_read_by_keyboard_and_show_their_clip(report, width):
    page, said = report("--explain", 1, "--clips", 1)
    assert "It holds skeletons of recorded people" in said
    data = points_of(page)
    seen = visit(page, READ, width)
    found = json.loads(seen.said)
    assert seen.console == [] and not found["wide"] and found["drawn"]
    place = next(index for index, name in enumerate(data["names"]) if found["said"].endswith(name))
    assert found["said"].startswith(data["classes"][data["labels"][place]])
    right = data["labels"][place] == data["predicted"][place]
    assert (", right:" in found["said"]) == right
