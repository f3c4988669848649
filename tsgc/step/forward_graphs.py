"""Recognition by CUDA graphs: the forward pass of a few fixed sizes of batch, captured once, then replayed.

A forward pass is some seventy launches, which take the host longer than a small input takes the GPU. A batch
is padded to one of the sizes, so that the last one of a split needs no capture of its own. Clips do not see
each other in a network that is not trained: what fills a batch up changes nothing.
Plain twin: the network as it is called, which is what runs on a CPU. Absent bodies are left out there, too
(`present_rows`).
"""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tsgc.input.packed_rows import to_device
from tsgc.network.model import TSGCNeXt
from tsgc.network.precision import arithmetic
from tsgc.network.present_rows import PresentRows, plan_rows
from tsgc.step.cuda_graphs import GraphPool, first_error

WARM_UP = 1  # forward passes of a size before it is captured
MOST_GRAPHS = 32  # inputs of other sizes and networks run as they are
ROW_STEPS = 16  # sizes that a captured batch's rows may have where bodies are absent
FEWEST_ROWS = 64
"""Rows of the smallest captured batch that leaves any out: finding fewer takes longer than computing them."""

Key = tuple[nn.Module, int, tuple[int, ...], bool, int]


@dataclass(frozen=True)
class Captured:
    """A graph, and where it reads its input and writes its logits."""

    x: Tensor
    """(N, T, M, V, C): the order of memory that the network's first step reads."""
    presence: Tensor | None
    rows: PresentRows | None
    logits: Tensor
    replay: Callable[[], None]


