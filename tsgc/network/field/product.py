"""The product of weights with all positions of all clips, and its gradients where GPUs are at their best."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsgc import kernels

MOST_NUMBERS = 1 << 22  # in the partial sums of a weight's gradient
MOST_PARTS = 128


def autocast_type(x: Tensor) -> torch.dtype:
    """The type in which products of x are made."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def product(weight: Tensor, x: Tensor, clips: int) -> Tensor:
    """weight (G, O, I) times x (G, I, L), in autocast's type: (G, O, L). L are positions of so many clips."""
    if not (torch.is_grad_enabled() and kernels.fuses(x)):
        return torch.bmm(weight, x)
    dtype = autocast_type(x)
    return _product(weight.to(dtype), x.to(dtype), clips)


@kernels.uncompiled
def _product(weight: Tensor, x: Tensor, clips: int) -> Tensor:
    result: Tensor = Product.apply(weight, x, clips)
    return result


@kernels.uncompiled
def fan_out(weight: Tensor, x: Tensor, mean: bool) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """`FanOut` of x (C, N, V, T), on GPUs."""
    z, level, one, other = FanOut.apply(weight, x, mean)
    return z, level, one, other


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
        return weight_gradient(dy.contiguous(), x, ctx.clips), dx, None


def weight_gradient(dy: Tensor, x: Tensor, clips: int) -> Tensor:
    """The gradient (G, O, I) of weights, of dy (G, O, L) and x (G, I, L)."""
    (groups, O, _), I = dy.shape, x.shape[1]
    parts = parts_of(clips, groups * O * I)
    sums = dy.new_empty(groups, parts, O, I)
    dy, x = dy.unflatten(2, (parts, -1)), x.unflatten(2, (parts, -1))
    for one, other, out in zip(dy, x, sums):
        torch.bmm(one.transpose(0, 1), other.permute(1, 2, 0), out=out)
    return sums.sum(1)


class FanOut(torch.autograd.Function):
    """The uses of a unit's input x (C, N, V, T): `apply(weight, x, mean)` with a weight (O, C) of its type.

    Gives weight times x, the mean of x over frames (or None), and x itself twice. What comes back from all of
    them is added up in one pass, and the product's part by the product itself.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, mean: bool) -> tuple[Tensor | None, ...]:
        ctx.save_for_backward(weight, x)
        ctx.set_materialize_grads(False)
        z = torch.mm(weight, x.flatten(1)).unflatten(1, x.shape[1:])
        return z, kernels.mean_over_frames(x) if mean else None, x.view_as(x), x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, dz: Tensor, joints: Tensor | None, one: Tensor | None, other: Tensor | None
    ) -> tuple[Tensor, Tensor, None]:
        weight, x = ctx.saved_tensors
        dz = dz.flatten(1).contiguous()
        dweight = weight_gradient(dz[None], x.flatten(1)[None], x.shape[1])[0]
        one, other = (other, None) if one is None else (one, other)
        if one is None:
            one = torch.zeros_like(x)
        dx = kernels.gathered(one, other, joints)
        dx.flatten(1).addmm_(weight.t(), dz)
        return dweight, dx, None


def parts_of(clips: int, numbers: int) -> int:
    """The most parts of so many clips that are alike, few enough for their sums to be small."""
    most = max(1, min(MOST_PARTS, MOST_NUMBERS // numbers))
    return next(parts for parts in range(min(most, clips), 0, -1) if clips % parts == 0)
