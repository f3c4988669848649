"""BatchNorm in training, with the residual and ReLU that follow it, forward and backward.

Of x (C, ...), channels first, so that a channel is one run of memory. The libraries' kernels give a channel
to one program, and 64 channels are half of a large GPU; these cut it into parts. Forward: mean and squared
distance of each part; then every program joins the parts of its channel and writes its part of the output.
Backward: the two sums of each part, and the residual's gradient; then the gradient of x. Sums are float32, in
an order that does not change. Plain twin: `torch.nn.functional.batch_norm`, addition, ReLU.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsgc.kernels.launching import launch, or_twin

BLOCK = 4096  # numbers of a channel that a program works on at a time
WARPS, WARPS_SUMS = 4, 8  # of all kernels but that of the gradients' sums, and of that
PARTS = 64  # most parts of a channel


@triton.jit
def _moments(x, parts, C, L, per, S, BLOCK: tl.constexpr):
    """Mean and squared distance from it of a part of a channel, block by block (Chan et al., 1979)."""
    program = tl.program_id(0)
    channel, part = program // S, program % S
    x += channel.to(tl.int64) * L
    first, last = part * per, tl.minimum(part * per + per, L)
    mean, distance, count = 0.0, 0.0, 0.0
    for start in range(first, last, BLOCK):
        i = start + tl.arange(0, BLOCK)
        value = tl.load(x + i, mask=i < last, other=0.0).to(tl.float32)
        here = tl.minimum(last - start, BLOCK).to(tl.float32)
        level = tl.sum(value, 0) / here
        value = tl.where(i < last, value - level, 0.0)
        step = level - mean
        distance += tl.sum(value * value, 0) + step * step * (count * here / (count + here))
        mean += step * (here / (count + here))
        count += here
    tl.store(parts + program, mean)
    tl.store(parts + C * S + program, distance)


@triton.jit
def _joined(parts, C, channel, L, per, S, SP: tl.constexpr):
    """Mean of a channel, and its squared distance from it, of those of its parts."""
    s = tl.arange(0, SP)
    count = tl.where(s < S, tl.minimum(L - s * per, per), 0).to(tl.float32)
    level = tl.load(parts + channel * S + s, mask=s < S, other=0.0)
    distance = tl.load(parts + C * S + channel * S + s, mask=s < S, other=0.0)
    mean = tl.sum(count * level, 0) / L
    return mean, tl.sum(distance + count * (level - mean) * (level - mean), 0)


@triton.jit
def _forward(
    x, residual, y, parts, gamma, beta, left_out, running_mean, running_var, saved, C, L, per, S, momentum,
    EPS: tl.constexpr, RELU: tl.constexpr, SP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    channel, part = tl.program_id(0) // S, tl.program_id(0) % S
    mean, distance = _joined(parts, C, channel, L, per, S, SP)
    rstd = 1.0 / tl.sqrt(distance / L + EPS)
    if part == 0:
        tl.store(saved + channel, mean)
        tl.store(saved + C + channel, rstd)
        whole = mean
        if left_out is not None:
            whole += tl.load(left_out + channel).to(tl.float32)
        before = tl.load(running_mean + channel)
        tl.store(running_mean + channel, before + momentum * (whole - before))
        before = tl.load(running_var + channel)
        tl.store(running_var + channel, before + momentum * (distance / (L - 1) - before))
    scale = tl.load(gamma + channel).to(tl.float32) * rstd
    shift = tl.load(beta + channel).to(tl.float32)
    base = channel.to(tl.int64) * L
    last = tl.minimum(part * per + per, L)
    for start in range(part * per, last, BLOCK):
        i = start + tl.arange(0, BLOCK)
        value = tl.load(x + base + i, mask=i < last, other=0.0).to(tl.float32)
        value = (value - mean) * scale + shift
        if residual is not None:
            value += tl.load(residual + base + i, mask=i < last, other=0.0).to(tl.float32)
        if RELU:
            value = tl.maximum(value, 0.0)
        tl.store(y + base + i, value.to(y.dtype.element_ty), mask=i < last)


@triton.jit
def _gradient_sums(
    x, y, dy, dresidual, parts, gamma, beta, saved, C, L, per, S, RELU: tl.constexpr, BLOCK: tl.constexpr
):
    """Sums of g and of g times the normalised x over a part; g is dy where ReLU lets it pass."""
    program = tl.program_id(0)
    channel, part = program // S, program % S
    mean, rstd = tl.load(saved + channel), tl.load(saved + C + channel)
    scale = tl.load(gamma + channel).to(tl.float32) * rstd
    shift = tl.load(beta + channel).to(tl.float32)
    base = channel.to(tl.int64) * L
    last = tl.minimum(part * per + per, L)
    level = tl.zeros((BLOCK,), tl.float32)
    along = tl.zeros((BLOCK,), tl.float32)
    for start in range(part * per, last, BLOCK):
        i = start + tl.arange(0, BLOCK)
        centred = tl.load(x + base + i, mask=i < last, other=0.0).to(tl.float32) - mean
        g = tl.load(dy + base + i, mask=i < last, other=0.0).to(tl.float32)
        if RELU:
            if y is not None:
                out = tl.load(y + base + i, mask=i < last, other=0.0).to(tl.float32)
            else:
                out = centred * scale + shift
            g = tl.where(out > 0, g, 0.0)
        if dresidual is not None:
            tl.store(dresidual + base + i, g.to(dresidual.dtype.element_ty), mask=i < last)
        level += g
        along += g * centred
    tl.store(parts + program, tl.sum(level, 0))
    tl.store(parts + C * S + program, tl.sum(along, 0) * rstd)


@triton.jit
def _gradient(
    x, dy, dx, parts, gamma, beta, saved, dgamma, dbeta, C, L, per, S,
    MASK: tl.constexpr, SP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """MASK: dy has yet to go through ReLU."""
    channel, part = tl.program_id(0) // S, tl.program_id(0) % S
    s = tl.arange(0, SP)
    level = tl.sum(tl.load(parts + channel * S + s, mask=s < S, other=0.0), 0)
    along = tl.sum(tl.load(parts + C * S + channel * S + s, mask=s < S, other=0.0), 0)
    if part == 0:
        tl.store(dbeta + channel, level.to(dbeta.dtype.element_ty))
        tl.store(dgamma + channel, along.to(dgamma.dtype.element_ty))
    mean, rstd = tl.load(saved + channel), tl.load(saved + C + channel)
    scale = tl.load(gamma + channel).to(tl.float32) * rstd
    shift = tl.load(beta + channel).to(tl.float32)
    level = level / L
    along = along * rstd / L
    base = channel.to(tl.int64) * L
    last = tl.minimum(part * per + per, L)
    for start in range(part * per, last, BLOCK):
        i = start + tl.arange(0, BLOCK)
        centred = tl.load(x + base + i, mask=i < last, other=0.0).to(tl.float32) - mean
        g = tl.load(dy + base + i, mask=i < last, other=0.0).to(tl.float32)
        if MASK:
            g = tl.where(centred * scale + shift > 0, g, 0.0)
        change = scale * (g - level - centred * along)
        tl.store(dx + base + i, change.to(dx.dtype.element_ty), mask=i < last)


def plain_forward(
    x: Tensor, residual: Tensor | None, gamma: Tensor, beta: Tensor, left_out: Tensor | None,
    running_mean: Tensor, running_var: Tensor, momentum: float, eps: float, relu: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The twin of `forward`."""
    L = x[0].numel()
    var, mean = torch.var_mean(x.flatten(1).float(), 1, correction=0)
    running_mean.lerp_(mean if left_out is None else mean + left_out, momentum)
    running_var.lerp_(var * (L / (L - 1)), momentum)
    saved = torch.stack([mean, (var + eps).rsqrt()])
    y = _normalised(x, saved) * gamma[:, None] + beta[:, None]
    if residual is not None:
        y += residual.flatten(1)
    return (y.relu() if relu else y).view_as(x).to(x.dtype), saved


