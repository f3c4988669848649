"""The headline: what was trained on what, and how good it is, beside what is published."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.errors import TsgcError
from tsgc.evaluation.published import Published, nearest_published
from tsgc.evaluation.scores import has_clean_part
from tsgc.evaluation.statistics import wilson
from tsgc.report.gather import Gathered, Group
from tsgc.report.section import Report, Section, section


@dataclass(frozen=True)
class Figure:
    """An accuracy with its interval, percent."""

    part: str
    """`all` or `clean`."""
    clips: int
    percent: float
    """The mean of several seeds."""
    low: float
    high: float
    deviation: float | None
    """The deviation over seeds; None for a single run."""


def headline(report: Report) -> Section:
    return section(
        "headline",
        "",
        groups=report.groups,
        several=len(report.groups) > 1,
        figures={group.label: figures(group) for group in report.groups},
        trained={group.label: trained_on(group, report) for group in report.groups},
        published={group.label: published(group) for group in report.groups},
    )


def figures(group: Group) -> list[Figure]:
    """Top-1 accuracy of all clips and, where some but not all repeat training clips, of those that do not."""
    if not group.scores:
        return []
    scores = group.scores[0]
    kept = {"all": np.ones(len(scores.labels), bool)}
    if has_clean_part(scores):
        kept["clean"] = ~scores.repeats
    return [figure(part, group, keep) for part, keep in kept.items()]


def figure(part: str, group: Group, keep: np.ndarray) -> Figure:
    right = group.right[keep]
    by_seed = [100 * float((one.logits.argmax(1) == one.labels)[keep].mean()) for one in group.scores]
    deviation = float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else None
    low, high = wilson(float(right.sum()), len(right))
    return Figure(part, len(right), 100 * float(right.mean()), low, high, deviation)


def trained_on(group: Group, report: Report) -> dict[str, Any]:
    """What the headline's sentence says of a group."""
    run = group.first
    return {
        "clips": training_clips(run, report),
        "classes": group.scores[0].logits.shape[1] if group.scores else None,
        "epochs": [int(one.metrics[-1]["epoch"]) if one.metrics else 0 for one in group.runs],
        "seeds": [one.run.config.seed for one in group.runs],
    }


def training_clips(run: Gathered, report: Report) -> int | None:
    """How many clips the run trained on; None where its shard set is not at hand."""
    try:
        manifest = report.manifest(run.run.benchmark)
    except TsgcError:
        return None
    if manifest.digest != run.environment.get("manifest_digest"):
        return None
    train = manifest.clips["train"]
    return int((~train.holdout).sum()) if run.run.config.holdout else len(train)


def published(group: Group) -> Published | None:
    config = group.first.run.config
    return nearest_published(group.benchmark, group.first.network, config.modality, 1)
