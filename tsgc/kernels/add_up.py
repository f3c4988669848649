"""The sum of what comes back to a tensor (C, N, V, T) from its uses, in one pass; its mean over T is one.

Plain twin: `plain_add_up`.
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
