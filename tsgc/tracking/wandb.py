"""Weights & Biases: `wandb login` once, or WANDB_MODE=offline and `wandb sync` later."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tsgc.distributed.environment import QUIET
from tsgc.tracking.tracker import Ending, RunFacts, with_prefix


def start(facts: RunFacts, run_id: str | None) -> "Wandb":
    """Start a run, or go on with one. Its variables (WANDB_PROJECT, WANDB_ENTITY, WANDB_DIR, ...) win."""
    import wandb

    os.environ.setdefault("WANDB_CONSOLE", "off")  # it would take standard output apart
    settings = wandb.Settings(
        silent=bool(os.environ.get(QUIET)),
        disable_git=True,  # the settings name the commit
        reinit="create_new",  # runs side by side are several in one process
    )
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", facts.project),
        name=facts.name,
        group=os.environ.get("WANDB_RUN_GROUP", facts.stream),
        config=dict(facts.settings),
        dir=os.environ.get("WANDB_DIR", facts.folder),
        id=run_id,
        resume="allow" if run_id else None,
        settings=settings,
    )
    if run_id:  # what may change on resume may change here
        run.config.update(dict(facts.settings), allow_val_change=True)
    run.define_metric("step/*", step_metric="step/step")
    return Wandb(run)


class Wandb:
    """A W&B run: epochs and steps have axes of their own, as W&B's counter knows neither."""

    def __init__(self, run: Any) -> None:
        self.run = run
        self.id = str(run.id)
        self.by_epoch: set[str] = set()
        """Figures that W&B knows to have the epoch as their axis."""

    def log_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        for name in figures.keys() - self.by_epoch:
            self.run.define_metric(name, step_metric="epoch")
            self.by_epoch.add(name)
        self.run.log({"epoch": epoch, **figures})

    def log_step(self, step: int, figures: Mapping[str, float]) -> None:
        self.run.log(with_prefix("step", {"step": step, **figures}))

    def log_scores(self, figures: Mapping[str, float]) -> None:
        self.run.summary.update(with_prefix("scores", figures))

    def log_report(self, path: Path) -> None:
        import wandb

        artefact = wandb.Artifact(f"report-{self.id}", type="report")
        artefact.add_file(str(path), name=path.name)
        self.run.log_artifact(artefact)

    def finish(self, ending: Ending) -> None:
        if ending == "stopped":
            self.run.mark_preempting()
        self.run.finish(exit_code=0 if ending == "finished" else 1)
