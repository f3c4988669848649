"""Accuracy of each class."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tsgc.evaluation.scores import Scores
from tsgc.report import analysis
from tsgc.report.gather import Gathered, score_class_names
from tsgc.report.section import Report, Section, section

Table = dict[str, Any]


def classes(report: Report) -> Section | None:
    tables = class_tables(report.runs)
    if not tables:
        return None
    return section("classes", "Accuracy of each class", runs=report.runs, classes=tables)


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
