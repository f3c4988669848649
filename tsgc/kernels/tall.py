"""Operations on tall activations whose gradients torch computes at a third of the memory's speed.

Plain twins: `nn.Linear`, and `x.mean((1, 2))` in float32.
"""

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsgc.kernels.cards import share
from tsgc.kernels.launching import launch, or_twin

BLOCK = 4096  # numbers in a program's block: rows times CP channels
PROGRAMS = 660  # at most: five a multiprocessor of `cards.TUNED_FOR`


@triton.jit
def _column_sums(x, parts, total, programs, C: tl.constexpr, CP: tl.constexpr, BR: tl.constexpr):
    c = tl.arange(0, CP)
    sums = tl.zeros((BR, CP), tl.float32)
    for block in range(tl.program_id(0), tl.cdiv(total, BR), programs):
        row = (tl.zeros((BR,), tl.int64) + block) * BR + tl.arange(0, BR)
        mask = (row < total)[:, None] & (c < C)[None, :]
        sums += tl.load(x + row[:, None] * C + c[None, :], mask=mask, other=0.0).to(tl.float32)
    tl.store(parts + tl.program_id(0) * C + c, tl.sum(sums, 0), mask=c < C)


def plain_column_sums(x: Tensor) -> Tensor:
    return x.sum(0, dtype=torch.float32)


@or_twin(plain_column_sums)
def column_sums(x: Tensor) -> Tensor:
    """The sums over rows of x (total, C), contiguous: (C,) float32."""
    total, C = x.shape
    width = triton.next_power_of_2(C)
    rows = max(1, BLOCK // width)
    programs = min(share(PROGRAMS, x.device), triton.cdiv(total, rows))
    parts = torch.empty(programs, C, device=x.device, dtype=torch.float32)
    launch(_column_sums, programs, x, parts, total, programs, C=C, CP=width, BR=rows, num_warps=4)
    return parts.sum(0)


class TallLinear(torch.autograd.Function):
    """`apply(x, weight, bias)` in x's type: x (..., K), weight (N, K) and bias (N,) float32 -> (..., N)."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        narrow = weight.to(x.dtype)
        ctx.save_for_backward(x, narrow)
        return F.linear(x, narrow, bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor):
        x, weight = ctx.saved_tensors
        # A gradient may be a view of a wider or expanded tensor; sums need contiguous memory.
        rows = g.to(x.dtype).reshape(-1, len(weight)).contiguous()
        dx = torch.mm(rows, weight).view_as(x) if ctx.needs_input_grad[0] else None
        dw = torch.mm(rows.t(), x.reshape(-1, x.shape[-1])).float()
        return dx, dw, column_sums(rows)


class Pooled(torch.autograd.Function):
    """`apply(x)`: the mean of x (R, T, V, C) over frames and joints, (R, C) float32."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.shape, ctx.dtype = x.shape, x.dtype
        return x.mean((1, 2), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor):
        R, T, V, C = ctx.shape
        # Divided and rounded before it is expanded: once for a row and channel, not for all joints and
        # frames.
        return (g / (T * V)).to(ctx.dtype)[:, None, None].expand(R, T, V, C)
