"""How far a run is, and how well it did: read from the files in its folder, without torch."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import orjson

from pipelines.errors import BAD_NPY
from tsgc.config import read_yaml, recipe_file
from tsgc.train_config import TrainConfig
from tsgc.workspace.at_work import ended_by, is_running
from tsgc.workspace.runs import Run

STATES = {
    "finished": "all epochs done, and scored",
    "short": "finished, with fewer epochs than its recipe has",
    "unfinished": "stopped before its last epoch, or before it was scored",
    "running": "being trained",
    "failed": "ended by an error",
}

WHOLE = ("finished", "short")  # the states of runs whose scores are final


@dataclass(frozen=True)
class RunState:
    """A run, how far it is, and its last accuracy."""

    run: Run
    state: str
    """A key of STATES."""
    epochs: int
    """Epochs done."""
    recipe_epochs: int
    """Epochs of its recipe."""
    top1: dict[str, float]
    """Top-1 % on the test split of `all` clips and, where some repeat training clips, the `clean` ones.

    Of a run that is not scored, the last that was taken while it trained; empty: none was.
    """
    seconds: float | None
    """How long its epochs took; None: not recorded."""
    error: str = ""
    """The error that ended it."""
    environment: dict[str, Any] | None = None
    """What environment.json says."""

    @property
    def progress(self) -> str:
        """Epochs done and planned, in words."""
        return f"{self.epochs} of {epochs_text(self.run.config.epochs)}"


def epochs_text(number: int) -> str:
    """A number of epochs, in words."""
    return f"{number} epoch{'' if number == 1 else 's'}"


def run_state(run: Run, checkpoint: str = "last") -> RunState:
    """How far `run` is, and how well `checkpoint` did."""
    planned = run.config.epochs
    environment = _read_json(run.folder / "environment.json")
    lines = _read_lines(run.folder / "metrics.jsonl")
    scored = run.scores("last").is_file()
    done = max((int(line.get("epoch", 0)) for line in lines), default=None)
    if done is None:
        done = _read_json(run.checkpoints / "last.json").get("epoch", planned if scored else 0)
    recipe = environment.get("recipe_epochs") or recipe_epochs(run.benchmark)
    error = "" if (running := is_running(run.folder)) else ended_by(run.folder)
    complete = scored and done >= planned
    if running or error:
        state = "running" if running else "failed"
    elif complete:
        state = "short" if planned < recipe else "finished"
    else:
        state = "unfinished"
    figure = "test_top1-ema" if checkpoint.endswith("-ema") else "test_top1"
    taken = [line[figure] for line in lines if figure in line]
    top1 = scored_top1(run.scores(checkpoint)) if complete else {"all": taken[-1]} if taken else {}
    seconds = sum(line.get("seconds", 0.0) for line in lines) if lines else None
    return RunState(run, state, done, recipe, top1, seconds, error, environment)


@cache
def recipe_epochs(benchmark: str) -> int:
    """The epochs of a benchmark's shipped recipe."""
    return int(read_yaml(recipe_file(benchmark)).get("epochs", TrainConfig().epochs))


def scored_top1(path: Path) -> dict[str, float]:
    """Top-1 % of a score file, `all` and `clean`; empty where it cannot be read.

    Files of earlier versions do not say it: it is counted, ties going to the class of lower number.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            if "accuracy" in content.files:
                parts = orjson.loads(str(content["accuracy"]))
                return {part: figures["top1"] for part, figures in parts.items()}
            right = content["logits"].argmax(1) == content["labels"]
            clean = ~content["repeats"]
    except (OSError, BadZipFile, KeyError, *BAD_NPY):
        return {}
    found = {"all": 100 * float(right.mean())}
    if clean.any() and not clean.all():
        found["clean"] = 100 * float(right[clean].mean())
    return found


def _read_json(path: Path) -> dict[str, Any]:
    """A file's JSON object; empty where there is none."""
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects in a file's lines; one that was cut off in the middle is left out."""
    found = []
    try:
        for line in path.read_bytes().splitlines():
            try:
                found.append(orjson.loads(line))
            except orjson.JSONDecodeError:
                continue
    except OSError:
        return []
    return [line for line in found if isinstance(line, dict)]
