"""A run's facts and final figures, as trackers are told them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from tsgc.config import TrainConfig
from tsgc.evaluation.scores import Scores, all_and_clean
from tsgc.tracking.tracker import RunFacts

FACTS = ("preset", "manifest_digest", "init", "world", "device", "gpu", "tsgc", "git_commit")
"""Entries of environment.json that trackers are told with the settings."""


def run_facts(folder: Path, benchmark: str, config: TrainConfig, epoch: int) -> RunFacts:
    """The facts of the run in a folder, of which `epoch` epochs are over."""
    environment: dict[str, Any] = orjson.loads((folder / "environment.json").read_bytes())
    facts = {name: environment[name] for name in FACTS if name in environment}
    return RunFacts(
        folder=folder,
        benchmark=benchmark,
        stream=f"{config.network_name} {config.modality}",
        seed=config.seed,
        settings=dataclasses.asdict(config) | {"benchmark": benchmark, "run": str(folder), **facts},
        epoch=epoch,
    )


def score_figures(split: str, scores: Mapping[str, Scores]) -> dict[str, float]:
    """Accuracies of each checkpoint as `test/last/top1`, and of its clean clips as `test/last/clean_top1`."""
    return {
        f"{split}/{name}/{'' if part == 'all' else 'clean_'}{figure}": getattr(found, figure)
        for name, each in scores.items()
        for part, found in all_and_clean(each).items()
        for figure in ("top1", "top5", "mean_class")
    }
