"""Recognition by CUDA graphs: the forward pass of a few fixed sizes of batch, captured once, then replayed.

A forward pass is some seventy launches, which take the host longer than a small input takes the GPU. A batch
is padded to one of the sizes, so that the last one of a split needs no capture of its own. Clips do not see
each other in a network that is not trained: what fills a batch up changes nothing.
Plain twin: the network as it is called, which is what runs on a CPU.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tsgc.network.precision import arithmetic
from tsgc.step.cuda_graphs import GraphPool, first_error

WARM_UP = 1  # forward passes of a size before it is captured
MOST_GRAPHS = 16  # inputs of other sizes and networks run as they are

Key = tuple[int, int, tuple[int, ...], bool]


@dataclass(frozen=True)
class Captured:
    """A graph, where it reads its input and writes its logits, and the network that must live as long."""

    x: Tensor
    """(N, T, M, V, C): the order of memory that the network's first step reads."""
    presence: Tensor | None
    logits: Tensor
    replay: Callable[[], None]
    model: nn.Module


class ForwardGraphs:
    """Calls networks in evaluation mode: `forward(model, x, presence)` -> logits (N, K) float32.

    x (N, C, T, V, M) and `presence` may lie on the host. `sizes`: clips of a captured batch, ascending;
    batches of more run as they are. `pool`: the memory of the graphs, which a training step's may share.
    Weights that change in place are read anew by each replay.
    """

    def __init__(
        self, precision: str, device: torch.device, sizes: Sequence[int], pool: GraphPool | None = None
    ) -> None:
        self.precision, self.device, self.sizes = precision, device, tuple(sizes)
        self.pool = pool or GraphPool(device)
        self._captures = device.type == "cuda"
        self._captured: dict[Key, Captured] = {}
        self._seen: Counter[Key] = Counter()

    @torch.inference_mode()
    def __call__(self, model: nn.Module, x: Tensor, presence: Tensor | None = None) -> Tensor:
        size = next((size for size in self.sizes if size >= len(x)), None)
        if not self._captures or size is None:
            return self.plain(model, x, presence)
        key = (id(model), size, tuple(x.shape[1:]), presence is None)
        captured = self._captured.get(key)
        if captured is None:
            self._seen[key] += 1
            if self._seen[key] <= WARM_UP or len(self._captured) >= MOST_GRAPHS:
                return self.pool.warm_up(lambda: self.plain(model, x, presence), x, presence)
            captured = self._capture(model, size, x, presence)
            if captured is None:
                return self.plain(model, x, presence)
            self._captured[key] = captured
        fill(captured.x, in_memory_order(x))
        if captured.presence is not None and presence is not None:
            fill(captured.presence, presence)
        captured.replay()
        return captured.logits[: len(x)].clone()  # the next replay writes over it

    def plain(self, model: nn.Module, x: Tensor, presence: Tensor | None = None) -> Tensor:
        """The logits without a graph."""
        x, presence = x.to(self.device), None if presence is None else presence.to(self.device)
        with torch.inference_mode(), arithmetic(self.precision, self.device):
            logits: Tensor = model(x, presence=presence).float()
            return logits

    def __len__(self) -> int:
        return len(self._captured)

    def clear(self) -> None:
        """Frees the graphs and their memory."""
        self._captured.clear()
        self._seen.clear()

    def _capture(self, model: nn.Module, size: int, x: Tensor, presence: Tensor | None) -> Captured | None:
        """The graph of one size; None where the network cannot be captured, which a warning says once."""
        base = torch.zeros(size, *in_memory_order(x).shape[1:], device=self.device)
        mine = base.permute(0, 4, 1, 3, 2)  # (N, C, T, V, M)
        there = None if presence is None else torch.zeros(size, *presence.shape[1:], device=self.device)
        try:
            replay, logits = self.pool.capture(lambda: self.plain(model, mine, there))
        except RuntimeError as error:
            self._captures = False
            reason = str(first_error(error)).strip().splitlines()[0]
            warnings.warn(
                f"recognition could not be captured in a CUDA graph, and runs without ({reason})",
                RuntimeWarning,
                stacklevel=3,
            )
            return None
        return Captured(base, there, logits, replay, model)


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
