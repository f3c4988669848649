"""Memory that is freed stays with the process once it is told so; elsewhere nothing happens."""

import platform
import subprocess
import sys

import pytest
import torch
from made.command import quick, tsgc

from tsgc.network import cpu_memory

GLIBC = platform.libc_ver()[0] == "glibc"
# Pages that 20 tensors of 48 MB ask of the kernel, each freed before the next, and where told to keep them.
FAULTS = """
import resource, sys, torch
from tsgc.network.cpu_memory import is_kept, keep_memory
if sys.argv[1] == "keep":
    keep_memory(torch.device("cpu"))
for _ in range(20):  # before glibc 2.38 an aligned block fits into a freed one of its size only with luck
    torch.ones(12_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(12_000_000)
print(is_kept(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def asked(how: str) -> tuple[bool, int]:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True, timeout=300
    )
    kept, faults = done.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.slow
@pytest.mark.skipif(not GLIBC, reason="glibc gives freed memory back")
def test_freed_memory_is_not_asked_for_again():
    kept, few = asked("keep")
    given_back, many = asked("as it comes")
    assert kept and not given_back
    assert few < 100 and many > 20 * few


def test_nothing_is_told_where_it_does_not_matter(monkeypatch):
    def told(*_):
        raise AssertionError("the C library was asked for")

    monkeypatch.setattr(cpu_memory, "_kept", False)
    monkeypatch.setattr(cpu_memory.ctypes, "CDLL", told)
    cpu_memory.keep_memory(torch.device("cuda", 0))
    monkeypatch.setattr(cpu_memory.sys, "platform", "darwin")
    cpu_memory.keep_memory(torch.device("cpu"))
    assert not cpu_memory.is_kept()


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(cpu_memory, "_kept", False)
    monkeypatch.setattr(cpu_memory.sys, "platform", "linux")
    monkeypatch.setattr(cpu_memory.ctypes, "CDLL", lambda _: object())
    cpu_memory.keep_memory(torch.device("cpu"))
    assert not cpu_memory.is_kept()


def test_training_and_scoring_keep_memory(here, made, monkeypatch):
    from tsgc.evaluation import predict_split
    from tsgc.training import loop

    asked = []
    for name, place in (("train", loop), ("score", predict_split)):
        monkeypatch.setattr(place, "keep_memory", lambda device, name=name: asked.append((name, device.type)))
    words = ["--data-root", made, "--device", "cpu"]
    tsgc("train", "ntu60/xsub", *words, *quick(), "--set", "eval_every=0")
    assert asked == [("train", "cpu"), ("score", "cpu")]
    asked.clear()
    tsgc("evaluate", *words)
    assert asked == [("score", "cpu")]
