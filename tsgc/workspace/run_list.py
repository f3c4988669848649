"""`tsgc runs`: what has been trained, a row a run, with mean and deviation over seeds."""

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from pipelines.errors import TsgcError
from tsgc.console import Talker
from tsgc.workspace.run_state import WHOLE, RunState, run_state
from tsgc.workspace.runs import Run, is_run, open_run, run_folder

WIDE = 100  # columns that the benchmark has a column of its own in
PARTS = ("all", "clean")
COLUMNS = ("seed", "epochs", "state", "all", "clean", "started", "time")


@dataclass(frozen=True)
class Filter:
    """The runs that are wanted; None: all."""

    benchmark: str | None = None
    """A benchmark, or a data set for all of its benchmarks."""
    network: str | None = None
    stream: str | None = None
    state: str | None = None

    def takes(self, one: RunState) -> bool:
        """Whether a run is wanted."""
        run = one.run
        return (
            self.benchmark in (None, run.benchmark, run.benchmark.split("/")[0])
            and self.network in (None, run.network)
            and self.stream in (None, run.config.modality)
            and self.state in (None, one.state)
        )


@dataclass(frozen=True)
class Group:
    """Runs that are equal in all but the seed, by seed."""

    runs: list[RunState]

    def spread(self) -> dict[str, tuple[float, float]]:
        """Mean and sample deviation of the whole runs' accuracies; empty for fewer than two."""
        whole = [one for one in self.runs if one.state in WHOLE]
        found = {}
        for part in PARTS:
            values = [one.top1[part] for one in whole if part in one.top1]
            if len(values) > 1:
                found[part] = statistics.mean(values), statistics.stdev(values)
        return found

    @property
    def whole(self) -> int:
        """Runs that the mean is of."""
        return sum(one.state in WHOLE and "all" in one.top1 for one in self.runs)


SORTS: dict[str, Callable[[RunState], tuple[Any, ...]]] = {
    "name": lambda one: (one.run.benchmark, one.run.network, one.run.config.modality, one.run.config.seed),
    "started": lambda one: (-one.run.age,),
    "accuracy": lambda one: (-one.top1.get("all", -1.0),),
    "time": lambda one: (-(one.seconds or 0.0),),
}
"""Orders of runs: by name, or the newest, best or longest first."""


def read_states(root: Path, checkpoint: str, warn: Callable[[str], None]) -> list[RunState]:
    """The state of every run below `root`; `warn` is told of those that cannot be read."""
    found = []
    for path in root.rglob("config.yaml"):
        if is_run(path.parent):
            try:
                found.append(run_state(open_run(path.parent), checkpoint))
            except TsgcError as error:
                warn(f"left out: {error}")
    return found


def grouped(states: Iterable[RunState], sort: str = "name") -> list[Group]:
    """Runs by all of their settings but the seed, their data and what they started from; in order."""
    groups: dict[bytes, list[RunState]] = {}
    for one in states:
        settings = dataclasses.asdict(one.run.config) | {"seed": None}
        about = one.environment or {}
        key = [one.run.benchmark, one.run.network, about.get("manifest_digest"), about.get("init"), settings]
        groups.setdefault(orjson.dumps(key), []).append(one)
    found = [Group(sorted(group, key=SORTS["name"])) for group in groups.values()]
    return sorted(found, key=lambda group: min((SORTS[sort](one), SORTS["name"](one)) for one in group.runs))


def list_runs(
    talker: Talker, root: Path, wanted: Filter, *, sort: str = "name", checkpoint: str = "last"
) -> None:
    """Print the runs below `root` that are wanted, as tables or as JSON."""
    states = read_states(root, checkpoint, talker.warn)
    groups = grouped(filter(wanted.takes, states), sort)
    if not groups:
        talker.line(_nothing(root, states))
    elif talker.columns is not None and talker.columns < WIDE:
        talker.table(_count(groups), ("run", *COLUMNS), list(_below_benchmarks(groups, root)))
    else:
        columns = ("benchmark", "network", "stream", *COLUMNS)
        talker.table(_count(groups), columns, list(_rows(groups, root)), texts=3)
    if groups:
        talker.note(f"all, clean: top-1 % on the test split, {checkpoint}; clean: without repeated clips")
    if any(group.spread() for group in groups):
        talker.note("mean, sd: of the runs that differ in the seed alone and are finished; sd: n - 1")
    for one in (one for group in groups for one in group.runs if one.error):
        talker.line(f"{one.run.folder}: {one.error}")
    runs = [one for group in groups for one in group.runs]
    talker.data({"runs": [_entry(one) for one in runs], "groups": [_summary(group) for group in groups]})


