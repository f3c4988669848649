"""What a fusion gains: each stream, the fusion without each, the fusion, and the upper bound."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tsgc.console import Talker
from tsgc.evaluation.scores import Scores, accuracy_of_hits, has_clean_part, hits
from tsgc.evaluation.statistics import RESAMPLES, SEED, bootstrap, mcnemar
from tsgc.fusion.fuse import fuse
from tsgc.fusion.scored_streams import ScoredStream

FIGURES = ("top1", "top5", "mean_class")
COLUMNS = ("", "top-1 %", "top-5 %", "mean class %")


@dataclass(frozen=True)
class ComparisonRow:
    """One line of the comparison: which clips are right."""

    kind: str
    """`stream`, `without` (the fusion lacks this one), `fused` or `oracle`."""
    name: str
    top1: np.ndarray
    """Whether the class is first, bool (N,)."""
    top5: np.ndarray
    """Whether the class is among the first 5, bool (N,)."""

    @property
    def title(self) -> str:
        return f"without {self.name}" if self.kind == "without" else self.name


def comparison_rows(
    streams: Sequence[ScoredStream], fused: Scores, weights: Sequence[float], method: str
) -> list[ComparisonRow]:
    """The streams, the fusion without each (where any weight is left), the fusion and the oracle.

    The oracle is right where any stream is. All have their clips in one order.
    """
    labels = fused.labels
    result = [ComparisonRow("stream", stream.name, *hits(stream.scores.logits, labels)) for stream in streams]
    for index, stream in enumerate(streams):
        others = [other.scores for other in streams if other is not stream]
        rest = [*weights[:index], *weights[index + 1 :]]
        if any(rest):
            result.append(
                ComparisonRow("without", stream.name, *hits(fuse(others, rest, method).logits, labels))
            )
    singles = [row for row in result if row.kind == "stream"]
    any1, any5 = (np.any([getattr(row, figure) for row in singles], axis=0) for figure in FIGURES[:2])
    name = f"fused, {len(streams)} stream{'' if len(streams) == 1 else 's'}"
    result.append(ComparisonRow("fused", name, *hits(fused.logits, labels)))
    result.append(ComparisonRow("oracle", "any stream right", any1, any5))
    return result


def judge(rows: Sequence[ComparisonRow], scores: Scores) -> dict[str, Any]:
    """Accuracies with intervals, and McNemar's test, of all clips, and of the clean ones where some repeat.

    `scores`: those of the same clips in the same order. The result is what --json prints.
    """
    by_name = np.argsort(scores.names)  # resamples do not depend on the order of clips
    parts = {"all": by_name}
    if has_clean_part(scores):
        parts["clean"] = by_name[~scores.repeats[by_name]]
    return {name: _judge_part(rows, scores.labels, keep) for name, keep in parts.items()}


def _judge_part(rows: Sequence[ComparisonRow], labels: np.ndarray, keep: np.ndarray) -> dict[str, Any]:
    labels = labels[keep]
    top1, top5 = (np.stack([getattr(row, figure)[keep] for row in rows], axis=1) for figure in FIGURES[:2])
    intervals = bootstrap(labels, top1, top5)
    lines = []
    for index, row in enumerate(rows):
        figures = asdict(accuracy_of_hits(top1[:, index], top5[:, index], labels))
        line: dict[str, Any] = {"kind": row.kind, "name": row.name}
        for figure, (low, high) in zip(FIGURES, intervals[index].tolist()):
            line[figure] = {"percent": figures[figure], "low": low, "high": high}
        lines.append(line)
    singles = [index for index, row in enumerate(rows) if row.kind == "stream"]
    fused = next(index for index, row in enumerate(rows) if row.kind == "fused")
    best = max(singles, key=lambda index: top1[:, index].sum())  # the first of equals
    test = mcnemar(top1[:, fused], top1[:, best])
    return {
        "clips": len(labels),
        "classes": len(np.unique(labels)),
        "rows": lines,
        "mcnemar": {
            "best_single": rows[best].name,
            "fused_only": test.first_only,
            "single_only": test.second_only,
            "p": test.p,
        },
    }


def print_comparison(
    talker: Talker, title: str, rows: Sequence[ComparisonRow], verdict: dict[str, Any]
) -> None:
    """Print what `judge` found."""
    for part, found in verdict.items():
        table = [
            [row.title, *(_cell(line[figure]) for figure in FIGURES)]
            for row, line in zip(rows, found["rows"])
        ]
        talker.table(
            f"{title}: {part}, {found['clips']:,} clips of {found['classes']} classes", COLUMNS, table
        )
    talker.line(
        f"after each figure its 95 % bootstrap interval: {RESAMPLES:,} resamples of the clips, seed {SEED}"
    )
    if sum(row.kind == "stream" for row in rows) < 2:
        return
    for part, found in verdict.items():
        test = found["mcnemar"]
        talker.line(
            f"McNemar's exact test, {part} clips: fused alone right {test['fused_only']},"
            f" {test['best_single']} alone right {test['single_only']}, p = {test['p']:.3g}"
        )
    talker.line("the best single stream was chosen on these same clips, which favours it over the fusion")


def _cell(figure: dict[str, float]) -> str:
    """A figure with its interval, as `92.41 91.8-93.0`: 3 of them fit into 80 columns."""
    low, high = ("100" if value == 100 else f"{value:.1f}" for value in (figure["low"], figure["high"]))
    return f"{figure['percent']:.2f} {low}-{high}"
