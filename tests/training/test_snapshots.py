"""What of a run stays on disk, and that no moment of saving can lose it."""

import filecmp
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from made.command import MISHAPS, fails, quick, tsgc

from tsgc.checkpoint import load_model
from tsgc.training import snapshots


def files(run: Path) -> set[str]:
    return {path.name for path in (run / "checkpoints").iterdir()}


def epoch_of(path: Path) -> int:
    return torch.load(path, weights_only=True)["epoch"]


def words(made: Path, run: Path, *settings: str) -> list:
    return ["train", "ntu60/xsub", "--data-root", made, "--run-dir", run, *quick(*settings)]


def test_by_default_the_last_state_and_weights_stay(here, made):
    tsgc(*words(made, here / "run", "epochs=3"))
    states = {name for name in files(here / "run") if name.endswith(".pt")}
    assert states == {"state.pt"} and epoch_of(here / "run/checkpoints/state.pt") == 3
    assert {name for name in files(here / "run") if "last" in name} == {
        "last.safetensors", "last.json", "last-ema.safetensors", "last-ema.json",
    }  # fmt: skip


def test_keep_last_keeps_that_many_states(here, made):
    tsgc(*words(made, here / "run", "epochs=5", "save_every=2", "keep_last=2"))
    folder = here / "run/checkpoints"
    assert {name for name in files(here / "run") if name.endswith(".pt")} == {
        "state.pt", "state-0004.pt", "state-0005.pt",
    }  # fmt: skip
    assert [epoch_of(folder / f"state{end}.pt") for end in ("-0004", "-0005", "")] == [4, 5, 5]
    assert (folder / "state.pt").samefile(folder / "state-0005.pt")  # a second name, not a second file


def test_keep_every_keeps_weights_that_can_be_used(here, made):
    run = here / "run"
    tsgc(*words(made, run, "epochs=5", "save_every=5", "keep_every=2"))
    kept = {name for name in files(run) if name.startswith("epoch-") and name.endswith(".safetensors")}
    assert kept == {f"epoch-000{k}{end}.safetensors" for k in (2, 4) for end in ("", "-ema")}
    description = load_model(run / "checkpoints/epoch-0004-ema.safetensors")[1]
    assert (description.epoch, description.ema, description.selected_on) == (4, True, "none")
    said = tsgc(
        "evaluate", run, "--checkpoint", run / "checkpoints/epoch-0002.safetensors", "--data-root", made
    )
    assert "epoch-0002" in said


def test_an_older_state_can_take_the_place_of_a_damaged_one(here, made):
    command = words(made, here / "run", "epochs=4", "keep_last=3")
    tsgc(*command)
    folder = here / "run/checkpoints"
    whole = (folder / "last.safetensors").read_bytes()
    (folder / "state.pt").write_bytes(b"cut")  # the same file as state-0004.pt
    (folder / "state-0004.pt").unlink()
    said = fails(*command, "--resume")
    assert "not a whole training state" in said
    assert "older states are there (state-0002.pt, state-0003.pt): rename one to state.pt" in said
    (folder / "state-0002.pt").rename(folder / "state.pt")
    assert "after epoch 2 of 4" in tsgc(*command, "--resume")
    assert (folder / "last.safetensors").read_bytes() == whole


def test_keeping_may_change_when_a_run_goes_on(here, made):
    command = words(made, here / "run", "epochs=2")
    tsgc(*command)
    tsgc(*command, "--resume", "--set", "keep_last=3", "--set", "keep_every=1")


def test_states_are_copied_where_links_are_unknown(tmp_path, monkeypatch):
    def refuses(source, target):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuses)
    (tmp_path / "checkpoints").mkdir()
    for epoch in range(1, 5):
        snapshots.state_path(tmp_path).write_text(str(epoch))
        snapshots.retain_state(tmp_path, epoch, keep_last=2)
    assert [path.read_text() for path in snapshots.older_states(tmp_path)] == ["3", "4"]


@pytest.mark.parametrize("setting", ["keep_last=0", "keep_every=-1"])
def test_policies_that_make_no_sense_are_refused(here, made, setting):
    assert f"{setting.split('=')[0]} is" in fails(*words(made, here / "run", setting), code=2)


SAVED = ("last.safetensors", "last.json", "last-ema.safetensors", "last-ema.json", "state.pt")


@pytest.mark.slow
def test_killed_in_every_file_of_a_checkpoint_the_previous_one_serves(here, made):
    """The second epoch's save is killed in each of its files in turn, half of it written."""
    tsgc(*words(made, here / "whole", "eval_every=0"))
    command = words(made, here / "cut", "eval_every=0")
    # As many threads as here: sums in another order are other bits.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    for nth, file in enumerate(SAVED):
        # Beginning a run writes three files, and its first epoch five more; going on writes four anew.
        resumed = ["--resume"] if nth else []
        environment["MISHAPS"] = json.dumps([{"write": (5 if nth else 3 + 5 + 1) + nth}])
        done = subprocess.run(
            [sys.executable, str(MISHAPS), *map(str, command), *resumed],
            env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
        halves = [name for name in files(here / "cut") if name.endswith(".partial")]
        assert any(name.startswith(f".{file}.") for name in halves), halves
        assert epoch_of(here / "cut/checkpoints/state.pt") == 1
    tsgc(*command, "--resume")
    for name in SAVED[:-1]:
        cut, whole = (here / run / "checkpoints" / name for run in ("cut", "whole"))
        assert filecmp.cmp(cut, whole, shallow=False), name
    assert not any(name.endswith(".partial") for name in files(here / "cut"))
