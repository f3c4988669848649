"""The clips of a small split in memory: read and checked once, then dealt into batches by one gather.

Reading a clip of a few kilobytes takes less time than the threads lose by handing the interpreter's lock to
each other around it: a batch of 128 is 256 such occasions, at which the thread that feeds a GPU waits.
"""

from collections.abc import Callable

import numpy as np

from shards.manifest import Clips
from shards.plan import IntArray

MEMORY_BYTES = 1 << 28  # of one process; larger splits have longer steps, and are read clip by clip

Fill = Callable[[memoryview, IntArray, IntArray], list[int]]


class ClipsInMemory:
    """Memory for all of `clips`, filled as they are asked for; threads may share it."""

    def __init__(self, clips: Clips, row_bytes: int) -> None:
        self._starts = np.cumsum(clips.lengths) - clips.lengths
        self._rows = clips.lengths // row_bytes
        self._first = self._starts // row_bytes
        self._memory = np.empty((int(self._rows.sum()), row_bytes // 4), np.float32)
        self._there = np.zeros(len(clips), np.bool_)

    def read(self, indices: IntArray, fill: Fill) -> list[int]:
        """Reads those of `indices` (B,) that are not here yet, by `fill`; returns the places of damaged ones.

        `fill` takes memory, clips, and where in it each begins; it returns the places of damaged ones.
        """
        unread = np.unique(indices[~self._there[indices]])
        if len(unread):
            damaged = fill(self._memory.view(np.uint8).reshape(-1).data, unread, self._starts[unread])
            # Two threads may read one clip at once: they write the same bytes, and say so afterwards.
            self._there[np.delete(unread, damaged)] = True
        return np.flatnonzero(~self._there[indices]).tolist()

    def gather(self, indices: IntArray, out: np.ndarray) -> None:
        """The clips at `indices` (B,), end to end, to `out` (rows, numbers a row); without the lock."""
        rows = self._rows[indices]
        moved = self._first[indices] - (np.cumsum(rows) - rows)
        row = np.repeat(moved, rows) + np.arange(len(out))
        np.take(self._memory, row, axis=0, out=out, mode="clip")  # other modes go by way of a copy
