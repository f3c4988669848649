"""Signals at the edges of a command: as it starts, as it says how it ended, and after that."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from made.command import fails, tsgc

from pipelines.interrupts import CommandSignals, Interrupted
from tsgc.commands.error_line import OneLineErrors
from tsgc.distributed.preemption import HOLD_EVERY, StopRequest
from tsgc.distributed.process import Process

ALONE = Process(0, 1, torch.device("cpu"))


def sigterm(*_: object) -> None:
    signal.raise_signal(signal.SIGTERM)


def test_a_signal_while_signals_are_being_listened_to_is_one_line(monkeypatch):
    set_descriptor = signal.set_wakeup_fd
    monkeypatch.setattr(
        signal, "set_wakeup_fd", lambda *words, **more: sigterm() or set_descriptor(*words, **more)
    )
    assert tsgc("help", expect=143).startswith("interrupted by SIGTERM: ")


def test_a_signal_after_the_work_changes_nothing(monkeypatch):
    invoke = OneLineErrors.invoke

    def work(self, ctx):
        try:
            return invoke(self, ctx)
        finally:
            sigterm()

    monkeypatch.setattr(OneLineErrors, "invoke", work)
    assert "tsgc prepare" in tsgc("help")


def test_a_rank_that_is_ended_while_it_says_why_it_failed_says_it(tmp_path, monkeypatch):
    """The launcher ends it as it misses another rank: so much for that one's error, and this one's stays."""
    file = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
    monkeypatch.setattr(os, "fsync", sigterm)
    said = fails("verify", tmp_path / "nothing.h5")
    assert said.removeprefix("error: ").strip() in json.loads(file.read_text())["message"]["message"]


def test_a_second_sigterm_does_not_change_how_a_run_that_was_asked_to_stop_ends():
    """As `timeout` sends it, to the command and to its group; trackers may take seconds to end."""
    command = CommandSignals()
    with command, command.heard():
        with StopRequest(ALONE) as stop:
            sigterm()
        assert stop.requested
        sigterm()


def test_a_first_signal_after_training_ends_the_command():
    command = CommandSignals()
    with command, command.heard(), pytest.raises(Interrupted):
        with StopRequest(ALONE):
            pass
        sigterm()


def test_signals_that_a_library_has_taken_are_taken_again():
    with StopRequest(ALONE) as stop:
        assert not stop.agreed(look=True)
        ctypes.CDLL(None).signal(signal.SIGTERM, 0)  # SIG_DFL, unseen by Python
        time.sleep(1.5 * HOLD_EVERY)
        assert not stop.agreed(look=True)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.agreed(look=True)


COMPILED = """
import time
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from kernel import twice
from tsgc.distributed.preemption import StopRequest
from tsgc.distributed.process import Process

with StopRequest(Process(0, 1, torch.device("cpu"))) as stop:
    triton.compile(ASTSource(fn=twice, signature={"x": "*fp32"}), target=GPUTarget("cuda", 90, 32))
    assert not stop.agreed(look=True)
    print("compiled", flush=True)
    while not stop.requested:
        sum(range(1000))
    time.sleep(0.2)  # for the second one
"""
KERNEL = """
import triton
from triton import language as tl

@triton.jit
def twice(x):
    tl.store(x, 2 * tl.load(x))
"""


@pytest.mark.slow
def test_two_sigterms_at_once_after_a_kernel_was_compiled_ask_to_stop(tmp_path):
    """Triton's LLVM has taken the signal by then; unless it is taken again most such processes end."""
    pytest.importorskip("triton", reason="torch comes without Triton here")
    (tmp_path / "kernel.py").write_text(KERNEL)
    alone = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    alone |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    words = [sys.executable, "-c", COMPILED]
    with subprocess.Popen(words, env=alone, text=True, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == "compiled\n"
        time.sleep(0.1)
        os.kill(child.pid, signal.SIGTERM)
        os.kill(child.pid, signal.SIGTERM)
    assert child.returncode == 0


ENDED = """
import atexit, signal
import cli
from tsgc.commands.error_line import OneLineErrors
atexit.register(signal.raise_signal, signal.SIGTERM)
OneLineErrors.resolve_command = lambda *words: signal.raise_signal(signal.SIGTERM)
cli.app()
"""


def test_a_process_that_was_asked_to_end_keeps_its_exit_code():
    done = subprocess.run([sys.executable, "-c", ENDED, "help"], capture_output=True, text=True, check=False)
    assert done.returncode == 143 and done.stderr.startswith("interrupted by SIGTERM: "), done.stderr
