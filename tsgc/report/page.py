"""The report's page: tables, charts and data for its script, in one HTML file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import TsgcError
from tsgc.config import TrainConfig
from tsgc.drawing.html import render
from tsgc.drawing.player import Player
from tsgc.evaluation.scores import COLUMNS, Scores, accuracy_rows, remarks
from tsgc.evaluation.statistics import RESAMPLES
from tsgc.fusion import comparison
from tsgc.fusion.fuse import fuse, match_clips
from tsgc.fusion.scored_streams import ScoredStream
from tsgc.report import analysis, charts, learned_adjacency
from tsgc.report.gather import Gathered, score_class_names

ASSETS = Path(__file__).parent / "assets"  # the report's own; the rest is tsgc/drawing's


def report_page(gathered: Sequence[Gathered], clips: Mapping[str, Sequence[Player]]) -> str:
    """The whole page; `clips`: a run's label -> animations of its worst clips."""
    return render(
        "report.html",
        folder=ASSETS,
        title=title(gathered),
        runs=gathered,
        columns=COLUMNS,
        accuracies=accuracies(gathered),
        remarks=remarks([scores for run in gathered for scores in run.scores.values()]),
        fusion=fusion(gathered),
        config=config_table(gathered),
        curves=curves(gathered),
        classes=class_tables(gathered),
        close={run.label: close_look(run) for run in gathered},
        adjacency={run.label: adjacency_rows(run) for run in gathered},
        edges=learned_adjacency.EDGES,
        clips=clips,
        environment=environment_table(gathered),
    )


def title(gathered: Sequence[Gathered]) -> str:
    if len(gathered) == 1:
        return gathered[0].run.title
    benchmarks = list(dict.fromkeys(run.run.benchmark for run in gathered))
    return f"{len(gathered)} runs on {', '.join(benchmarks)}"


def accuracies(gathered: Sequence[Gathered]) -> list[tuple[Gathered, str, list[list[str]]]]:
    """(run, checkpoint, its table rows) of every score file."""
    return [
        (run, name, accuracy_rows(name, scores)) for run in gathered for name, scores in run.scores.items()
    ]


def fusion(gathered: Sequence[Gathered]) -> dict[str, Any] | None:
    """The fusion of the runs with equal weights, compared as by `tsgc ensemble`; None for a single run."""
    if len(gathered) < 2:
        return None
    scored = [(run, run.main_scores) for run in gathered if run.main_scores is not None]
    if len(scored) < 2:
        return {"problem": f"Only {len(scored)} of these runs has scores; fusion takes two or more."}
    try:
        first = scored[0][1]
        streams = [ScoredStream(run.label, run.run.folder, match_clips(first, part)) for run, part in scored]
        fused = fuse([stream.scores for stream in streams])
    except TsgcError as error:
        return {"problem": f"These runs cannot be fused: {error}."}
    rows = comparison.comparison_rows(streams, fused, [1.0] * len(streams), "logits")
    return {
        "problem": "",
        "titles": [row.title for row in rows],
        "parts": comparison.judge(rows, fused),
        "preset": fused.source.preset,
        "resamples": RESAMPLES,
    }


Table = dict[str, Any]


def compared(rows: Mapping[str, Sequence[str]], marked: Callable[[str, Sequence[str]], bool]) -> Table:
    """A table's rows, with a mark for those that `marked` picks."""
    return {"rows": [(key, values, marked(key, values)) for key, values in rows.items()]}


def differ(_: str, values: Sequence[str]) -> bool:
    return len(set(values)) > 1


def config_table(gathered: Sequence[Gathered]) -> Table:
    """Every setting of every run beside the published recipe's.

    Of several runs, rows that differ among them are marked; of one, rows that differ from the recipe.
    """
    published = asdict(TrainConfig())
    rows = {key: [setting_text(run.config[key]) for run in gathered] for key in published}
    if len(gathered) > 1:
        table = compared(rows, differ)
    else:
        table = compared(rows, lambda key, values: values[0] != setting_text(published[key]))
    return table | {"published": {key: setting_text(value) for key, value in published.items()}}


def environment_table(gathered: Sequence[Gathered]) -> Table:
    flat = [flatten(run.environment) for run in gathered]
    keys = dict.fromkeys(key for one in flat for key in one)
    return compared({key: [one.get(key, "") for one in flat] for key in keys}, differ)


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested JSON as `outer.inner` -> text."""
    flat: dict[str, str] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = setting_text(value)
    return flat


def setting_text(value: Any) -> str:
    """A setting as people write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, Mapping):  # `relabel`: how many clips of each class
        return ", ".join(f"{key} ({len(part)})" for key, part in value.items()) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


