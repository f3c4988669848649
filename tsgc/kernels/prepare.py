"""A block's weights as its kernels read them, made in one launch: a step has nine blocks, launches cost."""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # numbers of a program


@triton.jit
def _diagonal(graphs, out, i, V, ROWS: tl.constexpr):
    """Entries `i` of (4, ROWS, ROWS): each graph, and the unit matrix, for every whole frame of a tile."""
    k = i // (ROWS * ROWS)
    row, column = i // ROWS % ROWS, i % ROWS
    inside = i < 4 * ROWS * ROWS
    same = (row // V == column // V) & (row // V < ROWS // V)
    u, v = row % V, column % V
    value = tl.load(graphs + k * V * V + u * V + v, mask=inside & same & (k < 3), other=0.0).to(tl.float32)
    value = tl.where(same & (k == 3) & (u == v), 1.0, value)
    tl.store(out + i, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _prepare(
    w1, w2, graphs, narrow1, narrow2, forward, backward, V,
    C: tl.constexpr, FORWARD: tl.constexpr, BACKWARD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < 4 * C * C
    tl.store(narrow1 + i, tl.load(w1 + i, mask=inside).to(narrow1.dtype.element_ty), mask=inside)
    value = tl.load(w2 + i % C * (4 * C) + i // C, mask=inside)
    tl.store(narrow2 + i, value.to(narrow2.dtype.element_ty), mask=inside)
    _diagonal(graphs, forward, i, V, FORWARD)
    _diagonal(graphs, backward, i, V, BACKWARD)


def prepare(
    w1: Tensor, w2: Tensor, graphs: Tensor, dtype: torch.dtype, forward: int, backward: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """w1 (4C, C) and w2 (C, 4C) as (4C, C) both, and block-diagonal graphs of `forward` and `backward` rows.

    graphs (3, V, V) become (4, rows, rows): a copy for every whole frame of a tile, and the unit matrix for
    the slice that no graph mixes.
    """
    C = w1.shape[1]
    device = w1.device
    narrow1, narrow2 = (torch.empty(4 * C, C, device=device, dtype=dtype) for _ in range(2))
    blocks = [torch.empty(4, rows, rows, device=device, dtype=dtype) for rows in (forward, backward)]
    numbers = max(4 * C * C, 4 * max(forward, backward) ** 2)
    _prepare[(triton.cdiv(numbers, BLOCK),)](
        w1.contiguous(), w2.contiguous(), graphs.contiguous(), narrow1, narrow2, *blocks, graphs.shape[-1],
        C=C, FORWARD=forward, BACKWARD=backward, BLOCK=BLOCK, num_warps=4,
    )  # fmt: skip
    return narrow1, narrow2, blocks[0], blocks[1]
