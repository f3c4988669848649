"""Time of work, on the device that does it."""

import statistics
import time
from collections.abc import Callable

import torch


def synchronise(device: torch.device) -> None:
    """Wait until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_a_call(work: Callable[[], object], device: torch.device, calls: int, warm_up: int = 1) -> float:
    """Mean seconds of a call, over `calls` in a row without waiting between them."""
    return cost_a_call(work, device, calls, warm_up)[0]


def cost_a_call(
    work: Callable[[], object], device: torch.device, calls: int, warm_up: int = 1
) -> tuple[float, float]:
    """`seconds_a_call`, and how many CPU cores the process used: its CPU time over wall clock.

    CPU time is that of all threads, user and system.
    """
    for _ in range(warm_up):
        work()
    synchronise(device)
    start, used = time.perf_counter(), time.process_time()
    for _ in range(calls):
        work()
    synchronise(device)
    seconds, cpu = time.perf_counter() - start, time.process_time() - used
    return seconds / calls, cpu / seconds


def median_seconds(work: Callable[[], object], device: torch.device, calls: int, warm_up: int = 1) -> float:
    """Median seconds of a call when each is waited for: the latency."""
    for _ in range(warm_up):
        work()
    times = [seconds_a_call(work, device, 1, warm_up=0) for _ in range(calls)]
    return statistics.median(times)
