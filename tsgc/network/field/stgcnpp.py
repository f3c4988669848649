"""ST-GCN++ (Duan et al., 2022, arXiv 2205.09443), as released with PYSKL, for comparisons.

Its function is the published one; 1x1 convolutions that read the same tensor are one matrix product.
"""

from typing import cast

import torch
from torch import Tensor, nn

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from tsgc.network.adjacency import adjacency
from tsgc.network.field.gcn_layers import (
    BodyNorm,
    GraphLayer,
    GraphNetwork,
    Norm,
    Pointwise,
    Shortcut,
    TemporalBranches,
    Unit,
    unit_shapes,
)

WIDTH = 64  # of the first unit
KERNEL, DILATIONS = 3, (1, 2, 3, 4)  # frames of the temporal convolutions
BRANCHES = len(DILATIONS) + 2
HEAD_DEVIATION = 0.01  # of the classifier's weights


class SpatialGraph(GraphLayer):
    """Mixes joints with the learned adjacency of three subsets: (C, N, V, T) -> (width, N, V, T).

    out[w] = sum over v of x[v] adjacency[k, v, w]: along the edges in the other direction than CTR-GCN.
    """

    turned = True


class TemporalLayer(nn.Sequential):
    """Six branches over time, a 1x1 convolution, the residual and ReLU: (C, N, V, T) -> (C, N, V, T')."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__(
            TemporalBranches(width, KERNEL, DILATIONS, stride),
            Norm(width),
            nn.ReLU(),
            Pointwise(width, width, before_norm=True),
            Norm(width),
        )

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        branches, norm, _, transform, last_norm = self
        x = norm(branches(input), cast(TemporalBranches, branches).left_out(), relu=True)
        return last_norm(transform(x), transform.bias, residual, relu=True)


class STGCNPP(GraphNetwork):
    """ST-GCN++: (N, C, T, V, M) -> logits (N, num_classes).

    `width`: of the first unit, 64 in the paper; `dropout`: before the classifier.
    Raises TsgcError: a width below the number of temporal branches, too few frames.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        num_classes: int,
        *,
        bodies: int = 2,
        channels: int = 3,
        frames: int = 100,
        width: int = WIDTH,
        dropout: float = 0.0,
    ) -> None:
        if width < BRANCHES:
            raise TsgcError(f"ST-GCN++ of width {width}, expected {BRANCHES} or more, one for each branch")
        matrices = torch.from_numpy(adjacency(skeleton))
        shapes = list(unit_shapes(channels, width))
        norm = BodyNorm(skeleton.num_joints * channels)  # bodies share it
        units = [_unit(number, *shape, matrices) for number, shape in enumerate(shapes)]
        last = shapes[-1][1]
        super().__init__(skeleton, num_classes, bodies, channels, frames, dropout, norm, units, last)
        nn.init.normal_(self.head.weight, std=HEAD_DEVIATION)
        nn.init.zeros_(self.head.bias)


def _unit(number: int, channels: int, width: int, stride: int, matrices: Tensor) -> Unit:
    residual: nn.Module | None = nn.Identity()
    if number == 0:
        residual = None
    elif (channels, stride) != (width, 1):
        residual = Shortcut(channels, width, stride)
    return Unit(SpatialGraph(channels, width, matrices), TemporalLayer(width, stride), residual)
