"""The whole DS-SMG block as one differentiable function over fused kernels.

The temporal layer and its norm are one kernel (`temporal`). The inverted bottleneck with its mixing of joints
takes one of two roads: kernels alone in narrow types (`bottleneck`), or the library's products with kernels
between them (`library`), which works only on the rows that drop path keeps where the host knows their number.
`ladder` chooses the road and its cut. Plain twin: `layers.Block.forward`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsgc.kernels.bottleneck import Kernels
from tsgc.kernels.library import Library
from tsgc.kernels.operands import Operands, make_operands
from tsgc.kernels.temporal import Statistics, temporal_norm
from tsgc.kernels.temporal_backward import temporal_norm_backward

Way = Kernels | Library
Road = Callable[[int], Way]


class BlockFunction(torch.autograd.Function):
    """The block's function, in the type of x; its arguments are those of `forward`.

    x (R, T, V, C) contiguous, `survival` (R,) float32, the others as `layers.Block` holds them, float32.
    `training`: whether a backward pass may follow. `kept`: how many rows are not dropped, where only these
    are computed; None: all rows are.
    """

    @staticmethod
    def forward(ctx, x, survival, adjacency, w_t, b_t, gamma, beta, w1, b1, w2, b2, eps, way, training, kept):
        ready = make_operands(w1, w2, adjacency, survival, x.dtype, *way.tuning.tile_rows)
        z, of = temporal_norm(x, survival, w_t, b_t, gamma, beta, eps, way.tuning.temporal, ready.order, kept)
        out, p = way.forward(z, x, survival, ready, b1, b2, training)
        ctx.save_for_backward(x, z, p, survival, w_t, b_t, gamma, *of, *ready)
        ctx.way = way
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, dout):
        x, z, p, survival, w_t, b_t, gamma, means, rstds, *ready = ctx.saved_tensors
        way = ctx.way
        dout = dout.to(x.dtype).contiguous()
        ready = Operands(*ready)
        grads = way.backward(z, dout, p, survival, ready)
        dx, sums = temporal_norm_backward(
            x, grads.z, dout, survival, ready.order, w_t, b_t, gamma, Statistics(means, rstds),
            way.tuning.temporal_backward,
        )  # fmt: skip
        return (
            dx,
            None,
            grads.adjacency,
            sums[:3],
            sums[3],
            sums[4],
            sums[5],
            grads.w1,
            grads.b1,
            grads.w2,
            sums[6],
            None,
            None,
            None,
            None,
        )


class DroppedFunction(torch.autograd.Function):
    """`apply(x, *parameters)`: a block that drops every row; parameters get gradients of 0, not None.

    There is no row to launch kernels for, and an optimiser would leave out parameters without a gradient.
    """

    @staticmethod
    def forward(ctx, x, *parameters):
        ctx.save_for_backward(*parameters)
        return x.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, dout):
        return dout, *map(torch.zeros_like, ctx.saved_tensors)


def apply_block(
    x: Tensor, survival: Tensor | None, module: Any, road: Road | None = None, kept: int | None = None
) -> Tensor:
    """The block `module` (a `layers.Block`) of x (R, T, V, C), by the way that `road` gives for its width.

    Without a `road`: as tuned for the type of x.

    `kept`: how many rows of `survival` are not 0, where the host knows that.
    """
    if survival is None:
        survival = torch.ones(len(x), device=x.device)
    if road is None:
        road = Library if x.dtype == torch.float32 else Kernels
    way = road(x.shape[-1])
    parameters = (
        module.graphs, module.temporal.weight, module.temporal.bias, module.norm.weight, module.norm.bias,
        module.expand.weight, module.expand.bias, *module.projection(),
    )  # fmt: skip
    if kept == 0:
        dropped: Tensor = DroppedFunction.apply(x, *parameters)
        return dropped
    # Where none is dropped there is nothing to pack.
    packed = kept if way.packs and kept != len(x) else None
    factors = survival.float().contiguous()
    result: Tensor = BlockFunction.apply(
        x.contiguous(), factors, *parameters, module.norm.eps, way, torch.is_grad_enabled(), packed
    )
    return result
