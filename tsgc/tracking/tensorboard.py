"""TensorBoard: event files in the run's folder."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from tsgc.tracking.tracker import Ending, RunFacts, with_prefix


def start(facts: RunFacts, run_id: str | None) -> "TensorBoard":
    """Begin an event file; what an earlier one has of later epochs is hidden."""
    return TensorBoard(facts)


class TensorBoard:
    """A run's curves by epoch. Steps are left out: what is hidden on resume is told by one axis for all."""

    id = ""  # the folder is the run

    def __init__(self, facts: RunFacts) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.board = SummaryWriter(str(facts.folder / "tensorboard"), purge_step=facts.epoch + 1)
        self.epoch = facts.epoch
        if not facts.epoch:
            text = yaml.safe_dump(dict(facts.settings), sort_keys=False)
            self.board.add_text("settings", "".join(f"    {line}\n" for line in text.splitlines()), 0)

    def log_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        self.epoch = epoch
        for name, value in figures.items():
            self.board.add_scalar(name, value, epoch)

    def log_step(self, step: int, figures: Mapping[str, float]) -> None:
        pass

    def log_scores(self, figures: Mapping[str, float]) -> None:
        for name, value in with_prefix("scores", figures).items():
            self.board.add_scalar(name, value, self.epoch)

    def log_report(self, path: Path) -> None:
        pass

    def finish(self, ending: Ending) -> None:
        self.board.close()
