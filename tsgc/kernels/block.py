"""The whole DS-SMG block as one differentiable function over fused kernels.

The temporal layer and its norm are one kernel (`temporal`), the inverted bottleneck between graphs takes one
of the roads of `bottleneck`: its own kernels in bfloat16, the library's products with kernels between them in
float32. Plain twin: `layers.Block.forward`; which one runs is `kernels.fused_dtype`'s choice.
"""

from typing import Any

import torch
from torch import Tensor

from tsgc.kernels.bottleneck import Kernels, Library
from tsgc.kernels.prepare import Prepared, prepare
from tsgc.kernels.temporal import Statistics, temporal_norm, temporal_norm_backward
from tsgc.kernels.tunings import LEAST_ROWS, LIBRARY_ROWS, LIBRARY_TUNINGS, TUNINGS

Road = type[Kernels] | type[Library]


def fits(width: int, joints: int, dtype: torch.dtype) -> bool:
    """Whether the kernels are cut for this width and type, and a frame's joints fit into a tile."""
    if dtype == torch.float32:
        return width in LIBRARY_TUNINGS and joints <= LIBRARY_ROWS
    return width in TUNINGS and joints <= LEAST_ROWS


class BlockFunction(torch.autograd.Function):
    """`apply(x, survival, graphs, w_t, b_t, gamma, beta, w1, b1, w2, b2, eps, road, training)` in x's type.

    x (R, T, V, C) contiguous, `survival` (R,) float32, the others as `layers.Block` holds them, float32.
    `training`: whether a backward pass may follow.
    """

    @staticmethod
    def forward(ctx, x, survival, graphs, w_t, b_t, gamma, beta, w1, b1, w2, b2, eps, road, training):
        way = road(x.shape[-1])
        z, of = temporal_norm(x, survival, w_t, b_t, gamma, beta, eps, way.tuning.temporal)
        ready = prepare(w1, w2, graphs, survival, x.dtype, *way.tile_rows)
        out, p = way.forward(z, x, survival, ready, b1, b2, training)
        ctx.save_for_backward(x, z, p, survival, w_t, b_t, gamma, *of, *ready)
        ctx.way = way
        return out

    @staticmethod
    def backward(ctx, dout):
        x, z, p, survival, w_t, b_t, gamma, means, rstds, *ready = ctx.saved_tensors
        way = ctx.way
        dout = dout.to(x.dtype).contiguous()
        grads = way.backward(z, dout, p, survival, Prepared(*ready))
        dx, sums = temporal_norm_backward(
            x,
            grads.z,
            dout,
            survival,
            w_t,
            b_t,
            gamma,
            Statistics(means, rstds),
            way.tuning.temporal_backward,
        )
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
        )


def run(x: Tensor, survival: Tensor | None, module: Any, road: Road | None = None) -> Tensor:
    """The block `module` (a `layers.Block`) of x (R, T, V, C); the road is x's type's unless it is given."""
    if survival is None:
        survival = torch.ones(len(x), device=x.device)
    if road is None:
        road = Library if x.dtype == torch.float32 else Kernels
    result: Tensor = BlockFunction.apply(
        x.contiguous(), survival.float(), module.graphs, module.temporal.weight, module.temporal.bias,
        module.norm.weight, module.norm.bias, module.expand.weight, module.expand.bias,
        *module.projection(), module.norm.eps, road, torch.is_grad_enabled(),
    )  # fmt: skip
    return result
