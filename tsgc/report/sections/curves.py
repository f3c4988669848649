"""Curves of the training, by epoch."""

from collections.abc import Sequence
from typing import Any

from tsgc.report import charts
from tsgc.report.gather import Group
from tsgc.report.section import Report, Section, section


def curves(report: Report) -> Section:
    seeds = any(len(group.runs) > 1 for group in report.groups)
    return section("curves", "Curves", curves=drawn_curves(report.groups), seeds=seeds)


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


def drawn_curves(groups: Sequence[Group]) -> dict[str, Any]:
    """The charts of all groups together, and the titles of expected ones without data."""
    found: dict[str, list[charts.Series]] = {}
    for group in groups:
        names = dict.fromkeys(
            name for run in group.runs for row in run.metrics for name in row if name != "epoch"
        )
        for name in names:
            watched, is_accuracy, _ = name.partition("_top1")
            words = [group.label] if len(groups) > 1 else []
            words += [watched] if is_accuracy else []
            kind = "top1" if is_accuracy else name
            found.setdefault(kind, []).append(series(group, name, " ".join(words)))
    order = [*FIGURES, *(kind for kind in found if kind not in FIGURES)]
    drawn = []
    for kind in order:
        if kind in found:
            heading, unit = FIGURES.get(kind, (kind.replace("_", " "), ""))
            chart = charts.Chart(heading, unit, found[kind])
            drawn.append((chart, charts.line_chart(chart), charts.chart_data(chart)))
    absent = [FIGURES[kind][0] for kind in EXPECTED if kind not in found]
    return {"charts": drawn, "absent": absent if found else []}


def series(group: Group, name: str, words: str) -> charts.Series:
    """A figure of a group by epoch: of several seeds the mean, with the span from lowest to highest."""
    values: dict[float, list[float]] = {}
    for run in group.runs:
        for row in run.metrics:
            if name in row:
                values.setdefault(row["epoch"], []).append(row[name])
    epochs = sorted(values)
    several = len(group.runs) > 1
    return charts.Series(
        name=words + (", averaged weights" if name.endswith("-ema") else ""),
        colour=group.colour,
        dashed=name.endswith("-ema"),
        x=epochs,
        y=[sum(values[epoch]) / len(values[epoch]) for epoch in epochs],
        low=[min(values[epoch]) for epoch in epochs] if several else None,
        high=[max(values[epoch]) for epoch in epochs] if several else None,
    )
