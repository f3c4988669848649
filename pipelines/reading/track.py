"""One body as a sensor followed it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Track:
    """One body of a clip: its n appearances, in file order."""

    body: str
    """The tracker's identifier."""
    frames: np.ndarray
    """(n,) int: the valid frame (a frame with any body) of each appearance."""
    joints: np.ndarray
    """(n, V, 3) float32, metres."""

    @property
    def interval(self) -> tuple[int, int]:
        """First and last frame, both included.

        Q: each appearance after the first counts as the next frame, even after a gap.
        """
        first = int(self.frames[0])
        return first, first + len(self.joints) - 1
