"""What the graph convolutional networks of the field share: input, ten units, temporal branches, head.

Inside these networks a tensor is (C, N*M, V, T): bodies are clips of their own, and a channel is one run of
memory. So a 1x1 convolution is one matrix product over all clips, those that read the same tensor are one,
and parts of the channels are taken without a copy.

A bias before a BatchNorm changes nothing in training: the norm takes it away with the mean. There it is left
out, its gradient is 0, which the network gives it, and the norm adds it to the mean that it keeps.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from tsgc import kernels
from tsgc.network.field.product import autocast_type, fan_out, product

SUBSETS = 3  # adjacency matrices: identity, inward, outward
WIDENINGS = (1, 1, 1, 1, 2, 2, 2, 4, 4, 4)  # widths of the ten units (ST-GCN, 2018); frames halve with each
POOLED_FRAMES = 3  # frames of the max-pooling branch


class _LeftOut(torch.autograd.Function):
    """x as it is, and gradient 0 for biases that norms would take away: one tensor for all of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *biases: Tensor) -> Tensor:
        ctx.save_for_backward(*biases)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, dx: Tensor) -> tuple[Tensor, ...]:
        sizes = [len(bias) for bias in ctx.saved_tensors]
        return dx, *ctx.saved_tensors[0].new_zeros(sum(sizes)).split(sizes)


class Pointwise(nn.Module):
    """A 1x1 convolution: (C, ...) -> (width, ...), as one matrix product.

    `before_norm`: its output goes into a BatchNorm and nowhere else.
    """

    def __init__(self, channels: int, width: int, before_norm: bool = False) -> None:
        super().__init__()
        self.before_norm = before_norm
        self.weight = nn.Parameter(torch.empty(width, channels))
        self.bias = nn.Parameter(torch.empty(width))
        bound = channels**-0.5  # as torch.nn.Conv2d
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        if self.before_norm and self.training:
            return self.product(x)
        return torch.addmm(self.bias[:, None], self.weight, x.flatten(1)).unflatten(1, x.shape[1:])

    def product(self, x: Tensor) -> Tensor:
        """The convolution of x (C, N, ...) without its bias."""
        return product(self.weight[None], x.flatten(1)[None], x.shape[1])[0].unflatten(1, x.shape[1:])


