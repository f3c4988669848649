"""Accuracy of each class."""

from typing import Any

import numpy as np

from tsgc.report import analysis
from tsgc.report.gather import Group, score_class_names
from tsgc.report.section import Report, Section, section


def classes(report: Report) -> Section | None:
    tables = class_tables(report)
    if not tables:
        return None
    return section("classes", "Accuracy of each class", classes=tables)


def class_tables(report: Report) -> list[dict[str, Any]]:
    """Accuracy of each class, worst first; groups of the same classes share a table."""
    alike: dict[tuple[str, ...], list[Group]] = {}
    for group in report.groups:
        if group.scores:
            alike.setdefault((group.benchmark, *score_class_names(group.scores[0])), []).append(group)
    tables = []
    for (benchmark, *names), groups in alike.items():
        columns = [(group, *class_shares(group, len(names))) for group in groups]
        rows = []
        for number, name in enumerate(names):
            bars = [(group, float(right[number]), int(total[number])) for group, right, total in columns]
            values = [right for _, right, total in bars if total]
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
        tables.append({"benchmark": benchmark, "groups": groups, "rows": rows})
    return tables


def class_shares(group: Group, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Percent right of each class (K,), over all seeds (NaN: no clips), and its clips (K,)."""
    matrix = analysis.confusion(*group.pooled, classes)
    right, total = analysis.class_accuracy(matrix)
    return right, total // len(group.scores)
