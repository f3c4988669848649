"""The exponential moving average of the weights."""

import torch
from torch import Tensor, nn

from tsgc.network.timm_parts import ModelEmaV3


class WeightAverage:
    """Keeps `ema` the running average of a model's parameters and buffers, all tensors at once.

    The twin of `ModelEmaV3.update`, to the bit on CPUs, but that weights of two names (tied ones) move once.
    `on_device`: the decay is a tensor there, so that a captured update reads it anew.
    """

    def __init__(self, ema: ModelEmaV3, model: nn.Module, on_device: bool) -> None:
        averages, values = (of.state_dict(keep_vars=True).values() for of in (ema.module, model))
        # A tensor that has two names, as tied weights have, moves once.
        once = {id(average): (average, value) for average, value in zip(averages, values, strict=True)}
        pairs = [(average.detach(), value.detach()) for average, value in once.values()]
        self._averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]
        self._rate: float | Tensor = 1.0
        if on_device:
            self._rate = torch.ones((), device=self._averaged[0][0].device)

    def set_decay(self, decay: float) -> None:
        """Set the decay of the next updates: the part of the average that stays."""
        if isinstance(self._rate, Tensor):
            self._rate.fill_(1 - decay)
        else:
            self._rate = 1 - decay

    @torch.no_grad()
    def update(self, skipped: Tensor | None = None) -> None:
        """Moves the average by 1 - decay of the way to the model; not where `skipped` (), a float, is 1."""
        if skipped is not None and not isinstance(self._rate, Tensor) and skipped.item():
            return
        averages, values = ([pair[side] for pair in self._averaged] for side in (0, 1))
        if isinstance(self._rate, Tensor):
            # lerp takes no tensor for all; rounds differently in the last place.
            way = torch._foreach_sub(values, averages)
            torch._foreach_mul_(way, self._rate if skipped is None else self._rate * (1 - skipped))
            torch._foreach_add_(averages, way)
        else:
            torch._foreach_lerp_(averages, values, weight=self._rate)
        for average, value in self._copied:
            average.copy_(value)