# Figures of metrics.jsonl -> title and unit of their chart; accuracies share one chart.
FIGURES = {
    "loss": ("Training loss", ""),
    "top1": ("Accuracy while training", "%"),
    "lr": ("Learning rate", ""),
    "clips_per_second": ("Throughput", "clips/s"),
    "gpu_memory_gb": ("GPU memory", "GB"),
    "grad_norm": ("Norm of the gradient", ""),
    "seconds": ("Time of an epoch", "s"),
}
EXPECTED = ("loss", "top1", "lr", "clips_per_second", "gpu_memory_gb")  # noted where they are missing


def curves(gathered: Sequence[Gathered]) -> dict[str, Any]:
    """The charts of all runs together, and the titles of expected ones without data."""
    found: dict[str, list[charts.Series]] = {}
    for index, run in enumerate(gathered):
        names = dict.fromkeys(name for row in run.metrics for name in row if name != "epoch")
        for name in names:
            rows = [row for row in run.metrics if name in row]
            watched, is_accuracy, _ = name.partition("_top1")
            words = [run.label] if len(gathered) > 1 else []
            words += [watched] if is_accuracy else []
            kind = "top1" if is_accuracy else name
            series = charts.Series(
                name=" ".join(words) + (", averaged weights" if name.endswith("-ema") else ""),
                colour=index,
                dashed=name.endswith("-ema"),
                x=[row["epoch"] for row in rows],
                y=[row[name] for row in rows],
            )
            found.setdefault(kind, []).append(series)
    order = [*FIGURES, *(kind for kind in found if kind not in FIGURES)]
    drawn = []
    for kind in order:
        if kind in found:
            heading, unit = FIGURES.get(kind, (kind.replace("_", " "), ""))
            chart = charts.Chart(heading, unit, found[kind])
            drawn.append((chart, charts.line_chart(chart), charts.chart_data(chart)))
    absent = [FIGURES[kind][0] for kind in EXPECTED if kind not in found]
    return {"charts": drawn, "absent": absent if found else []}


def class_tables(gathered: Sequence[Gathered]) -> list[Table]:
    """Accuracy of each class, worst first; runs of the same classes share a table."""
    groups: dict[tuple[str, ...], list[tuple[int, Gathered, Scores]]] = {}
    for index, run in enumerate(gathered):
        if run.main_scores is not None:
            key = (run.run.benchmark, *score_class_names(run.main_scores))
            groups.setdefault(key, []).append((index, run, run.main_scores))
    tables = []
    for (benchmark, *names), members in groups.items():
        columns = []
        for index, run, scores in members:
            matrix = analysis.confusion(scores.logits.argmax(1), scores.labels, len(names))
            columns.append((index, run, *analysis.class_accuracy(matrix)))
        rows = []
        for number, name in enumerate(names):
            bars = [
                (index, run.label, float(right[number]), int(total[number]))
                for index, run, right, total in columns
            ]
            values = [right for _, _, right, total in bars if total]
            rows.append(
                {
                    "name": name,
                    "number": number,
                    "bars": bars,
                    "mean": float(np.mean(values)) if values else 101.0,  # classes without clips come last
                    "spread": max(values) - min(values) if values else -1.0,
                }
            )
        rows.sort(key=lambda row: (row["mean"], row["number"]))
        tables.append({"benchmark": benchmark, "runs": [run for _, run, _ in members], "rows": rows})
    return tables


def close_look(run: Gathered) -> dict[str, Any] | None:
    """Confusions and calibration of one run's main scores."""
    scores = run.main_scores
    if scores is None:
        return None
    names = score_class_names(scores)
    matrix = analysis.confusion(scores.logits.argmax(1), scores.labels, len(names))
    true, predicted = np.nonzero(matrix)
    calibration = analysis.calibrate(scores.logits, scores.labels)
    return {
        "names": names,
        "clips": len(scores.labels),
        "pairs": analysis.confused_pairs(matrix),
        "matrix": {
            "names": names,
            "totals": matrix.sum(1).tolist(),
            "cells": np.stack([true, predicted, matrix[true, predicted]], 1).ravel().tolist(),
        },
        "calibration": calibration,
        "reliability": charts.reliability(calibration),
    }


def adjacency_rows(run: Gathered) -> list[dict[str, Any]]:
    """Drawings of each block's learned adjacency, with the block's largest change."""
    if run.adjacency is None:
        return []
    skeleton = run.adjacency.description.body
    rows = []
    for (stage, block), learned in run.adjacency.learned.items():
        edges = [
            learned_adjacency.strongest(matrix, start) for matrix, start in zip(learned, run.adjacency.start)
        ]
        largest = max((abs(edge.change) for changes in edges for edge in changes), default=0.0)
        drawings = []
        for name, changes in zip(learned_adjacency.STARTS, edges):
            label = f"Stage {stage + 1}, block {block + 1}, graph that started as {name}"
            drawings.append((name, learned_adjacency.draw_adjacency(skeleton, changes, largest, label)))
        rows.append({"stage": stage + 1, "block": block + 1, "largest": largest, "drawings": drawings})
    return rows
