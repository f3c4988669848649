"""Ctrl-C at random points of a run and of preparing and sharding: what comes out in the end is the same."""

import random
import re
import signal
from pathlib import Path

import pytest
from made.clips import ntu_clip, write_folder
from made.command import quick, tsgc

from pipelines import prepare
from shards import writer
from tsgc.input.pipeline import InputPipeline
from tsgc.step.train_step import TrainStep

SEED = 20261130
SETTINGS = quick(
    "epochs=3", "log_every=2", "repeats=2", "last_batch=spread", "batch=16", "micro_batch=4", "mix_group=4",
    "ema_warmup=true", "clip_grad=0.5", "mixup_prob=1.0", "drop_path=0.3", "noise=0.01", "mirror=0.5",
    "eval_every=1", "eval_batch=5",
)  # fmt: skip


def interrupt_at(monkeypatch, places, after: int) -> None:
    """Ctrl-C before one of the calls of `places`, (owner, name), that is reached as number `after`."""
    left = iter(range(after, -1, -1))
    for owner, name in places:
        whole = getattr(owner, name)

        def called(*words, whole=whole, **options):
            if next(left, -1) == 0:
                signal.raise_signal(signal.SIGINT)
            return whole(*words, **options)

        monkeypatch.setattr(owner, name, called)


def test_a_run_interrupted_thirty_times_ends_with_the_weights_of_an_unbroken_one(here, made, monkeypatch):
    """Between micro-batches, in validation, in the last scoring: each time it goes on as the line says."""
    words = ["train", "ntu60/xsub", "--data-root", made, *SETTINGS]
    tsgc(*words, "--run-dir", here / "whole")
    points, stops = random.Random(SEED), []

    def stop_at(after: int) -> None:
        with monkeypatch.context() as patched:
            interrupt_at(patched, [(TrainStep, "loss"), (InputPipeline, "test")], after)
            said = tsgc(*words, "--run-dir", here / "cut", *(["--resume"] if stops else []), expect=75)
        line = said.splitlines()[-1]
        found = re.fullmatch(r"error: asked to stop: saved after (.*?),? in \S+; `tsgc (.*)` .*", line)
        assert found and found[2].endswith("--resume"), said
        stops.append(found[1])

    for _ in range(29):
        # In the end three batches are validated; a signal in the last one has nothing left to break off.
        stop_at(points.randrange(2 if stops[-1:] == ["epoch 2 and 6 steps"] else 6))
    while stops[-1] != "epoch 2 and 6 steps":  # in the last validation, as all steps are over
        stop_at(5)
    stop_at(3)
    assert stops[-1] == "epoch 3, the last, but not scored"
    tsgc(*words, "--run-dir", here / "cut", "--resume")
    for name in ("last", "last-ema", "best", "best-ema"):
        ours, theirs = (here / run / f"checkpoints/{name}.safetensors" for run in ("cut", "whole"))
        assert ours.read_bytes() == theirs.read_bytes(), name
    for split in (here / "whole/scores").iterdir():
        assert (here / "cut/scores" / split.name).exists()


@pytest.fixture
def raw(tmp_path) -> Path:
    names = [f"S001C001P00{p}R00{r}A00{a}.skeleton" for p in (1, 2, 3) for r in (1, 2) for a in range(1, 8)]
    clips = {name: ntu_clip(number, frames=20) for number, name in enumerate(names)}
    return write_folder(tmp_path / "raw", clips)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", ["prepare", "shard"])
def test_what_is_interrupted_leaves_nothing_and_gives_the_same_bytes_afterwards(
    command, raw, tmp_path, monkeypatch
):
    out, points = tmp_path / "out", random.Random(SEED)
    made = tmp_path / "made.h5"
    words = ["prepare", "ntu60", "--raw", raw, "--jobs", 1, "--out"]
    places = [(prepare, "keep"), (prepare, "refuse_too_many_bad")]
    if command == "shard":
        tsgc(*words, made)
        words, out = ["shard", "--prepared", made, "--jobs", 1, "--out"], tmp_path / "sets"
        places = [(writer, "_write_shard"), (writer, "_describe"), (writer, "load_manifest")]
        target = out
    else:
        target = out / "made.h5"
    for _ in range(10):
        with monkeypatch.context() as patched:
            interrupt_at(patched, places, points.randrange(40 if command == "prepare" else 4))
            said = tsgc(*words, target, expect=130)
        assert said.splitlines()[-1].startswith(f"interrupted: tsgc {command} has left nothing half-written")
        assert files(out) == {}
    tsgc(*words, target)
    whole = tmp_path / "whole"
    tsgc(*words, whole / target.relative_to(out))
    ours, theirs = files(out), files(whole)
    assert ours.keys() == theirs.keys() and len(ours) > 1
    assert all(ours[name] == theirs[name] for name in ours if not name.endswith("report.json"))
