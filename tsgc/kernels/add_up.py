"""The mean of (C, N, V, T) over T, and the sum of what comes back to it from its uses, in one pass each.

Plain twins: `plain_mean`, `plain_add_up`.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsgc.kernels.launching import launch, or_twin

BLOCK = 4096


@triton.jit
def _add_up(one, other, joints, out, L, T, blocks, BLOCK: tl.constexpr):
    channel, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    base = channel.to(tl.int64) * L
    i = block * BLOCK + tl.arange(0, BLOCK)
    total = tl.load(one + base + i, mask=i < L, other=0.0).to(tl.float32)
    if other is not None:
        total += tl.load(other + base + i, mask=i < L, other=0.0).to(tl.float32)
    if joints is not None:
        level = tl.load(joints + channel.to(tl.int64) * (L // T) + i // T, mask=i < L, other=0.0)
        total += level.to(tl.float32) / T
    tl.store(out + base + i, total.to(out.dtype.element_ty), mask=i < L)


@triton.jit
def _mean(x, out, rows, T, TP: tl.constexpr, BR: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * BR + tl.arange(0, BR)
    t = tl.arange(0, TP)
    total = tl.zeros((BR, TP), tl.float32)
    for start in range(0, T, TP):
        mask = (row < rows)[:, None] & (start + t < T)[None, :]
        total += tl.load(x + row[:, None] * T + start + t[None, :], mask=mask, other=0.0).to(tl.float32)
    tl.store(out + row, (tl.sum(total, 1) / T).to(out.dtype.element_ty), mask=row < rows)


def plain_mean(x: Tensor) -> Tensor:
    """The mean of x (C, N, V, T) over T."""
    return x.mean(3)


@or_twin(plain_mean)
def mean(x: Tensor) -> Tensor:
    """`plain_mean`; x is contiguous."""
    frames = min(64, triton.next_power_of_2(x.shape[3]))
    rows, out = x[..., 0].numel(), x.new_empty(x.shape[:3])
    each = BLOCK // frames
    launch(_mean, triton.cdiv(rows, each), x, out, rows, x.shape[3], TP=frames, BR=each, num_warps=4)
    return out


def plain_add_up(one: Tensor, other: Tensor | None, joints: Tensor | None) -> Tensor:
    """`one` plus `other` (C, N, V, T), plus the gradient of a mean over T, `joints` (C, N, V)."""
    total = one.clone() if other is None else one + other
    return total if joints is None else total.add_(joints[..., None], alpha=1 / one.shape[-1])


@or_twin(plain_add_up)
def add_up(one: Tensor, other: Tensor | None, joints: Tensor | None) -> Tensor:
    """`plain_add_up`, fused; tensors are contiguous. The result is new."""
    L = one[0].numel()
    blocks = triton.cdiv(L, BLOCK)
    out = torch.empty_like(one)
    launch(
        _add_up,
        len(one) * blocks,
        one,
        other,
        joints,
        out,
        L,
        one.shape[-1],
        blocks,
        BLOCK=BLOCK,
        num_warps=4,
    )
    return out
