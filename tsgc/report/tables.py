"""Tables beside the page, as CSV: figures of every class, and every prediction."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from tsgc.evaluation.statistics import wilson
from tsgc.report.analysis import class_accuracy, confusion, softmax
from tsgc.report.gather import score_class_names
from tsgc.report.section import Report

Row = list[object]


def class_rows(report: Report) -> Iterator[Row]:
    """A line a run and class: how many clips, how many right, percent with Wilson's 95 % interval."""
    yield [
        "run", "folder", "checkpoint", "class", "name", "clips", "right", "top1", "low", "high",
        "clean_clips", "clean_right", "predicted",
    ]  # fmt: skip
    for run in report.runs:
        if (scores := run.main_scores) is None:
            continue
        names = score_class_names(scores)
        predicted, clean = scores.logits.argmax(1), ~scores.repeats
        matrix = confusion(predicted, scores.labels, len(names))
        without = confusion(predicted[clean], scores.labels[clean], len(names))
        accuracy, clips = class_accuracy(matrix)
        for number, name in enumerate(names):
            right, total = int(matrix[number, number]), int(clips[number])
            figures = (float(accuracy[number]), *wilson(right, total)) if total else ()
            said = [f"{value:.4f}" for value in figures] or ["", "", ""]
            yield [
                run.label, run.run.folder, run.main, number, name, total, right, *said,
                int(without[number].sum()), int(without[number, number]), int(matrix[:, number].sum()),
            ]  # fmt: skip


def prediction_rows(report: Report) -> Iterator[Row]:
    """A line a run and clip: its class, what it was taken for, how sure, and what the true class got."""
    yield [
        "run", "folder", "checkpoint", "clip", "class", "name", "predicted", "predicted_name", "right",
        "probability", "true_probability", "repeats_training",
    ]  # fmt: skip
    for run in report.runs:
        if (scores := run.main_scores) is None:
            continue
        names, probability = score_class_names(scores), softmax(scores.logits)
        predicted, clips = scores.logits.argmax(1), np.arange(len(scores.labels))
        columns = (
            scores.names, scores.labels, predicted, probability[clips, predicted],
            probability[clips, scores.labels], scores.repeats,
        )  # fmt: skip
        for clip, label, taken, sure, true, repeats in zip(*(column.tolist() for column in columns)):
            yield [
                run.label, run.run.folder, run.main, clip, label, names[label], taken, names[taken],
                int(taken == label), f"{sure:.6f}", f"{true:.6f}", int(repeats),
            ]  # fmt: skip


TABLES: dict[str, Callable[[Report], Iterable[Row]]] = {
    "classes": class_rows,
    "predictions": prediction_rows,
}
"""What a table's name ends in -> its lines, the first of them the columns' names. Classes count from 0."""


def csv_text(rows: Iterable[Row]) -> str:
    """Lines as CSV, with plain line ends; cells are quoted where they must be."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
