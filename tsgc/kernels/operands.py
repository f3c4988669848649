"""The operands of a block's kernels, made in one launch: a step has nine blocks, and launches cost time."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsgc.kernels.launching import launch

BLOCK = 1024  # numbers of a program


@triton.jit
def _diagonal(adjacency, out, i, V, ROWS: tl.constexpr):
    """Entries `i` of (4, ROWS, ROWS): each matrix, and the unit matrix, for every whole frame of a tile."""
    k = i // (ROWS * ROWS)
    row, column = i // ROWS % ROWS, i % ROWS
    inside = i < 4 * ROWS * ROWS
    same = (row // V == column // V) & (row // V < ROWS // V)
    u, v = row % V, column % V
    value = tl.load(adjacency + k * V * V + u * V + v, mask=inside & same & (k < 3), other=0.0).to(tl.float32)
    value = tl.where(same & (k == 3) & (u == v), 1.0, value)
    tl.store(out + i, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _order(survival, order, R, BLOCK: tl.constexpr):
    """Write the rows that are not dropped, in order, then the others, and at index R how many are kept."""
    alive_before = tl.zeros((), tl.int32)
    for start in range(0, R, BLOCK):
        i = start + tl.arange(0, BLOCK)
        inside = i < R
        alive = tl.load(survival + i, mask=inside, other=0.0) > 0
        before = alive_before + tl.cumsum(alive.to(tl.int32), 0) - alive.to(tl.int32)
        tl.store(order + before, i, mask=alive)
        tl.store(order + (R - 1 - (i - before)), i, mask=inside & (alive == 0))
        alive_before += tl.sum(alive.to(tl.int32), 0)
    tl.store(order + R, alive_before)


@triton.jit
def _prepare(
    w1, w2, adjacency, survival, narrow1, narrow2, forward, backward, order, V, R,
    C: tl.constexpr, FORWARD: tl.constexpr, BACKWARD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    if tl.program_id(0) == 0:
        _order(survival, order, R, BLOCK)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < 4 * C * C
    tl.store(narrow1 + i, tl.load(w1 + i, mask=inside).to(narrow1.dtype.element_ty), mask=inside)
    value = tl.load(w2 + i % C * (4 * C) + i // C, mask=inside)
    tl.store(narrow2 + i, value.to(narrow2.dtype.element_ty), mask=inside)
    _diagonal(adjacency, forward, i, V, FORWARD)
    _diagonal(adjacency, backward, i, V, BACKWARD)


class Operands(NamedTuple):
    """The operands of one block's kernels, in their type."""

    w1: Tensor
    """(4C, C)."""
    w2: Tensor
    """(4C, C): transposed."""
    forward: Tensor
    """(4, ROWS, ROWS): each matrix for every whole frame of a forward tile, and the unit matrix."""
    backward: Tensor
    """The same for the tiles of the backward pass."""
    order: Tensor
    """(R + 1,) int32: rows that were not dropped, then those that were; last, how many the first are."""


def make_operands(
    w1: Tensor,
    w2: Tensor,
    adjacency: Tensor,
    survival: Tensor,
    dtype: torch.dtype,
    forward: int,
    backward: int,
) -> Operands:
    """Operands from w1 (4C, C), w2 (C, 4C), adjacency (3, V, V) and survival (R,).

    `forward` and `backward`: rows of a tile in each pass. The unit matrix is for the slice that is not mixed.
    """
    C, R = w1.shape[1], len(survival)
    device = w1.device
    narrow1, narrow2 = (torch.empty(4 * C, C, device=device, dtype=dtype) for _ in range(2))
    blocks = [torch.empty(4, rows, rows, device=device, dtype=dtype) for rows in (forward, backward)]
    order = torch.empty(R + 1, device=device, dtype=torch.int32)
    numbers = max(4 * C * C, 4 * max(forward, backward) ** 2)
    launch(
        _prepare, triton.cdiv(numbers, BLOCK),
        w1.contiguous(), w2.contiguous(), adjacency.contiguous(), survival, narrow1, narrow2, *blocks, order,
        adjacency.shape[-1], R, C=C, FORWARD=forward, BACKWARD=backward, BLOCK=BLOCK, num_warps=4,
    )  # fmt: skip
    return Operands(narrow1, narrow2, blocks[0], blocks[1], order)
