"""Runs side by side: to the bit what each is alone, in folders of their own, stopped and gone on with."""

import json
import signal
import subprocess
import sys
import weakref

import pytest
import torch
from made.command import fails, quick, tsgc
from made.run_folders import make_run_folder

from pipelines.errors import TsgcError
from tsgc.side_by_side.group import free_frames, told
from tsgc.training import epoch, loop
from tsgc.workspace.at_work import at_work

STREAMS = ("joint", "bone")
SETTINGS = quick(
    "epochs=2", "drop_path=0.3", "noise=0.01", "mirror=0.5", "mixup_prob=0.5", "eval_every=1", "log_every=2",
    "micro_batch=4", "mix_group=4",
)  # fmt: skip
build = loop.build_training
MEASURED = ("seconds", "clips_per_second", "gpu_memory_gb")


def words(data, streams=STREAMS, seeds="0-1", *more):
    modalities = [word for stream in streams for word in ("--modality", stream)]
    where = ["--data-root", data, "--device", "cpu"]  # to the bit, which no GPU is
    return ["train", "ntu60/xsub", *where, *modalities, "--seeds", seeds, *SETTINGS, *more]


def results(folder):
    """All that a run leaves, but for what is measured: weights, figures, scores."""
    left = {path.name: path.read_bytes() for path in folder.glob("checkpoints/*.safetensors")}
    left |= {path.name: path.read_bytes() for path in folder.glob("scores/*.npz")}
    for name in ("metrics.jsonl", "steps.jsonl"):
        lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        left[name] = [{key: value for key, value in line.items() if key not in MEASURED} for line in lines]
    return left


@pytest.fixture(scope="module")
def alone(made, tmp_path_factory):
    """Each of four runs trained by itself: (stream, seed) -> what it left."""
    found = {}
    for stream in STREAMS:
        for seed in (0, 1):
            folder = tmp_path_factory.mktemp("alone")
            one = ["train", "ntu60/xsub", "--data-root", made, "--modality", stream, "--seed", seed]
            tsgc(*one, "--device", "cpu", *SETTINGS, "--run-dir", folder)
            found[stream, seed] = results(folder)
    return found


def check_same(runs, alone, but=()):
    for (stream, seed), left in alone.items():
        found = results(runs / f"ntu60/xsub/tiny/{stream}/seed{seed}")
        assert found.keys() == left.keys() and len(found) > 6
        for name, value in left.items():
            assert name in but or found[name] == value, (stream, seed, name)


