"""What a run's folder says of its training: for Python, and for Jupyter to show."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsgc.config import TrainConfig
from tsgc.drawing.notebook import Table, framed
from tsgc.evaluation.scores import COLUMNS, Scores, accuracy_rows, remarks
from tsgc.report.gather import gather
from tsgc.report.section import ASSETS, Report
from tsgc.report.sections.configuration import config_lines
from tsgc.report.sections.curves import curves
from tsgc.workspace.runs import open_run


@dataclass(frozen=True)
class RunResults:
    """A run: its settings, its figures by epoch, its scores. Made by `run_results`."""

    folder: Path
    title: str
    """Benchmark, variant, modality and seed."""
    config: TrainConfig
    """The settings."""
    environment: Mapping[str, Any]
    """Preset, versions, device, commit: environment.json."""
    metrics: list[dict[str, float]]
    """Figures of each epoch: metrics.jsonl."""
    scores: Mapping[str, Scores]
    """Test scores by checkpoint: `last`, `last-ema`, `best`, `best-ema`, as far as they are there."""
    missing: list[str]
    """Sentences about what the folder lacks."""
    _report: Report

    def __repr__(self) -> str:
        return f"RunResults({self.title}, epoch {self.epoch} of {self.config.epochs}, {self.folder})"

    @property
    def epoch(self) -> int:
        """Epochs that are over."""
        return int(self.metrics[-1]["epoch"]) if self.metrics else 0

    def _repr_html_(self) -> str:
        """Accuracies, curves, and the settings that differ from the benchmark's recipe, for Jupyter."""
        changed = [f"{line.key} {line.values[0]}" for line in config_lines(self._report) if line.changed]
        lines = [
            f"{self.folder}: epoch {self.epoch} of {self.config.epochs},"
            f" {self.environment.get('preset', 'unknown')} preset",
            f"other than the recipe: {', '.join(changed) or 'nothing'}",
            *remarks(list(self.scores.values())),
        ]
        rows = [row for name, scores in self.scores.items() for row in accuracy_rows(name, scores)]
        return framed(
            self.title,
            lines=lines,
            tables=[Table(COLUMNS, rows)] if rows else [],
            more=curves(self._report).body,
            script=(ASSETS / "report.js").read_text(),
        )


def run_results(run: str | Path) -> RunResults:
    """What a run's folder says of its training. Raises TsgcError where it is not a run's.

    Also of a run that is under way, or lacks something: `missing` says what.
    """
    report = Report(gather([open_run(Path(run))], ema=False), Path("data"))
    (found,) = report.runs
    return RunResults(
        found.run.folder,
        found.run.title,
        found.run.config,
        found.environment,
        found.metrics,
        found.scores,
        found.missing,
        report,
    )
