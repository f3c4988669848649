"""Several nodes, and ranks that are lost: torchrun starts the group again, and the run goes on by itself."""

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import torch
from made.command import MISHAPS
from made.once import once
from made.ranks import free_port, is_listened_on, lines, train_words, tsgc, weights
from made.waiting import wait_until
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from pipelines.errors import TsgcError
from tsgc.distributed import process
from tsgc.distributed.launch import launch

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def start(*words: object, **variables: str) -> subprocess.Popen:
    """A process as a user would start it, one thread a rank; its output is one text."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen(
        [str(word) for word in words], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def ends(*processes: subprocess.Popen, code: int = 0) -> list[str]:
    """What the processes printed; all have to end with `code`."""
    said = [process.communicate(timeout=900)[0] for process in processes]
    assert [process.returncode for process in processes] == [code] * len(processes), "\n".join(said)
    return said


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


@pytest.mark.slow
def test_two_nodes_are_the_same_as_one(shards, two_ranks, tmp_path):
    """Two launchers find each other by the c10d rendezvous; each starts one rank."""
    command = [*nodes(free_port(), "--nnodes=2"), "-m", *train_words(shards, tmp_path / "run")]
    said = ends(start(*command), start(*command))
    assert sum("run: " in text for text in said) == 1  # rank 0 alone talks
    assert_same(tmp_path / "run", two_ranks)


@pytest.mark.slow
def test_two_nodes_by_torchruns_variables(shards, two_ranks, tmp_path):
    """`tsgc train --gpus N` on each node, as a batch system starts it."""
    variables = {
        "PET_NNODES": "2", "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": f"localhost:{free_port()}",
        "PET_RDZV_ID": "job7",
    }  # fmt: skip
    command = [sys.executable, "-m", *train_words(shards, tmp_path / "run", "--gpus", "1")]
    ends(start(*command, **variables), start(*command, **variables))
    assert_same(tmp_path / "run", two_ranks)


@pytest.mark.slow
def test_lost_ranks_are_started_again_and_the_run_goes_on(shards, two_ranks, tmp_path):
    """Killed: rank 1 within the second epoch, then rank 0 within the third. Nobody gives --resume."""
    mishaps = [{"step": 9, "rank": 1}, {"step": 17, "rank": 0, "attempt": 1}]
    words = train_words(shards, tmp_path / "run", "--overwrite")[1:]
    torchrun = [*TORCHRUN, "--standalone", "--nproc-per-node=2", "--max-restarts=2"]
    (said,) = ends(start(*torchrun, MISHAPS, *words, MISHAPS=json.dumps(mishaps)))
    assert said.count("started again by torchrun") == 2
    assert "after epoch 1 of 3" in said and "after epoch 2 of 3" in said
    assert_same(tmp_path / "run", two_ranks)


@pytest.mark.slow
def test_a_rank_lost_before_the_first_checkpoint_begins_anew(shards, two_ranks, tmp_path):
    words = train_words(shards, tmp_path / "run")[1:]
    torchrun = [*TORCHRUN, "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    (said,) = ends(start(*torchrun, MISHAPS, *words, MISHAPS=json.dumps([{"step": 3, "rank": 1}])))
    assert "resuming" not in said
    assert_same(tmp_path / "run", two_ranks)


def test_the_launcher_names_the_rank_that_failed_not_those_that_lost_it(tmp_path, monkeypatch):
    """Failures of one second, in each order; torchrun knows them by whole seconds."""
    now = int(time.time())
    for name in ("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # what the launcher sets is for its ranks, not for other tests

    def failure(rank: int, code: int, said: str | None) -> ProcessFailure:
        file = tmp_path / f"{rank}.json"
        file.unlink(missing_ok=True)
        if said:
            extra = {"timestamp": str(now), "py_callstack": ""}
            file.write_text(json.dumps({"message": {"message": said, "extraInfo": extra}}))
        found = ProcessFailure(rank, rank, code, str(file))
        found.timestamp = now
        return found

    lost = (1, "LostRankError: process 9 of 9: lost another one")
    cut = (-signal.SIGTERM, None)
    for cause, words in (
        ((1, "TsgcError: clip a: damaged"), "clip a: damaged"),
        ((-signal.SIGKILL, None), "killed by SIGKILL"),
        ((3, None), "stopped with exit code 3"),
    ):
        for ends_as in itertools.permutations([cause, lost, cut]):
            failures = {rank: failure(rank, *end) for rank, end in enumerate(ends_as)}

            def fail(options: object, failures: dict[int, ProcessFailure] = failures) -> None:
                raise ChildFailedError("tsgc", failures)

            monkeypatch.setattr("torch.distributed.run.run", fail)
            with pytest.raises(TsgcError, match=f"^process {ends_as.index(cause)} of 3: {words}"):
                launch(3, [], "cpu")


@pytest.mark.slow
def test_gpus_restarts_lost_ranks_where_torchruns_variable_says_so(shards, two_ranks, tmp_path):
    """A run that was begun by another command is refused, however often the ranks are started again."""
    run = tmp_path / "run"
    shutil.copytree(two_ranks, run)
    before = (run / "checkpoints/state.pt").read_bytes()
    command = [sys.executable, "-m", *train_words(shards, run, "--gpus", "2")]
    (said,) = ends(start(*command, PET_MAX_RESTARTS="1"), code=1)
    assert said.splitlines()[-1].startswith("error: process 0 of 2: ") and "holds a run already" in said
    assert "resuming" not in said and (run / "checkpoints/state.pt").read_bytes() == before


LONG = [
    word for setting in ("epochs=40", "eval_every=0", "save_every=5") for word in ("--set", setting)
]  # long enough to be met in the middle


@pytest.fixture(scope="session")
def unbroken_long(shards, tmp_path_factory):
    def train(folder):
        tsgc(*train_words(shards, folder / "run", "--gpus", "2", *LONG))

    return once(tmp_path_factory, "long-run-of-ranks", train) / "run"


def wait_for_steps(run: Path, count: int, *processes: subprocess.Popen) -> None:
    """Until the run has taken `count` steps."""

    def taken() -> bool:
        assert all(process.poll() is None for process in processes)
        steps = run / "steps.jsonl"
        return steps.exists() and len(steps.read_bytes().splitlines()) >= count

    wait_until(taken, seconds=900)


def assert_same_long(run: Path, other: Path) -> None:
    assert lines(run / "steps.jsonl") == lines(other / "steps.jsonl")
    assert all((weights(run)[key] == value).all() for key, value in weights(other).items())


@pytest.mark.slow
def test_a_launcher_that_is_asked_to_stop_ends_with_75(shards, unbroken_long, tmp_path):
    """SIGTERM to `tsgc train --gpus 2`, as a batch system sends it; --resume goes on within the epoch."""
    run = tmp_path / "run"
    command = [sys.executable, "-m", *train_words(shards, run, "--gpus", "2", *LONG)]
    process = start(*command)
    wait_for_steps(run, 3, process)
    process.terminate()
    (said,) = ends(process, code=75)
    assert said.count("asked to stop: saved after") == 1  # the launcher says it, not each rank
    assert said.splitlines()[-1].startswith("error: asked to stop: saved after epoch ")
    assert said.splitlines()[-1].endswith("--resume` goes on there") and str(run) in said.splitlines()[-1]
    state = torch.load(run / "checkpoints/state.pt", weights_only=True)
    assert 0 < state["epoch"] * 7 + state["step"] == len(lines(run / "steps.jsonl")) < 40 * 7
    ends(start(*command, "--resume"))
    assert_same_long(run, unbroken_long)


@pytest.mark.slow
def test_another_machine_takes_a_lost_ones_place(shards, unbroken_long, tmp_path):
    """Launcher and rank of one of two nodes are killed; a third node comes, and nobody gives --resume."""
    run = tmp_path / "run"
    port = free_port()
    variables = {
        "PET_NNODES": "2", "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": f"localhost:{port}",
        "PET_MAX_RESTARTS": "3",
    }  # fmt: skip
    command = [sys.executable, "-m", *train_words(shards, run, "--gpus", "1", *LONG)]
    first = start(*command, **variables)  # it has the meeting point, which has to stay
    wait_until(lambda: is_listened_on(port))
    second = start(*command, **variables)
    wait_for_steps(run, 50, first, second)
    children = Path(f"/proc/{second.pid}/task/{second.pid}/children").read_text().split()
    for pid in (second.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    second.communicate()
    said = ends(first, start(*command, **variables))
    assert sum("started again by torchrun" in text for text in said) == 1
    assert_same_long(run, unbroken_long)


def test_a_run_folder_that_a_rank_cannot_see_is_named(tmp_path, monkeypatch):
    """Two threads as two ranks, the second of which looks into another file system."""
    monkeypatch.setattr(process, "PATIENCE", 0.6)
    meeting, words = Barrier(2), {}

    class Rank(process.Process):
        def barrier(self) -> None:
            meeting.wait()

        def gather(self, word: str) -> list[str]:
            words[self.rank] = word
            meeting.wait()
            found = [words[0], words[1]]
            meeting.wait()
            return found

    def check(rank: int, folder: Path) -> str:
        try:
            process.check_shared(Rank(rank, 2, torch.device("cpu")), folder)
        except TsgcError as error:
            return str(error)
        return "shared"

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(check, (0, 1), (tmp_path / "a", tmp_path / "a"))) == ["shared"] * 2
        said = list(threads.map(check, (0, 1), (tmp_path / "a", tmp_path / "b")))
    assert all("not shared" in text and socket.gethostname() in text for text in said)
    assert not list((tmp_path / "a").iterdir())
