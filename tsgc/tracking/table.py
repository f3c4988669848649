"""The trackers by name, and whether they are installed."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from pipelines.errors import TsgcError, UsageError
from tsgc.tracking.tracker import RunFacts, Tracker


@dataclass(frozen=True)
class Library:
    """A tracker's library. Its module in this folder imports it when a run starts, and not before."""

    package: str
    """What is imported."""
    takes_report: bool = True
    """Whether a report can be attached to a run."""

    @property
    def installed(self) -> bool:
        spec = find_spec(self.package)
        return spec is not None and spec.origin is not None  # a folder ./wandb of runs is no library


TRACKERS = {
    "tensorboard": Library("tensorboard", takes_report=False),
    "wandb": Library("wandb"),
    "mlflow": Library("mlflow"),
    "trackio": Library("trackio"),
}
NONE = "none"
DEFAULT = ("tensorboard",)


def tracker_names(words: Sequence[str]) -> tuple[str, ...]:
    """The trackers that --log names, each once; `none` by itself names none.

    Raises UsageError for a word that is unknown or beside `none`, TsgcError for a tracker that is not
    installed.
    """
    names = tuple(dict.fromkeys(words))
    for name in names:
        if name not in (*TRACKERS, NONE):
            raise UsageError(f"--log {name}: expected {', '.join(TRACKERS)} or {NONE}")
    if NONE in names:
        if len(names) > 1:
            raise UsageError(f"--log {NONE} excludes any other --log")
        return ()
    for name in names:
        check_installed(name)
    return names


def check_installed(name: str) -> None:
    """Raise TsgcError, with what to install, where a tracker's library is missing."""
    if not TRACKERS[name].installed:
        raise TsgcError(f"--log {name}: {name} is not installed; install it: pip install 'tsgc[{name}]'")


def start(name: str, facts: RunFacts, run_id: str | None) -> Tracker:
    """Start a run in a tracker, or go on with its run `run_id`. Raises whatever its library raises."""
    tracker: Tracker = import_module(f"tsgc.tracking.{name}").start(facts, run_id)
    return tracker
