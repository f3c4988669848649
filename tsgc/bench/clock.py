"""How long work takes, on the device that does it."""

import statistics
import time
from collections.abc import Callable

import torch


def finish(device: torch.device) -> None:
    """Waits until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_a_call(work: Callable[[], object], device: torch.device, calls: int, warm_up: int = 1) -> float:
    """Mean seconds of a call, over `calls` in a row that nothing waits between."""
    for _ in range(warm_up):
        work()
    finish(device)
    start = time.perf_counter()
    for _ in range(calls):
        work()
    finish(device)
    return (time.perf_counter() - start) / calls


def median_seconds(work: Callable[[], object], device: torch.device, calls: int, warm_up: int = 1) -> float:
    """Median seconds of a call that is waited for: a latency."""
    for _ in range(warm_up):
        work()
    times = [seconds_a_call(work, device, 1, warm_up=0) for _ in range(calls)]
    return statistics.median(times)
