"""Depthwise convolution over 3 frames and LayerNorm in one pass over memory, forward and backward.

A program takes the whole sequence of a few joints of one row and slides along it, so that every frame is
read once. Plain twin: `layers.TemporalDepthwise`, then LayerNorm.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

PARTIALS = (
    7  # sums over rows that a program leaves: 3 of the kernel, its bias, norm's weight and bias, residual
)


@triton.jit
def _normalised(before, now, after, w0, w1, w2, bias, inside, C: tl.constexpr, EPS: tl.constexpr):
    """The convolution at one frame, normalised over channels; and the reciprocal deviation."""
    y = before * w0[None, :] + now * w1[None, :] + after * w2[None, :] + bias[None, :]
    mean = tl.sum(y, 1) / C  # channels beyond C hold 0
    centred = tl.where(inside[None, :], y - mean[:, None], 0.0)
    rstd = tl.rsqrt(tl.sum(centred * centred, 1) / C + EPS)
    return centred * rstd[:, None], rstd


@triton.jit
def _forward(
    x, survival, weight, bias, gamma, beta, z,
    T, V, groups,
    C: tl.constexpr, CP: tl.constexpr, VB: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    row = (tl.program_id(0) // groups).to(tl.int64)
    v = (tl.program_id(0) % groups) * VB + tl.arange(0, VB)
    c = tl.arange(0, CP)
    inside = c < C
    mask = (v < V)[:, None] & inside[None, :]
    w0 = tl.load(weight + c, mask=inside, other=0.0).to(tl.float32)
    w1 = tl.load(weight + C + c, mask=inside, other=0.0).to(tl.float32)
    w2 = tl.load(weight + 2 * C + c, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(bias + c, mask=inside, other=0.0).to(tl.float32)
    scale = tl.load(gamma + c, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(beta + c, mask=inside, other=0.0).to(tl.float32)
    at = row * T * V * C + v[:, None] * C + c[None, :]
    step = V * C
    if tl.load(survival + row) > 0:
        before = tl.zeros((VB, CP), tl.float32)
        now = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
        after = tl.load(x + at + step, mask=mask & (T > 1), other=0.0).to(tl.float32)
        for t in range(T):
            # Asked for one turn before it is used: memory answers while this turn computes.
            later = tl.load(x + at + 2 * step, mask=mask & (t + 2 < T), other=0.0)
            xhat, _ = _normalised(before, now, after, w0, w1, w2, b, inside, C, EPS)
            tl.store(z + at, (xhat * scale[None, :] + shift[None, :]).to(z.dtype.element_ty), mask=mask)
            before = now
            now = after
            after = later.to(tl.float32)
            at += step
    else:  # a dropped row's numbers are multiplied by 0: they have to be finite
        for _t in range(T):
            tl.store(z + at, tl.zeros((VB, CP), z.dtype.element_ty), mask=mask)
            at += step


@triton.jit
def _backward(
    x, dz, dout, survival, weight, bias, gamma, dx, partials,
    T, V, groups,
    C: tl.constexpr, CP: tl.constexpr, VB: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    row = program // groups
    v = (program % groups) * VB + tl.arange(0, VB)
    c = tl.arange(0, CP)
    inside = c < C
    mask = (v < V)[:, None] & inside[None, :]
    w0 = tl.load(weight + c, mask=inside, other=0.0).to(tl.float32)
    w1 = tl.load(weight + C + c, mask=inside, other=0.0).to(tl.float32)
    w2 = tl.load(weight + 2 * C + c, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(bias + c, mask=inside, other=0.0).to(tl.float32)
    scale = tl.load(gamma + c, mask=inside, other=0.0).to(tl.float32)
    alive = tl.load(survival + row).to(tl.float32)
    at = row * T * V * C + v[:, None] * C + c[None, :]
    step = V * C

    dy_older = tl.zeros((VB, CP), tl.float32)
    dy_before = tl.zeros((VB, CP), tl.float32)
    residual_before = tl.zeros((VB, CP), tl.float32)
    sum0 = tl.zeros((VB, CP), tl.float32)
    sum1 = tl.zeros((VB, CP), tl.float32)
    sum2 = tl.zeros((VB, CP), tl.float32)
    sum_bias = tl.zeros((VB, CP), tl.float32)
    sum_gamma = tl.zeros((VB, CP), tl.float32)
    sum_beta = tl.zeros((VB, CP), tl.float32)
    sum_out = tl.zeros((VB, CP), tl.float32)
    if alive > 0:
        x_before = tl.zeros((VB, CP), tl.float32)
        x_now = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
        x_after = tl.load(x + at + step, mask=mask & (T > 1), other=0.0).to(tl.float32)
        g = tl.load(dz + at, mask=mask, other=0.0).to(tl.float32)
        residual = tl.load(dout + at, mask=mask, other=0.0).to(tl.float32)
        # One turn more than frames: frame t's input is complete once dy of frame t + 1 is known.
        for t in range(T + 1):
            # Asked for one turn before it is used: memory answers while this turn computes.
            x_later = tl.load(x + at + 2 * step, mask=mask & (t + 2 < T), other=0.0)
            g_later = tl.load(dz + at + step, mask=mask & (t + 1 < T), other=0.0)
            residual_later = tl.load(dout + at + step, mask=mask & (t + 1 < T), other=0.0)
            xhat, rstd = _normalised(x_before, x_now, x_after, w0, w1, w2, b, inside, C, EPS)
            sum_gamma += g * xhat
            sum_beta += g
            sum_out += residual
            g = g * scale[None, :]
            along = tl.sum(g * xhat, 1) / C
            level = tl.sum(g, 1) / C
            dy = (g - level[:, None] - xhat * along[:, None]) * rstd[:, None]
            dy = tl.where(mask & (t < T), dy, 0.0)
            sum0 += x_before * dy
            sum1 += x_now * dy
            sum2 += x_after * dy
            sum_bias += dy
            total = residual_before + dy_older * w2[None, :] + dy_before * w1[None, :] + dy * w0[None, :]
            tl.store(dx + at - step, total.to(dx.dtype.element_ty), mask=mask & (t > 0))
            x_before = x_now
            x_now = x_after
            x_after = x_later.to(tl.float32)
            dy_older = dy_before
            dy_before = dy
            residual_before = residual
            residual = residual_later.to(tl.float32)
            g = g_later.to(tl.float32)
            at += step
    else:
        for _t in range(T):
            tl.store(dx + at, tl.load(dout + at, mask=mask, other=0.0), mask=mask)
            at += step
    to = partials + program * 7 * C + c
    tl.store(to, tl.sum(sum0, 0), mask=inside)
    tl.store(to + C, tl.sum(sum1, 0), mask=inside)
    tl.store(to + 2 * C, tl.sum(sum2, 0), mask=inside)
    tl.store(to + 3 * C, tl.sum(sum_bias, 0), mask=inside)
    tl.store(to + 4 * C, tl.sum(sum_gamma, 0), mask=inside)
    tl.store(to + 5 * C, tl.sum(sum_beta, 0), mask=inside)
    tl.store(to + 6 * C, tl.sum(sum_out, 0) * alive, mask=inside)


def temporal_norm(
    x: Tensor, survival: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, eps: float,
    cut: Sequence[int],
) -> Tensor:  # fmt: skip
    """LayerNorm of the convolution: x (R, T, V, C), contiguous; weight (3, C); the others (C,) -> like x.

    Rows whose `survival` (R,) is 0 are dropped, and left 0. `cut`: joints and warps of a program.
    """
    R, T, V, C = x.shape
    joints, warps = cut
    groups = triton.cdiv(V, joints)
    z = torch.empty_like(x)
    _forward[(R * groups,)](
        x, survival, weight, bias, gamma, beta, z, T, V, groups,
        C=C, CP=triton.next_power_of_2(C), VB=joints, EPS=eps, num_warps=warps,
    )  # fmt: skip
    return z


def temporal_norm_backward(
    x: Tensor, dz: Tensor, dout: Tensor, survival: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor,
    eps: float, cut: Sequence[int],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients: dx (like x), `dout` of the residual included, and sums (PARTIALS, C) float32.

    The sums are those of weight (3), bias, gamma, beta, and of `dout` times `survival` (R,), which is the
    gradient of the block's last bias.
    """
    R, T, V, C = x.shape
    joints, warps = cut
    groups = triton.cdiv(V, joints)
    dx = torch.empty_like(x)
    partials = torch.empty(R * groups, PARTIALS, C, device=x.device, dtype=torch.float32)
    _backward[(R * groups,)](
        x, dz, dout, survival, weight, bias, gamma, dx, partials, T, V, groups,
        C=C, CP=triton.next_power_of_2(C), VB=joints, EPS=eps, num_warps=warps,
    )  # fmt: skip
    return dx, partials.sum(0)
