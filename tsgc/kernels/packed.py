"""Packing of the rows that are not dropped, and their addition to all rows.

`order` is `Operands.order`: kept rows first, then dropped ones. Plain twins: `x[order[:kept]]`, and
`x.index_add(0, order[:kept], ...)`.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsgc.kernels.launching import launch

BLOCK = 4096  # numbers of a program
WARPS = 8


@triton.jit
def _pack(x, order, packed, numbers, blocks, BLOCK: tl.constexpr):
    place = (tl.program_id(0) // blocks).to(tl.int64)
    i = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    row = tl.load(order + place).to(tl.int64)
    value = tl.load(x + row * numbers + i, mask=i < numbers)
    tl.store(packed + place * numbers + i, value, mask=i < numbers)


@triton.jit
def _add_packed(x, branch, survival, order, out, kept, numbers, blocks, BLOCK: tl.constexpr):
    place = (tl.program_id(0) // blocks).to(tl.int64)
    i = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    row = tl.load(order + place).to(tl.int64)
    value = tl.load(x + row * numbers + i, mask=i < numbers).to(tl.float32)
    if place < kept:
        added = tl.load(branch + place * numbers + i, mask=i < numbers).to(tl.float32)
        value += tl.load(survival + row) * added
    tl.store(out + row * numbers + i, value, mask=i < numbers)


def pack_rows(x: Tensor, order: Tensor, kept: int) -> Tensor:
    """The first `kept` (not 0) rows of x (R, ...), contiguous, in `order`: (kept, ...)."""
    packed = x.new_empty(kept, *x.shape[1:])
    numbers = x[0].numel()
    blocks = triton.cdiv(numbers, BLOCK)
    launch(_pack, kept * blocks, x, order, packed, numbers, blocks, BLOCK=BLOCK, num_warps=WARPS)
    return packed


def add_packed(x: Tensor, branch: Tensor, survival: Tensor, order: Tensor) -> Tensor:
    """x (R, ...) + survival (R,) times `branch` (kept, ...), whose rows are x's first in `order`: like x."""
    out = torch.empty_like(x)
    numbers = x[0].numel()
    blocks = triton.cdiv(numbers, BLOCK)
    launch(
        _add_packed, len(x) * blocks, x, branch, survival, order, out, len(branch), numbers, blocks,
        BLOCK=BLOCK, num_warps=WARPS,
    )  # fmt: skip
    return out
