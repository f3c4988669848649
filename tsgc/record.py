"""A run's figures, epoch by epoch: metrics.jsonl and TensorBoard."""

from collections.abc import Mapping
from pathlib import Path

import orjson
from torch.utils.tensorboard import SummaryWriter

from tsgc.checkpoint import write_atomic


class Recorder:
    """Appends a line an epoch; lines after `epoch`, left by a run that was cut off, are dropped first."""

    def __init__(self, folder: Path, epoch: int) -> None:
        self.path = folder / "metrics.jsonl"
        if self.path.exists():
            lines = self.path.read_bytes().splitlines()
            kept = [line for line in lines if _epoch_of(line) <= epoch]
            write_atomic(self.path, b"".join(line + b"\n" for line in kept))
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=epoch + 1)

    def write(self, epoch: int, figures: Mapping[str, float]) -> None:
        with self.path.open("ab") as file:
            file.write(orjson.dumps({"epoch": epoch, **figures}) + b"\n")
        for name, value in figures.items():
            self.board.add_scalar(name, value, epoch)

    def close(self) -> None:
        self.board.close()


def _epoch_of(line: bytes) -> float:
    """The epoch of a line; a line cut off in the middle counts as beyond every epoch."""
    try:
        return orjson.loads(line)["epoch"]
    except (orjson.JSONDecodeError, KeyError):
        return float("inf")
