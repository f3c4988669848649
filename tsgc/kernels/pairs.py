"""The features of pairs of joints that CTR-GCN's graphs are made of, forward and backward, a launch each.

One program has one feature of one clip. Plain twin: `plain_pairs`.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsgc.kernels.launching import launch, or_twin
from tsgc.kernels.plain_pairs import MORE, plain_pairs


@triton.jit
def _difference(embedded, place, half, V, v, VP: tl.constexpr):
    """tanh of the difference of a feature of each joint (rows) and each other (columns)."""
    one = tl.load(embedded + place * V + v, mask=v < V, other=0.0).to(tl.float32)
    other = tl.load(embedded + half + place * V + v, mask=v < V, other=0.0).to(tl.float32)
    return 1 - 2 / (tl.exp(2 * (one[:, None] - other[None, :])) + 1)


@triton.jit
def _forward(embedded, graphs, alpha, out, F, N, V, half, MORE: tl.constexpr, VP: tl.constexpr):
    program = tl.program_id(0).to(tl.int64)
    n, f, k = program % N, program // N % (F + MORE), program // N // (F + MORE)
    v = tl.arange(0, VP)
    mask = (v < V)[:, None] & (v < V)[None, :]
    at = v[:, None] * V + v[None, :]
    value = tl.zeros((VP, VP), tl.float32)
    if f < F:
        value = tl.load(alpha) * _difference(embedded, (k * F + f) * N + n, half, V, v, VP)
    elif f == F:
        value += tl.load(alpha)
    elif f == F + 1:
        value = tl.load(graphs + k * V * V + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + program * V * V + at, value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _backward(
    embedded, alpha, dout, dembedded, dalpha, F, N, V, half, MORE: tl.constexpr, VP: tl.constexpr
):  # fmt: skip
    """Programs of the first F + 1 features."""
    program = tl.program_id(0).to(tl.int64)
    n, f, k = program % N, program // N % (F + 1), program // N // (F + 1)
    v = tl.arange(0, VP)
    mask = (v < V)[:, None] & (v < V)[None, :]
    at = ((k * (F + MORE) + f) * N + n) * V * V + v[:, None] * V + v[None, :]
    g = tl.load(dout + at, mask=mask, other=0.0).to(tl.float32)
    if f < F:
        place = (k * F + f) * N + n
        value = _difference(embedded, place, half, V, v, VP)
        tl.store(dalpha + program, tl.sum(tl.sum(g * value, 0), 0))
        g = g * (1 - value * value) * tl.load(alpha)
        to = dembedded + place * V + v
        tl.store(to, tl.sum(g, 1).to(dembedded.dtype.element_ty), mask=v < V)
        tl.store(to + half, -tl.sum(g, 0).to(dembedded.dtype.element_ty), mask=v < V)
    else:
        tl.store(dalpha + program, tl.sum(tl.sum(g, 0), 0))


@or_twin(plain_pairs)
def pairs(embedded: Tensor, graphs: Tensor, alpha: Tensor) -> Tensor:
    """`plain_pairs`, fused; tensors are contiguous."""
    _, K, F, N, V = embedded.shape
    out = embedded.new_empty(K, F + MORE, N, V, V)
    launch(
        _forward, K * (F + MORE) * N, embedded, graphs, alpha, out, F, N, V, K * F * N * V,
        MORE=MORE, VP=triton.next_power_of_2(V), num_warps=2,
    )  # fmt: skip
    return out


def plain_backward(
    dout: Tensor, embedded: Tensor, graphs: Tensor, alpha: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The twin of `backward`."""
    with torch.enable_grad():
        inputs = [tensor.detach().requires_grad_() for tensor in (embedded, graphs, alpha)]
        out = plain_pairs(*inputs)
    dembedded, dgraphs, dalpha = torch.autograd.grad(out, inputs, dout)
    return dembedded, dgraphs, dalpha


@or_twin(plain_backward)
def backward(dout: Tensor, embedded: Tensor, graphs: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of embedded, graphs and alpha, given that of the features, contiguous."""
    _, K, F, N, V = embedded.shape
    dembedded = torch.empty_like(embedded)
    dalpha = embedded.new_empty(K * (F + 1) * N, dtype=torch.float32)
    launch(
        _backward, K * (F + 1) * N, embedded, alpha, dout, dembedded, dalpha, F, N, V, K * F * N * V,
        MORE=MORE, VP=triton.next_power_of_2(V), num_warps=2,
    )  # fmt: skip
    dgraphs = dout[:, F + 1].sum(1, dtype=graphs.dtype)
    return dembedded, dgraphs, dalpha.sum(0, keepdim=True).to(alpha.dtype)


class Pairs(torch.autograd.Function):
    """`plain_pairs`: `apply(embedded, graphs, alpha)`."""

    @staticmethod
    def forward(ctx, embedded: Tensor, graphs: Tensor, alpha: Tensor) -> Tensor:
        ctx.save_for_backward(embedded, graphs, alpha)
        return pairs(embedded, graphs, alpha)

    @staticmethod
    @once_differentiable
    def backward(ctx, dout: Tensor):
        return backward(dout.contiguous(), *ctx.saved_tensors)
