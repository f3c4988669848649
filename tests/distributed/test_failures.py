"""What a failed rank leaves for its launcher, which may end it at any moment."""

import argparse
import json
import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.api import SignalException, _terminate_process_handler
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from pipelines.errors import TsgcError
from pipelines.interrupts import CommandSignals
from tsgc.distributed import launch as launching
from tsgc.distributed.preemption import PreemptedError
from tsgc.distributed.process import LostRankError, join_ranks

RANK = """
import os, signal
from pipelines.errors import TsgcError
from tsgc.distributed.launch import record_failure
{before}
try:
    raise TsgcError("clip a: \\u00e9 damaged")
except TsgcError as error:
    record_failure(error)
"""
ENDED = "os.fsync = lambda file: os.kill(os.getpid(), signal.SIGTERM)"  # its bytes are written, not its name


def rank(path: Path, before: str = "") -> ProcessFailure:
    """The failure of a rank that has recorded it, as torchrun reads it."""
    variables = {**os.environ, "TORCHELASTIC_ERROR_FILE": str(path)}
    done = subprocess.run([sys.executable, "-c", RANK.format(before=before)], env=variables, check=False)
    return ProcessFailure(0, 1, done.returncode or 1, str(path))


def test_torchrun_reads_what_a_rank_recorded(tmp_path):
    found = rank(tmp_path / "attempt_0/0/error.json")
    assert found.message["message"] == "TsgcError: clip a: é damaged"
    assert "Traceback" in found.message["extraInfo"]["py_callstack"] and found.timestamp > 1.7e9


def test_a_rank_ended_while_it_records_leaves_no_half_file(tmp_path):
    found = rank(tmp_path / "error.json", before=ENDED)
    assert found.exitcode == -signal.SIGTERM and "SIGTERM" in found.message
    assert not (tmp_path / "error.json").exists()


def test_a_record_that_cannot_be_written_hides_no_error(tmp_path):
    (tmp_path / "file").touch()
    found = rank(tmp_path / "file/error.json")
    assert found.exitcode == 1 and found.error_file == "<N/A>"


def sigterm(*_: object) -> None:
    signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def torchrun(monkeypatch):
    """The environment of a rank, and a process group that is not there."""
    for name in ("TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    for name, answer in {"init_process_group": None, "is_initialized": True, "get_rank": 0}.items():
        monkeypatch.setattr(dist, name, lambda *_, answer=answer, **__: answer)
    monkeypatch.setattr(dist, "get_world_size", lambda: 1)


def test_a_rank_ended_as_it_leaves_the_others_ends_by_its_own_error(torchrun, monkeypatch):
    """The others lose it there, and the first of them that ends has the launcher end all."""
    monkeypatch.setattr(dist, "destroy_process_group", sigterm)
    command = CommandSignals()
    with command, command.heard(), pytest.raises(TsgcError, match="clip a: damaged"), join_ranks("cpu"):
        raise TsgcError("clip a: damaged")


def test_what_holds_the_group_in_a_cycle_is_gone_before_the_interpreter_is(torchrun, monkeypatch):
    """As DDP does: gloo's threads, if they end later, may abort a process whose work is done."""
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)

    class Held:
        """In a cycle with itself."""

        def __init__(self) -> None:
            self.own = self

    with join_ranks("cpu"):
        held = Held()
        gone = weakref.ref(held)
        del held
    assert gone() is None


def test_a_rank_that_loses_another_one_before_all_have_met_says_so(torchrun, monkeypatch):
    """Its own words would tell nothing, and the launcher would take them for the reason."""

    def lose(*_: object, **__: object) -> None:
        raise dist.DistNetworkError("Connection reset by peer")

    monkeypatch.setattr(dist, "init_process_group", lose)
    monkeypatch.setattr(dist, "is_initialized", lambda: False)
    with (
        pytest.raises(LostRankError, match=r"lost another one \(Connection reset by peer\)"),
        join_ranks("cpu"),
    ):
        pass


@pytest.fixture
def launch(monkeypatch):
    """A launch of two ranks where `run` is torchrun; returns what is raised."""
    for name in ("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(launching.atexit, "register", lambda *_: None)  # it would end pytest

    def launch(run) -> BaseException:
        monkeypatch.setattr("torch.distributed.run.run", run)
        command = CommandSignals()
        with command, command.heard(), pytest.raises((TsgcError, SignalException)) as found:
            launching.launch(2, [], "cpu")
        return found.value

    return launch


def test_a_second_sigterm_to_the_launcher_changes_nothing(launch, monkeypatch):
    """torchrun takes signals over, and lets them raise wherever the launcher is."""

    def run(options: object) -> None:
        signal.signal(signal.SIGTERM, _terminate_process_handler)
        sigterm()

    monkeypatch.setattr(launching, "leave_terminal", sigterm)
    assert type(launch(run)) is PreemptedError


def test_the_launcher_leaves_signals_ignored_that_it_was_started_with(launch, monkeypatch):
    """As nohup does; torchrun would take the end of the terminal for a request to stop."""
    heard = []

    def run(options: argparse.Namespace) -> None:
        heard.append(options.signals_to_handle)
        raise ChildFailedError("tsgc", {0: ProcessFailure(0, 1, 1, "")})

    # A script's background, in which tests may run, ignores SIGQUIT too.
    started_with = {signal.SIGHUP: signal.SIG_IGN, signal.SIGQUIT: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in started_with.items()}
    try:
        launch(run)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert heard == ["SIGINT,SIGTERM,SIGQUIT"]


@pytest.mark.parametrize(("variables", "own"), [({}, False), ({"PET_NNODES": "2"}, True)])
def test_ranks_of_one_machine_meet_at_a_port_that_is_open_before_they_start(
    variables, own, launch, monkeypatch
):
    """One that the launcher found free may be taken before rank 0 has loaded torch, and opens it."""
    monkeypatch.delenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = []

    def run(options: object) -> None:
        found.append("TORCH_DISABLE_SHARE_RDZV_TCP_STORE" in os.environ)
        raise ChildFailedError("tsgc", {0: ProcessFailure(0, 1, 1, "")})

    launch(run)
    assert found == [own]


def end(launch, folder: Path, *ranks: tuple[int, str]) -> BaseException:
    """What is raised of ranks that ended with these codes and recorded errors, all within a second."""
    failures = {}
    for number, (code, said) in enumerate(ranks):
        path = folder / f"{number}.json"
        extra = {"timestamp": "0", "py_callstack": ""}
        path.write_text(json.dumps({"message": {"message": said, "extraInfo": extra}}))
        failures[number] = ProcessFailure(number, number, code, str(path))

    def run(options: object) -> None:
        raise ChildFailedError("tsgc", failures)

    return launch(run)


def test_a_rank_that_was_stopped_as_another_failed_is_not_the_reason(launch, tmp_path):
    """Runs side by side, which ranks train each for itself: the one that still trains saves."""
    saved = (75, "PreemptedError: asked to stop: saved")
    found = end(launch, tmp_path, saved, (1, "TsgcError: clip a: damaged"))
    assert str(found) == "process 1 of 2: clip a: damaged"


@pytest.mark.parametrize("code", [75, -signal.SIGTERM])
def test_ranks_that_saved_themselves_were_asked_to_stop_however_they_ended(code, launch, tmp_path):
    """A further signal may meet one after it has said so."""
    found = end(launch, tmp_path, *[(code, "PreemptedError: asked to stop: saved")] * 2)
    assert type(found) is PreemptedError and str(found) == "asked to stop: saved"
