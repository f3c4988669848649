"""The product of weights with all positions of all clips, and its gradients where GPUs are at their best."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsgc import kernels

MOST_NUMBERS = 1 << 22  # in the partial sums of a weight's gradient
MOST_PARTS = 128


def product(weight: Tensor, x: Tensor, clips: int) -> Tensor:
    """weight (G, O, I) times x (G, I, L), in autocast's type: (G, O, L). L are positions of so many clips."""
    if not (torch.is_grad_enabled() and kernels.fuses(x)):
        return torch.bmm(weight, x)
    if torch.is_autocast_enabled("cuda"):
        dtype = torch.get_autocast_dtype("cuda")
        weight, x = weight.to(dtype), x.to(dtype)
    result: Tensor = Product.apply(weight, x, clips)
    return result


class Product(torch.autograd.Function):
    """`apply(weight, x, clips)`: `product` of two tensors of one type.

    The gradient of a weight is a sum over all positions of all clips: the library would have a few programs
    do that. It is the sum of products over a part of the clips each.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, clips: int) -> Tensor:
        ctx.save_for_backward(weight, x)
        ctx.clips = clips
        return torch.bmm(weight, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor | None, None]:
        weight, x = ctx.saved_tensors
        dx = torch.bmm(weight.mT, dy) if ctx.needs_input_grad[1] else None
        parts = parts_of(ctx.clips, weight.numel())
        sums = [
            torch.bmm(
                one.unflatten(1, (parts, -1)).transpose(0, 1),
                other.unflatten(1, (parts, -1)).permute(1, 2, 0),
            )
            for one, other in zip(dy.contiguous(), x)
        ]
        dweight = torch.stack([one.sum(0) for one in sums]) if len(sums) > 1 else sums[0].sum(0, keepdim=True)
        return dweight, dx, None


def parts_of(clips: int, numbers: int) -> int:
    """The most parts of so many clips that are alike, few enough for their sums to be small."""
    most = max(1, min(MOST_PARTS, MOST_NUMBERS // numbers))
    return next(parts for parts in range(min(most, clips), 0, -1) if clips % parts == 0)
