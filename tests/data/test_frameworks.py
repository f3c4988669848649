"""Scripts of docs/api.md for Lightning and Accelerate, run, stopped and run again as a reader would."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import cli

ROOT = Path(cli.__file__).parent
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")

pytestmark = pytest.mark.slow  # each starts ranks


@pytest.fixture
def script(made, here):
    """Writes a script of the guide, of made clips, with changes, into a folder of its own there."""
    page = (ROOT / "docs/api.md").read_text()

    def write(folder, name, **changes):
        (code,) = re.findall(rf"```py\n# {name}: .*?\n(.*?)```", page, re.DOTALL)
        for old, new in {"nw-ucla/xview": "ntu60/xsub", **changes}.items():
            assert old in code
            code = code.replace(old, new)
        path = here / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
        if not (path.parent / "data").exists():
            shutil.copytree(made / "shards/ntu60", path.parent / "data/shards/ntu60")
        return path

    return write


def run(path, *words):
    """What a script prints, started from its folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words, path.name], cwd=path.parent, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def load(path):
    return torch.load(path, weights_only=False)


def test_lightning_on_two_ranks_goes_on_in_an_epoch_and_ends_as_one_process_does(script):
    """12 steps by one process; 8 by two ranks, then the rest: an epoch has 6."""
    pytest.importorskip("pytorch_lightning", reason="Lightning is not installed")
    few = {"batch=64": "batch=4"}  # a batch to evaluate for each rank
    run(script("one", "lit.py", **few, **{"devices=2": "devices=1"}))
    run(script("two", "lit.py", **few, **{"max_epochs=2": "max_steps=8"}))
    assert load(Path("two/checkpoints/last.ckpt"))["global_step"] == 8
    run(script("two", "lit.py", **few))
    one, two = (load(Path(name, "checkpoints/last.ckpt")) for name in ("one", "two"))
    assert one["global_step"] == two["global_step"] == 12
    for name, weight in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], weight, rtol=1e-4, atol=1e-6)


def test_accelerate_on_two_ranks_goes_on_in_an_epoch_and_ends_as_one_process_does(script):
    """Saved after 4 of 6 steps, and stopped there."""
    pytest.importorskip("accelerate", reason="Accelerate is not installed")
    said = run(script("one", "accelerated.py"))
    saved = 'accelerator.save_state("state")'
    run(script("two", "accelerated.py", **{saved: f"{saved}; raise SystemExit"}), *TORCHRUN)
    assert run(script("two", "accelerated.py"), *TORCHRUN) == said and said.count("of 15 right") == 2
    one, two = (load_file(Path(name, "model/model.safetensors")) for name in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-6)
