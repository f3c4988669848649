"""The time that a device is idle, from the intervals in which its kernels run."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.autograd import DeviceType

from tsgc.bench.clock import synchronise

Interval = tuple[float, float]
STEPS = 50  # of a trace


def covered(intervals: Iterable[Interval]) -> float:
    """Length of the union of intervals, in their unit."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def idle_share(intervals: Iterable[Interval]) -> float:
    """Share of the time from the first start to the last end that no interval covers."""
    known = list(intervals)
    span = max(end for _, end in known) - min(start for start, _ in known)
    return 1 - covered(known) / span


def kernel_intervals(events: Iterable[Any], device_type: DeviceType) -> list[Interval]:
    """Start and end, in microseconds, of each kernel and copy on a device; annotations are left out."""
    return [
        (event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type == device_type
        and not getattr(event, "is_user_annotation", False)
        and event.time_range.end > event.time_range.start
    ]


def trace_idle(work: Callable[[], object], device: torch.device, steps: int = STEPS) -> dict[str, float]:
    """Idle share of the GPU over `steps` calls in a row, and kernels a call. Warm up before."""
    events = profiled(work, device, steps, torch.profiler.ProfilerActivity.CUDA)
    intervals = kernel_intervals(events, DeviceType.CUDA)
    return {"steps": steps, "idle": idle_share(intervals), "kernels_a_step": len(intervals) / steps}


def profiled(
    work: Callable[[], object], device: torch.device, steps: int, activity: torch.profiler.ProfilerActivity
) -> list[Any]:
    """Events that torch's profiler saw in `steps` calls in a row."""
    synchronise(device)
    # Without acc_events torch warns that it drops earlier cycles, though there is only one.
    with torch.profiler.profile(activities=[activity], acc_events=True) as profiler:
        for _ in range(steps):
            work()
        synchronise(device)
    return list(profiler.events())
