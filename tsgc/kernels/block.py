"""The whole DS-SMG block as one differentiable function over fused kernels.

The temporal layer and its norm are one kernel (`temporal`), the inverted bottleneck between graphs takes one
of two roads: its own kernels in bfloat16 (`bottleneck`), the library's products with kernels between them in
float32 (`library`), of the rows alone that drop path keeps where the host knows how many. Plain twin:
`layers.Block.forward`; which one runs is `kernels.fused_dtype`'s choice.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsgc.kernels.bottleneck import Kernels
from tsgc.kernels.library import Library
from tsgc.kernels.operands import Operands, make_operands
from tsgc.kernels.temporal import Statistics, temporal_norm
from tsgc.kernels.temporal_backward import temporal_norm_backward
from tsgc.kernels.tunings import LEAST_ROWS, LIBRARY_ROWS, LIBRARY_TUNINGS, TUNINGS

Road = type[Kernels] | type[Library]


def fits(width: int, joints: int, dtype: torch.dtype) -> bool:
    """Whether the kernels are cut for this width and type, and a frame's joints fit into a tile."""
    if dtype == torch.float32:
        return width in LIBRARY_TUNINGS and joints <= LIBRARY_ROWS
    return width in TUNINGS and joints <= LEAST_ROWS


class BlockFunction(torch.autograd.Function):
    """`apply(x, survival, graphs, w_t, b_t, gamma, beta, w1, b1, w2, b2, eps, road, training, kept)` in x's
    type.

    x (R, T, V, C) contiguous, `survival` (R,) float32, the others as `layers.Block` holds them, float32.
    `training`: whether a backward pass may follow. `kept`: how many rows are not dropped, where these alone
    are worked on; None: where all are.
    """

    @staticmethod
    def forward(ctx, x, survival, graphs, w_t, b_t, gamma, beta, w1, b1, w2, b2, eps, road, training, kept):
        way = road(x.shape[-1])
        ready = make_operands(w1, w2, graphs, survival, x.dtype, *way.tile_rows)
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
            grads.graphs,
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
    """`apply(x, *parameters)`: x of a block that drops every row; parameters get gradients of 0, not None.

    There is nothing to launch kernels on, and an optimiser leaves what has no gradient out.
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
    """The block `module` (a `layers.Block`) of x (R, T, V, C); the road is x's type's unless it is given.

    `kept`: how many rows of `survival` are not 0, where the host knows that.
    """
    if survival is None:
        survival = torch.ones(len(x), device=x.device)
    if road is None:
        road = Library if x.dtype == torch.float32 else Kernels
    parameters = (
        module.graphs, module.temporal.weight, module.temporal.bias, module.norm.weight, module.norm.bias,
        module.expand.weight, module.expand.bias, *module.projection(),
    )  # fmt: skip
    if kept == 0:
        dropped: Tensor = DroppedFunction.apply(x, *parameters)
        return dropped
    # Kernels leave dropped rows out by themselves, and where none is dropped there is nothing to pack.
    packed = kept if road is Library and kept != len(x) else None
    factors = survival.float().contiguous()
    result: Tensor = BlockFunction.apply(
        x.contiguous(), factors, *parameters, module.norm.eps, road, torch.is_grad_enabled(), packed
    )
    return result