def _normalised(x: Tensor, saved: Tensor) -> Tensor:
    mean, rstd = saved[..., None]
    return (x.flatten(1).float() - mean) * rstd


@or_twin(plain_forward)
def forward(
    x: Tensor, residual: Tensor | None, gamma: Tensor, beta: Tensor, left_out: Tensor | None,
    running_mean: Tensor, running_var: Tensor, momentum: float, eps: float, relu: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Normalised x (C, ...), contiguous, and mean and 1 / deviation of its channels (2, C), in float32.

    The running statistics are updated. `left_out`: a bias (C,) that x lacks, for the running mean.
    """
    C, L, cut, programs = _cut(x)
    parts = x.new_empty(2, programs, dtype=torch.float32)
    saved = x.new_empty(2, C, dtype=torch.float32)
    y = torch.empty_like(x)
    launch(_moments, programs, x, parts, C, L, *cut, BLOCK=BLOCK, num_warps=WARPS)
    launch(
        _forward, programs, x, residual, y, parts, gamma, beta, left_out, running_mean, running_var, saved,
        C, L, *cut, momentum, EPS=eps, RELU=relu, SP=PARTS, BLOCK=BLOCK, num_warps=WARPS,
    )  # fmt: skip
    return y, saved


Gradients = tuple[Tensor | None, Tensor, Tensor]


def plain_backward(
    dy: Tensor, x: Tensor, y: Tensor | None, gamma: Tensor, beta: Tensor, saved: Tensor, relu: bool,
    dx: Tensor,
) -> Gradients:  # fmt: skip
    """The twin of `backward`."""
    g, normalised = dy.flatten(1).float(), _normalised(x, saved)
    if relu:
        out = normalised * gamma[:, None] + beta[:, None] if y is None else y.flatten(1)
        g = g * (out > 0)
    along, level = (g * normalised).mean(1, keepdim=True), g.mean(1, keepdim=True)
    dx.copy_(((g - level - normalised * along) * (gamma * saved[1])[:, None]).view_as(x))
    L = g.shape[1]
    dresidual = None if y is None else g.view_as(x).to(dy.dtype)
    dgamma, dbeta = ((one[:, 0] * L).to(gamma.dtype) for one in (along, level))
    return dresidual, dgamma, dbeta


@or_twin(plain_backward)
def backward(
    dy: Tensor, x: Tensor, y: Tensor | None, gamma: Tensor, beta: Tensor, saved: Tensor, relu: bool,
    dx: Tensor,
) -> Gradients:  # fmt: skip
    """Gradients of the residual, gamma and beta, given dy, contiguous; that of x is written into `dx`.

    y: the output, where there is a residual.
    """
    C, L, cut, programs = _cut(x)
    parts = x.new_empty(2, programs, dtype=torch.float32)
    dgamma, dbeta = torch.empty_like(gamma), torch.empty_like(beta)
    dresidual = None if y is None else torch.empty_like(dy)
    launch(
        _gradient_sums, programs, x, y, dy, dresidual, parts, gamma, beta, saved, C, L, *cut,
        RELU=relu, BLOCK=BLOCK, num_warps=WARPS_SUMS,
    )  # fmt: skip
    launch(
        _gradient, programs, x, dy if dresidual is None else dresidual, dx, parts, gamma, beta, saved,
        dgamma, dbeta, C, L, *cut, MASK=relu and dresidual is None, SP=PARTS, BLOCK=BLOCK, num_warps=WARPS,
    )  # fmt: skip
    return dresidual, dgamma, dbeta


class BatchNorm(torch.autograd.Function):
    """`apply(x, residual, gamma, beta, left_out, running_mean, running_var, momentum, eps, relu)`.

    x (C, ...) and the residual, if any, are contiguous and of one shape.
    """

    @staticmethod
    def forward(ctx, x: Tensor, residual: Tensor | None, gamma: Tensor, beta: Tensor, *rest):
        relu = rest[-1]
        y, saved = forward(x, residual, gamma, beta, *rest)
        ctx.save_for_backward(x, None if residual is None else y, gamma, beta, saved)
        ctx.relu = relu
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):
        x = ctx.saved_tensors[0]
        dx = torch.empty_like(x)
        return dx, *backward(dy.contiguous(), *ctx.saved_tensors, ctx.relu, dx), *[None] * 6


def _cut(x: Tensor) -> tuple[int, int, tuple[int, int], int]:
    """Channels, numbers of each, numbers of a part and parts of a channel, and programs."""
    C, L = len(x), x[0].numel()
    per = triton.cdiv(triton.cdiv(L, BLOCK), PARTS) * BLOCK
    parts = triton.cdiv(L, per)
    return C, L, (per, parts), C * parts
