"""Has the C library keep memory that is freed, as long work on a CPU wants it.

glibc gives memory back to the kernel when it is freed: a block over 32 MB at once, and what is free at the
heap's end beyond 64 MB. A training step allocates and frees the same gigabytes each time, so that the kernel
must find and zero all of these pages again, 4 KB at a time (benchmarks/cpu.md).
"""

import ctypes
import sys

import torch

# Of glibc's malloc.h. M_MMAP_THRESHOLD would do for M_MMAP_MAX, but before glibc 2.35 takes 32 MB at most.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
_kept = False


def keep_memory(device: torch.device) -> None:
    """From now on this process keeps what it frees, if `device` is a CPU and the C library glibc.

    It cannot be undone, so short commands go without. Elsewhere nothing happens.
    """
    global _kept
    if device.type != "cpu" or _kept or not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    _kept = mallopt is not None and mallopt(M_MMAP_MAX, 0) == 1 and mallopt(M_TRIM_THRESHOLD, -1) == 1


def is_kept() -> bool:
    """Whether this process was told to keep what it frees."""
    return _kept
