"""Freed memory that the process keeps, for long work on a CPU.

glibc gives freed memory back to the kernel: a block over 32 MB immediately, and what is free at the end of
the heap beyond 64 MB. A training step allocates and frees the same gigabytes each time, so the kernel would
have to find and zero all of these pages again, 4 KB at a time (benchmarks/cpu.md).
"""

import ctypes
import sys

import torch

# Of glibc's malloc.h. M_MMAP_THRESHOLD would do for M_MMAP_MAX, but before glibc 2.35 takes 32 MB at most.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
_kept = False


def keep_memory(device: torch.device) -> None:
    """Keep what this process frees from now on, if `device` is a CPU and the C library is glibc.

    It cannot be undone, so short commands do not call it. Elsewhere nothing happens.
    """
    global _kept
    if device.type != "cpu" or _kept or not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    _kept = mallopt is not None and mallopt(M_MMAP_MAX, 0) == 1 and mallopt(M_TRIM_THRESHOLD, -1) == 1


def is_kept() -> bool:
    """Whether this process keeps what it frees."""
    return _kept