class TemporalConvolution(nn.Conv2d):
    """A convolution over frames before a BatchNorm: (C, N, V, T) -> (width, N, V, T')."""

    def __init__(self, width: int, kernel: int, stride: int, dilation: int) -> None:
        padding = dilation * (kernel - 1) // 2
        super().__init__(width, width, (kernel, 1), (stride, 1), (padding, 0), (dilation, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The clips' joints are the rows of one picture, frames its columns."""
        bias = None if self.training else self.bias
        stride, padding, dilation = (
            (0, *given)[:0:-1] for given in (self.stride, self.padding, self.dilation)
        )
        y = F.conv2d(x.flatten(1, 2)[None], self.weight.mT, bias, stride, padding, dilation)[0]
        return y.unflatten(1, x.shape[1:3])


class Norm(nn.BatchNorm2d):
    """BatchNorm of (C, N, V, T), then the residual is added, then ReLU, where there are any.

    Without torch's count of batches, which nothing reads: a kernel less in every call.
    """

    def forward(
        self, x: Tensor, left_out: Tensor | None = None, residual: Tensor | None = None, relu: bool = False
    ) -> Tensor:
        """`left_out`: the bias (C,) that x lacks in training."""
        mean, var, training, momentum = self.running_mean, self.running_var, self.training, self.momentum
        assert mean is not None and momentum is not None
        if training and x[0].numel() > 1 and kernels.fuses(x):
            return kernels.channel_norm(x, self, left_out, residual, relu)
        kept = mean.clone() if training and left_out is not None else mean  # torch's backward pass holds it
        y = F.batch_norm(x.flatten(1)[None], kept, var, self.weight, self.bias, training, momentum, self.eps)
        if training and left_out is not None:
            with torch.no_grad():
                mean.copy_(kept.add(left_out, alpha=momentum))
        y = y[0].view_as(x)
        if residual is not None:
            y = y + residual
        return F.relu(y) if relu else y


class BodyNorm(nn.BatchNorm1d):
    """BatchNorm of each coordinate of each joint: (N, C, T, V, M) -> (C, N*M, V, T).

    Of M*V*C features: each body has its own; of V*C: bodies share theirs.
    """

    def forward(self, x: Tensor) -> Tensor:
        N, C, T, V, M = x.shape
        x = x.permute(0, 4, 3, 1, 2).reshape(-1, self.num_features, T)
        return super().forward(x).view(N * M, V, C, T).permute(2, 0, 1, 3).contiguous()


class TemporalBranches(nn.Module):
    """Branches over time side by side, each on a part of the width: (C, N, V, T) -> (C, N, V, T').

    Every branch begins with a 1x1 convolution. One ends there; in the others follow BatchNorm, ReLU, and a
    convolution of `kernel` frames with one of the `dilations`, or max-pooling. `stride` frames become one.
    The first branch takes what the width leaves over when it is divided. A BatchNorm comes next.
    """

    def __init__(self, width: int, kernel: int, dilations: Sequence[int], stride: int) -> None:
        super().__init__()
        branches = len(dilations) + 2
        narrow = width // branches
        self.sizes = [width - narrow * (branches - 1), *[narrow] * (branches - 2)]
        self.narrow, self.stride = narrow, stride
        self.zeros: Tensor  # for the pooled channels, whose bias the norm before them has taken away
        self.register_buffer("zeros", torch.zeros(narrow), persistent=False)
        self.enter = Pointwise(width, width, before_norm=True)
        self.enter_norm = Norm(width - narrow)
        self.convolutions = nn.ModuleList(
            TemporalConvolution(size, kernel, stride, dilation)
            for size, dilation in zip(self.sizes, dilations)
        )

    def forward(self, x: Tensor) -> Tensor:
        x, left_out = self.enter(x), self.enter.bias.detach()[: -self.narrow]
        convolutions = [
            convolution for convolution in self.convolutions if isinstance(convolution, nn.Conv2d)
        ]
        if self.training and kernels.fuses(x) and kernels.takes_branches(self.sizes):
            return kernels.temporal_branches(x, self.enter_norm, left_out, convolutions, self.stride)
        # Split, not sliced: the gradients of the parts are joined once.
        hidden, passed = x.split([sum(self.sizes), self.narrow])
        hidden = self.enter_norm(hidden, left_out, relu=True)
        *convolved, pooled = hidden.split(self.sizes)
        parts = [convolve(part) for convolve, part in zip(self.convolutions, convolved)]
        rows = F.max_pool2d(
            pooled.flatten(1, 2)[None], (1, POOLED_FRAMES), (1, self.stride), (0, POOLED_FRAMES // 2)
        )
        parts.append(rows[0].unflatten(1, x.shape[1:3]))
        return torch.cat([*parts, passed[..., :: self.stride]])

    @torch.no_grad()
    def left_out(self) -> Tensor:
        """The bias that the output lacks in training."""
        enter = self.enter.bias
        biases = [cast(Tensor, convolution.bias) for convolution in self.convolutions]
        return torch.cat([*biases, self.zeros, enter[-self.narrow :]])


class Shortcut(nn.Sequential):
    """The residual where a shape changes: 1x1 convolution with a stride in time, BatchNorm."""

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__(Pointwise(channels, width, before_norm=True), Norm(width))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        convolution, norm = self
        return norm(convolution(x if self.stride == 1 else x[..., :: self.stride]), convolution.bias)


class GraphLayer(nn.Module):
    """Joints mixed by SUBSETS graphs: (C, N, V, T) -> (width, N, V, T).

    A convolution of SUBSETS parts, each mixed by its graph; their sum; BatchNorm, residual, ReLU. `first`:
    modules that make the graphs.
    """

    turned = False
    """Whether the graphs are transposed."""
    averages = False
    """Whether graphs depend on the clip, by the mean of x over time."""

    def __init__(self, channels: int, width: int, adjacency: Tensor, **first: nn.Module) -> None:
        super().__init__()
        self.graphs = nn.Parameter(adjacency.clone())  # (SUBSETS, V, V); settings know it by this name
        for name, module in first.items():
            self.add_module(name, module)
        self.transform = Pointwise(channels, SUBSETS * width)
        self.norm = Norm(width)
        self.shortcut = nn.Identity() if channels == width else Shortcut(channels, width)

    def mixing(self, joints: Tensor | None) -> Tensor:
        """The graphs: (SUBSETS, V, V), or of each clip and channel (SUBSETS, width, N, V, V)."""
        return self.graphs

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output, and x for other uses: on GPUs the gradients of all are added up at once."""
        z, bias, joints, again, beyond = self.uses(x)
        mixed = kernels.mix_subsets(self.mixing(joints), z.unflatten(0, (SUBSETS, -1)), bias, self.turned)
        return self.norm(mixed, residual=self.shortcut(again), relu=True), beyond

    def uses(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor, Tensor]:
        """The convolution of x, the bias that it lacks, the mean of x over time, and x twice."""
        if torch.is_grad_enabled() and kernels.fuses(x):
            dtype = autocast_type(x)
            weight = self.transform.weight.to(dtype)
            z, joints, again, beyond = fan_out(weight, x.to(dtype), self.averages)
            return z, self.transform.bias, joints, again, beyond
        return self.transform(x), None, x.mean(3) if self.averages else None, x, x


class Unit(nn.Module):
    """A graph layer, a temporal layer, and ReLU of their output and the residual (None: no residual)."""

    def __init__(self, graph: GraphLayer, temporal: nn.Module, residual: nn.Module | None) -> None:
        super().__init__()
        self.graph, self.temporal, self.residual = graph, temporal, residual

    def forward(self, x: Tensor) -> Tensor:
        mixed, x = self.graph(x)
        y: Tensor = self.temporal(mixed, None if self.residual is None else self.residual(x))
        return y


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
        self.without_bias = [module for module in self.units.modules() if _leaves_bias_out(module)]
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of clips; TsgcError for an input of another shape than the network's."""
        N, C, _, V, M = x.shape
        if self.input_shape != (C, V, M):
            raise TsgcError(f"input of (C, V, M) = {(C, V, M)}, the network expects {self.input_shape}")
        x = self.units(self.input_norm(x))
        x = x.mean((2, 3)).view(-1, N, M).mean(2).t()  # (C, N*M, V, T) -> (N, C)
        if self.training:
            x = _LeftOut.apply(x, *(module.bias for module in self.without_bias))
        return self.head(self.dropout(x))


def _leaves_bias_out(module: nn.Module) -> bool:
    return isinstance(module, TemporalConvolution) or (isinstance(module, Pointwise) and module.before_norm)


def unit_shapes(channels: int, width: int) -> Iterator[tuple[int, int, int]]:
    """(channels in, channels out, stride) of the ten units; frames halve where the width doubles."""
    before = channels
    for number, widening in enumerate(WIDENINGS):
        stride = 2 if number and widening != WIDENINGS[number - 1] else 1
        yield before, widening * width, stride
        before = widening * width
