"""Time and memory of commands and functions that take turns."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
POLL = 0.02  # seconds


def children_seconds() -> float:
    """CPU time of all commands so far, their workers included."""
    times = os.times()
    return times.children_user + times.children_system


def fastest(
    actions: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Seconds of each action's fastest round; the actions take turns."""
    return {name: best for name, (best, _) in fastest_by(actions, rounds, clock, clock).items()}


def fastest_by(
    actions: dict[str, Callable[[], object]], rounds: int, *clocks: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each action's fastest round, by several clocks, each with its own fastest."""
    best = {name: [float("inf")] * len(clocks) for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            began = [clock() for clock in clocks]
            action()
            took = [clock() - then for clock, then in zip(clocks, began)]
            best[name] = list(map(min, best[name], took))
    return best


@dataclass
class Memory:
    """Peak resident memory of a command, MB."""

    parent: float = 0.0
    worker: float = 0.0
    total: float = 0.0


def memory_of(command: Sequence[str]) -> tuple[Memory, float]:
    """A command's memory and seconds; memory that processes share counts once for each."""
    began, peak, highest = time.perf_counter(), Memory(), {}
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        resident = {pid: resident_of(pid) for pid in (process.pid, *children_of(process.pid))}
        peak.total = max(peak.total, sum(now for now, _ in resident.values()))
        highest |= {pid: high for pid, (_, high) in resident.items() if high}
        time.sleep(POLL)
    peak.parent = highest.pop(process.pid)
    peak.worker = max(highest.values(), default=0.0)
    assert process.returncode == 0
    return peak, time.perf_counter() - began


def children_of(pid: int) -> list[int]:
    """The ids of all descendants."""
    try:
        own = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:  # ended meanwhile
        return []
    return own + [grandchild for child in own for grandchild in children_of(child)]


def resident_of(pid: int) -> tuple[float, float]:
    """Resident memory now and at its highest, MB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    fields = dict(line.split(":", 1) for line in lines)
    now, high = (float(fields.get(key, "0 kB").split()[0]) / 1000 for key in ("VmRSS", "VmHWM"))
    return now, high
