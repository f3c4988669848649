"""The runs that one command asks for: a stream and a seed each; refused together, before any starts."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.errors import TsgcError, UsageError
from tsgc.config import TrainConfig, resolve_config, settle_window
from tsgc.training.snapshots import state_path
from tsgc.workspace.at_work import is_running
from tsgc.workspace.run_state import WHOLE, run_state
from tsgc.workspace.runs import is_run, open_run

RANGE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?", re.ASCII)
MOST_SEEDS = 1000  # more are a slip of the hand


@dataclass(frozen=True)
class Member:
    """One of the runs that a command asks for."""

    config: TrainConfig
    folder: Path
    resume: bool = False
    """Whether `--resume` is given: it goes on where its folder has a state, and starts where it has none."""

    @property
    def name(self) -> str:
        """What the run is called among the others."""
        return member_name(self.config)

    @property
    def taken(self) -> bool:
        """Whether the folder holds a run that has saved itself."""
        return state_path(self.folder).exists()

    @property
    def over(self) -> bool:
        """Whether a run to be resumed is trained and scored already, with the settings that are asked for."""
        if not self.resume or not is_run(self.folder):
            return False
        run = open_run(self.folder)
        return _settings(run.config) == _settings(self.config) and run_state(run).state in WHOLE


def plan_member(
    benchmark: str,
    place: Callable[[TrainConfig], Path],
    options: Mapping[str, Any],
    *,
    recipe: str | None,
    config: Path | None,
    settings: Sequence[str],
    resume: bool,
    remote: bool,
    note: Callable[[str], None],
) -> Member:
    """A run with all its settings: see `resolve_config`.

    `place`: its folder, by the settings as they are without it. One that is gone on with keeps what the
    command does not give. `remote`: whether its shards are behind a URL.
    """
    resolve = partial(
        resolve_config, benchmark, recipe=recipe, config=config, settings=settings, options=options
    )
    folder = place(resolve())
    own = folder / "config.yaml"
    goes_on = resume and not (recipe or config) and own.is_file()
    settled = resolve(started=own if goes_on else None, note=note)
    return Member(settle_window(settled, remote=remote), folder, resume)


def member_name(config: TrainConfig) -> str:
    """The stream and the seed of a run, such as `joint seed 0`."""
    return f"{config.modality} seed {config.seed}"


def _settings(config: TrainConfig) -> TrainConfig:
    """The settings but for what a run that is gone on with is not asked for again."""
    return replace(config, teachers=(), trained_in=None)


def parse_seeds(words: str) -> list[int]:
    """The seeds of `0-2`, `0,3,5` or both (`0-2,7`), in that order. Raises UsageError for other words."""
    expected = f"--seeds {words}: expected a range such as 0-2, or seeds with commas between such as 0,3,5"
    seeds: list[int] = []
    for part in words.split(","):
        found = RANGE.fullmatch(part.strip())
        if found is None:
            raise UsageError(expected)
        first = int(found[1])
        last = first if found[2] is None else int(found[2])
        if last < first:
            raise UsageError(f"{expected}; {part.strip()} runs backwards")
        if last - first + len(seeds) >= MOST_SEEDS:
            raise UsageError(f"--seeds {words}: more than {MOST_SEEDS:,} seeds")
        seeds += range(first, last + 1)
    if twice := [seed for seed in seeds if seeds.count(seed) > 1]:
        raise UsageError(f"--seeds {words}: seed {twice[0]} is there twice")
    return seeds


def check_members(members: Sequence[Member], *, resume: bool, overwrite: bool) -> None:
    """Refuse, in one line, a run that is asked for twice, and folders that are taken or being trained in."""
    names = [member.name for member in members]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"--modality: {twice} is asked for twice; give each stream once")
    if busy := [member for member in members if is_running(member.folder)]:
        raise TsgcError(
            f"{_listed(busy)}: another process trains there; wait for it, or leave"
            f" {'it' if len(busy) == 1 else 'them'} out"
        )
    taken = [member for member in members if member.taken]
    if taken and not (resume or overwrite):
        raise TsgcError(
            f"{_listed(taken)}: {'holds a run' if len(taken) == 1 else 'hold runs'} already; give --resume to"
            " go on (with those that are there, and with the others from the start), --overwrite to start"
            " all again"
        )


def _listed(members: Sequence[Member]) -> str:
    return ", ".join(str(member.folder) for member in members)
