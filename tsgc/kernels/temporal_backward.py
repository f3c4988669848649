"""The backward pass of the temporal layer and its norm, in one pass over memory too.

Channels are cut, and rows listed, as in `temporal`. The convolution is computed again from x; the norm's
statistics are read. As many programs run as a GPU holds, and each visits many groups of joints.
Plain twin: autograd through the plain twin of `temporal`.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsgc.kernels.cards import share
from tsgc.kernels.launching import launch
from tsgc.kernels.temporal import Statistics, again, channels_at, convolved, frame_at, pieces, wide, zeros

# Sums over rows that a program writes: 3 taps, their bias, the norm's weight and bias, and dout.
PARTIALS = 7


@triton.jit
def _add_pairs(a, b, c, d):
    return a + c, b + d


@triton.jit
def _turn_backward(
    x_before, x_now, x_after, g, residual, residual_before, dy_older, dy_before, mean, rstd, factor, sums,
    w0, w1, w2, bias, scale, to, mask,
    C: tl.constexpr, PIECES: tl.constexpr,
):  # fmt: skip
    """The gradient of one frame's convolution and its addends to the sums; writes dx of the frame before."""
    y = convolved(x_before, x_now, x_after, w0, w1, w2, bias, PIECES)
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
    STAGES: tl.constexpr,
):  # fmt: skip
    """Visit every `programs`-th group of joints of a row: of kept rows, then of dropped ones.

    Each program writes its own sums, 7 for each channel, to partials (programs, 7, C). Sums for each group
    would be more than all other output where C is large.
    """
    program = tl.program_id(0)
    alive = tl.load(order + R)
    step = V * C
    w0 = channels_at(weight, PIECE, PIECES)
    w1 = channels_at(weight + C, PIECE, PIECES)
    w2 = channels_at(weight + 2 * C, PIECE, PIECES)
    b = channels_at(bias, PIECE, PIECES)
    scale = channels_at(gamma, PIECE, PIECES)
    sums = ()
    for _i in tl.static_range(7):
        sums = sums + zeros(VB, PIECE, PIECES)
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
        dy_older = zeros(VB, PIECE, PIECES)
        dy_before = zeros(VB, PIECE, PIECES)
        residual_before = zeros(VB, PIECE, PIECES)
        x_before = zeros(VB, PIECE, PIECES)
        x_now = wide(frame_at(x + at, mask, PIECE, PIECES), PIECES)
        # One turn more than frames: frame t's input is complete once dy of frame t + 1 is known. What is
        # read beyond the last is 0, and adds 0.
        for t in tl.range(0, T + 1, num_stages=STAGES):
            x_after = wide(frame_at(x + at + (t + 1) * step, mask & (t + 1 < T), PIECE, PIECES), PIECES)
            g = wide(frame_at(gradient + at + t * step, mask & (t < T), PIECE, PIECES), PIECES)
            residual = wide(frame_at(dout + at + t * step, mask & (t < T), PIECE, PIECES), PIECES)
            mean = tl.load(means + place + t * V, mask=inside & (t < T), other=0.0)
            rstd = tl.load(rstds + place + t * V, mask=inside & (t < T), other=0.0)
            dy, sums = _turn_backward(
                x_before, x_now, x_after, g, residual, residual_before,
                dy_older, dy_before, mean, rstd, factor, sums, w0, w1, w2, b, scale,
                dx + at + (t - 1) * step, mask & (t > 0), C, PIECES,
            )  # fmt: skip
            x_before = again(x_now, PIECES)
            x_now = x_after
            dy_older = again(dy_before, PIECES)
            dy_before = dy
            residual_before = residual
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


def temporal_norm_backward(
    x: Tensor, dz: Tensor, dout: Tensor, survival: Tensor, order: Tensor, weight: Tensor, bias: Tensor,
    gamma: Tensor, of: Statistics, cut: tuple[int, int, int, int],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients: dx (like x), `dout` of the residual included, and sums (PARTIALS, C) float32.

    With fewer rows than x, `dz` holds those that are not dropped, in `order` ((R + 1,), `operands`).
    The sums are those of weight (3), bias, gamma, beta, and of `dout` times `survival` (R,), which is the
    gradient of the block's last bias. `cut`: joints and warps of a program, programs, and stages.
    """
    R, T, V, C = x.shape
    joints, warps, programs, stages = cut
    groups = triton.cdiv(V, joints)
    programs = min(share(programs, x.device), R * groups)
    dx = torch.empty_like(x)
    partials = torch.empty(programs, PARTIALS, C, device=x.device, dtype=torch.float32)
    launch(
        _backward, programs,
        x, dz, dout, survival, order, weight, bias, gamma, *of, dx, partials, R, T, V, groups, programs,
        **pieces(C), VB=joints, PACKED=len(dz) < R, STAGES=stages, num_warps=warps,
    )  # fmt: skip
    return dx, partials.sum(0)
