"""A block of the network on a CPU, joints outermost in memory: what the plain one gives, in fewer passes.

The plain block mixes joints after its first linear layer: it copies tensors of 4 C channels to a layout with
joints first, multiplies, copies back and concatenates, and the same for gradients. Mixing commutes with the
layer's weight: A_k (z W_k + b_k) = (A_k z) W_k + (A_k 1) b_k. Here it is done before the layer, on C
channels, and with joints outermost, (V, R, T, C), it is one matrix product without a copy. Callers see
tensors of the usual shape (R, T, V, C): as with PyTorch's `channels_last`, only the strides differ
(`joints_first`).
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tsgc import kernels

aten = torch.ops.aten


class BlockParts(Protocol):
    """The parts of a `layers.Block` that are read here."""

    graphs: nn.Parameter
    temporal: Any
    norm: nn.LayerNorm
    expand: nn.Linear

    def projection(self) -> tuple[Tensor, Tensor]: ...


LEAST: Mapping[torch.dtype, int] = {torch.float32: 2**16, torch.bfloat16: 2**17}
"""Types that run with joints first, and how many numbers x has where that begins to save time.

It is a function with a gradient of its own, in more and smaller operations than the plain block: a lone clip
of NW-UCLA (2^14 numbers in `small`) takes a quarter more time in it, an NTU clip of 252 (2^18) less. Where
they meet is nearly the same with AVX2 and with AVX-512 (benchmarks/cpu.md).
"""


def compute_dtype(x: Tensor) -> torch.dtype:
    """The type of products with x on a CPU: autocast's where it is on."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


@lru_cache
def convolves(dtype: torch.dtype) -> bool:
    """Whether oneDNN convolves in this type here; torch's own convolution takes one channel at a time."""
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def supports(x: Tensor, factor: float = 1) -> bool:
    """Whether a block of x runs with joints first: on CPUs, as `LEAST` says, not where it is compiled.

    `factor`: how many times as many numbers the block's x has, where it is made of this one.
    """
    if x.device.type != "cpu" or not kernels.enabled() or torch.compiler.is_compiling():
        return False
    dtype = compute_dtype(x)
    return dtype in LEAST and factor * x.numel() >= LEAST[dtype] and convolves(dtype)


def joints_first(x: Tensor) -> Tensor:
    """(R, T, V, C) -> (V, R, T, C), contiguous: a view where x came from a block of this kind."""
    return x.permute(2, 0, 1, 3).contiguous()


def joints_third(x: Tensor) -> Tensor:
    """(V, R, T, C) -> (R, T, V, C), a view."""
    return x.permute(1, 2, 0, 3)


def each_joint(layer: Callable[[Tensor], Tensor], x: Tensor, factor: float) -> Tensor:
    """`layer` of x (R, T, V, C), which treats all joints alike: a joint to a row, if the next block runs so.

    `factor`: how many times the numbers of x the layer makes.
    """
    if not supports(x, factor):
        return layer(x)
    R, T, V, C = x.shape
    out = layer(joints_first(x).view(V * R, T, 1, C))  # so that its patches are views
    return joints_third(out.view(V, R, out.shape[1], -1))


def joints_first_block(x: Tensor, survival: Tensor | None, block: BlockParts) -> Tensor:
    """`layers.Block.forward` of x (R, T, V, C), in autocast's type where it is on, else in the type of x."""
    dtype = compute_dtype(x)
    weight, bias = block.projection()
    with torch.autocast("cpu", enabled=False):
        result: Tensor = JointsFirst.apply(
            x.to(dtype),
            survival,
            block.temporal.weight,
            block.temporal.bias,
            block.norm.weight,
            block.norm.bias,
            block.norm.eps,
            block.graphs,
            block.expand.weight,
            block.expand.bias,
            weight,
            bias,
        )
    return result


