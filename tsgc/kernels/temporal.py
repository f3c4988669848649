"""Depthwise convolution over 3 frames and LayerNorm in one pass over memory, forward and backward.

A program takes the whole sequence of a few joints of one row and slides along it, so that every frame is
read once. Channels are cut into PIECES of PIECE, a power of two, as tuples of tensors: no lane is idle, and
few lanes share a joint, whose sums are what a turn waits for. PACKED: z and its gradient hold the rows alone
that are not dropped, in the order in which `order` (`prepare`) lists them, and programs go through rows so.
Plain twin: `layers.TemporalDepthwise`, then LayerNorm.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

PARTIALS = (
    7  # sums over rows that a program leaves: 3 of the kernel, its bias, norm's weight and bias, residual
)


@triton.jit
def _channels(at, PIECE: tl.constexpr, PIECES: tl.constexpr):
    """(C,) from `at` on, float32, by pieces, each (1, PIECE)."""
    pieces = ()
    for i in tl.static_range(PIECES):
        c = i * PIECE + tl.arange(0, PIECE)
        pieces = pieces + (tl.load(at + c).to(tl.float32)[None, :],)
    return pieces


@triton.jit
def _frame(at, mask, PIECE: tl.constexpr, PIECES: tl.constexpr):
    """A frame's joints by pieces, each (VB, PIECE), as they lie in memory; 0 where masked."""
    pieces = ()
    for i in tl.static_range(PIECES):
        pieces = pieces + (tl.load(at + i * PIECE, mask=mask, other=0.0),)
    return pieces


@triton.jit
def _wide(pieces, PIECES: tl.constexpr):
    wide = ()
    for i in tl.static_range(PIECES):
        wide = wide + (pieces[i].to(tl.float32),)
    return wide


@triton.jit
def _zeros(VB: tl.constexpr, PIECE: tl.constexpr, PIECES: tl.constexpr):
    pieces = ()
    for _i in tl.static_range(PIECES):
        pieces = pieces + (tl.zeros((VB, PIECE), tl.float32),)
    return pieces


@triton.jit
def _convolved(before, now, after, w0, w1, w2, bias, PIECES: tl.constexpr):
    pieces = ()
    for i in tl.static_range(PIECES):
        pieces = pieces + (before[i] * w0[i] + now[i] * w1[i] + after[i] * w2[i] + bias[i],)
    return pieces


@triton.jit
def _add_pairs(a, b, c, d):
    return a + c, b + d


