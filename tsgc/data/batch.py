"""What the batches of a shard set are made of."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass
class Batch:
    """One rank's clips of a step. `x, labels = batch` takes it apart."""

    x: Tensor
    """Input of a network, (N, C, T, V, M) float32: channels, frames, joints, bodies."""
    labels: Tensor
    """Classes (N,) int64, from 0; soft targets (N, K) float32 where clips are mixed."""
    presence: Tensor | None
    """Which bodies are there, (N, T, M) float32, 0 to 1, in the corrected preset; None in others."""
    indices: Tensor
    """Index of each clip, (N,) int64 on the host, in the `names` of what gave the batch."""
    size: int
    """Clips of the step over all ranks, skipped ones too: what to divide a sum of losses by."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.x, self.labels))

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The batch on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory, as DataLoader's `pin_memory=True` asks for."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            name: function(value) for name, value in found.items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)
