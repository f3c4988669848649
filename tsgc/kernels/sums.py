"""Sums of the parts that a block's backward kernels write, in one launch.

A step has nine blocks, and separate launches of a few microseconds each would take a fiftieth of it. Plain
twin: `plain_sums`.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsgc.kernels.launching import launch

BLOCK = 1024  # numbers of a weight that a program sums
SIDE = 32  # side of the square that a program sums of a transposed weight
NARROW = 64  # numbers of a bias that a program sums
DEEP = 64  # parts of a matrix's row that a program loads together
AHEAD = tl.constexpr(4)  # parts of a weight that a program loads together


class Sums(NamedTuple):
    """Gradients of a block's parameters, float32."""

    adjacency: Tensor
    """(3, V, V)."""
    w1: Tensor
    """(4C, C)."""
    w2: Tensor
    """(C, 4C): as the layer holds it, whose gradient would else be copied."""
    b1: Tensor
    """(4C,)."""


@triton.jit
def _add(parts, out, splits, fewer, length, block, BLOCK: tl.constexpr, ROW: tl.constexpr):
    """Sum `BLOCK` columns of parts (splits, length) in order; each ROW's last quarter has `fewer` parts."""
    i = block * BLOCK + tl.arange(0, BLOCK)
    inside = i < length
    limit = tl.where(i % ROW < ROW // 4 * 3, splits, fewer)
    total = tl.zeros((BLOCK,), tl.float32)
    at = parts + i
    for split in range(0, splits, AHEAD):
        these = ()
        for k in tl.static_range(AHEAD):
            these = these + (tl.load(at, mask=inside & (split + k < limit), other=0.0),)
            at += length
        for k in tl.static_range(AHEAD):
            total += these[k]
    tl.store(out + i, total, mask=inside)


@triton.jit
def _add_turned(parts, out, splits, A, C, block, SIDE: tl.constexpr):
    """Sum a square of parts (splits, A, C) in order, and write it transposed into (C, A)."""
    columns = tl.cdiv(C, SIDE)
    a = block // columns * SIDE + tl.arange(0, SIDE)
    c = block % columns * SIDE + tl.arange(0, SIDE)
    total = tl.zeros((SIDE, SIDE), tl.float32)
    at = parts + a[:, None] * C + c[None, :]
    mask = (a < A)[:, None] & (c < C)[None, :]
    for split in range(0, splits, AHEAD):
        these = ()
        for k in tl.static_range(AHEAD):
            these = these + (tl.load(at, mask=mask & (split + k < splits), other=0.0),)
            at += A * C
        for k in tl.static_range(AHEAD):
            total += these[k]
    turned = (c < C)[:, None] & (a < A)[None, :]
    tl.store(out + c[:, None] * A + a[None, :], tl.trans(total), mask=turned)


@triton.jit
def _add_adjacency(parts, out, count, V, k, u, ROWS: tl.constexpr, VP: tl.constexpr, DEEP: tl.constexpr):
    """Sum row u of matrix k over parts (3, count, ROWS, ROWS) and over the frames of a tile."""
    v = tl.arange(0, VP)
    total = tl.zeros((DEEP, VP), tl.float32)
    for start in range(0, count, DEEP):
        part = start + tl.arange(0, DEEP)
        mask = (part < count)[:, None] & (v < V)[None, :]
        at = (k * count + part).to(tl.int64)[:, None] * (ROWS * ROWS) + v[None, :]
        for frame in range(ROWS // V):
            corner = (frame * V + u) * ROWS + frame * V
            total += tl.load(parts + at + corner, mask=mask, other=0.0)
    tl.store(out + (k * V + u) * V + v, tl.sum(total, 0), mask=v < V)


@triton.jit
def _sums(
    adjacency_parts, w1_parts, w2_parts, b1_parts, adjacency, w1, w2, b1,
    count, splits, w2_splits, w2_fewer, V,
    A: tl.constexpr, C: tl.constexpr, TURNED: tl.constexpr, ROWS: tl.constexpr, VP: tl.constexpr,
    BLOCK: tl.constexpr, NARROW: tl.constexpr, DEEP: tl.constexpr, SIDE: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    weight = tl.cdiv(A * C, BLOCK)
    bias = tl.cdiv(A, NARROW)
    if program < 3 * V:  # the longest first
        _add_adjacency(adjacency_parts, adjacency, count, V, program // V, program % V, ROWS, VP, DEEP)
    elif program < 3 * V + bias:
        _add(b1_parts, b1, splits, splits, A, program - 3 * V, NARROW, A)
    elif program < 3 * V + bias + weight:
        _add(w1_parts, w1, splits, splits, A * C, program - 3 * V - bias, BLOCK, A)
    elif TURNED:
        _add_turned(w2_parts, w2, w2_splits, A, C, program - 3 * V - bias - weight, SIDE)
    else:
        _add(w2_parts, w2, w2_splits, w2_fewer, A * C, program - 3 * V - bias - weight, BLOCK, A)


def sums(
    adjacency_parts: Tensor, w1_parts: Tensor, w2_parts: Tensor, b1_parts: Tensor, V: int, fewer: int
) -> Sums:
    """Sums of parts: of the block-diagonal adjacency (3, n, rows, rows), w1 (splits, 4C, C), w2 (n, C, 4C)
    and b1 (splits, 4C).

    w2's parts may lie in memory as (n, 4C, C). Otherwise the last quarter of its columns, the slice that no
    matrix mixes, has `fewer` parts.
    """
    splits, A, C = w1_parts.shape
    turned = not w2_parts.is_contiguous()
    _, count, rows, _ = adjacency_parts.shape
    new = w1_parts.new_empty
    out = Sums(new(3, V, V), new(A, C), new(C, A), new(A))
    blocks = triton.cdiv(A * C, BLOCK)
    squares = triton.cdiv(A, SIDE) * triton.cdiv(C, SIDE)
    programs = 3 * V + triton.cdiv(A, NARROW) + blocks + (squares if turned else blocks)
    launch(
        _sums, programs,
        adjacency_parts, w1_parts, w2_parts, b1_parts, *out, count, splits, len(w2_parts), fewer, V,
        A=A, C=C, TURNED=turned, ROWS=rows, VP=triton.next_power_of_2(V), BLOCK=BLOCK,
        NARROW=NARROW, DEEP=DEEP, SIDE=SIDE, num_warps=4,
    )  # fmt: skip
    return out


def diagonal_sum(parts: Tensor, V: int) -> Tensor:
    """The sum of the diagonal blocks of a tile's frames: (3, rows, rows) -> (3, V, V)."""
    frames = parts.shape[-1] // V
    used = frames * V
    blocks = parts[:, :used, :used].reshape(3, frames, V, frames, V)
    return blocks.diagonal(dim1=1, dim2=3).sum(-1)


def plain_sums(
    adjacency_parts: Tensor, w1_parts: Tensor, w2_parts: Tensor, b1_parts: Tensor, V: int, fewer: int
) -> Sums:
    """`sums` by torch, with a launch or more for each parameter."""
    mixed = 3 * w1_parts.shape[-1]  # hidden channels that a matrix mixes
    w2 = torch.cat([w2_parts[..., :mixed].sum(0), w2_parts[:fewer, :, mixed:].sum(0)], -1)
    return Sums(diagonal_sum(adjacency_parts.sum(1), V), w1_parts.sum(0), w2, b1_parts.sum(0))
