"""Accuracies of every checkpoint on the test split, and what others published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tsgc.evaluation.published import published_figures
from tsgc.evaluation.scores import COLUMNS, accuracy_rows, all_and_clean, remarks
from tsgc.report.gather import Gathered, Group
from tsgc.report.section import Report, Section, section


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    run: Gathered | Group
    checkpoint: str
    """The name, or those of several with the same figures: `last = best`."""
    cells: Sequence[str]
    """Clips, classes, top-1, top-5 and mean class accuracy."""


def accuracy(report: Report) -> Section:
    known = {group.benchmark: published_figures(group.benchmark) for group in report.groups}
    return section(
        "accuracy",
        "Accuracy on the test split",
        several=report.several,
        columns=COLUMNS[1:],
        means=[row for group in report.groups if len(group.runs) > 1 for row in mean_rows(group)],
        rows=[row for run in report.runs for row in rows(run)],
        remarks=remarks([scores for run in report.runs for scores in run.scores.values()]),
        published={benchmark: found for benchmark, found in known.items() if found},
    )


def rows(run: Gathered) -> list[Row]:
    """The lines of one run; checkpoints with the same figures share theirs."""
    named = {}
    for name, scores in run.scores.items():
        lines = accuracy_rows(name, scores)
        parts = [name, *(f"{name}, {line[0].strip()}" for line in lines[1:])]
        named[name] = [Row(run, part, line[1:]) for part, line in zip(parts, lines)]
    return collapsed(named)


def mean_rows(group: Group) -> list[Row]:
    """Mean and deviation over the seeds of each checkpoint that all of them have."""
    named: dict[str, list[Row]] = {}
    for name in group.first.scores:
        parts = [all_and_clean(run.scores[name]) for run in group.runs if name in run.scores]
        if len(parts) < len(group.runs) or any(part.keys() != parts[0].keys() for part in parts):
            continue
        for part in parts[0]:
            figures = np.array([(one[part].top1, one[part].top5, one[part].mean_class) for one in parts])
            cells = [f"{m:.2f} ± {d:.2f}" for m, d in zip(figures.mean(0), figures.std(0, ddof=1))]
            label = name if part == "all" else f"{name}, {part}"
            sizes = [f"{parts[0][part].clips:,}", str(parts[0][part].classes)]
            named.setdefault(name, []).append(Row(group, label, [*sizes, *cells]))
    return collapsed(named)


def collapsed(named: Mapping[str, Sequence[Row]]) -> list[Row]:
    """The lines of checkpoints, those with the same figures once: `last` and `best` -> `last = best`."""
    same: dict[str, list[Row]] = {}
    for name, lines in named.items():
        figures = repr([row.cells for row in lines])
        if figures not in same:
            same[figures] = list(lines)
            continue
        for place, row in enumerate(same[figures]):
            names, comma, part = row.checkpoint.partition(", ")
            same[figures][place] = replace(row, checkpoint=f"{names} = {name}{comma}{part}")
    return [row for lines in same.values() for row in lines]
