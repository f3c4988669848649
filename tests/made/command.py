"""The command driven as a user would, in this process."""

from pathlib import Path

from typer.testing import CliRunner

import cli

QUICK = (
    "variant=tiny", "frames=16", "crop_min_frames=8", "batch=8", "mix_group=8", "epochs=2", "warmup_epochs=1",
    "precision=float32", "lr=1e-3",
)  # fmt: skip
MISHAPS = Path(__file__).with_name("mishaps.py")  # a script: the command, with things going wrong on time


def tsgc(*words, expect=0):
    """Run the command in this process; returns what it printed, results and errors together."""
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert result.exit_code == expect, result.output
    return result.output


def fails(*words, code=1):
    """The one line of a failing command."""
    said = tsgc(*words, expect=code)
    assert said.startswith("error: ") and said.count("\n") == 1, said
    return said


def quick(*more):
    return [word for setting in (*QUICK, *more) for word in ("--set", setting)]


def lose_machine(monkeypatch, epoch: int) -> None:
    """From here on training is cut off by an error as its `epoch` (from 0) begins."""
    from tsgc.training import loop  # loads torch, which few who drive the command need

    unbroken = loop.train_epoch

    def cut(run, at, progress, stop):
        if at == epoch:
            raise OSError("the machine was lost")
        return unbroken(run, at, progress, stop)

    monkeypatch.setattr(loop, "train_epoch", cut)
