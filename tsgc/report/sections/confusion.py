"""Confusions and calibration of each configuration."""

from typing import Any

import numpy as np

from tsgc.report import analysis, charts
from tsgc.report.gather import Group, score_class_names
from tsgc.report.section import Report, Section, section


def confusion(report: Report) -> Section:
    return section(
        "confusion",
        "Confusion and calibration",
        groups=report.groups,
        several=report.several,
        few=charts.FEW,
        close={group.label: close_look(group) for group in report.groups},
    )


def close_look(group: Group) -> dict[str, Any] | None:
    """Confusions and calibration of a group's main scores; several seeds' clips are counted together."""
    if not group.scores:
        return None
    names = score_class_names(group.scores[0])
    predicted, labels = group.pooled
    matrix = analysis.confusion(predicted, labels, len(names))
    true, taken = np.nonzero(matrix)
    calibration = analysis.calibrate(np.concatenate([one.logits for one in group.scores]), labels)
    return {
        "names": names,
        "clips": len(group.scores[0].labels),
        "pairs": analysis.confused_pairs(matrix),
        "matrix": {
            "names": names,
            "totals": matrix.sum(1).tolist(),
            "cells": np.stack([true, taken, matrix[true, taken]], 1).ravel().tolist(),
        },
        "calibration": calibration,
        "reliability": charts.reliability(calibration),
    }
