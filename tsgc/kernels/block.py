"""The whole DS-SMG block as one differentiable function over fused kernels.

The temporal layer and its norm are one kernel (`temporal`). The inverted bottleneck with its mixing of joints
takes one of two roads: kernels alone in narrow types (`bottleneck`), or the library's products with kernels
between them (`library`), which works only on the rows that drop path keeps where the host knows their number.
`ladder` chooses the road and its cut. Plain twin: `layers.Block.forward`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tsgc.kernels.bottleneck import Kernels
from tsgc.kernels.launching import KernelError
from tsgc.kernels.library import Library
from tsgc.kernels.operands import Operands, make_operands
from tsgc.kernels.switch import plain
from tsgc.kernels.temporal import Statistics, temporal_norm
from tsgc.kernels.temporal_backward import temporal_norm_backward

Way = Kernels | Library
Road = Callable[[int], Way]
Leave = Callable[[KernelError], None]
NAMES = (
    "graphs", "temporal.weight", "temporal.bias", "norm.weight", "norm.bias",
    "expand.weight", "expand.bias", "project.weight", "project.bias",
)  # fmt: skip
"""The parameters of a `layers.Block`, as `BlockFunction` takes them; the last two are its `projection()`."""


class Twin(NamedTuple):
    """What takes the place of a backward pass whose kernels do not run."""

    module: nn.Module
    leave: Leave
    """What is called with the kernel's error."""

    def gradients(
        self, x: Tensor, survival: Tensor, parameters: Sequence[Tensor], dout: Tensor
    ) -> tuple[Tensor, ...]:
        """Gradients of x and the parameters, by the plain block, which is computed anew."""
        from torch.func import functional_call  # loaded where something has failed alone

        leaves = [one.detach().requires_grad_() for one in (x, *parameters)]
        weights = dict(zip(NAMES, leaves[1:], strict=True))
        if getattr(self.module, "scale", None) is not None:  # the projection has it already
            weights["scale"] = x.new_ones(x.shape[-1], dtype=torch.float32)
        narrow = torch.autocast(x.device.type, x.dtype, enabled=x.dtype != torch.float32)
        with plain(), torch.enable_grad(), narrow:
            out = functional_call(self.module, weights, (leaves[0], survival))
        return torch.autograd.grad(out, leaves, dout.to(out.dtype))


class BlockFunction(torch.autograd.Function):
    """The block's function, in the type of x; its arguments are those of `forward`.

    x (R, T, V, C) contiguous, `survival` (R,) float32, the others as `layers.Block` holds them, float32.
    `training`: whether a backward pass may follow. `kept`: how many rows are not dropped, where only these
    are computed; None: all rows are. `twin`: None: a kernel that does not run raises backwards, too.
    """

    @staticmethod
    def forward(
        ctx, x, survival, adjacency, w_t, b_t, gamma, beta, w1, b1, w2, b2, eps, way, training, kept, twin
    ):
        ready = make_operands(w1, w2, adjacency, survival, x.dtype, *way.tuning.tile_rows)
        z, of = temporal_norm(x, survival, w_t, b_t, gamma, beta, eps, way.tuning.temporal, ready.order, kept)
        out, p = way.forward(z, x, survival, ready, b1, b2, training)
        parameters = adjacency, w_t, b_t, gamma, beta, w1, b1, w2, b2
        ctx.save_for_backward(x, z, p, survival, *parameters, *of, *ready)
        ctx.way, ctx.twin = way, twin
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, dout):
        x, _, _, survival, *others = ctx.saved_tensors
        try:
            dx, *gradients = BlockFunction.fused_backward(ctx.saved_tensors, ctx.way, dout)
        except KernelError as error:  # of sizes that were not tried out
            if ctx.twin is None:
                raise
            ctx.twin.leave(error)
            dx, *gradients = ctx.twin.gradients(x, survival, others[: len(NAMES)], dout)
        return dx, None, *gradients, None, None, None, None, None

    @staticmethod
    def fused_backward(saved: Sequence[Tensor], way: Way, dout: Tensor) -> tuple[Tensor, ...]:
        """The gradients of x and the parameters, of what `forward` has saved. Raises KernelError."""
        x, z, p, survival, _, w_t, b_t, gamma, _, _, _, _, _, means, rstds, *rest = saved
        dout = dout.to(x.dtype).contiguous()
        ready = Operands(*rest)
        grads = way.backward(z, dout, p, survival, ready)
        dx, sums = temporal_norm_backward(
            x, grads.z, dout, survival, ready.order, w_t, b_t, gamma, Statistics(means, rstds),
            way.tuning.temporal_backward,
        )  # fmt: skip
        return dx, grads.adjacency, sums[:3], *sums[3:6], grads.w1, grads.b1, grads.w2, sums[6]


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
    x: Tensor,
    survival: Tensor | None,
    module: Any,
    road: Road | None = None,
    kept: int | None = None,
    leave: Leave | None = None,
) -> Tensor:
    """The block `module` (a `layers.Block`) of x (R, T, V, C), by the way that `road` gives for its width.

    Without a `road`: as tuned for the type of x. `kept`: how many rows of `survival` are not 0, where the
    host knows that. `leave`: called where a kernel does not run in the backward pass, which is plain then;
    None: it raises KernelError.
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
        x.contiguous(), factors, *parameters, module.norm.eps, way, torch.is_grad_enabled(), packed,
        Twin(module, leave) if leave else None,
    )  # fmt: skip
    return result
