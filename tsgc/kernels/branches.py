"""Branches over time of (C, N, V, T) in one launch: convolutions, max-pooling, the rest as it is.

Channels are cut into the branches' parts: of each convolution, of the pooling, and those that pass through.
`stride` frames become one. Backward: one launch for the input, one for parts of the weights' gradients.
Plain twin: `plain_branches`.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from tsgc.kernels.cards import share
from tsgc.kernels.launching import launch, or_twin

POSITIONS = 128  # of a tile, with up to 32 channels; half of them with more
WARPS = 4
MOST = 4  # convolutions, as the kernels have arguments
PROGRAMS = 1056  # of the weights' gradients: eight a multiprocessor of `cards.TUNED_FOR`
POOLED = 3  # frames


class Cut(NamedTuple):
    """Channels of the first branch and of each other one, the stride, and a dilation for each convolution."""

    first: int
    narrow: int
    stride: int
    dilations: tuple[int, ...]


@triton.jit
def _part(branch, first, narrow):
    """Channels of a branch, and where they begin."""
    return tl.where(branch == 0, first, narrow), tl.where(branch == 0, 0, first + (branch - 1) * narrow)


@triton.jit
def _one_of(branch, a0, a1, a2, a3):
    return tl.where(branch == 0, a0, tl.where(branch == 1, a1, tl.where(branch == 2, a2, a3)))


@triton.jit
def _weights_of(branch, w0, w1, w2, w3, B: tl.constexpr):
    w = w0
    if B > 1:  # noqa: SIM102 - known to the compiler, unlike the branch
        if branch == 1:
            w = w1
    if B > 2:  # noqa: SIM102 - known to the compiler, unlike the branch
        if branch == 2:
            w = w2
    if B > 3:  # noqa: SIM102 - known to the compiler, unlike the branch
        if branch == 3:
            w = w3
    return w


@triton.jit
def _forward(
    h, passed, y, w0, w1, w2, w3, d0, d1, d2, d3, first, narrow, rows, T, U, stride,
    B: tl.constexpr, KERNEL: tl.constexpr, SP: tl.constexpr, BP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(rows * U, BP)
    branch = tl.program_id(0) // tiles
    q = tl.program_id(0) % tiles * BP + tl.arange(0, BP)
    row, u = q // U, q % U
    size, begin = _part(branch, first, narrow)
    c = tl.arange(0, SP)
    mask = (c < size)[:, None] & (q < rows * U)[None, :]
    at = (begin + c).to(tl.int64)[:, None]
    to = y + at * (rows * U) + q[None, :]
    if branch < B:
        w = _weights_of(branch, w0, w1, w2, w3, B)
        d = _one_of(branch, d0, d1, d2, d3)
        square = (c < size)[:, None] & (c < size)[None, :]
        total = tl.zeros((SP, BP), tl.float32)
        for j in tl.static_range(KERNEL):
            t = u * stride + (j - KERNEL // 2) * d
            inside = mask & ((t >= 0) & (t < T))[None, :]
            value = tl.load(h + at * (rows * T) + (row * T + t)[None, :], mask=inside, other=0.0)
            weight = tl.load(w + (c[:, None] * size + c[None, :]) * KERNEL + j, mask=square, other=0.0)
            total = tl.dot(weight.to(value.dtype), value, total, input_precision=PRECISION)
        tl.store(to, total.to(y.dtype.element_ty), mask=mask)
    elif branch == B:
        most = tl.full((SP, BP), float("-inf"), tl.float32)
        for j in tl.static_range(3):
            t = u * stride + j - 1
            inside = mask & ((t >= 0) & (t < T))[None, :]
            value = tl.load(h + at * (rows * T) + (row * T + t)[None, :], mask=inside, other=float("-inf"))
            most = tl.maximum(most, value.to(tl.float32))
        tl.store(to, most.to(y.dtype.element_ty), mask=mask)
    else:
        whence = c.to(tl.int64)[:, None] * (rows * T) + (row * T + u * stride)[None, :]
        tl.store(to, tl.load(passed + whence, mask=mask, other=0.0), mask=mask)


@triton.jit
def _backward(
    h, dy, dh, dpassed, w0, w1, w2, w3, d0, d1, d2, d3, first, narrow, rows, T, U, stride,
    B: tl.constexpr, KERNEL: tl.constexpr, SP: tl.constexpr, BP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(rows * T, BP)
    branch = tl.program_id(0) // tiles
    q = tl.program_id(0) % tiles * BP + tl.arange(0, BP)
    row, t = q // T, q % T
    size, begin = _part(branch, first, narrow)
    c = tl.arange(0, SP)
    mask = (c < size)[:, None] & (q < rows * T)[None, :]
    at = (begin + c).to(tl.int64)[:, None]
    g = dy + at * (rows * U)
    to = at * (rows * T) + q[None, :]
    if branch < B:
        w = _weights_of(branch, w0, w1, w2, w3, B)
        d = _one_of(branch, d0, d1, d2, d3)
        square = (c < size)[:, None] & (c < size)[None, :]
        total = tl.zeros((SP, BP), tl.float32)
        for j in tl.static_range(KERNEL):
            s = t - (j - KERNEL // 2) * d
            inside = mask & ((s >= 0) & (s % stride == 0) & (s // stride < U))[None, :]
            value = tl.load(g + (row * U + s // stride)[None, :], mask=inside, other=0.0)
            weight = tl.load(w + (c[None, :] * size + c[:, None]) * KERNEL + j, mask=square, other=0.0)
            total = tl.dot(weight.to(value.dtype), value, total, input_precision=PRECISION)
        tl.store(dh + to, total.to(dh.dtype.element_ty), mask=mask)
    elif branch == B:
        here = tl.load(h + to, mask=mask, other=0.0).to(tl.float32)
        total = tl.zeros((SP, BP), tl.float32)
        for j in tl.static_range(3):  # this frame's place in a window; of equal ones the first is the largest
            s = t + 1 - j
            wins = mask & ((s >= 0) & (s % stride == 0) & (s // stride < U))[None, :]
            back = tl.load(g + (row * U + s // stride)[None, :], mask=wins, other=0.0).to(tl.float32)
            for i in tl.static_range(3):
                if i != j:
                    near = t + i - j
                    inside = mask & ((near >= 0) & (near < T))[None, :]
                    other = tl.load(h + to + i - j, mask=inside, other=float("-inf")).to(tl.float32)
                    if i < j:
                        wins = wins & (other < here)
                    else:
                        wins = wins & (other <= here)
            total += tl.where(wins, back, 0.0)
        tl.store(dh + to, total.to(dh.dtype.element_ty), mask=mask)
    else:
        inside = mask & ((t % stride == 0) & (t // stride < U))[None, :]
        value = tl.load(g + (row * U + t // stride)[None, :], mask=inside, other=0.0)
        tl.store(dpassed + c.to(tl.int64)[:, None] * (rows * T) + q[None, :], value, mask=mask)


@triton.jit
def _weights(
    h, dy, parts, d0, d1, d2, d3, first, narrow, rows, T, U, stride, chunks, each, length,
    B: tl.constexpr, KERNEL: tl.constexpr, SP: tl.constexpr, BP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of one frame of a branch's weights over `each` positions: programs (B, chunks, KERNEL)."""
    j = tl.program_id(0) % KERNEL
    chunk = tl.program_id(0) // KERNEL % chunks
    branch = tl.program_id(0) // KERNEL // chunks
    d = _one_of(branch, d0, d1, d2, d3)
    size, begin = _part(branch, first, narrow)
    c = tl.arange(0, SP)
    at = (begin + c).to(tl.int64)[:, None]
    total = tl.zeros((SP, SP), tl.float32)
    for start in range(chunk * each, tl.minimum(chunk * each + each, rows * U), BP):
        q = start + tl.arange(0, BP)
        row, t = q // U, q % U * stride + (j - KERNEL // 2) * d
        mask = (c < size)[:, None] & ((q < rows * U) & (t >= 0) & (t < T))[None, :]
        g = tl.load(dy + at * (rows * U) + q[None, :], mask=mask, other=0.0)
        value = tl.load(h + at * (rows * T) + (row * T + t)[None, :], mask=mask, other=0.0)
        total = tl.dot(g, tl.trans(value), total, input_precision=PRECISION)
    square = (c < size)[:, None] & (c < size)[None, :]
    before = tl.where(branch == 0, 0, (first * first + (branch - 1) * narrow * narrow) * KERNEL)
    to = before + (c[:, None] * size + c[None, :]) * KERNEL + j
    tl.store(parts + chunk.to(tl.int64) * length + to, total, mask=square)


