"""Fused GPU operations, each with a plain PyTorch twin in `layers`, and the choice between the two.

A block runs fused, in bfloat16, float16 or float32, on a GPU with Triton, at the widths and numbers of joints
that the kernels have tile sizes for, on the first rung of the `ladder` that the GPU has room for. On CPUs, at
other widths or without Triton it runs plain. There is no setting.
"""

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo as uncompiled  # torch.compiler.disable loads the compiler at once

from tsgc.kernels.plain_pairs import MORE, plain_pairs
from tsgc.kernels.plain_subsets import plain_mix
from tsgc.kernels.switch import enabled as enabled
from tsgc.kernels.switch import plain as plain


@lru_cache(maxsize=1)
def has_triton() -> bool:
    """Whether there is Triton, which compiles the kernels."""
    return find_spec("triton") is not None


def fused_dtype(x: Tensor, width: int) -> torch.dtype | None:
    """The type in which a block of x (R, T, V, ...) with `width` channels runs fused; None: it runs plain."""
    if not (enabled() and x.is_cuda and has_triton()):
        return None
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype
    return dtype if _fused(x.device, dtype, width, x.shape[2], torch.is_grad_enabled()) else None


def _fused(device: torch.device, dtype: torch.dtype, width: int, joints: int, training: bool) -> bool:
    from tsgc.kernels.ladder import chosen

    return chosen(device, dtype, width, joints, training) is not None


# What `torch.compiler.assume_constant_result` does, which would load the compiler at once.
vars(_fused)["_dynamo_marked_constant"] = True


def settle(device: torch.device, widths: Sequence[int], joints: int, training: bool = True) -> str:
    """Choose the kernels of a network's blocks, in the type of its products; what was chosen, in words."""
    if not (enabled() and device.type == "cuda" and has_triton()):
        return "none, blocks run plain"
    from tsgc.kernels import ladder

    return ladder.settle(device, widths, joints, training)


def listed(device: torch.device, joints: int = 25) -> list[str]:
    """What the kernels for each type are cut for on a device, in training; nothing is compiled."""
    if not has_triton():
        return ["none, there is no Triton: blocks run plain"]
    from tsgc.kernels import ladder

    return ladder.listed(device, joints)


@uncompiled
def patch_norm(x: Tensor, norm: nn.LayerNorm, stride: int) -> Tensor:
    """LayerNorm of x (R, T, V, C), then patches of `stride` frames: (R, T // stride, V, stride * C)."""
    from tsgc.kernels.patch import PatchNorm

    result: Tensor = PatchNorm.apply(x.contiguous(), norm.weight, norm.bias, stride, norm.eps)
    return result


@uncompiled
def tall_linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """`layer` of x (..., K) -> (..., N), in the type of x."""
    from tsgc.kernels.tall import TallLinear

    result: Tensor = TallLinear.apply(x, layer.weight, layer.bias)
    return result


@uncompiled
def fused_block(x: Tensor, survival: Tensor | None, module: nn.Module, kept: int | None = None) -> Tensor:
    """`layers.Block.forward` of x (R, T, V, C), fused, in the type of x."""
    from tsgc.kernels.ladder import run_block

    result = run_block(x, survival, module, kept)
    if result is None:
        with plain():
            result = module(x, survival, kept)
    return result


def pooled(x: Tensor) -> Tensor:
    """The mean of x (R, T, V, C) over frames and joints, in float32: (R, C)."""
    if fused_dtype(x, x.shape[-1]) is None:
        return x.mean((1, 2), dtype=torch.float32)
    return _pooled(x)


@uncompiled
def _pooled(x: Tensor) -> Tensor:
    from tsgc.kernels.tall import Pooled

    result: Tensor = Pooled.apply(x)
    return result


TYPES = (torch.float32, torch.bfloat16, torch.float16)
MORE_FEATURES = MORE  # of `features_of_pairs` than were embedded: 1, the graph, zeros
MOST_JOINTS = 64  # whose graphs `subsets` mixes
MOST_CONVOLUTIONS, MOST_CHANNELS = 4, 128  # of `branches`: in all, and of one


