"""Test clips as points of a plane, near each other where the network sees them alike."""

import base64
from typing import Any

import numpy as np

from pipelines.errors import TsgcError
from shards.manifest import Manifest
from tsgc.drawing.skeleton import bones, even_indices, front_view, joint_sides
from tsgc.evaluation.scores import Scores
from tsgc.explain.embedding import has_umap, pca, split_features, umap
from tsgc.inference.recogniser import load_run
from tsgc.report.analysis import confused_pairs, confusion
from tsgc.report.gather import Gathered, score_class_names
from tsgc.report.section import Report, Section, section
from tsgc.workspace.clips_by_name import clips_by_name

MOST = 4000  # points; more clips are thinned out evenly
COLOURED = 8  # classes that have colours of their own at once
GRID = 4095  # steps of either axis
LEAST = 10  # clips that UMAP needs
STILLS, SIDE = 8, 96  # frames of a clip that is pointed at, and pixels of its side
ABSENT = 255


def embedding(report: Report) -> Section | None:
    """None where no run has scores."""
    shown = {group.label: run_points(group.first, report) for group in report.groups}
    if not any(shown.values()):
        return None
    people = any(one and "stills" in one["data"] for one in shown.values())
    return section(
        "embedding",
        "Test clips by what the network sees",
        scripts=["embedding.js"],
        people=people,
        groups=report.groups,
        several=report.several,
        shown=shown,
        explained=report.explain > 0,
    )


def run_points(run: Gathered, report: Report) -> dict[str, Any] | None:
    """A run's points and what is said of them; by its logits, or with `explain` by its features."""
    scores = run.main_scores
    if scores is None or len(scores.labels) < 3:
        return None
    kept = np.array(even_indices(len(scores.labels), MOST))
    of, stills = "logits", None
    values = scores.logits[kept]
    if report.explain:
        try:
            kept, values = features(run, scores, kept, report)
            of = "features"
            if report.clips:
                stills = small_stills(report.manifest(run.run.benchmark), scores.names[kept].tolist())
        except TsgcError as error:
            run.missing.append(f"Clips are placed by their logits, not their features: {error}.")
    points, share = pca(values)
    places = {"PCA": on_grid(points)}
    if report.explain and has_umap() and len(values) >= LEAST:
        places["UMAP"] = on_grid(umap(values))
    names = score_class_names(scores)
    predicted = scores.logits.argmax(1)
    pairs = confused_pairs(confusion(predicted, scores.labels, len(names)), most=1)
    present = np.unique(scores.labels).tolist()
    first = [pairs[0].true, pairs[0].predicted] if pairs else present[:2]
    data = {
        "classes": names,
        "present": present,
        "coloured": present if len(present) <= COLOURED else first,
        "labels": scores.labels[kept].tolist(),
        "predicted": predicted[kept].tolist(),
        "names": scores.names[kept].tolist(),
        "grid": GRID,
        "places": places,
    }
    if stills is not None:
        data["stills"] = stills
    return {"data": data, "of": of, "share": share, "clips": len(kept), "all": len(scores.labels)}


def features(
    run: Gathered, scores: Scores, kept: np.ndarray, report: Report
) -> tuple[np.ndarray, np.ndarray]:
    """Places in the scores of those `kept` clips that the shards have, and their features (N, D)."""
    manifest = report.manifest(run.run.benchmark)
    recogniser = load_run(run.run.checkpoint(run.main))
    place = {name: index for index, name in enumerate(scores.names.tolist())}
    wanted_names = set(scores.names[kept].tolist())
    names = manifest.clips["test"].names
    wanted = np.array([name in wanted_names for name in names], bool)
    if not wanted.any():
        raise TsgcError(f"{manifest.folder}: has none of them; were the shards written from other clips?")
    with report.counting(f"features of {run.run.title}", "clips") as count:
        found = split_features(recogniser.streams[0], manifest, "test", wanted, recogniser.device, count)
    return np.array([place[name] for name, here in zip(names, wanted) if here]), found


def on_grid(points: np.ndarray) -> list[int]:
    """Points (N, 2) as whole numbers, 0 to GRID, x and y in turn, in their proportions; y downwards."""
    low, high = points.min(0), points.max(0)
    extent = float((high - low).max())
    scaled = (points - (low + high) / 2) * (1, -1) / (extent if extent > 0 else 1.0) + 0.5
    return (scaled * GRID).round().astype(int).ravel().tolist()


def small_stills(manifest: Manifest, names: list[str]) -> dict[str, Any]:
    """A few frames of each clip, small enough that thousands fit into a page."""
    skeleton = manifest.body
    found = []
    for first in range(0, len(names), 256):
        part = names[first : first + 256]
        clips = clips_by_name(manifest, "test", part)
        for name in part:
            joints = clips[name][even_indices(len(clips[name]), STILLS)]
            points = front_view(joints, skeleton, size=(SIDE, SIDE), channels=manifest.channels)
            scaled = np.where(np.isnan(points), ABSENT, np.nan_to_num(points) / SIDE * (ABSENT - 1)).round()
            T, M = points.shape[:2]
            found.append([T, M, base64.b64encode(scaled.astype(np.uint8).tobytes()).decode()])
    return {
        "clips": found,
        "joints": skeleton.num_joints,
        "bones": [[child, parent, side] for child, parent, side in bones(skeleton)],
        "sides": list(joint_sides(skeleton)),
    }
