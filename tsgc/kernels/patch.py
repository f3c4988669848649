"""LayerNorm with its output in the layout of the temporal patch that follows, forward and backward.

(R, T, V, C) -> (R, T // stride, V, stride * C), so that the patch is one plain matrix product. Plain twin:
LayerNorm, then the reshaping in `layers.TemporalPatch.forward`. With stride 1 it is LayerNorm alone.
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
BLOCK_BACKWARD = 2048  # the same in the backward pass, which keeps sums too
PROGRAMS = 660  # most programs of the backward pass: five a multiprocessor of `cards.TUNED_FOR`


@triton.jit
def _places(block, total, T, V, C: tl.constexpr, STRIDE: tl.constexpr, BR: tl.constexpr):
    """A block's rows, their offsets in the patched layout, whether each exists, and whether it is used."""
    row = (tl.zeros((BR,), tl.int64) + block) * BR + tl.arange(0, BR)
    frame = row // V
    t = frame % T
    steps = T // STRIDE
    to = ((frame // T * steps + t // STRIDE) * V + row % V) * (STRIDE * C) + t % STRIDE * C
    inside = row < total
    return row, to, inside, inside & (t < steps * STRIDE)


@triton.jit
def _forward(
    x, gamma, beta, z, total, T, V,
    C: tl.constexpr, CP: tl.constexpr, BR: tl.constexpr, STRIDE: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    row, to, _, used = _places(tl.program_id(0), total, T, V, C, STRIDE, BR)
    c = tl.arange(0, CP)
    mask = used[:, None] & (c < C)[None, :]
    value = tl.load(x + row[:, None] * C + c[None, :], mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(value, 1) / C
    centred = tl.where(mask, value - mean[:, None], 0.0)
    rstd = tl.rsqrt(tl.sum(centred * centred, 1) / C + EPS)
    scale = tl.load(gamma + c, mask=c < C, other=0.0).to(tl.float32)
    shift = tl.load(beta + c, mask=c < C, other=0.0).to(tl.float32)
    value = centred * rstd[:, None] * scale[None, :] + shift[None, :]
    tl.store(z + to[:, None] + c[None, :], value.to(z.dtype.element_ty), mask=mask)


@triton.jit
def _backward(
    x, dz, gamma, dx, partials, total, T, V, programs,
    C: tl.constexpr, CP: tl.constexpr, BR: tl.constexpr, STRIDE: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, CP)
    scale = tl.load(gamma + c, mask=c < C, other=0.0).to(tl.float32)
    sum_gamma = tl.zeros((BR, CP), tl.float32)
    sum_beta = tl.zeros((BR, CP), tl.float32)
    for block in range(tl.program_id(0), tl.cdiv(total, BR), programs):
        row, to, inside, used = _places(block, total, T, V, C, STRIDE, BR)
        mask = used[:, None] & (c < C)[None, :]
        at = row[:, None] * C + c[None, :]
        value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
        g = tl.load(dz + to[:, None] + c[None, :], mask=mask, other=0.0).to(tl.float32)
        mean = tl.sum(value, 1) / C
        centred = tl.where(mask, value - mean[:, None], 0.0)
        rstd = tl.rsqrt(tl.sum(centred * centred, 1) / C + EPS)
        xhat = centred * rstd[:, None]
        sum_gamma += g * xhat
        sum_beta += g
        g = g * scale[None, :]
        along = tl.sum(g * xhat, 1) / C
        level = tl.sum(g, 1) / C
        change = (g - level[:, None] - xhat * along[:, None]) * rstd[:, None]
        change = tl.where(mask, change, 0.0)  # frames beyond the last whole patch are not in the output
        tl.store(dx + at, change.to(dx.dtype.element_ty), mask=inside[:, None] & (c < C)[None, :])
    to_sums = partials + tl.program_id(0) * 2 * C + c
    tl.store(to_sums, tl.sum(sum_gamma, 0), mask=c < C)
    tl.store(to_sums + C, tl.sum(sum_beta, 0), mask=c < C)


def plain_forward(x: Tensor, gamma: Tensor, beta: Tensor, stride: int, eps: float) -> Tensor:
    """The twin of `forward`."""
    R, T, V, C = x.shape
    steps = T // stride
    z = F.layer_norm(x.float(), (C,), gamma, beta, eps)[:, : steps * stride].to(x.dtype)
    return z.view(R, steps, stride, V, C).transpose(2, 3).reshape(R, steps, V, stride * C)


@or_twin(plain_forward)
def forward(x: Tensor, gamma: Tensor, beta: Tensor, stride: int, eps: float) -> Tensor:
    """LayerNorm of x (R, T, V, C), contiguous, into patches: (R, T // stride, V, stride * C)."""
    R, T, V, C = x.shape
    z = x.new_empty(R, T // stride, V, stride * C)
    total = R * T * V
    shape = _shape(C, stride, eps, BLOCK)
    launch(_forward, triton.cdiv(total, shape["BR"]), x, gamma, beta, z, total, T, V, **shape, num_warps=4)
    return z


def plain_backward(
    x: Tensor, dz: Tensor, gamma: Tensor, stride: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The twin of `backward`."""
    with torch.enable_grad():
        inputs = [x.detach().requires_grad_(), gamma.detach().requires_grad_(), torch.zeros_like(gamma)]
        inputs[2].requires_grad_()
        z = plain_forward(*inputs, stride, eps)
    dx, dgamma, dbeta = torch.autograd.grad(z, inputs, dz)
    return dx, dgamma, dbeta


@or_twin(plain_backward)
def backward(x: Tensor, dz: Tensor, gamma: Tensor, stride: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, gamma and beta, given dz, contiguous, like `forward`'s result."""
    _, T, V, C = x.shape
    total = x.numel() // C
    shape = _shape(C, stride, eps, BLOCK_BACKWARD)
    programs = min(share(PROGRAMS, x.device), triton.cdiv(total, shape["BR"]))
    dx = torch.empty_like(x)
    partials = torch.empty(programs, 2, C, device=x.device, dtype=torch.float32)
    launch(_backward, programs, x, dz, gamma, dx, partials, total, T, V, programs, **shape, num_warps=4)
    sums = partials.sum(0).to(gamma.dtype)
    return dx, sums[0], sums[1]


class PatchNorm(torch.autograd.Function):
    """LayerNorm into patches: `apply(x, gamma, beta, stride, eps)`, x (R, T, V, C) contiguous."""

    @staticmethod
    def forward(ctx, x: Tensor, gamma: Tensor, beta: Tensor, stride: int, eps: float) -> Tensor:
        ctx.save_for_backward(x, gamma)
        ctx.stride, ctx.eps = stride, eps
        return forward(x, gamma, beta, stride, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx, dz: Tensor):
        x, gamma = ctx.saved_tensors
        return *backward(x, dz.contiguous(), gamma, ctx.stride, ctx.eps), None, None


def _shape(C: int, stride: int, eps: float, block: int) -> dict[str, float]:
    width = triton.next_power_of_2(C)
    return {"C": C, "CP": width, "BR": max(1, block // width), "STRIDE": stride, "EPS": eps}
