"""Results of the search as Markdown tables."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from nw_ucla.plan import Spec

Line = dict[str, Any]
RATE = 28_000  # visits a second of `small` on an H100, a dozen trainings side by side


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def changes(line: Line) -> str:
    """What a trial changes of its plan's base, and the weights that it starts from."""
    said = [f"{key}={value}" for key, value in line["set"].items()]
    return ", ".join(said + ([f"init={line['init']}"] if "init" in line else [])) or "-"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def cost_table(specs: Sequence[Spec], left: Sequence[Spec]) -> str:
    """A row for each trial: its trainings and visits to clips, and what of them is left to do."""
    names = list(dict.fromkeys(spec.name for spec in specs))
    rows = [
        cost_row(name, *([s for s in some if s.name == name] for some in (specs, left))) for name in names
    ]
    columns = ["trial", "trainings", "M visits", "left", "M visits", f"s at {RATE:,} visits/s"]
    return table(columns, [*rows, cost_row("all", specs, left)])


def cost_row(name: str, specs: Sequence[Spec], left: Sequence[Spec]) -> list[str]:
    whole, rest = (sum(spec.work for spec in some) for some in (specs, left))
    counts = [str(len(specs)), f"{whole / 1e6:.2f}", str(len(left)), f"{rest / 1e6:.2f}"]
    return [cell(name), *counts, f"{rest / RATE:,.0f}"]


def trial_table(lines: Sequence[Line]) -> str:
    """A row for each configuration, best first; failures last.

    Figures are of the last mark, the mean of the folds' means: a fold with a seed more weighs no more.
    Where the folds differ in seeds, both counts are given.
    """
    groups: dict[tuple[Any, ...], list[Line]] = defaultdict(list)
    for line in lines:
        visits = line.get("clips")
        budget = None if visits is None else round(visits, -4)  # folds differ by a few clips
        groups[line["name"], changes(line), line["status"], budget].append(line)
    rows, failed = [], []
    for (name, changed, status, visits), members in groups.items():
        if status != "ok":
            failed.append([cell(name), changed, "", "", "", "", "", "", f"failed: {members[0]['error']}"])
            continue
        folds: dict[str, list[Line]] = defaultdict(list)
        for member in sorted(members, key=lambda member: member["fold"]):
            folds[member["fold"]].append(member)
        counts = [str(len({member["seed"] for member in fold})) for fold in folds.values()]
        top1 = last_marks(folds.values(), "top1_ema")
        rows.append((
            mean(top1),
            [
                cell(name), changed, f"{visits / 1e6:.2f}", " / ".join(dict.fromkeys(counts)),
                f"{mean(top1):.2f}", " / ".join(f"{value:.1f}" for value in top1),
                f"{mean(last_marks(folds.values(), 'top1')):.2f}",
                f"{mean(last_marks(folds.values(), 'nll_ema')):.3f}",
                f"{mean(last_marks(folds.values(), 'loss')):.2f}",
            ],
        ))  # fmt: skip
    rows.sort(key=lambda row: -row[0])
    columns = [
        "trial", "changes", "M clips", "seeds", "averaged top-1 %", "by fold", "raw top-1 %", "averaged NLL",
        "loss",
    ]  # fmt: skip
    return table(columns, [row for _, row in rows] + failed)


def last_marks(folds: Iterable[Sequence[Line]], name: str) -> list[float]:
    """The mean of each fold's trainings, after their last epoch."""
    return [mean(member["marks"][-1][name] for member in fold) for fold in folds]


def mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)