@triton.jit
def _forward(
    x, survival, order, weight, bias, gamma, beta, z, means, rstds,
    T, V, groups,
    C: tl.constexpr, PIECE: tl.constexpr, PIECES: tl.constexpr, VB: tl.constexpr, EPS: tl.constexpr,
    PACKED: tl.constexpr,
):  # fmt: skip
    """z, and each frame's and joint's mean and reciprocal deviation (R, T, V), of rows not dropped."""
    row = (tl.program_id(0) // groups).to(tl.int64)
    if PACKED:
        turn = row
        row = tl.load(order + turn).to(tl.int64)
        z += (turn - row) * T * V * C
    v = (tl.program_id(0) % groups) * VB + tl.arange(0, VB)
    inside = v < V
    mask = inside[:, None]
    at = row * T * V * C + v[:, None] * C + tl.arange(0, PIECE)[None, :]
    step = V * C
    if tl.load(survival + row) > 0:
        w0 = _channels(weight, PIECE, PIECES)
        w1 = _channels(weight + C, PIECE, PIECES)
        w2 = _channels(weight + 2 * C, PIECE, PIECES)
        b = _channels(bias, PIECE, PIECES)
        scale = _channels(gamma, PIECE, PIECES)
        shift = _channels(beta, PIECE, PIECES)
        place = row * T * V + v
        before = _zeros(VB, PIECE, PIECES)
        now = _wide(_frame(x + at, mask, PIECE, PIECES), PIECES)
        after = _wide(_frame(x + at + step, mask & (T > 1), PIECE, PIECES), PIECES)
        for t in range(T):
            # Asked for one turn before it is used: memory answers while this turn computes.
            later = _frame(x + at + 2 * step, mask & (t + 2 < T), PIECE, PIECES)
            y = _convolved(before, now, after, w0, w1, w2, b, PIECES)
            total = y[0]
            for i in tl.static_range(1, PIECES):
                total += y[i]
            mean = tl.sum(total, 1) / C
            square = (y[0] - mean[:, None]) * (y[0] - mean[:, None])
            for i in tl.static_range(1, PIECES):
                square += (y[i] - mean[:, None]) * (y[i] - mean[:, None])
            rstd = tl.rsqrt(tl.sum(square, 1) / C + EPS)
            tl.store(means + place, mean, mask=inside)
            tl.store(rstds + place, rstd, mask=inside)
            for i in tl.static_range(PIECES):
                value = (y[i] - mean[:, None]) * rstd[:, None] * scale[i] + shift[i]
                tl.store(z + at + i * PIECE, value.to(z.dtype.element_ty), mask=mask)
            before = now
            now = after
            after = _wide(later, PIECES)
            at += step
            place += V
    else:  # a dropped row's numbers are multiplied by 0: they have to be finite
        for _t in range(T):
            for i in tl.static_range(PIECES):
                tl.store(z + at + i * PIECE, tl.zeros((VB, PIECE), z.dtype.element_ty), mask=mask)
            at += step


@triton.jit
def _turn_backward(
    x_before, x_now, x_after, g, residual, residual_before, dy_older, dy_before, mean, rstd, factor, sums,
    w0, w1, w2, bias, scale, to, mask,
    C: tl.constexpr, PIECES: tl.constexpr,
):  # fmt: skip
    """The gradient of one frame's convolution and what it adds to the sums; writes dx of the frame before."""
    y = _convolved(x_before, x_now, x_after, w0, w1, w2, bias, PIECES)
    xhat = ()
    scaled = ()
    for j in tl.static_range(PIECES):
        xhat = xhat + ((y[j] - mean[:, None]) * rstd[:, None],)
        scaled = scaled + (g[j] * scale[j],)
    along = scaled[0] * xhat[0]
    level = scaled[0]
    for j in tl.static_range(1, PIECES):
        along += scaled[j] * xhat[j]
        level += scaled[j]
    along, level = tl.reduce((along, level), 1, _add_pairs)
    along = (along * rstd / C)[:, None]
    level = (level * rstd / C)[:, None]
    dy = ()
    added = ()
    for j in tl.static_range(PIECES):
        d = scaled[j] * rstd[:, None] - level - xhat[j] * along
        dy = dy + (d,)
        dx = residual_before[j] + dy_older[j] * w2[j] + dy_before[j] * w1[j] + d * w0[j]
        tl.store(to + j * (C // PIECES), dx.to(to.dtype.element_ty), mask=mask)
        added = added + (
            sums[7 * j] + x_before[j] * d,
            sums[7 * j + 1] + x_now[j] * d,
            sums[7 * j + 2] + x_after[j] * d,
            sums[7 * j + 3] + d,
            sums[7 * j + 4] + g[j] * xhat[j],
            sums[7 * j + 5] + g[j],
            sums[7 * j + 6] + residual[j] * factor,
        )
    return dy, added


@triton.jit
def _backward(
    x, dz, dout, survival, order, weight, bias, gamma, means, rstds, dx, partials,
    R, T, V, groups, programs,
    C: tl.constexpr, PIECE: tl.constexpr, PIECES: tl.constexpr, VB: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """Every `programs`-th group of joints of a row, of rows that were not dropped; then of the others.

    Leaves its own sums, 7 for each channel, in partials (programs, 7, C): each group's would be more than
    the rest of what is written where C is large.
    """
    program = tl.program_id(0)
    alive = tl.load(order + R)
    step = V * C
    w0 = _channels(weight, PIECE, PIECES)
    w1 = _channels(weight + C, PIECE, PIECES)
    w2 = _channels(weight + 2 * C, PIECE, PIECES)
    b = _channels(bias, PIECE, PIECES)
    scale = _channels(gamma, PIECE, PIECES)
    sums = ()
    for _i in tl.static_range(7):
        sums = sums + _zeros(VB, PIECE, PIECES)
    for item in range(program, alive * groups, programs):
        row = tl.load(order + item // groups).to(tl.int64)
        factor = tl.load(survival + row).to(tl.float32)
        v = item % groups * VB + tl.arange(0, VB)
        inside = v < V
        mask = inside[:, None]
        at = row * T * V * C + v[:, None] * C + tl.arange(0, PIECE)[None, :]
        place = row * T * V + v
        gradient = dz
        if PACKED:
            gradient += (item // groups - row) * T * V * C
        dy_older = _zeros(VB, PIECE, PIECES)
        dy_before = _zeros(VB, PIECE, PIECES)
        residual_before = _zeros(VB, PIECE, PIECES)
        x_before = _zeros(VB, PIECE, PIECES)
        # Three turns are under way at any time: memory answers while they compute. As many are written out,
        # so that what is loaded stays in its registers: moving it on would wait for it.
        x_now = _wide(_frame(x + at, mask, PIECE, PIECES), PIECES)
        x_first = _frame(x + at + step, mask & (T > 1), PIECE, PIECES)
        x_second = _frame(x + at + 2 * step, mask & (T > 2), PIECE, PIECES)
        x_third = _frame(x + at + 3 * step, mask & (T > 3), PIECE, PIECES)
        g_now = _frame(gradient + at, mask, PIECE, PIECES)
        g_first = _frame(gradient + at + step, mask & (T > 1), PIECE, PIECES)
        g_second = _frame(gradient + at + 2 * step, mask & (T > 2), PIECE, PIECES)
        residual_now = _frame(dout + at, mask, PIECE, PIECES)
        residual_first = _frame(dout + at + step, mask & (T > 1), PIECE, PIECES)
        residual_second = _frame(dout + at + 2 * step, mask & (T > 2), PIECE, PIECES)
        mean = tl.load(means + place, mask=inside, other=0.0)
        mean_first = tl.load(means + place + V, mask=inside & (T > 1), other=0.0)
        mean_second = tl.load(means + place + 2 * V, mask=inside & (T > 2), other=0.0)
        rstd = tl.load(rstds + place, mask=inside, other=0.0)
        rstd_first = tl.load(rstds + place + V, mask=inside & (T > 1), other=0.0)
        rstd_second = tl.load(rstds + place + 2 * V, mask=inside & (T > 2), other=0.0)
        # One turn more than frames: frame t's input is complete once dy of frame t + 1 is known. Turns
        # beyond read 0 for everything, and add 0.
        for first in range(0, T + 1, 3):
            for i in tl.static_range(3):
                t = first + i
                x_later = _frame(x + at + 4 * step, mask & (t + 4 < T), PIECE, PIECES)
                g_later = _frame(gradient + at + 3 * step, mask & (t + 3 < T), PIECE, PIECES)
                residual_later = _frame(dout + at + 3 * step, mask & (t + 3 < T), PIECE, PIECES)
                mean_later = tl.load(means + place + 3 * V, mask=inside & (t + 3 < T), other=0.0)
                rstd_later = tl.load(rstds + place + 3 * V, mask=inside & (t + 3 < T), other=0.0)
                x_after = _wide(x_first, PIECES)
                residual = _wide(residual_now, PIECES)
                dy, sums = _turn_backward(
                    x_before, x_now, x_after, _wide(g_now, PIECES), residual, residual_before,
                    dy_older, dy_before, mean, rstd, factor, sums, w0, w1, w2, b, scale,
                    dx + at - step, mask & (t > 0) & (t <= T), C, PIECES,
                )  # fmt: skip
                x_before = x_now
                x_now = x_after
                x_first = x_second
                x_second = x_third
                x_third = x_later
                dy_older = dy_before
                dy_before = dy
                residual_before = residual
                residual_now = residual_first
                residual_first = residual_second
                residual_second = residual_later
                g_now = g_first
                g_first = g_second
                g_second = g_later
                mean = mean_first
                mean_first = mean_second
                mean_second = mean_later
                rstd = rstd_first
                rstd_first = rstd_second
                rstd_second = rstd_later
                at += step
                place += V
    for item in range(alive * groups + program, R * groups, programs):
        row = tl.load(order + item // groups).to(tl.int64)
        v = item % groups * VB + tl.arange(0, VB)
        mask = (v < V)[:, None]
        at = row * T * V * C + v[:, None] * C + tl.arange(0, PIECE)[None, :]
        for _t in range(T):
            for i in tl.static_range(PIECES):
                tl.store(dx + at + i * PIECE, tl.load(dout + at + i * PIECE, mask=mask, other=0.0), mask=mask)
            at += step
    for i in tl.static_range(PIECES):
        to = partials + program.to(tl.int64) * 7 * C + i * PIECE + tl.arange(0, PIECE)
        for k in tl.static_range(7):
            tl.store(to + k * C, tl.sum(sums[7 * i + k], 0))


class Statistics(NamedTuple):
    """Of LayerNorm, each (R, T, V) float32; rows that were dropped hold anything."""

    means: Tensor
    rstds: Tensor
    """Reciprocal deviations."""


def pieces(width: int) -> dict[str, int]:
    """How `width` channels are cut: PIECES of PIECE, the largest power of two that divides it."""
    piece = width & -width
    return {"C": width, "PIECE": piece, "PIECES": width // piece}


def temporal_norm(
    x: Tensor, survival: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, eps: float,
    cut: tuple[int, int], order: Tensor | None = None, kept: int | None = None,
) -> tuple[Tensor, Statistics]:  # fmt: skip
    """LayerNorm of the convolution: x (R, T, V, C), contiguous; weight (3, C); the others (C,) -> like x.

    Rows whose `survival` (R,) is 0 are dropped, and left 0; where their number is known, the `kept` others
    come alone, in `order` (R + 1,; `prepare`): (kept, T, V, C). `cut`: joints and warps of a program.
    """
    R, T, V, C = x.shape
    joints, warps = cut
    groups = triton.cdiv(V, joints)
    rows = R if kept is None else kept
    z = x.new_empty(rows, T, V, C)
    of = Statistics(*(torch.empty(R, T, V, device=x.device) for _ in range(2)))
    _forward[(rows * groups,)](
        x, survival, survival if order is None else order, weight, bias, gamma, beta, z, *of, T, V, groups,
        **pieces(C), VB=joints, EPS=eps, PACKED=kept is not None, num_warps=warps,
    )  # fmt: skip
    return z, of


def temporal_norm_backward(
    x: Tensor, dz: Tensor, dout: Tensor, survival: Tensor, order: Tensor, weight: Tensor, bias: Tensor,
    gamma: Tensor, of: Statistics, cut: tuple[int, int, int],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients: dx (like x), `dout` of the residual included, and sums (PARTIALS, C) float32.

    With fewer rows than x, `dz` holds those that are not dropped, in `order` (R + 1,; `prepare`).
    The sums are those of weight (3), bias, gamma, beta, and of `dout` times `survival` (R,), which is the
    gradient of the block's last bias. `cut`: joints and warps of a program, and programs.
    """
    R, T, V, C = x.shape
    joints, warps, programs = cut
    groups = triton.cdiv(V, joints)
    programs = min(programs, R * groups)
    dx = torch.empty_like(x)
    partials = torch.empty(programs, PARTIALS, C, device=x.device, dtype=torch.float32)
    _backward[(programs,)](
        x, dz, dout, survival, order, weight, bias, gamma, *of, dx, partials, R, T, V, groups, programs,
        **pieces(C), VB=joints, PACKED=len(dz) < R, num_warps=warps,
    )  # fmt: skip
    return dx, partials.sum(0)
