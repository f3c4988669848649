"""The factor on the loss of training in float16, whose smallest gradients would round to 0 without it.

It is halved in a step whose gradients overflow, which changes no weight, and doubled after GROWTH_STEPS
without one: the rule of `torch.amp.GradScaler`, with its numbers. Everything is a tensor on the device and
nothing waits for it, so that the step can be captured in a CUDA graph. Source: Micikevicius et al. (2018),
arXiv 1710.03740.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

FIRST = 65536.0
GROWTH, BACKOFF = 2.0, 0.5
GROWTH_STEPS = 2000
LEAST = 1e-4  # as fairseq's: gradients that overflow at so small a factor would do so at any


class LossScale:
    """The factor, and whether the last gradients overflowed: after each backward pass of a step `unscale`,
    after the optimiser's `update`.

    The optimiser is one of torch's fused ones, which leaves everything as it is where `overflow` is 1.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self.factor = torch.full((), FIRST, device=device)
        self.overflow = torch.zeros((), device=device)
        """1 where a gradient of the last step is not finite, else 0."""
        self._steps = torch.zeros((), dtype=torch.int32, device=device)  # since the factor last changed
        vars(optimizer)["found_inf"] = self.overflow  # where fused optimisers look for it

    def unscale(self, parameters: Iterable[nn.Parameter]) -> None:
        """Divide the gradients by the factor; see whether all are finite."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        self.overflow.zero_()
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, self.overflow, self.factor.reciprocal())

    def update(self) -> None:
        """Set the factor of the next step."""
        torch._amp_update_scale_(self.factor, self._steps, self.overflow, GROWTH, BACKOFF, GROWTH_STEPS)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that a step changes of it."""
        return self.factor, self.overflow, self._steps

    @property
    def vanished(self) -> bool:
        """Whether the factor is so small that training has diverged. Waits for the device."""
        return self.factor.item() < LEAST

    def state(self) -> dict[str, Any]:
        """The factor and its age, for a file. Waits for the device."""
        return {"factor": self.factor.item(), "steps": self._steps.item()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.factor.fill_(state["factor"])
        self._steps.fill_(state["steps"])
