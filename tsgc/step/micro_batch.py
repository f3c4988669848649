"""The input of one forward and backward pass: a part of the optimiser step's batch."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class MicroBatch:
    """N clips as the network and the loss take them, on the device but for `alive`."""

    x: Tensor
    """(N, C, T, V, M) float32: augmented, not yet mixed."""
    labels: Tensor
    """Classes (N,) int64, or soft targets (N, K) float32, which are not smoothed; neither is mixed yet."""
    partner: Tensor
    """(N,) int64: index in this batch of each clip's mixing partner."""
    lam: Tensor
    """Lambda (N,) float32: a clip's own part of its target; the rest is its partner's."""
    survival: Tensor
    """(blocks, N*M) float32: drop path's factors (`TSGCNeXt.survival`)."""
    presence: Tensor | None = None
    """(N, T, M) float32, 0 to 1, where the network is told which bodies are there."""
    lam_map: Tensor | None = None
    """(N, 1, T, V, 1) float32: a clip's own part of each frame and joint, where some clips are cut
    (`mixing.lam_map`); else it is `lam` everywhere."""
    others: Tensor | None = None
    """(N, C', T, V, M) float32: x in the further modalities that teachers see (`Teachers.others`), their
    channels side by side."""
    alive: np.ndarray | None = None
    """(blocks, N*M) bool: where `survival` is not 0, on the host. None: only the device knows."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are there, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    @property
    def kept(self) -> tuple[int, ...] | None:
        """The number of rows that each block keeps; None: only the device knows."""
        return None if self.alive is None else tuple(self.alive.sum(1).tolist())
