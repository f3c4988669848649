"""What a tracker is told of a run, and the calls that each tracker answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

Ending = Literal["finished", "failed", "stopped"]
"""`stopped`: asked to stop; `--resume` goes on."""


@dataclass(frozen=True)
class RunFacts:
    """A run as trackers know it."""

    folder: Path
    """The run's folder, which also holds what a tracker keeps on this machine for this run alone."""
    benchmark: str
    """Such as `ntu60/xsub`."""
    stream: str
    """Variant and modality, which seeds of one stream share."""
    seed: int
    settings: Mapping[str, Any]
    """Every training setting, and facts about the run: preset, device, commit."""
    epoch: int = 0
    """Epochs that are over; more than 0 where the run goes on."""

    @property
    def project(self) -> str:
        """The benchmark as a name without slash: what lies beside each other is compared."""
        return self.benchmark.replace("/", "-")

    @property
    def name(self) -> str:
        return f"{self.stream} seed{self.seed}"


class Tracker(Protocol):
    """One run in one tracker. Any call may raise whatever its library raises."""

    id: str
    """What the tracker knows the run by; a resumed run goes on under it."""

    def log_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Figures of an epoch, from 1."""

    def log_step(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of the steps since the last; `step` counts from 1 over the whole run."""

    def log_scores(self, figures: Mapping[str, float]) -> None:
        """The run's final figures."""

    def log_report(self, path: Path) -> None:
        """The run's report, an HTML file."""

    def finish(self, ending: Ending) -> None:
        """The end: whatever is left is written or sent."""


def with_prefix(prefix: str, figures: Mapping[str, float]) -> dict[str, float]:
    """The figures under names that begin with `prefix/`, which trackers show as a group."""
    return {f"{prefix}/{name}": value for name, value in figures.items()}
