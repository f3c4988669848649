"""Memory for batches, used again and again: fresh pages cost as much as reading into them."""

import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

GRAIN = 1 << 18  # numbers (1 MiB): buffers are a multiple of it, so that most fit the next batch too


class BufferPool:
    """Lends float32 arrays, and lends their memory again when nobody holds them any more.

    At most `most` buffers wait for use; more are freed. Threads may share a pool.
    """

    def __init__(self, most: int = 16) -> None:
        self._most = most
        self._free: deque[NDArray[np.float32]] = deque()

    def take(self, count: int) -> NDArray[np.float32]:
        """An array (count,) of any content.

        Its memory comes back when the array goes. A tensor made of it by `torch.from_numpy`, and every view
        of that tensor, keep the array; slices of the array itself do not, so hand out tensors alone.
        """
        try:
            buffer = self._free.pop()
        except IndexError:
            buffer = None
        if buffer is None or len(buffer) < count:
            buffer = np.empty(-(-max(count, 1) // GRAIN) * GRAIN, np.float32)
        lent = buffer[:count]
        # Called wherever the last reference is dropped, in any thread: deques need no lock.
        weakref.finalize(lent, self._give_back, buffer).atexit = False
        return lent

    def _give_back(self, buffer: NDArray[np.float32]) -> None:
        if len(self._free) < self._most:
            self._free.append(buffer)
