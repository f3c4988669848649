"""Results of the search and of final runs as Markdown tables."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

Line = dict[str, Any]


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def changes(line: Line) -> str:
    """What a trial changes of its plan's base, and the weights that it starts from."""
    said = [f"{key}={value}" for key, value in line["set"].items()]
    return ", ".join(said + ([f"init={line['init']}"] if "init" in line else [])) or "-"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def trial_table(lines: Sequence[Line]) -> str:
    """A row for each configuration, best first: mean over folds and seeds of the last mark; failures last."""
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
        last = [member["marks"][-1] for member in members]
        folds = [
            f"{mean(m['marks'][-1]['top1_ema'] for m in members if m['fold'] == fold):.1f}"
            for fold in sorted({m["fold"] for m in members})
        ]
        rows.append((
            mean(mark["top1_ema"] for mark in last),
            [
                cell(name), changed, f"{visits / 1e6:.2f}", str(len({m["seed"] for m in members})),
                f"{mean(mark['top1_ema'] for mark in last):.2f}", " / ".join(folds),
                f"{mean(mark['top1'] for mark in last):.2f}", f"{mean(mark['nll_ema'] for mark in last):.3f}",
                f"{mean(mark['loss'] for mark in last):.2f}",
            ],
        ))  # fmt: skip
    rows.sort(key=lambda row: -row[0])
    columns = [
        "trial", "changes", "M clips", "seeds", "averaged top-1 %", "by fold", "raw top-1 %", "averaged NLL",
        "loss",
    ]  # fmt: skip
    return table(columns, [row for _, row in rows] + failed)


def mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def spread(values: Sequence[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{mean(values):.2f} ± {deviation:.2f}"


def final_table(lines: Sequence[Line], checkpoint: str = "last-ema") -> str:
    """A row for each stream of runs made for one reason: each seed, mean and deviation, all and clean."""
    groups: dict[tuple[str, str, str], list[Line]] = defaultdict(list)
    for line in sorted(lines, key=lambda line: line["seed"]):
        if line["status"] == "ok":
            groups[line["why"], line["variant"], line["modality"]].append(line)
    rows = []
    for (why, variant, modality), members in sorted(groups.items()):
        every, clean = ([m["test"][f"{checkpoint} {part}"] for m in members] for part in ("all", "clean"))
        rows.append([
            cell(why) or "-", modality, variant, " ".join(f"{figures['top1']:.2f}" for figures in every),
            spread([figures["top1"] for figures in every]), spread([figures["top1"] for figures in clean]),
            spread([figures["mean_class"] for figures in clean]),
            f"{mean(m['seconds'] for m in members):.0f}",
            f"{mean(m['clips_per_second'] for m in members):,.0f}",
        ])  # fmt: skip
    columns = [
        "runs", "stream", "variant", f"{checkpoint}, each seed", "all 464", "clean 369", "clean, mean class",
        "seconds", "clips/s",
    ]  # fmt: skip
    return table(columns, rows)


def look_table(lines: Sequence[Line]) -> str:
    """A row for each time that the test split was scored."""
    rows = [
        [line["date"], cell(line["why"]) or "-", line["modality"], str(line["seed"]), changes(line),
         f"{line['test']['last all']['top1']:.2f}", f"{line['test']['last-ema all']['top1']:.2f}",
         f"{line['test']['last-ema clean']['top1']:.2f}"]
        for line in lines if line["status"] == "ok"
    ]  # fmt: skip
    columns = ["date", "why", "stream", "seed", "--set", "last, all", "last-ema, all", "last-ema, clean"]
    return table(columns, rows)
