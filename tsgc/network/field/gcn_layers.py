"""What the graph convolutional networks of the field share: input, ten units, temporal branches, head.

Inside these networks a tensor is (N*M, C, T, V): bodies are clips of their own. Their 1x1 convolutions are
matrix products, and those that read the same tensor are one.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton

SUBSETS = 3  # adjacency matrices: identity, inward, outward
WIDENINGS = (1, 1, 1, 1, 2, 2, 2, 4, 4, 4)  # widths of the ten units (ST-GCN, 2018); frames halve with each
POOLED_FRAMES = 3  # frames of the max-pooling branch


def product_dtype(x: Tensor) -> torch.dtype:
    """The type in which autocast multiplies, where it is on; else the type of x.

    Weights are converted to it before they are expanded over the clips: autocast would convert every copy.
    """
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


class Pointwise(nn.Module):
    """A 1x1 convolution: (N, C, ...) -> (N, width, ...), as one matrix product a clip."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, channels))
        self.bias = nn.Parameter(torch.empty(width))
        bound = channels**-0.5  # as torch.nn.Conv2d
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        dtype = product_dtype(x)
        # Of x.shape[0], not len(x): a traced program's batch may change.
        weight = self.weight.to(dtype).expand(x.shape[0], -1, -1)
        return torch.baddbmm(self.bias.to(dtype)[:, None], weight, x.flatten(2)).unflatten(2, x.shape[2:])


class Norm(nn.BatchNorm2d):
    """BatchNorm without torch's count of batches, which nothing reads: a kernel less in every call."""

    def forward(self, x: Tensor) -> Tensor:
        mean, var, training, momentum = self.running_mean, self.running_var, self.training, self.momentum
        assert momentum is not None
        return F.batch_norm(x, mean, var, self.weight, self.bias, training, momentum, self.eps)


class BodyNorm(nn.BatchNorm1d):
    """BatchNorm of each coordinate of each joint: (N, C, T, V, M) -> (N*M, C, T, V).

    Of M*V*C features: each body has its own; of V*C: bodies share theirs.
    """

    def forward(self, x: Tensor) -> Tensor:
        N, C, T, V, M = x.shape
        x = x.permute(0, 4, 3, 1, 2).reshape(-1, self.num_features, T)
        return super().forward(x).view(N, M, V, C, T).permute(0, 1, 3, 4, 2).reshape(N * M, C, T, V)


class TemporalBranches(nn.Module):
    """Branches over time side by side, each on a part of the width: (N, C, T, V) -> (N, C, T', V).

    Every branch begins with a 1x1 convolution. One ends there; in the others follow BatchNorm, ReLU, and a
    convolution of `kernel` frames with one of the `dilations`, or max-pooling. `stride` frames become one.
    The first branch takes what the width leaves over when it is divided.
    """

    def __init__(self, width: int, kernel: int, dilations: Sequence[int], stride: int) -> None:
        super().__init__()
        branches = len(dilations) + 2
        narrow = width // branches
        self.sizes = [width - narrow * (branches - 1), *[narrow] * (branches - 2)]
        self.narrow, self.stride = narrow, stride
        self.enter = Pointwise(width, width)
        self.enter_norm = Norm(width - narrow)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(size, size, (kernel, 1), (stride, 1), (dilation * (kernel - 1) // 2, 0), (dilation, 1))
            for size, dilation in zip(self.sizes, dilations)
        )

    def forward(self, x: Tensor) -> Tensor:
        # Split, not sliced: the gradients of the parts are joined once. ReLU after it makes each contiguous.
        hidden, passed = self.enter(x).split([sum(self.sizes), self.narrow], dim=1)
        *convolved, pooled = (F.relu(part) for part in self.enter_norm(hidden).split(self.sizes, dim=1))
        parts = [convolve(part) for convolve, part in zip(self.convolutions, convolved)]
        parts.append(F.max_pool2d(pooled, (POOLED_FRAMES, 1), (self.stride, 1), (POOLED_FRAMES // 2, 0)))
        return torch.cat([*parts, passed[:, :, :: self.stride]], dim=1)


class Shortcut(nn.Sequential):
    """The residual where a shape changes: 1x1 convolution with a stride in time, BatchNorm."""

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__(Pointwise(channels, width), Norm(width))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.stride == 1 else x[:, :, :: self.stride])


class Unit(nn.Module):
    """A graph layer, a temporal layer, and ReLU of their output and the residual (None: no residual)."""

    def __init__(self, graph: nn.Module, temporal: nn.Module, residual: nn.Module | None) -> None:
        super().__init__()
        self.graph, self.temporal, self.residual = graph, temporal, residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.temporal(self.graph(x))
        return F.relu(y if self.residual is None else y + self.residual(x))


class GraphNetwork(nn.Module):
    """Classifies clips of skeletons: (N, C, T, V, M) -> logits (N, num_classes).

    The units come from the network that this is the base of. Strides round up, so one frame is enough.
    """

    min_frames = 1

    def __init__(
        self,
        skeleton: Skeleton,
        num_classes: int,
        bodies: int,
        channels: int,
        frames: int,
        dropout: float,
        norm: BodyNorm,
        units: Sequence[Unit],
        width: int,
    ) -> None:
        super().__init__()
        if frames < self.min_frames:
            raise TsgcError(
                f"clips of {frames} frames, {type(self).__name__} needs {self.min_frames} at least"
            )
        self.input_shape = (channels, skeleton.num_joints, bodies)
        self.input_norm = norm
        self.units = nn.Sequential(*units)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of clips; TsgcError for an input of another shape than the network's."""
        N, C, _, V, M = x.shape
        if self.input_shape != (C, V, M):
            raise TsgcError(f"input of (C, V, M) = {(C, V, M)}, the network expects {self.input_shape}")
        x = self.units(self.input_norm(x))
        x = x.mean((2, 3)).view(N, M, -1).mean(1)  # (N*M, C, T, V) -> (N, C)
        return self.head(self.dropout(x))


def unit_shapes(channels: int, width: int) -> Iterator[tuple[int, int, int]]:
    """(channels in, channels out, stride) of the ten units; frames halve where the width doubles."""
    before = channels
    for number, widening in enumerate(WIDENINGS):
        stride = 2 if number and widening != WIDENINGS[number - 1] else 1
        yield before, widening * width, stride
        before = widening * width
