"""Bodies that clips do not have, left out of a network that does not train.

Rows, a clip's body each, do not see one another before they are pooled. So what TSGCNeXt makes of a body that
is absent depends on its place in the clip alone: it is computed once for each place, and all clips that lack
one get it. In 49 of NTU RGB+D 60's 60 classes there is one person, and place for two.
Plain twin: the network without `rows`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class PresentRows:
    """Which rows of N clips of M bodies are computed, and where each row finds its features."""

    index: Tensor
    """(R,): rows that are computed, of the N*M; one may fill up by coming again."""
    place: Tensor
    """(N*M,): place among the R computed rows, or R + m: an absent body in place m."""
    absent: Tensor
    """(M, ...): features of absent bodies by place, as `TSGCNeXt.absent_features` gives them."""

    def take(self, x: Tensor) -> Tensor:
        """The rows to compute: (N*M, ...) -> (R, ...)."""
        return x.index_select(0, self.index)

    def spread(self, features: Tensor) -> Tensor:
        """Features of all rows: (R, ...) -> (N*M, ...)."""
        return torch.cat([features, self.absent]).index_select(0, self.place)


def plan_rows(there: np.ndarray, step: int, most: int) -> tuple[np.ndarray, np.ndarray] | None:
    """`index` (R,) and `place` (N*M,) of `PresentRows`, int32, for bodies that are `there` (N, M).

    R is a multiple of `step`, so that there are few sizes. None where it would be `most` or more: all rows
    are computed then.
    """
    N, M = there.shape
    present = np.flatnonzero(there)
    rows = max(-(-len(present) // step), 1) * step
    if rows >= most:
        return None
    index = np.zeros(rows, np.int32)
    index[: len(present)] = present
    place = np.tile(rows + np.arange(M, dtype=np.int32), N)
    place[present] = np.arange(len(present))
    return index, place