def plain_branches(h: Tensor, passed: Tensor, cut: Cut, *weights: Tensor) -> Tensor:
    """Branches of h (first + B * narrow, N, V, T), with weights (size, size, kernel, 1), and `passed`.

    Gives (C, N, V, T').
    """
    parts = [part.flatten(1, 2)[None] for part in h.split([cut.first, *[cut.narrow] * len(weights)])]
    found = []
    for part, weight, dilation in zip(parts, weights, cut.dilations):
        padding = dilation * (weight.shape[2] // 2)
        stride = (1, cut.stride)
        found.append(F.conv2d(part, weight.mT.to(part.dtype), None, stride, (0, padding), (1, dilation)))
    found.append(F.max_pool2d(parts[-1], (1, POOLED), (1, cut.stride), (0, POOLED // 2)))
    rest = passed[..., :: cut.stride]
    return torch.cat([*(part[0].unflatten(1, h.shape[1:3]) for part in found), rest])


@or_twin(plain_branches)
def branches(h: Tensor, passed: Tensor, cut: Cut, *weights: Tensor) -> Tensor:
    """`plain_branches`, fused; tensors are contiguous."""
    _, N, V, T = h.shape
    U = -(-T // cut.stride)
    y = h.new_empty(len(h) + len(passed), N, V, U)
    sizes = _sizes(cut, weights)
    programs = triton.cdiv(N * V * U, sizes["BP"]) * (len(weights) + 2)
    four, dilations = _filled(weights), _dilations(cut)
    launch(
        _forward, programs, h, passed, y, *four, *dilations, cut.first, cut.narrow, N * V, T, U, cut.stride,
        **sizes, num_warps=WARPS, num_stages=1,
    )  # fmt: skip
    return y


def plain_backward(
    dy: Tensor, h: Tensor, dpassed: Tensor, cut: Cut, *weights: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """The twin of `backward`."""
    with torch.enable_grad():
        inputs = [tensor.detach().requires_grad_() for tensor in (h, dpassed, *weights)]
        y = plain_branches(inputs[0], inputs[1], cut, *inputs[2:])
    dh, passed, *rest = torch.autograd.grad(y, inputs, dy)
    dpassed.copy_(passed)
    return dh, rest


@or_twin(plain_backward)
def backward(
    dy: Tensor, h: Tensor, dpassed: Tensor, cut: Cut, *weights: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of h and of the weights, given dy; that of what passes is written into `dpassed`."""
    _, N, V, T = h.shape
    U = dy.shape[3]
    dh = torch.empty_like(h)
    sizes = _sizes(cut, weights)
    programs = triton.cdiv(N * V * T, sizes["BP"]) * (len(weights) + 2)
    four, dilations = _filled(weights), _dilations(cut)
    shape = cut.first, cut.narrow, N * V, T, U, cut.stride
    launch(
        _backward,
        programs,
        h,
        dy,
        dh,
        dpassed,
        *four,
        *dilations,
        *shape,
        **sizes,
        num_warps=WARPS,
        num_stages=1,
    )
    kernel, tile = sizes["KERNEL"], sizes["BP"]
    most = max(1, share(PROGRAMS, h.device) // (kernel * len(weights)))
    each = triton.cdiv(triton.cdiv(N * V * U, most), tile) * tile
    chunks = triton.cdiv(N * V * U, each)
    lengths = [weight.numel() for weight in weights]
    parts = h.new_empty(chunks, sum(lengths), dtype=torch.float32)
    launch(
        _weights, chunks * kernel * len(weights),
        h, dy, parts, *dilations, *shape, chunks, each, sum(lengths), **sizes, num_warps=WARPS, num_stages=2,
    )  # fmt: skip
    found = parts.sum(0).split(lengths)
    return dh, [one.view_as(weight).to(weight.dtype) for one, weight in zip(found, weights)]


def _sizes(cut: Cut, weights: tuple[Tensor, ...]) -> dict[str, Any]:
    size = max(16, triton.next_power_of_2(max(cut.first, cut.narrow)))
    precise = weights[0].dtype == torch.float32 and not torch.backends.cudnn.allow_tf32
    return {
        "B": len(weights), "KERNEL": weights[0].shape[2], "SP": size,
        "BP": POSITIONS if size <= 32 else POSITIONS // 2, "PRECISION": "ieee" if precise else "tf32",
    }  # fmt: skip


def _filled(weights: tuple[Tensor, ...]) -> list[Tensor | None]:
    return [*weights, *[None] * (MOST - len(weights))]


def _dilations(cut: Cut) -> list[int]:
    return [*cut.dilations, *[0] * (MOST - len(cut.dilations))]
