"""Several nodes, and ranks that are lost: torchrun starts the group again, and the run goes on by itself."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from shards_made import make_shards
from test_distributed import lines, train_words, tsgc, weights

MISHAPS = Path(__file__).with_name("mishaps.py")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def start(*words: object, **variables: str) -> subprocess.Popen:
    """A process as a user would start it, one thread a rank; its output is one text."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen(
        [str(word) for word in words], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def ends(*processes: subprocess.Popen, code: int = 0) -> list[str]:
    """What the processes printed; all have to end with `code`."""
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [code] * len(processes), "\n".join(said)
    return said


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("made"), clips=101).folder


@pytest.fixture(scope="module")
def unbroken(shards, tmp_path_factory):
    """A run of two ranks of one node that nothing happened to."""
    run = tmp_path_factory.mktemp("unbroken") / "run"
    tsgc(*train_words(shards, run, "--gpus", "2"))
    return run


def assert_same(run: Path, other: Path) -> None:
    """The same steps, epochs and weights, to the bit."""
    assert lines(run / "steps.jsonl") == lines(other / "steps.jsonl")
    assert [line["epoch"] for line in lines(run / "metrics.jsonl")] == [1, 2, 3]
    for name in ("last", "last-ema"):
        ours, theirs = (weights(folder, name) for folder in (run, other))
        assert all((ours[key] == theirs[key]).all() for key in theirs)


def nodes(port: int, *options: str) -> list[str]:
    return [
        *TORCHRUN, "--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{port}", "--nproc-per-node=1", *options,
    ]  # fmt: skip


def test_two_nodes_are_the_same_as_one(shards, unbroken, tmp_path):
    """Two launchers find each other by the c10d rendezvous; each starts one rank."""
    command = [*nodes(free_port(), "--nnodes=2"), "-m", *train_words(shards, tmp_path / "run")]
    said = ends(start(*command), start(*command))
    assert sum("run: " in text for text in said) == 1  # rank 0 alone talks
    assert_same(tmp_path / "run", unbroken)


def test_two_nodes_by_torchruns_variables(shards, unbroken, tmp_path):
    """`tsgc train --gpus N` on each node, as a batch system starts it."""
    variables = {
        "PET_NNODES": "2", "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": f"localhost:{free_port()}",
        "PET_RDZV_ID": "job7",
    }  # fmt: skip
    command = [sys.executable, "-m", *train_words(shards, tmp_path / "run", "--gpus", "1")]
    ends(start(*command, **variables), start(*command, **variables))
    assert_same(tmp_path / "run", unbroken)


def test_lost_ranks_are_started_again_and_the_run_goes_on(shards, unbroken, tmp_path):
    """Killed: rank 1 within the second epoch, then rank 0 within the third. Nobody gives --resume."""
    mishaps = [{"step": 9, "rank": 1}, {"step": 17, "rank": 0, "attempt": 1}]
    words = train_words(shards, tmp_path / "run", "--overwrite")[1:]
    torchrun = [*TORCHRUN, "--standalone", "--nproc-per-node=2", "--max-restarts=2"]
    (said,) = ends(start(*torchrun, MISHAPS, *words, MISHAPS=json.dumps(mishaps)))
    assert said.count("started again by torchrun") == 2
    assert "after epoch 1 of 3" in said and "after epoch 2 of 3" in said
    assert_same(tmp_path / "run", unbroken)


def test_a_rank_lost_before_the_first_checkpoint_begins_anew(shards, unbroken, tmp_path):
    words = train_words(shards, tmp_path / "run")[1:]
    torchrun = [*TORCHRUN, "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    (said,) = ends(start(*torchrun, MISHAPS, *words, MISHAPS=json.dumps([{"step": 3, "rank": 1}])))
    assert "resuming" not in said
    assert_same(tmp_path / "run", unbroken)


def test_gpus_restarts_lost_ranks_where_torchruns_variable_says_so(shards, unbroken, tmp_path):
    """A run that was begun by another command is refused, however often the ranks are started again."""
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    before = (run / "checkpoints/state.pt").read_bytes()
    command = [sys.executable, "-m", *train_words(shards, run, "--gpus", "2")]
    (said,) = ends(start(*command, PET_MAX_RESTARTS="1"), code=1)
    assert said.splitlines()[-1].startswith("error: process 0 of 2: ") and "holds a run already" in said
    assert "resuming" not in said and (run / "checkpoints/state.pt").read_bytes() == before