def fuses(x: Tensor) -> bool:
    """Whether the kernels of the field's networks may run for x."""
    return enabled() and x.is_cuda and x.dtype in TYPES and has_triton()


@uncompiled
def channel_norm(
    x: Tensor, norm: nn.BatchNorm2d, left_out: Tensor | None, residual: Tensor | None, relu: bool
) -> Tensor:
    """`norm` of x (C, ...), of more than one number a channel, in training; then the residual; then ReLU.

    `left_out`: a bias (C,) that x lacks, for the running mean.
    """
    from tsgc.kernels.batch_norm import BatchNorm

    residual = None if residual is None else residual.contiguous()
    statistics = norm.running_mean, norm.running_var, float(norm.momentum or 0), norm.eps
    result: Tensor = BatchNorm.apply(
        x.contiguous(), residual, norm.weight, norm.bias, left_out, *statistics, relu
    )
    return result


def mix_subsets(graphs: Tensor, z: Tensor, bias: Tensor | None, turned: bool = False) -> Tensor:
    """`plain_subsets.plain_mix`, fused where that is possible."""
    if fuses(z) and z.shape[3] <= MOST_JOINTS:
        return _mix_subsets(graphs, z, bias, turned)
    return plain_mix(graphs, z, bias, turned)


@uncompiled
def _mix_subsets(graphs: Tensor, z: Tensor, bias: Tensor | None, turned: bool) -> Tensor:
    from tsgc.kernels.subsets import Mix

    result: Tensor = Mix.apply(graphs.contiguous(), z.contiguous(), bias, turned)
    return result


def gathered(one: Tensor, other: Tensor | None, joints: Tensor | None) -> Tensor:
    """`one` plus `other` (C, N, V, T), plus the gradient of a mean over T, `joints` (C, N, V); on GPUs."""
    from tsgc.kernels.add_up import add_up

    given = (None if value is None else value.contiguous() for value in (one, other, joints))
    result: Tensor = add_up(*given)
    return result


def takes_branches(sizes: Sequence[int]) -> bool:
    """Whether `temporal_branches` has room for convolutions of these channels, and for pooling, the last."""
    return 1 < len(sizes) <= MOST_CONVOLUTIONS + 1 and max(sizes) <= MOST_CHANNELS


@uncompiled
def temporal_branches(
    x: Tensor, norm: nn.BatchNorm2d, left_out: Tensor, convolutions: Sequence[nn.Conv2d], stride: int
) -> Tensor:
    """`norm` and ReLU of the first channels of x (C, N, V, T), then branches over time of all.

    As `branches.plain_branches`. `left_out`: a bias that the normalised channels lack.
    """
    from tsgc.kernels.branches import Cut
    from tsgc.kernels.norm_branches import NormBranches

    weights = [convolution.weight for convolution in convolutions]
    narrow = len(x) - norm.num_features
    cut = Cut(len(weights[0]), narrow, stride, tuple(one.dilation[0] for one in convolutions))
    statistics = norm.running_mean, norm.running_var, float(norm.momentum or 0), norm.eps
    result: Tensor = NormBranches.apply(
        x.contiguous(), norm.weight, norm.bias, left_out, *statistics, cut, *weights
    )
    return result


def features_of_pairs(embedded: Tensor, graphs: Tensor, alpha: Tensor) -> Tensor:
    """`plain_pairs.plain_pairs`, fused where that is possible."""
    if fuses(embedded) and embedded.shape[-1] <= MOST_JOINTS:
        return _features_of_pairs(embedded, graphs, alpha)
    return plain_pairs(embedded, graphs, alpha)


@uncompiled
def _features_of_pairs(embedded: Tensor, graphs: Tensor, alpha: Tensor) -> Tensor:
    from tsgc.kernels.pairs import Pairs

    result: Tensor = Pairs.apply(embedded.contiguous(), graphs.contiguous(), alpha)
    return result


def mean_over_frames(x: Tensor) -> Tensor:
    """The mean of x (C, N, V, T) over T, without a gradient of its own; on GPUs."""
    from tsgc.kernels.add_up import mean

    return mean(x.contiguous())