class ForwardGraphs:
    """Calls networks in evaluation mode: `forward(model, x, presence, there)` -> logits (N, K) float32.

    x (N, C, T, V, M) and `presence` may lie on the host. `sizes`: clips of a captured batch, ascending;
    batches of more run as they are. `pool`: the memory of the graphs, which a training step's may share.
    Weights that change in place are read anew by each replay; `renew` says that they did.
    """

    def __init__(
        self, precision: str, device: torch.device, sizes: Sequence[int], pool: GraphPool | None = None
    ) -> None:
        self.precision, self.device, self.sizes = precision, device, tuple(sizes)
        self.pool = pool or GraphPool(device)
        self._captures = device.type == "cuda"
        self._captured: dict[Key, Captured] = {}
        self._seen: Counter[Key] = Counter()
        self._absent: dict[tuple[nn.Module, int, bool], Tensor] = {}

    @torch.inference_mode()
    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        presence: Tensor | None = None,
        there: np.ndarray | None = None,
    ) -> Tensor:
        """`there` (N, M) bool: which bodies the clips have, the others being 0 in x; None: all."""
        size = next((size for size in self.sizes if size >= len(x)), None) if self._captures else None
        rows = self._present_rows(model, x, presence, there, size)
        if size is None:
            return self.plain(model, x, presence, rows)
        key = (model, size, tuple(x.shape[1:]), presence is None, 0 if rows is None else len(rows.index))
        if rows is not None and key not in self._captured and len(self._captured) >= MOST_GRAPHS // 2:
            # The other half is kept for graphs of all rows, which serve any batch.
            rows, key = None, (*key[:-1], 0)
        captured = self._captured.get(key)
        if captured is None:
            self._seen[key] += 1
            if self._seen[key] <= WARM_UP or len(self._captured) >= MOST_GRAPHS:
                return self.pool.warm_up(lambda: self.plain(model, x, presence, rows), x, presence)
            captured = self._capture(model, size, x, presence, rows)
            if captured is None:
                return self.plain(model, x, presence, rows)
            self._captured[key] = captured
        fill(captured.x, in_memory_order(x))
        if captured.presence is not None and presence is not None:
            fill(captured.presence, presence)
        if captured.rows is not None and rows is not None:
            captured.rows.index.copy_(rows.index)
            fill(captured.rows.place, rows.place)
            captured.rows.absent.copy_(rows.absent)
        captured.replay()
        return captured.logits[: len(x)].clone()  # the next replay writes over it

    def plain(
        self,
        model: nn.Module,
        x: Tensor,
        presence: Tensor | None = None,
        rows: PresentRows | None = None,
    ) -> Tensor:
        """The logits without a graph."""
        x, presence = x.to(self.device), None if presence is None else presence.to(self.device)
        left_out = {} if rows is None else {"rows": rows}
        with torch.inference_mode(), arithmetic(self.precision, self.device):
            logits: Tensor = model(x, presence=presence, **left_out).float()
            return logits

    def renew(self) -> None:
        """Forget what was computed ahead of its batch: a network's weights have changed."""
        self._absent.clear()

    def _present_rows(
        self,
        model: nn.Module,
        x: Tensor,
        presence: Tensor | None,
        there: np.ndarray | None,
        size: int | None,
    ) -> PresentRows | None:
        """Rows that are computed of a batch that is captured for `size` clips or not at all; None: all."""
        if there is None or there.all() or not isinstance(model, TSGCNeXt):
            return None
        most = x.shape[-1] * (size or len(x))
        if size and most < FEWEST_ROWS:
            return None
        step = max(most // ROW_STEPS, 1) if size else 1
        planned = plan_rows(there, step, most)
        if planned is None:
            return None
        index, place = to_device(planned, self.device)
        return PresentRows(index, place, self._absent_features(model, x.shape[2], presence is not None))

    def _absent_features(self, model: TSGCNeXt, frames: int, told: bool) -> Tensor:
        key = (model, frames, told)
        if key not in self._absent:

            def run() -> Tensor:
                with arithmetic(self.precision, self.device):
                    return model.absent_features(frames, told)

            self._absent[key] = self.pool.warm_up(run) if self._captures else run()
        return self._absent[key]

    def __len__(self) -> int:
        return len(self._captured)

    def clear(self) -> None:
        """Frees the graphs and their memory."""
        self._captured.clear()
        self._seen.clear()
        self.renew()

    def _capture(
        self, model: nn.Module, size: int, x: Tensor, presence: Tensor | None, rows: PresentRows | None
    ) -> Captured | None:
        """The graph of one size; None where the network cannot be captured, which a warning says once."""
        base = torch.zeros(size, *in_memory_order(x).shape[1:], device=self.device)
        mine = base.permute(0, 4, 1, 3, 2)  # (N, C, T, V, M)
        there = None if presence is None else torch.zeros(size, *presence.shape[1:], device=self.device)
        held = None
        if rows is not None:
            place = torch.zeros(size * x.shape[-1], dtype=torch.int32, device=self.device)
            held = PresentRows(rows.index.clone(), place, rows.absent.clone())
        try:
            replay, logits = self.pool.capture(lambda: self.plain(model, mine, there, held))
        except RuntimeError as error:
            self._captures = False
            reason = str(first_error(error)).strip().splitlines()[0]
            warnings.warn(
                f"recognition could not be captured in a CUDA graph, and runs without ({reason})",
                RuntimeWarning,
                stacklevel=3,
            )
            return None
        return Captured(base, there, held, logits, replay)


def in_memory_order(x: Tensor) -> Tensor:
    """(N, C, T, V, M) -> (N, T, M, V, C)."""
    return x.permute(0, 2, 4, 3, 1)


def fill(mine: Tensor, given: Tensor) -> None:
    """Copy `given` into the first rows of `mine`; the others become 0: an earlier batch may have held NaN."""
    if given.device != mine.device:
        given = given.contiguous()  # then it travels in one piece
    mine[: len(given)].copy_(given)
    if len(given) < len(mine):
        mine[len(given) :].zero_()


def powers_of_two(most: int) -> tuple[int, ...]:
    """Sizes up to `most`, each twice the one before, `most` itself last: 1, 2, 4, ..., most."""
    sizes = [1]
    while sizes[-1] < most:
        sizes.append(min(2 * sizes[-1], most))
    return tuple(sizes)
