"""Blocks for comparing a fast path with its plain twin, and their gradients."""

import torch
from torch import Tensor, nn

from tsgc.network.layers import Block


def made_block(width: int, joints: int, layer_scale: float | None = None, device: str = "cpu") -> Block:
    """A block whose every parameter matters: nothing 0, nothing 1."""
    block = Block(width, torch.randn(3, joints, joints) * 0.3, layer_scale)
    for parameter in block.parameters():
        if parameter.dim() == 2:
            parameter.data = torch.randn_like(parameter) * parameter.shape[-1] ** -0.5
        elif parameter.dim() == 1:
            parameter.data = torch.randn_like(parameter) * 0.2
    block.temporal.weight.data = torch.randn_like(block.temporal.weight)
    block.norm.weight.data += 1
    return block.to(device)


def gradients(run, x: Tensor, module: nn.Module, weights: Tensor) -> dict[str, Tensor]:
    """The output and the gradients of its weighted sum, by name."""
    x = x.detach().requires_grad_()
    out = run(x)
    names, parameters = zip(*module.named_parameters(), strict=True)
    found = torch.autograd.grad((out * weights).sum(), [x, *parameters])
    return dict(zip(("out", "x", *names), (out, *found), strict=True))
