"""The parts of TSGCNeXt: input normalisation, temporal convolutions, the DS-SMG block.

Inside the network a tensor is (R, T, V, C): R rows are the N*M bodies, channels last, so that
LayerNorm and the linear layers work on contiguous channels.
"""

import math
from typing import cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from tsgc import kernels
from tsgc.network import cpu_block

SUBSETS = 3  # adjacency matrices that a block learns; they start from identity, inward, outward
EXPANSION = 4  # hidden width of a block over its width: a quarter for each matrix, one passes through
NORM_EPS = 1e-6
DEVIATION = 0.02  # of the weights that a network starts with


@torch.no_grad()
def draw_weights(weight: Tensor) -> None:
    """Fill with numbers of a normal distribution, cut at 2: timm's `trunc_normal_`, to the bit.

    torch's own draws other numbers in some versions; timm brings torchvision with it, seconds of import.
    """
    weight.uniform_(-1, 1).erfinv_().mul_(DEVIATION * math.sqrt(2)).clamp_(-2, 2)


class InputNorm(nn.BatchNorm1d):
    """BatchNorm of each coordinate of each joint of each body, over the clips and frames of all ranks.

    Takes (N*T, M*V*C). In training on several ranks the statistics are those of the global micro-batch, as
    with `torch.nn.SyncBatchNorm`, which is for GPUs only. The input is data: the statistics need no gradient.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (
            self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        ):
            return super().forward(x)
        mean, var = self._global_statistics(x.detach().float())
        return F.batch_norm(x, mean, var, self.weight, self.bias, training=False, eps=self.eps)

    @torch.no_grad()
    def _global_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        sums = torch.cat([x.sum(0), x.new_full((1,), len(x))])  # filled on the device: no copy from the host
        dist.all_reduce(sums)
        mean, count = sums[:-1] / sums[-1], sums[-1]
        var = (x - mean).square().sum(0)
        dist.all_reduce(var)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var / (count - 1), self.momentum)
        return mean, var / count


class TemporalPatch(nn.Linear):
    """Convolution over time whose kernel is its stride: (R, T, V, C) -> (R, T // stride, V, width).

    Frames do not overlap, so it is one linear layer over `stride` frames' channels.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__(stride * channels, width)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.patches(x))

    def patches(self, x: Tensor) -> Tensor:
        """(R, T, V, C) -> (R, T // stride, V, stride * C)."""
        R, T, V, C = x.shape
        steps = T // self.stride
        x = x[:, : steps * self.stride].reshape(R, steps, self.stride, V, C)
        return x.transpose(2, 3).reshape(R, steps, V, self.stride * C)


class Stem(nn.Sequential):
    """A temporal patch of the input, then LayerNorm: (R, T, V, C) -> (R, T // stride, V, width)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__(TemporalPatch(channels, width, stride), nn.LayerNorm(width, eps=NORM_EPS))
        self.width = width
        self.factor = width / (stride * channels)  # how many times the numbers of x it makes

    def forward(self, x: Tensor) -> Tensor:
        dtype = kernels.fused_dtype(x, self.width)
        if dtype is None:
            return cpu_block.each_joint(super().forward, x, self.factor)
        patch = cast(TemporalPatch, self[0])
        features = kernels.tall_linear(patch.patches(x.to(dtype)), patch)  # so that half as much is moved
        return kernels.patch_norm(features, cast(nn.LayerNorm, self[1]), 1)


class Down(nn.Sequential):
    """LayerNorm, then a temporal patch that doubles the width: (R, T, V, C) -> (R, T // stride, V, width)."""

    def __init__(self, narrow: int, width: int, stride: int) -> None:
        super().__init__(nn.LayerNorm(narrow, eps=NORM_EPS), TemporalPatch(narrow, width, stride))
        self.factor = width / (stride * narrow)  # how many times the numbers of x it makes

    def forward(self, x: Tensor) -> Tensor:
        dtype = kernels.fused_dtype(x, x.shape[-1])
        if dtype is None:
            return cpu_block.each_joint(super().forward, x, self.factor)
        norm, patch = cast(nn.LayerNorm, self[0]), cast(TemporalPatch, self[1])
        return kernels.tall_linear(kernels.patch_norm(x.to(dtype), norm, patch.stride), patch)


class TemporalDepthwise(nn.Module):
    """Depthwise convolution over 3 frames, zeros beyond the ends: (R, T, V, C) -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3, width))
        self.bias = nn.Parameter(torch.zeros(width))
        draw_weights(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        # In the type of x, as autocast does with convolutions: bfloat16 times float32 would become float32.
        before, now, after = self.weight.to(x.dtype)
        x = F.pad(x, (0, 0, 0, 0, 1, 1))
        return x[:, :-2] * before + x[:, 1:-1] * now + x[:, 2:] * after + self.bias.to(x.dtype)


def mix_joints(adjacency: Tensor, h: Tensor) -> Tensor:
    """out[u] = sum over v of adjacency[k, u, v] h[v]: (K, V, V) and h (R, T, V, K, C) -> like h."""
    if h.is_cuda:
        # One copy of the matrices for each row: their gradient is then many small products and a sum. As one
        # reduction over all rows and frames it takes GPUs forty times as long.
        return torch.einsum("rkuv,rtvkc->rtukc", adjacency.expand(len(h), -1, -1, -1), h)
    return torch.einsum("kuv,rtvkc->rtukc", adjacency, h)


class Block(nn.Module):
    """One DS-SMG block: depthwise in time, mixing of joints by learned adjacency, inverted bottleneck.

    Takes x (R, T, V, C) and `survival` (R,), the drop-path factor of each row (0, or 1 / (1 - rate)),
    or None for no drop path. `kept`: how many rows have a factor other than 0, where the host knows that;
    fused float32 blocks then work on these rows alone. `layer_scale`: the first value of a learned factor for
    each channel of the branch, as in CaiT (arXiv 2103.17239) and ConvNeXt; None: no factors, as in the
    released network.
    """

    scale: nn.Parameter | None

    def __init__(self, width: int, adjacency: Tensor, layer_scale: float | None = None) -> None:
        super().__init__()
        # The learned adjacency (SUBSETS, V, V); checkpoints know it by this name.
        self.graphs = nn.Parameter(adjacency.clone())
        self.scale = None if layer_scale is None else nn.Parameter(torch.full((width,), layer_scale))
        self.temporal = TemporalDepthwise(width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.expand = nn.Linear(width, EXPANSION * width)
        self.project = nn.Linear(EXPANSION * width, width)

    def forward(self, x: Tensor, survival: Tensor | None = None, kept: int | None = None) -> Tensor:
        dtype = kernels.fused_dtype(x, x.shape[-1])
        if dtype is not None:
            return kernels.fused_block(x.to(dtype), survival, self, kept)
        if cpu_block.supports(x):
            return cpu_block.joints_first_block(x, survival, self)
        h = self.expand(self.norm(self.temporal(x))).unflatten(-1, (EXPANSION, -1))  # (R, T, V, 4, C)
        # Split, not sliced: the gradient of each slice would be a tensor as large as h.
        mixed, passed = h.split([SUBSETS, EXPANSION - SUBSETS], dim=-2)
        mixed = mix_joints(self.graphs.to(h.dtype), mixed)
        h = torch.cat([mixed, passed], dim=-2).flatten(-2)  # (R, T, V, 4C)
        h = self.project(F.gelu(h))
        if self.scale is not None:
            h = h * self.scale.to(h.dtype)
        if survival is not None:
            h = h * survival.to(h.dtype)[:, None, None, None]
        return x + h

    def projection(self) -> tuple[Tensor, Tensor]:
        """Weight (C, 4C) and bias (C,) of the last layer times the layer scale: what kernels read."""
        return fold(self.project.weight, self.project.bias, self.scale)


def block_widths(network: nn.Module) -> list[int]:
    """The widths of a network's blocks, each once; of most networks none."""
    blocks = (module for module in network.modules() if isinstance(module, Block))
    return list(dict.fromkeys(block.project.out_features for block in blocks))


def fold(weight: Tensor, bias: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """A layer's weight (C, K) and bias (C,), changed so that its output is multiplied by `scale` (C,)."""
    return (weight, bias) if scale is None else (weight * scale[:, None], bias * scale)