class JointsFirst(torch.autograd.Function):
    """The block with its gradient; as under autocast, parameters may be float32 where x is bfloat16."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        survival: Tensor | None,
        taps: Tensor,
        taps_bias: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        eps: float,
        adjacency: Tensor,
        w1: Tensor,
        b1: Tensor,
        w2: Tensor,
        b2: Tensor,
    ) -> Tensor:
        K, V, C = len(adjacency), adjacency.shape[1], x.shape[-1]
        dtype = x.dtype
        x = joints_first(x)
        u = convolve(x, taps.to(dtype), taps_bias.to(dtype))
        z, mean, rstd = aten.native_layer_norm(u, (C,), norm_weight, norm_bias, eps)
        # Inputs of the first layer's quarters, (4, V R T, C): z mixed by each matrix, and z itself.
        sources = z.new_empty(K + 1, z.numel() // C, C)
        torch.mm(adjacency.to(dtype).view(K * V, V), z.view(V, -1), out=sources[:K].view(K * V, -1))
        sources[K] = z.view(-1, C)
        h = z.new_empty(sources.shape[1], len(w1))  # (V R T, 4 C)
        h.view(V, -1, len(w1)).copy_(joint_bias(adjacency, b1.view(-1, C)).to(dtype)[:, None])
        for source, part, weight in zip(sources, h.split(C, 1), w1.to(dtype).split(C)):
            part.addmm_(source, weight.t())
        a = F.gelu(h)
        y = torch.addmm(b2.to(dtype), a, w2.to(dtype).t()).view_as(x)
        if survival is None:
            y += x
        else:
            survival = survival.to(dtype)[:, None, None]
            y = torch.addcmul(x, y, survival)
        ctx.save_for_backward(
            x, survival, u, mean, rstd, sources, h, a, taps, norm_weight, norm_bias, adjacency, w1, b1, w2
        )
        return joints_third(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, survival, u, mean, rstd, sources, h, a, taps, norm_weight, norm_bias, adjacency, w1, b1, w2 = (
            ctx.saved_tensors
        )
        K, V, C = len(adjacency), adjacency.shape[1], x.shape[-1]
        dtype = x.dtype
        grad = joints_first(grad)
        gy = (grad if survival is None else grad * survival).view(-1, C)
        gw2 = gy.t() @ a
        ga = gy @ w2.to(dtype)
        gh = aten.gelu_backward(ga, h)
        gadjacency, gb1 = joint_bias_backward(
            sums_by_joint(gh.view(V, -1, len(w1))), adjacency, b1.view(-1, C)
        )
        # Products want contiguous quarters. They go to the memory of ga, which is not needed any more.
        apart = ga.view(-1, len(gh), C)
        apart.copy_(gh.view(len(gh), -1, C).transpose(0, 1))
        gm = gh.view_as(apart)
        # One batched product: four single ones take two to three times as long in bfloat16 at 384 channels.
        gw1 = torch.bmm(apart.mT, sources).view_as(w1)
        for part, weight, to_source in zip(apart, w1.to(dtype).split(C), gm):
            torch.mm(part, weight, out=to_source)
        mixed = gm[:K].view(K * V, -1)
        gadjacency += (mixed @ sources[K].view(V, -1).t()).view_as(gadjacency)
        gz = gm[K].view(V, -1).addmm_(adjacency.to(dtype).view(K * V, V).t(), mixed)
        gu, gnorm_weight, gnorm_bias = aten.native_layer_norm_backward(
            gz.view_as(x), u, (C,), mean, rstd, norm_weight, norm_bias, [True, True, True]
        )
        gx, gtaps, gtaps_bias = convolve_backward(gu, x, taps.to(dtype))
        gx += grad
        return (
            joints_third(gx),
            None,
            gtaps.to(taps.dtype),
            gtaps_bias.to(taps.dtype),
            gnorm_weight,
            gnorm_bias,
            None,
            gadjacency,
            gw1.to(w1.dtype),
            gb1.view_as(b1),
            gw2.to(w2.dtype),
            sums_by_joint(gy[None])[0].to(w2.dtype),
        )


def as_image(x: Tensor) -> Tensor:
    """(V, R, T, C) -> (V R, C, 1, T), a view: a convolution's input, channels last in memory."""
    return x.flatten(0, 1)[:, None].permute(0, 3, 1, 2)


def convolve(x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
    """`layers.TemporalDepthwise` of x (V, R, T, C), by taps (3, C) and bias (C,)."""
    u = F.conv2d(as_image(x), taps.t()[:, None, None], bias, padding=(0, 1), groups=x.shape[-1])
    return u.permute(0, 2, 3, 1).contiguous().view_as(x)


def convolve_backward(gu: Tensor, x: Tensor, taps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, the taps (3, C) and the bias (C,), from that of the convolution's output."""
    C = x.shape[-1]
    gx, gtaps, gbias = aten.convolution_backward(
        as_image(gu), as_image(x), taps.t()[:, None, None], [C],
        [1, 1], [0, 1], [1, 1], False, [0, 0], C, [True, True, True],
    )  # fmt: skip
    return gx.permute(0, 2, 3, 1).contiguous().view_as(x), gtaps.view(C, -1).t(), gbias


def sums_by_joint(x: Tensor) -> Tensor:
    """Sums over the rows of each joint, (V, N, C) -> (V, C), as a product: faster than a sum."""
    return torch.bmm(x.new_ones(len(x), 1, x.shape[1]), x)[:, 0]


def joint_bias(adjacency: Tensor, bias: Tensor) -> Tensor:
    """The first layer's bias (4, C) after mixing, for each joint: (V, 4 C)."""
    weight = F.pad(adjacency.sum(2), (0, 0, 0, len(bias) - len(adjacency)), value=1.0)  # (4, V)
    return torch.einsum("kv,kc->vkc", weight, bias).flatten(1)


def joint_bias_backward(grad: Tensor, adjacency: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the adjacency (K, V, V) and the bias (4 C,) from that of `joint_bias`, (V, 4 C)."""
    with torch.enable_grad():
        leaves = adjacency.detach().requires_grad_(), bias.detach().requires_grad_()
        gadjacency, gbias = torch.autograd.grad(joint_bias(*leaves), leaves, grad.to(bias.dtype))
    return gadjacency.contiguous(), gbias.flatten()
