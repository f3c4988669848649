"""`tsgc bench graph`: three ways to mix joints by learned adjacency, forward and backward.

All compute out[u] = sum over v of A[k, u, v] x[v] for each of the three matrices k. `naive`: one matrix for
all rows, whose gradient is one reduction over everything. `paper`: the matrix repeated over the rows in
training, so that its gradient is a batched product and a sum (the paper's "acceleration"). `ours`: channels
last, so that products are of whole rows; on GPUs also with a copy of the matrices for each row. Beside them
stands the whole block, plain and fused (where this product is part of larger kernels).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pipelines.skeleton import SKELETONS
from tsgc import kernels
from tsgc.bench.clock import seconds_a_call
from tsgc.bench.inputs import Shape, make_model
from tsgc.network.layers import EXPANSION, SUBSETS, Block, mix_joints
from tsgc.network.model import DOWN_STRIDE, STEM_STRIDE, VARIANTS, TSGCNeXt
from tsgc.network.precision import DTYPES, arithmetic


def naive(adjacency: Tensor, h: Tensor) -> Tensor:
    """adjacency (K, V, V), h (R, T, V, C, K) in the published code's layout -> like h."""
    return torch.einsum("kuv,rtvck->rtuck", adjacency, h)


def paper(adjacency: Tensor, h: Tensor) -> Tensor:
    """The same, with the matrices repeated over the rows."""
    return torch.einsum("rkuv,rtvck->rtuck", adjacency.repeat(len(h), 1, 1, 1), h)


PRODUCTS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], bool]] = {
    "naive": (naive, False),
    "paper": (paper, False),
    "ours": (mix_joints, True),
}
"""Name -> the product, and whether its input has channels last."""
BLOCKS: dict[str, Callable[[], AbstractContextManager]] = {
    "block, plain": kernels.plain,
    "block": nullcontext,
}
"""A whole block without fused kernels, and with those that fit; on a CPU only the first."""


@dataclass(frozen=True)
class Stage:
    """A stage's width and frames, of `rows` bodies."""

    rows: int
    frames: int
    joints: int
    width: int


def stages(shape: Shape) -> list[Stage]:
    """The input of each stage's blocks."""
    joints = SKELETONS[shape.skeleton].num_joints
    frames = [shape.frames // (STEM_STRIDE * DOWN_STRIDE**index) for index in range(3)]
    rows = shape.batch * shape.bodies
    return [Stage(rows, T, joints, width) for T, width in zip(frames, VARIANTS[shape.variant].widths)]


def made_input(
    stage: Stage, channels_last: bool, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Adjacency (K, V, V) and hidden features that need gradients; the same numbers in both layouts."""
    random = torch.Generator().manual_seed(0)
    adjacency = torch.randn(SUBSETS, stage.joints, stage.joints, generator=random)
    h = torch.randn(stage.rows, stage.frames, stage.joints, SUBSETS, stage.width, generator=random)
    h = h if channels_last else h.transpose(3, 4).contiguous()
    return adjacency.to(device, dtype).requires_grad_(), h.to(device, dtype).requires_grad_()


def forward_and_backward(
    function: Callable[[], Tensor], inputs: list[Tensor], device: torch.device, calls: int
) -> dict[str, float]:
    """Milliseconds of the forward pass and of the backward pass by itself."""
    forward = seconds_a_call(function, device, calls, warm_up=3)
    out = function()
    gradient = torch.randn_like(out)

    def backward() -> None:
        torch.autograd.grad(out, inputs, gradient, retain_graph=True)

    back = seconds_a_call(backward, device, calls, warm_up=3)
    return {"forward_ms": 1e3 * forward, "backward_ms": 1e3 * back}


def bench_products(shape: Shape, precision: str, device: torch.device, calls: int) -> list[dict[str, Any]]:
    """Rows of `stage`, `name`, milliseconds: each product at each stage, then a block plain and fused."""
    dtype = DTYPES.get(precision, torch.float32)
    rows: list[dict[str, Any]] = []
    model = make_model(shape, device).train()
    assert isinstance(model, TSGCNeXt)
    for number, stage in enumerate(stages(shape)):
        place = {"stage": number + 1, "frames": stage.frames, "width": stage.width}
        for name, (product, channels_last) in PRODUCTS.items():
            adjacency, h = made_input(stage, channels_last, dtype, device)
            with arithmetic("tf32" if precision == "tf32" else "float32", device):
                times = forward_and_backward(partial(product, adjacency, h), [adjacency, h], device, calls)
            rows.append({**place, "name": name, **times})
        block = next(iter(model.stages[number].children()))
        assert isinstance(block, Block)
        x = torch.randn(stage.rows, stage.frames, stage.joints, stage.width, device=device, dtype=dtype)
        x.requires_grad_()
        inputs = [x, *block.parameters()]
        for name, context in BLOCKS.items() if device.type == "cuda" else (("block", nullcontext),):
            with context(), arithmetic(precision, device):
                times = forward_and_backward(partial(block, x), inputs, device, calls)
            rows.append({**place, "name": name, **times})
    return rows


assert EXPANSION == SUBSETS + 1  # a quarter of a block's hidden features is passed through
