"""Confusions and calibration of each run."""

from typing import Any

import numpy as np

from tsgc.report import analysis, charts
from tsgc.report.gather import Gathered, score_class_names
from tsgc.report.section import Report, Section, section


def confusion(report: Report) -> Section:
    return section(
        "confusion",
        "Confusion and calibration",
        runs=report.runs,
        several=report.several,
        close={run.label: close_look(run) for run in report.runs},
    )


def close_look(run: Gathered) -> dict[str, Any] | None:
    """Confusions and calibration of one run's main scores."""
    scores = run.main_scores
    if scores is None:
        return None
    names = score_class_names(scores)
    matrix = analysis.confusion(scores.logits.argmax(1), scores.labels, len(names))
    true, predicted = np.nonzero(matrix)
    calibration = analysis.calibrate(scores.logits, scores.labels)
    return {
        "names": names,
        "clips": len(scores.labels),
        "pairs": analysis.confused_pairs(matrix),
        "matrix": {
            "names": names,
            "totals": matrix.sum(1).tolist(),
            "cells": np.stack([true, predicted, matrix[true, predicted]], 1).ravel().tolist(),
        },
        "calibration": calibration,
        "reliability": charts.reliability(calibration),
    }
