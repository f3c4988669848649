"""What a block's backward kernels leave in parts, added up in one launch: a step has nine blocks, and
launches of a few microseconds each would be a fiftieth of it. Plain twin: `plain_sums`.
"""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # numbers of a weight that a program adds up
SIDE = 32  # of the square of one that is turned
NARROW = 64  # of a bias
DEEP = 64  # parts of a graph's row that it takes at once


class Sums(NamedTuple):
    """Gradients, float32."""

    graphs: Tensor
    """(3, V, V)."""
    w1: Tensor
    """(4C, C)."""
    w2: Tensor
    """(C, 4C): as the layer holds it, whose gradient would else be copied."""
    b1: Tensor
    """(4C,)."""


@triton.jit
def _add(parts, out, splits, length, block, BLOCK: tl.constexpr):
    """`BLOCK` columns of parts (splits, length) added up, in order."""
    i = block * BLOCK + tl.arange(0, BLOCK)
    inside = i < length
    total = tl.zeros((BLOCK,), tl.float32)
    at = parts + i
    for _split in range(splits):
        total += tl.load(at, mask=inside, other=0.0)
        at += length
    tl.store(out + i, total, mask=inside)


@triton.jit
def _add_turned(parts, out, splits, A, C, block, SIDE: tl.constexpr):
    """A square of parts (splits, A, C) added up, in order, into its place in (C, A)."""
    columns = tl.cdiv(C, SIDE)
    a = block // columns * SIDE + tl.arange(0, SIDE)
    c = block % columns * SIDE + tl.arange(0, SIDE)
    total = tl.zeros((SIDE, SIDE), tl.float32)
    at = parts + a[:, None] * C + c[None, :]
    mask = (a < A)[:, None] & (c < C)[None, :]
    for _split in range(splits):
        total += tl.load(at, mask=mask, other=0.0)
        at += A * C
    turned = (c < C)[:, None] & (a < A)[None, :]
    tl.store(out + c[:, None] * A + a[None, :], tl.trans(total), mask=turned)


@triton.jit
def _add_graph(parts, out, count, V, k, u, ROWS: tl.constexpr, VP: tl.constexpr, DEEP: tl.constexpr):
    """Row u of graph k: over parts (3, count, ROWS, ROWS), and over the frames of a tile."""
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
    graph_parts, w1_parts, w2_parts, b1_parts, graphs, w1, w2, b1,
    count, splits, V,
    A: tl.constexpr, C: tl.constexpr, ROWS: tl.constexpr, VP: tl.constexpr, BLOCK: tl.constexpr,
    NARROW: tl.constexpr, DEEP: tl.constexpr, SIDE: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    weight = tl.cdiv(A * C, BLOCK)
    bias = tl.cdiv(A, NARROW)
    if program < 3 * V:  # the longest first
        _add_graph(graph_parts, graphs, count, V, program // V, program % V, ROWS, VP, DEEP)
    elif program < 3 * V + bias:
        _add(b1_parts, b1, splits, A, program - 3 * V, NARROW)
    elif program < 3 * V + bias + weight:
        _add(w1_parts, w1, splits, A * C, program - 3 * V - bias, BLOCK)
    else:
        _add_turned(w2_parts, w2, splits, A, C, program - 3 * V - bias - weight, SIDE)


def sums(graph_parts: Tensor, w1_parts: Tensor, w2_parts: Tensor, b1_parts: Tensor, V: int) -> Sums:
    """Of parts (3, n, rows, rows) of block-diagonal graphs, of (splits, 4C, C) twice and of (splits, 4C)."""
    splits, A, C = w1_parts.shape
    _, count, rows, _ = graph_parts.shape
    new = w1_parts.new_empty
    out = Sums(new(3, V, V), new(A, C), new(C, A), new(A))
    squares = triton.cdiv(A, SIDE) * triton.cdiv(C, SIDE)
    programs = 3 * V + triton.cdiv(A, NARROW) + triton.cdiv(A * C, BLOCK) + squares
    _sums[(programs,)](
        graph_parts, w1_parts, w2_parts, b1_parts, *out, count, splits, V,
        A=A, C=C, ROWS=rows, VP=triton.next_power_of_2(V), BLOCK=BLOCK, NARROW=NARROW, DEEP=DEEP, SIDE=SIDE,
        num_warps=4,
    )  # fmt: skip
    return out


def diagonal_sum(parts: Tensor, V: int) -> Tensor:
    """The sum over a tile's frames of their diagonal blocks: (3, rows, rows) -> (3, V, V)."""
    frames = parts.shape[-1] // V
    used = frames * V
    blocks = parts[:, :used, :used].reshape(3, frames, V, frames, V)
    return blocks.diagonal(dim1=1, dim2=3).sum(-1)


def plain_sums(graph_parts: Tensor, w1_parts: Tensor, w2_parts: Tensor, b1_parts: Tensor, V: int) -> Sums:
    """The same by torch, a launch or more each."""
    graphs = diagonal_sum(graph_parts.sum(1), V)
    return Sums(graphs, w1_parts.sum(0), w2_parts.sum(0).t(), b1_parts.sum(0))
