"""The runs that a command without a name of one means: the newest that are whole."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.errors import TsgcError
from tsgc.modalities import stream_order
from tsgc.workspace.run_state import WHOLE, RunState, epochs_text, run_state
from tsgc.workspace.runs import Run, find_runs, of_networks

MOST = 6  # runs that a line lists

Say = Callable[[str], None]
"""Called with a line that says which runs are left out, and why."""

Pick = Callable[[Sequence[Run]], list[Run]]
"""A choice among runs, oldest first."""


def newest_scored(root: Path, name: str, say: Say) -> list[Run]:
    """The newest whole run of each stream of the benchmark trained last, of runs with scores `name`."""
    lacking = f"{root}: no run with scores/{name}.npz; `tsgc train` ends by writing them"
    whole = _whole_runs(root, lambda run: run.scores(name).is_file(), lacking, say, _newest_streams)
    return _newest_streams(whole)


def newest_trained(root: Path, name: str, say: Say) -> list[Run]:
    """The newest whole run of each stream of the benchmark trained last, of those with the checkpoint."""
    return _newest_streams(_with_checkpoint(root, name, say, _newest_streams))


def newest_whole(root: Path, name: str, say: Say, network: str | Sequence[str] | None = None) -> Run:
    """The whole run that was started last, of runs with the checkpoint `name`, and of `network` if given."""
    return _with_checkpoint(root, name, say, lambda runs: [runs[-1]], network)[-1]


def _with_checkpoint(
    root: Path, name: str, say: Say, pick: Pick, network: str | Sequence[str] | None = None
) -> list[Run]:
    of = of_networks(network)
    lacking = f"{root}: no run{of} with a checkpoint {name}; `tsgc train` makes one, --run names one"
    return _whole_runs(
        root, lambda run: (run.checkpoints / f"{name}.safetensors").is_file(), lacking, say, pick, network
    )


def _whole_runs(
    root: Path,
    has: Callable[[Run], bool],
    lacking: str,
    say: Say,
    pick: Pick,
    network: str | Sequence[str] | None = None,
) -> list[Run]:
    """The finished runs that have what is wanted, oldest first; where there are none, the short ones.

    `say` is told which of those that `pick` would have picked of all are left out. Raises TsgcError: no run
    is finished, or none has what is wanted (`lacking`).
    """
    runs = find_runs(root, network)
    states = [run_state(run) for run in runs]
    usable = [one for one in states if has(one.run)]
    if not usable:
        raise TsgcError(lacking)
    for wanted in ("finished", "short"):
        if taken := [one.run for one in usable if one.state == wanted]:
            break
    else:
        raise TsgcError(
            f"{root}: no finished run; there are {_listed(usable)}; `tsgc train ... --resume` finishes one,"
            " or name one"
        )
    lost = [one for one in states if one.run not in taken and (has(one.run) or one.state not in WHOLE)]
    said = []
    if wanted == "short":
        picked = [one for one in usable if one.run in pick(taken)]
        said.append(f"short runs, as there are no others: {_listed(picked)}")
    if left := [one for one in lost if one.run in pick(runs)]:
        said.append(f"left out: {_listed(left)}; name a run to use it all the same")
    if said:
        say("; ".join(said))
    return taken


def _listed(states: Sequence[RunState]) -> str:
    """The runs with their states, the newest first."""
    said = [f"{one.run.folder} ({_why(one)})" for one in reversed(states)]
    more = [f"{len(said) - MOST} more"] if len(said) > MOST else []
    return ", ".join([*said[:MOST], *more])


def _why(one: RunState) -> str:
    if one.state == "short":
        return f"{epochs_text(one.run.config.epochs)}, its recipe has {one.recipe_epochs}"
    return f"{one.state}, {one.progress}"


def _newest_streams(runs: Sequence[Run]) -> list[Run]:
    """The newest seed of each stream of the last run's benchmark, in a fixed order; `runs`: oldest first."""
    newest = {run.stream: run for run in runs if run.benchmark == runs[-1].benchmark}
    return sorted(newest.values(), key=lambda run: (run.network, stream_order(run.config.modality)))
