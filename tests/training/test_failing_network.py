"""A network of one's own that fails after the first step, in whatever command: one line, and nothing lost."""

import shutil
from functools import partial

import pytest
import torch
from made.clips import ntu_clip
from made.command import quick, tsgc
from made.once import once, only_read
from made.own_networks import PLAIN, write_network

from tsgc.network.own import code as own_code

FAILING = PLAIN.replace(
    "    def forward(self, x):\n",
    """    def forward(self, x):
        for fault in pathlib.Path("faults").glob("*"):
            when, what, after = fault.name.split("-")
            if when == ("training" if self.training else "eval"):
                calls[0] += 1
                if calls[0] > int(after):
                    return FAULTS[what](self, x)
        return self.out_of(x)

    def out_of(self, x):
""",
).replace(
    "import torch\n",
    """import pathlib
import torch

calls = [0]


def fails(net, x):
    raise LookupError("no such joint today")


class Refusing(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise LookupError("no such gradient today")


def nan(net, x):
    x = net.out_of(x)
    x[:1] = float("nan")
    return x


FAULTS = {
    "fails": fails,
    "refuses": lambda net, x: Refusing.apply(net.out_of(x)),
    "squeezes": lambda net, x: net.out_of(x)[0],
    "nan": nan,
}
""",
    1,
)
"""`PLAIN`, which has the fault that a file in ./faults names: in which mode, what, after how many passes."""


@pytest.fixture(autouse=True)
def nothing_admitted(monkeypatch):
    monkeypatch.setattr(own_code, "_admitted", [])


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """A folder with the network and a finished `run` of it; to be read."""

    def train(folder):
        tsgc(*words(made, write_network(folder, FAILING), folder / "run"))

    yield from only_read(once(tmp_path_factory, "failing-network", train))


def words(made, given, run, *more):
    where = ("--data-root", made, "--run-dir", run, "--network", given)
    return ["train", "ntu60/xsub", *where, *quick("epochs=2", "save_every=1", "frames=8", *more)]


def fault(folder, name=""):
    """The network does this from now on; empty: nothing any more."""
    shutil.rmtree(folder / "faults", ignore_errors=True)
    (folder / "faults").mkdir()
    (folder / f"faults/{name}").touch() if name else None


def last(said):
    """The error, which is the last line."""
    line = said.splitlines()[-1]
    assert line.startswith("error: ") and "Traceback" not in said
    return line


SHAPE = "x of (N, C, T, V, M) = (8, 3, 8, 25, 2)"
STEPS = {
    "fails": f"its forward pass failed on {SHAPE}: LookupError: no such joint today (my.py, line ",
    "refuses": f"its backward pass failed on {SHAPE}: LookupError: no such gradient today (my.py, line ",
    "squeezes": f"its forward pass gives (60,) for {SHAPE}, expected logits (N, K) = (8, 60)",
}


@pytest.mark.parametrize(
    ("name", "compiled"),
    [
        *((name, False) for name in STEPS),
        *(pytest.param(name, True, marks=pytest.mark.slow) for name in STEPS),
    ],
)
def test_a_step_in_the_midst_of_training(made, here, monkeypatch, name, compiled):
    given = write_network(here, FAILING)
    tsgc(*words(made, given, "run", "epochs=1", "warmup_epochs=0"))
    saved = (here / "run/checkpoints/last.safetensors").read_bytes()
    fault(here, f"training-{name}-4")
    if compiled:
        monkeypatch.setattr("torch.compile", partial(torch.compile, backend="eager"))
    more = ("compile=true",) if compiled else ()
    said = last(tsgc(*words(made, given, "run", "warmup_epochs=0", *more), "--resume", expect=1))
    assert said.startswith(f"error: network my.py:Net: {STEPS[name]}")
    assert (here / "run/error.txt").read_text() == f"{said.removeprefix('error: ')}\n"
    assert (here / "run/checkpoints/last.safetensors").read_bytes() == saved
    fault(here)
    assert "epoch 2/2" in tsgc(*words(made, given, "run", "warmup_epochs=0"), "--resume")


def test_an_epochs_evaluation(made, here):
    fault(here, "eval-fails-1")  # one pass has been tried
    said = last(tsgc(*words(made, write_network(here, FAILING), "run", "eval_every=1"), expect=1))
    assert "its forward pass failed" in said and "LookupError: no such joint today (my.py, line" in said


def test_side_by_side_the_others_train_on(made, here):
    fault(here, "training-fails-4")
    given = write_network(here, FAILING)
    many = ["train", "ntu60/xsub", "--data-root", made, "--network", given, "--seeds", "0-1"]
    said = tsgc(*many, *quick("epochs=1", "warmup_epochs=0", "frames=8"), expect=1)
    assert "Traceback" not in said
    assert said.count("failed: network my.py:Net: its forward pass failed on x") == 2
    assert said.count("LookupError: no such joint today (my.py, line") == 2


def test_each_command_that_recognises(whole, made, here):
    shutil.copytree(whole / "run", here / "run")
    given = ("--network", write_network(here, FAILING))
    (here / "clip.skeleton").write_bytes(ntu_clip())
    commands = (
        ("evaluate", "run", "--data-root", made),
        ("export", "run", "--data-root", made, "--format", "pt2"),
        ("predict", "clip.skeleton", "--run", "run"),
    )
    for what, expected in (
        ("fails", "its forward pass failed on x"),
        ("squeezes", "its forward pass gives"),
    ):
        fault(here, f"eval-{what}-0")
        for command in commands:
            assert f"network my.py:Net: {expected}" in last(tsgc(*command, *given, expect=1)), command
    said = tsgc("report", "run", "--explain", 1, "--out", "r.html", "--data-root", made, *given)
    assert "No saliency" in said and "network my.py:Net: its forward pass gives" in said


def test_a_network_that_divides_by_the_zeros_of_clips_is_told_so(made, tmp_path):
    forward = "    def forward(self, x):\n"
    divides = PLAIN.replace(forward, f"{forward}        x = x / x.norm(dim=1, keepdim=True)\n")
    said = tsgc(*words(made, write_network(tmp_path, divides), tmp_path / "run", "log_every=1"), expect=1)
    assert "no checkpoint was saved before; try a lower lr" in last(said)
    assert last(said).endswith("may divide by 0: joints that were not seen, centres and absent bodies are 0")
