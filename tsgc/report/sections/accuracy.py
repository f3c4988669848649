"""Accuracies of every checkpoint on the test split."""

from collections.abc import Sequence

from tsgc.evaluation.scores import COLUMNS, accuracy_rows, remarks
from tsgc.report.gather import Gathered
from tsgc.report.section import Report, Section, section


def accuracy(report: Report) -> Section:
    return section(
        "accuracy",
        "Accuracy on the test split",
        runs=report.runs,
        several=report.several,
        columns=COLUMNS,
        accuracies=accuracies(report.runs),
        remarks=remarks([scores for run in report.runs for scores in run.scores.values()]),
    )


def accuracies(gathered: Sequence[Gathered]) -> list[tuple[Gathered, str, list[list[str]]]]:
    """(run, checkpoint, its table rows) of every score file."""
    return [
        (run, name, accuracy_rows(name, scores)) for run in gathered for name, scores in run.scores.items()
    ]