@pytest.mark.parametrize("at_once", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_runs_side_by_side_are_those_alone_to_the_bit(made, here, alone, at_once):
    said = tsgc(*words(made), "--at-once", at_once)
    assert "joint" in said
    check_same(here / "runs", alone)


def rate_that(monkeypatch, what):
    """From here on `what(step, config)` is called before each step; a rate that it gives is taken."""
    rate = epoch.learning_rate

    def changed(step, steps, config):
        given = what(step, config)
        return rate(step, steps, config) if given is None else given

    monkeypatch.setattr(epoch, "learning_rate", changed)


@pytest.mark.slow
def test_runs_that_are_asked_to_stop_save_and_go_on_to_the_bit(made, here, alone, monkeypatch):
    left = iter(range(17, -1, -1))
    with monkeypatch.context() as patch:
        rate_that(patch, lambda *_: signal.raise_signal(signal.SIGTERM) if next(left, 1) == 0 else None)
        said = tsgc(*words(made), "--at-once", 3, expect=75)
    line = said.splitlines()[-1]
    assert "error: asked to stop: 3 of 4 runs saved where they were, 1 of 4 runs not begun; `tsgc" in line
    assert line.endswith("--at-once 3 --resume` goes on")
    assert "another process" not in said and not list((here / "runs").rglob("scores/*.npz"))

    left = iter(range(20, -1, -1))  # now in the second epochs; the fourth has not begun when the first ends
    with monkeypatch.context() as patch:
        rate_that(patch, lambda *_: signal.raise_signal(signal.SIGINT) if next(left, 1) == 0 else None)
        tsgc(*words(made), "--at-once", 3, "--resume", expect=75)
    said = tsgc(*words(made), "--resume")
    assert "resuming" in said
    check_same(here / "runs", alone, but=["steps.jsonl"])  # a stop reads the loss at a step of its own

    said = tsgc(*words(made), "--resume")
    assert said.count("trained and scored already") == 4 and "2s fused" in said
    assert tsgc(*words(made), "--resume", "--set", "epochs=3").count("resuming") == 4


def test_a_run_whose_turn_has_not_come_does_not_begin_any_more(made, here, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            loop, "build_training", lambda *words: signal.raise_signal(signal.SIGTERM) or build(*words)
        )
        said = tsgc(*words(made), "--at-once", 3, expect=75)
    assert "1 of 4 runs saved where they were, 3 of 4 runs not begun" in said
    assert [path.parent.name for path in (here / "runs").rglob("config.yaml")] == ["seed0"]


@pytest.mark.slow
def test_a_run_that_fails_leaves_the_others_alone(made, here, alone, monkeypatch):
    with monkeypatch.context() as patch:
        rate_that(patch, lambda step, config: 1e30 if (config.modality, config.seed) == ("bone", 0) else None)
        said = tsgc(*words(made), "--at-once", 4, "--set", "warmup_epochs=0", expect=1)
    assert "bone seed 0: failed: the loss is" in said
    assert said.splitlines()[-1].startswith("error: 1 of 4 runs failed: bone seed 0; `tsgc train")
    tables = said[said.index("test, top-1 %") :]
    assert tables.count("±") == 4 + 1  # of two seeds of joint; the line below says what it means
    said = tsgc(*words(made), "--set", "warmup_epochs=0", "--resume")
    assert said.count("trained and scored already") == 3 and "resuming" not in said


def test_memory_that_is_short_is_said_with_what_needs_less():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore")
    assert told(error, 3) == "out of GPU memory, with 3 runs at once; --at-once 2 needs less"
    assert told(error, 1).endswith("1 run at once; a smaller --set micro_batch=N needs less")
    assert told(TsgcError("one line\nand more"), 3) == "one line"


def test_a_run_that_failed_holds_no_memory_though_its_error_is_kept():
    class Network:
        pass

    def fails():
        network = Network()
        held.append(weakref.ref(network))
        try:
            raise ValueError("within")
        except ValueError as error:
            raise TsgcError("failed") from error

    held = []
    with pytest.raises(TsgcError) as caught:
        fails()
    error = caught.value
    del caught
    free_frames(error)
    assert held[0]() is None and error.__traceback__ is not None


def test_what_several_runs_cannot_share_is_refused_before_any_starts(made, here):
    both = words(made)
    assert "--run-dir is for one run, and 4 are asked for" in fails(*both, "--run-dir", "here", code=2)
    assert "--print-config is for one run" in fails(*both, "--print-config", code=2)
    assert "--seed and --seeds exclude each other" in fails(*both, "--seed", 0, code=2)
    assert "runs backwards" in fails(*words(made, STREAMS, "3-1"), code=2)
    assert "joint seed 0 is asked for twice" in fails(*words(made, ("joint", "joint")), code=2)
    assert not (here / "runs").exists()


def test_folders_that_are_taken_are_named_in_one_line(made, here):
    for stream, seed in (("joint", 1), ("bone", 0)):
        folder = make_run_folder(here / "runs", variant="tiny", modality=stream, seed=seed)
        assert folder == here / f"runs/ntu60/xsub/tiny/{stream}/seed{seed}"
    said = fails(*words(made))
    places = "runs/ntu60/xsub/tiny/bone/seed0, runs/ntu60/xsub/tiny/joint/seed1"
    assert f"{places}: hold runs already; give" in said
    with at_work(folder):
        assert "tiny/bone/seed0: another process trains there" in fails(*words(made), "--overwrite")
    assert not (here / "runs/ntu60/xsub/tiny/joint/seed0").exists()


def test_one_stream_and_one_seed_is_a_run_by_itself(made, here):
    said = tsgc(*words(made, ["bone"], "1"), "--run-dir", here / "run")
    assert said.splitlines()[-1] == f"run: {here / 'run'}" and "±" not in said


@pytest.mark.slow
def test_ranks_share_the_runs_and_one_of_them_tells_of_all(made, here, alone):
    """Each of two processes trains two runs, each run in one of them."""
    command = [sys.executable, "-m", "tsgc", *map(str, words(made)), "--gpus", "2", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2s fused" in done.stdout
    check_same(here / "runs", alone)
    for folder in (here / "runs").rglob("seed*"):
        assert json.loads((folder / "environment.json").read_bytes())["world"] == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: no streams and no graphs side by side")
def test_on_a_gpu_runs_side_by_side_learn_as_they_do_alone(made, here):
    """Captured steps, shared clips, streams of their own; sums there may come in another order."""
    more = ["--device", "cuda", "--set", "epochs=6", "--set", "log_every=1"]
    tsgc(*words(made, STREAMS, "0-1", *more), "--at-once", 4)
    for stream in STREAMS:
        one = [
            "train",
            "ntu60/xsub",
            "--data-root",
            made,
            "--modality",
            stream,
            "--seed",
            1,
            *SETTINGS,
            *more,
        ]
        tsgc(*one, "--run-dir", here / stream)
        ours, alone = (
            [json.loads(line)["loss"] for line in (folder / "steps.jsonl").read_text().splitlines()]
            for folder in (here / f"runs/ntu60/xsub/tiny/{stream}/seed1", here / stream)
        )
        assert ours == pytest.approx(alone, rel=1e-2) and len(ours) == 30


NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, skeleton, num_classes, *, bodies, channels, frames, width=6):
        super().__init__()
        self.first = nn.Linear(channels * skeleton.num_joints, width)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(width, num_classes)

    def forward(self, x):  # (N, C, T, V, M) -> (N, K)
        x = x.permute(0, 2, 4, 1, 3).flatten(3)
        return self.last(self.drop(torch.relu(self.first(x))).mean((1, 2)))
"""


@pytest.mark.slow
def test_what_a_network_of_ones_own_draws_is_not_moved_by_others(made, here):
    (here / "my.py").write_text(NET)
    base = ["train", "ntu60/xsub", "--data-root", made, "--network", "my.py:Net", "--set", "epochs=3"]
    base += ["--set", "frames=16", "--set", "batch=8", "--set", "mix_group=8", "--set", "precision=float32"]
    tsgc(*base, "--seeds", "0-2", "--at-once", 3)
    for seed in range(3):
        tsgc(*base, "--seed", seed, "--run-dir", here / str(seed))
        (folder,) = (here / "runs").rglob(f"seed{seed}")
        assert results(folder) == results(here / str(seed))
