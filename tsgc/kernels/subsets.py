"""Joints mixed by three graphs, and the sum of it, forward and backward: networks of the field.

out[c, n] = sum over k of graphs[k, c, n] (z[k, c, n] + bias[k, c]), products of (V, V) and (V, T). One
program has all k of a channel of a clip, so that no product is written but the sum. Graphs that all channels
and clips share are (K, V, V). Plain twin: `plain_mix`.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsgc.kernels.cards import share
from tsgc.kernels.launching import launch, or_twin
from tsgc.kernels.plain_subsets import plain_mix

FRAMES = 32  # most frames at a time
WARPS = {16: 2, 32: 2, 64: 4}  # by frames at a time
PROGRAMS = 1056  # of the backward pass with shared graphs: eight a multiprocessor of `cards.TUNED_FOR`


@triton.jit
def _tile(z, bias, channel, place, T, start, inside, VP: tl.constexpr, TP: tl.constexpr):
    """z + bias of one channel of a clip: (VP, TP), 0 outside. `bias`: of all channels, or None."""
    t = start + tl.arange(0, TP)
    mask = inside[:, None] & (t < T)[None, :]
    at = tl.arange(0, VP)[:, None] * T + t[None, :]
    value = tl.load(z + place + at, mask=mask, other=0.0)
    if bias is not None:
        value = tl.where(mask, value.to(tl.float32) + tl.load(bias + channel).to(tl.float32), 0.0).to(
            value.dtype
        )
    return value, at, mask


@triton.jit
def _graph(graphs, V, down, right, VP: tl.constexpr):
    """A graph (VP, VP), 0 outside."""
    v = tl.arange(0, VP)
    mask = (v < V)[:, None] & (v < V)[None, :]
    at = v[:, None] * down + v[None, :] * right
    return tl.load(graphs + at, mask=mask, other=0.0), at, mask


@triton.jit
def _forward(
    graphs, z, bias, out, CN, N, V, T, down, right,
    SHARED: tl.constexpr, VP: tl.constexpr, TP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    cn = tl.program_id(0).to(tl.int64)
    inside = tl.arange(0, VP) < V
    of = 0 if SHARED else cn
    step = 1 if SHARED else CN
    g0, _, _ = _graph(graphs + of * V * V, V, down, right, VP)
    g1, _, _ = _graph(graphs + (step + of) * V * V, V, down, right, VP)
    g2, _, _ = _graph(graphs + (2 * step + of) * V * V, V, down, right, VP)
    for start in range(0, T, TP):
        # All is asked for before any of it is waited for.
        z0, at, mask = _tile(z, bias, cn // N, cn * V * T, T, start, inside, VP, TP)
        z1, at, mask = _tile(z, bias, (CN + cn) // N, (CN + cn) * V * T, T, start, inside, VP, TP)
        z2, at, mask = _tile(z, bias, (2 * CN + cn) // N, (2 * CN + cn) * V * T, T, start, inside, VP, TP)
        total = tl.dot(g0.to(z0.dtype), z0, input_precision=PRECISION)
        total = tl.dot(g1.to(z0.dtype), z1, total, input_precision=PRECISION)
        total = tl.dot(g2.to(z0.dtype), z2, total, input_precision=PRECISION)
        tl.store(out + cn * V * T + at, total.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _back(g, graph, value, dz, place, mask, PRECISION: tl.constexpr):
    """Write dz of a tile; what it adds to the gradients of the graph and of the bias."""
    back = tl.dot(tl.trans(graph).to(value.dtype), g, input_precision=PRECISION)
    tl.store(dz + place, back.to(dz.dtype.element_ty), mask=mask)
    return tl.dot(g, tl.trans(value), input_precision=PRECISION), tl.sum(back, 0)


@triton.jit
def _backward(
    graphs, z, bias, dout, dgraphs, dz, dbias, CN, N, V, T, down, right, each,
    SHARED: tl.constexpr, VP: tl.constexpr, TP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    inside = tl.arange(0, VP) < V
    c0 = tl.zeros((VP, VP), tl.float32)
    c1 = tl.zeros((VP, VP), tl.float32)
    c2 = tl.zeros((VP, VP), tl.float32)
    of = 0 if SHARED else program
    step = 1 if SHARED else CN
    g0, to, within = _graph(graphs + of * V * V, V, down, right, VP)
    g1, _, _ = _graph(graphs + (step + of) * V * V, V, down, right, VP)
    g2, _, _ = _graph(graphs + (2 * step + of) * V * V, V, down, right, VP)
    for cn in range(program * each, tl.minimum(program * each + each, CN)):
        l0 = tl.zeros((TP,), tl.float32)
        l1 = tl.zeros((TP,), tl.float32)
        l2 = tl.zeros((TP,), tl.float32)
        p0, p1, p2 = cn * V * T, (CN + cn) * V * T, (2 * CN + cn) * V * T
        for start in range(0, T, TP):
            g, at, mask = _tile(dout, None, 0, p0, T, start, inside, VP, TP)
            z0, at, mask = _tile(z, bias, cn // N, p0, T, start, inside, VP, TP)
            z1, at, mask = _tile(z, bias, (CN + cn) // N, p1, T, start, inside, VP, TP)
            z2, at, mask = _tile(z, bias, (2 * CN + cn) // N, p2, T, start, inside, VP, TP)
            g = g.to(z0.dtype)
            change, level = _back(g, g0, z0, dz, p0 + at, mask, PRECISION)
            c0 += change
            l0 += level
            change, level = _back(g, g1, z1, dz, p1 + at, mask, PRECISION)
            c1 += change
            l1 += level
            change, level = _back(g, g2, z2, dz, p2 + at, mask, PRECISION)
            c2 += change
            l2 += level
        if bias is not None:
            tl.store(dbias + cn, tl.sum(l0, 0))
            tl.store(dbias + CN + cn, tl.sum(l1, 0))
            tl.store(dbias + 2 * CN + cn, tl.sum(l2, 0))
    first = 3 * program if SHARED else program
    square = V * V
    tl.store(dgraphs + first * square + to, c0.to(dgraphs.dtype.element_ty), mask=within)
    tl.store(dgraphs + (first + step) * square + to, c1.to(dgraphs.dtype.element_ty), mask=within)
    tl.store(dgraphs + (first + 2 * step) * square + to, c2.to(dgraphs.dtype.element_ty), mask=within)


@or_twin(plain_mix)
def mix(graphs: Tensor, z: Tensor, bias: Tensor | None, turned: bool = False) -> Tensor:
    """`plain_mix`, fused; tensors are contiguous."""
    _, C, N, V, T = z.shape
    out = z.new_empty(C, N, V, T)
    shape, warps = _shape(graphs, z, turned)
    launch(_forward, C * N, graphs, z, bias, out, C * N, N, V, T, **shape, num_warps=warps, num_stages=1)
    return out


Gradients = tuple[Tensor, Tensor, Tensor | None]


def plain_mix_backward(
    dout: Tensor, graphs: Tensor, z: Tensor, bias: Tensor | None, turned: bool
) -> Gradients:
    """The twin of `mix_backward`."""
    with torch.enable_grad():
        inputs = [graphs.detach().requires_grad_(), z.detach().requires_grad_()]
        if bias is not None:
            inputs.append(bias.detach().requires_grad_())
        out = plain_mix(inputs[0], inputs[1], inputs[2] if bias is not None else None, turned)
    found = torch.autograd.grad(out, inputs, dout)
    return found[0], found[1], found[2] if bias is not None else None


@or_twin(plain_mix_backward)
def mix_backward(dout: Tensor, graphs: Tensor, z: Tensor, bias: Tensor | None, turned: bool) -> Gradients:
    """Gradients of graphs, z and bias, given that of the result, contiguous."""
    K, C, N, V, T = z.shape
    shared = graphs.dim() == 3
    programs = min(C * N, share(PROGRAMS, z.device)) if shared else C * N
    each = triton.cdiv(C * N, programs)
    programs = triton.cdiv(C * N, each)
    dgraphs = graphs.new_empty(programs, K, V, V, dtype=torch.float32) if shared else torch.empty_like(graphs)
    dz, dbias = torch.empty_like(z), None
    if bias is not None:
        dbias = z.new_empty(K * C, N, dtype=torch.float32)
    shape, warps = _shape(graphs, z, turned)
    launch(
        _backward, programs, graphs, z, bias, dout, dgraphs, dz, dbias, C * N, N, V, T, each=each, **shape,
        num_warps=warps, num_stages=1,
    )  # fmt: skip
    if shared:
        dgraphs = dgraphs.sum(0).to(graphs.dtype)
    return dgraphs, dz, None if bias is None or dbias is None else dbias.sum(1).to(bias.dtype)


class Mix(torch.autograd.Function):
    """`plain_mix`: `apply(graphs, z, bias, turned)`."""

    @staticmethod
    def forward(ctx, graphs: Tensor, z: Tensor, bias: Tensor | None, turned: bool) -> Tensor:
        ctx.save_for_backward(graphs, z, bias)
        ctx.turned = turned
        return mix(graphs, z, bias, turned)

    @staticmethod
    @once_differentiable
    def backward(ctx, dout: Tensor):
        return *mix_backward(dout.contiguous(), *ctx.saved_tensors, ctx.turned), None


def _shape(graphs: Tensor, z: Tensor, turned: bool) -> tuple[dict[str, object], int]:
    """Strides and sizes of the tiles, and warps."""
    V, T = z.shape[3:]
    frames = min(FRAMES, max(16, triton.next_power_of_2(T)))
    precise = z.dtype == torch.float32 and not torch.backends.cuda.matmul.allow_tf32
    return {
        "down": 1 if turned else V, "right": V if turned else 1, "SHARED": graphs.dim() == 3,
        "VP": max(16, triton.next_power_of_2(V)), "TP": frames, "PRECISION": "ieee" if precise else "tf32",
    }, WARPS[frames]  # fmt: skip
