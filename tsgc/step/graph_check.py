"""A captured step compared with a plain one, where nobody knows whether the network can be captured.

A graph repeats the launches of its capture: what a network does on the host (a branch on a value, a draw from
NumPy) is not repeated. So the first captured step is taken twice from one state, as a graph and plainly.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tsgc.network.timm_parts import ModelEmaV3

SAME = 0.05  # of the step's own length: sums in another order are far nearer, another step is farther


class StepState:
    """All that a step changes: weights, statistics, the optimiser's state, averages, sums."""

    def __init__(
        self, model: nn.Module, ema: ModelEmaV3, optimizer: torch.optim.Optimizer, sums: Sequence[Tensor]
    ) -> None:
        self.model, self.ema, self.optimizer, self.sums = model, ema, optimizer, sums

    def tensors(self) -> list[Tensor]:
        """The tensors themselves."""
        states = [
            value
            for state in self.optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ]
        modules = [
            tensor for one in (self.model, self.ema.module) for tensor in (*one.parameters(), *one.buffers())
        ]
        own = set(map(id, modules))
        weights = [one for group in self.optimizer.param_groups for one in group["params"]]
        beside = [weight for weight in weights if id(weight) not in own]
        return [tensor.detach() for tensor in (*modules, *beside, *states, *self.sums) if tensor.numel()]

    def learned(self) -> Tensor:
        """All weights as one vector, in float64."""
        return torch.cat([parameter.detach().flatten().double() for parameter in self.model.parameters()])


@torch.no_grad()
def same_step(state: StepState, graph: Callable[[], object], plain: Callable[[], object]) -> bool:
    """Whether `graph` changes the weights as `plain` does from the same state; what is left is `plain`'s."""
    before = [tensor.clone() for tensor in state.tensors()]
    start = state.learned()
    graph()
    captured = state.learned()
    for tensor, kept in zip(state.tensors(), before, strict=True):
        tensor.copy_(kept)
    with torch.enable_grad():
        plain()
    stepped = state.learned()
    length, distance = (stepped - start).norm().item(), (stepped - captured).norm().item()
    return distance <= SAME * length
