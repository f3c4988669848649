"""BatchNorm and ReLU of the first channels, then `branches` of them and of the rest: (C, N, V, T)."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsgc.kernels import batch_norm
from tsgc.kernels.branches import backward, branches


class NormBranches(torch.autograd.Function):
    """`apply(x, gamma, beta, left_out, running_mean, running_var, momentum, eps, cut, *weights)`.

    x is contiguous; gamma has as many channels as are normalised. Gradients of both parts of x are written
    where they belong, so that nothing is joined.
    """

    @staticmethod
    def forward(ctx, x: Tensor, gamma: Tensor, beta: Tensor, *rest):
        statistics, cut, weights = rest[:5], rest[5], rest[6:]
        normed, passed = x[: len(gamma)], x[len(gamma) :]
        h, saved = batch_norm.forward(normed, None, gamma, beta, *statistics, True)
        ctx.save_for_backward(x, gamma, beta, saved, h, *weights)
        ctx.cut = cut
        return branches(h, passed, cut, *weights)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):
        x, gamma, beta, saved, h, *weights = ctx.saved_tensors
        dx = torch.empty_like(x)
        dnormed, dpassed = dx[: len(gamma)], dx[len(gamma) :]
        dh, dweights = backward(dy.contiguous(), h, dpassed, ctx.cut, *weights)
        _, dgamma, dbeta = batch_norm.backward(dh, x[: len(gamma)], None, gamma, beta, saved, True, dnormed)
        return dx, dgamma, dbeta, *[None] * 6, *dweights
