"""Depthwise convolution over 3 frames and LayerNorm in one pass over memory.

A program slides along the whole sequence of a few joints of one row, so that every frame is read once.
Channels are cut into PIECES of PIECE, a power of two, as tuples of tensors: no lane is idle, and few lanes
share a joint, for whose sums each turn waits. PACKED: z and its gradient hold only the rows that are not
dropped, in the order of `order` (`operands`), in which programs visit them.
The backward pass is in `temporal_backward`. Plain twin: `layers.TemporalDepthwise`, then LayerNorm.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsgc.kernels.launching import launch


@triton.jit
def channels_at(at, PIECE: tl.constexpr, PIECES: tl.constexpr):
    """(C,) from `at` on, float32, by pieces, each (1, PIECE)."""
    pieces = ()
    for i in tl.static_range(PIECES):
        c = i * PIECE + tl.arange(0, PIECE)
        pieces = pieces + (tl.load(at + c).to(tl.float32)[None, :],)
    return pieces


@triton.jit
def frame_at(at, mask, PIECE: tl.constexpr, PIECES: tl.constexpr):
    """A frame's joints by pieces, each (VB, PIECE), as they lie in memory; 0 where masked."""
    pieces = ()
    for i in tl.static_range(PIECES):
        pieces = pieces + (tl.load(at + i * PIECE, mask=mask, other=0.0),)
    return pieces


@triton.jit
def wide(pieces, PIECES: tl.constexpr):
    floats = ()
    for i in tl.static_range(PIECES):
        floats = floats + (pieces[i].to(tl.float32),)
    return floats


@triton.jit
def zeros(VB: tl.constexpr, PIECE: tl.constexpr, PIECES: tl.constexpr):
    pieces = ()
    for _i in tl.static_range(PIECES):
        pieces = pieces + (tl.zeros((VB, PIECE), tl.float32),)
    return pieces


@triton.jit
def again(pieces, PIECES: tl.constexpr):
    """The same values by an operation that the compiler does not remove.

    The compiler starts a loop's loads several turns early only if the values that a turn passes on were
    computed in it, not if they were passed to it.
    """
    copies = ()
    for i in tl.static_range(PIECES):
        copies = copies + (pieces[i] + 0.0,)
    return copies


@triton.jit
def convolved(before, now, after, w0, w1, w2, bias, PIECES: tl.constexpr):
    pieces = ()
    for i in tl.static_range(PIECES):
        pieces = pieces + (before[i] * w0[i] + now[i] * w1[i] + after[i] * w2[i] + bias[i],)
    return pieces


@triton.jit
def _forward(
    x, survival, order, weight, bias, gamma, beta, z, means, rstds,
    T, V, groups,
    C: tl.constexpr, PIECE: tl.constexpr, PIECES: tl.constexpr, VB: tl.constexpr, EPS: tl.constexpr,
    PACKED: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write z, and mean and reciprocal deviation of each frame and joint (R, T, V), of rows not dropped."""
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
        w0 = channels_at(weight, PIECE, PIECES)
        w1 = channels_at(weight + C, PIECE, PIECES)
        w2 = channels_at(weight + 2 * C, PIECE, PIECES)
        b = channels_at(bias, PIECE, PIECES)
        scale = channels_at(gamma, PIECE, PIECES)
        shift = channels_at(beta, PIECE, PIECES)
        place = row * T * V + v
        before = zeros(VB, PIECE, PIECES)
        now = wide(frame_at(x + at, mask, PIECE, PIECES), PIECES)
        for t in tl.range(0, T, num_stages=STAGES):
            after = wide(frame_at(x + at + (t + 1) * step, mask & (t + 1 < T), PIECE, PIECES), PIECES)
            y = convolved(before, now, after, w0, w1, w2, b, PIECES)
            total = y[0]
            for i in tl.static_range(1, PIECES):
                total += y[i]
            mean = tl.sum(total, 1) / C
            square = (y[0] - mean[:, None]) * (y[0] - mean[:, None])
            for i in tl.static_range(1, PIECES):
                square += (y[i] - mean[:, None]) * (y[i] - mean[:, None])
            rstd = tl.rsqrt(tl.sum(square, 1) / C + EPS)
            tl.store(means + place + t * V, mean, mask=inside)
            tl.store(rstds + place + t * V, rstd, mask=inside)
            for i in tl.static_range(PIECES):
                value = (y[i] - mean[:, None]) * rstd[:, None] * scale[i] + shift[i]
                tl.store(z + at + t * step + i * PIECE, value.to(z.dtype.element_ty), mask=mask)
            before = again(now, PIECES)
            now = after
    else:  # a dropped row is multiplied by 0, so it has to be finite
        for _t in range(T):
            for i in tl.static_range(PIECES):
                tl.store(z + at + i * PIECE, tl.zeros((VB, PIECE), z.dtype.element_ty), mask=mask)
            at += step


class Statistics(NamedTuple):
    """Statistics of LayerNorm, each (R, T, V) float32; dropped rows hold arbitrary values."""

    means: Tensor
    rstds: Tensor
    """Reciprocal deviations."""


def pieces(width: int) -> dict[str, int]:
    """PIECES and PIECE of `width` channels: PIECE is the largest power of two that divides it."""
    piece = width & -width
    return {"C": width, "PIECE": piece, "PIECES": width // piece}


def temporal_norm(
    x: Tensor, survival: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, eps: float,
    cut: tuple[int, int, int], order: Tensor | None = None, kept: int | None = None,
) -> tuple[Tensor, Statistics]:  # fmt: skip
    """LayerNorm of the convolution: x (R, T, V, C), contiguous; weight (3, C); the others (C,) -> like x.

    Rows whose `survival` (R,) is 0 are dropped, and 0. Where the host knows how many are `kept`, only these
    are returned, in `order` ((R + 1,), `operands`): (kept, T, V, C). `cut`: joints and warps of a program,
    and stages.
    """
    R, T, V, C = x.shape
    joints, warps, stages = cut
    groups = triton.cdiv(V, joints)
    rows = R if kept is None else kept
    z = x.new_empty(rows, T, V, C)
    of = Statistics(*(torch.empty(R, T, V, device=x.device) for _ in range(2)))
    launch(
        _forward, rows * groups,
        x, survival, survival if order is None else order, weight, bias, gamma, beta, z, *of, T, V, groups,
        **pieces(C), VB=joints, EPS=eps, PACKED=kept is not None, STAGES=stages,
        num_warps=warps,
    )  # fmt: skip
    return z, of
