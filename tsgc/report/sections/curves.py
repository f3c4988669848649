"""Curves of the training, by epoch."""

from collections.abc import Sequence
from typing import Any

from tsgc.report import charts
from tsgc.report.gather import Gathered
from tsgc.report.section import Report, Section, section


def curves(report: Report) -> Section:
    return section("curves", "Curves", curves=drawn_curves(report.runs))


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


def drawn_curves(gathered: Sequence[Gathered]) -> dict[str, Any]:
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
