"""Settings that may change where a run goes on, and what is said of it: the table in docs/training.md."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.errors import TsgcError
from tsgc.config import TrainConfig, brief
from tsgc.step.optimizer import last_rate, learning_rate

FREE = (
    "micro_batch", "eval_batch", "eval_every", "save_every", "keep_last", "keep_every", "log_every",
    "compile", "graphs",
    "teachers",  # wherever they lie; which they are is compared by what they hold
)  # fmt: skip
"""How a run is watched and fitted to its machine: the weights stay what they would be, to rounding."""

FROM_HERE = ("epochs", "lr", "warmup_epochs", "schedule", "lr_steps", "clip_grad")
"""What the steps from here on do: they need nothing of the past, and the run ends elsewhere."""

SCHEDULE = {"epochs", "lr", "warmup_epochs", "schedule", "lr_steps"}


def changed(started: TrainConfig, now: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """The settings that differ: name -> before and now. Of `precision`, what it came to counts."""
    settled = {"trained_in": None}
    before, after = (asdict(one) | settled | {"precision": one.arithmetic} for one in (started, now))
    return {name: (value, after[name]) for name, value in before.items() if value != after[name]}


def check_changes(started: TrainConfig, now: TrainConfig, begun: int, path: Path) -> None:
    """Raise TsgcError where a run whose state is at `path` cannot go on with other settings.

    `begun`: the epochs that are over or under way.
    """
    found = changed(started, now).items()
    refused = {name: pair for name, pair in found if name not in FREE + FROM_HERE}
    if refused:
        named = ", ".join(f"{name}={brief(was)} (now {brief(ours)})" for name, (was, ours) in refused.items())
        raise TsgcError(
            f"{path}: started with {named}, which cannot change in a run;"
            " resume with the same settings, or start with --overwrite"
        )
    if now.epochs < begun:
        raise TsgcError(f"{path}: epochs is {now.epochs}, and {begun} have begun; expected {begun} or more")


def changes_said(started: TrainConfig, now: TrainConfig, position: int, steps: int) -> list[str]:
    """A line on what the steps from `position` on do in another way; `steps`: those of an epoch."""
    found = {name: pair for name, pair in changed(started, now).items() if name in FROM_HERE}
    if not found:
        return []
    said = ", ".join(f"{name} {brief(was)} -> {brief(ours)}" for name, (was, ours) in found.items())
    if not SCHEDULE & found.keys() or position >= now.epochs * steps:
        return [f"changed: {said}, from here on"]
    last = f" ({learning_rate(position - 1, steps, started):.2g} before)" if position else ""
    return [
        f"changed: {said}; from here on the learning rate is that of a run of {now.epochs} epochs:"
        f" {learning_rate(position, steps, now):.2g} now{last}, {last_rate(now):g} at the end"
    ]