def _nothing(root: Path, states: Sequence[RunState]) -> str:
    """What is said where no run is listed."""
    if not states:
        return f"{root}: no runs; `tsgc train` makes one"
    there = ", ".join(sorted({one.run.benchmark for one in states}))
    return f"none of the {len(states)} runs in {root} is such a one; there are runs of {there}"


def _count(groups: Sequence[Group]) -> str:
    number = sum(len(group.runs) for group in groups)
    return f"{number:,} run{'' if number == 1 else 's'}"


def _rows(groups: Sequence[Group], root: Path) -> Iterable[list[str]]:
    """A row for each run, and for each group its mean and deviation."""
    for group in groups:
        for one in group.runs:
            yield _row(one, root)
        if spread := group.spread():
            for index, word in enumerate(("mean", "sd")):
                cells = [f"{spread[part][index]:.2f}" if part in spread else "" for part in PARTS]
                yield [*_stream(group.runs[0].run), word, "", f"of {group.whole}", *cells, "", ""]


def _below_benchmarks(groups: Sequence[Group], root: Path) -> Iterable[list[str]]:
    """The rows of `_rows`, those of a benchmark below a row with its name."""
    for benchmark in dict.fromkeys(group.runs[0].run.benchmark for group in groups):
        yield [benchmark, *("" for _ in COLUMNS)]
        own = [group for group in groups if group.runs[0].run.benchmark == benchmark]
        for _, network, stream, *cells in _rows(own, root):
            yield [f"  {network} {stream}", *cells]


def _row(one: RunState, root: Path) -> list[str]:
    run = one.run
    usual = run_folder(Path(), run.benchmark, run.config).parts
    elsewhere = "" if run.folder.parts[-len(usual) :] == usual else f" in {run.folder.relative_to(root)}"
    return [
        *_stream(run, elsewhere),
        str(run.config.seed),
        f"{one.epochs}/{run.config.epochs}",
        one.state,
        *(f"{one.top1[part]:.2f}" if part in one.top1 else "" for part in PARTS),
        day(run.age),
        "" if one.seconds is None else duration(one.seconds),
    ]


def _stream(run: Run, elsewhere: str = "") -> tuple[str, str, str]:
    return run.benchmark, run.network, run.config.modality + elsewhere


def day(seconds: float) -> str:
    """A time as month, day and minute, or as a date where it was in another year."""
    then = datetime.fromtimestamp(seconds)
    return f"{then:%m-%d %H:%M}" if then.year == datetime.now().year else f"{then:%Y-%m-%d}"


def duration(seconds: float) -> str:
    """A length of time in its largest unit."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _entry(one: RunState) -> dict[str, Any]:
    """A run, as JSON says it."""
    run = one.run
    return {
        "folder": str(run.folder),
        "benchmark": run.benchmark,
        "network": run.network,
        "stream": run.config.modality,
        "seed": run.config.seed,
        "state": one.state,
        "epochs": one.epochs,
        "planned_epochs": run.config.epochs,
        "recipe_epochs": one.recipe_epochs,
        "top1": one.top1,
        "started": datetime.fromtimestamp(run.age).astimezone().isoformat(timespec="seconds"),
        "seconds": one.seconds,
        "error": one.error,
    }


def _summary(group: Group) -> dict[str, Any]:
    """Runs that differ in the seed alone, as JSON says them."""
    first = group.runs[0].run
    return {
        "benchmark": first.benchmark,
        "network": first.network,
        "stream": first.config.modality,
        "seeds": [one.run.config.seed for one in group.runs],
        "folders": [str(one.run.folder) for one in group.runs],
        "finished": group.whole,
        "top1": {part: {"mean": mean, "sd": sd} for part, (mean, sd) in group.spread().items()},
    }
