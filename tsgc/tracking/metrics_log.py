"""A run's figures, of each epoch and of some steps: metrics.jsonl, steps.jsonl, and its trackers."""

from collections.abc import Mapping
from pathlib import Path

import orjson

from pipelines.files import write_atomic
from tsgc.tracking.trackers import Trackers


class Recorder:
    """Appends a line to metrics.jsonl in each epoch, and to steps.jsonl whenever the loss is read.

    `epoch` and `step` (both of the whole run) are what the run goes on after; what was written beyond them,
    by a run that was cut off, is dropped first.
    """

    def __init__(self, folder: Path, epoch: int, step: int, trackers: Trackers) -> None:
        self.epochs = _keep(folder / "metrics.jsonl", "epoch", epoch)
        self.steps = _keep(folder / "steps.jsonl", "step", step)
        self.trackers = trackers

    def write(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Append an epoch's figures."""
        _append(self.epochs, {"epoch": epoch, **figures})
        self.trackers.log_epoch(epoch, figures)

    def write_step(self, step: int, figures: Mapping[str, float]) -> None:
        """Append figures of the steps since the last; `step` counts from 1 over the whole run."""
        _append(self.steps, {"step": step, **figures})
        self.trackers.log_step(step, figures)


def _append(path: Path, line: Mapping[str, float]) -> None:
    with path.open("ab") as file:
        file.write(orjson.dumps(dict(line)) + b"\n")


def _keep(path: Path, key: str, last: int) -> Path:
    """`path` with its lines up to `last`; a line cut off in the middle counts as beyond."""
    if path.exists():
        lines = path.read_bytes().splitlines()
        write_atomic(path, b"".join(line + b"\n" for line in lines if _place(line, key) <= last))
    return path


def _place(line: bytes, key: str) -> float:
    try:
        return orjson.loads(line)[key]
    except (orjson.JSONDecodeError, KeyError):
        return float("inf")
