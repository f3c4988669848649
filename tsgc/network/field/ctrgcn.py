"""CTR-GCN (Chen et al., ICCV 2021, arXiv 2107.12213): channel-wise refined graphs, for comparisons.

Its function is the published one. What is linear is cut for few, large products: the features of a pair of
joints come from the mean over time, and the three subsets are one tensor all the way.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from tsgc import kernels
from tsgc.network.adjacency import adjacency
from tsgc.network.field.gcn_layers import (
    SUBSETS,
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
from tsgc.network.field.product import product

WIDTH = 64  # of the first unit
KERNEL, DILATIONS = 5, (1, 2)  # frames of the temporal convolutions
BRANCHES = len(DILATIONS) + 2
REDUCTION = 8  # channels over the features of a pair of joints
FEWEST = 8  # features of a pair of joints, of an input with few channels
FEW = 16  # channels
NORM_START = 1e-6  # of the weights of a graph layer's last BatchNorm
NORM_DEVIATION = 0.02  # of the weights of a temporal layer's BatchNorms


class RefinedGraph(GraphLayer):
    """Mixes joints with a graph for each clip, subset and channel: (C, N, V, T) -> (width, N, V, T).

    A graph is the subset's learned adjacency, plus `alpha` times a 1x1 convolution of the features of pairs:
    tanh of the difference of two embeddings of the joints, averaged over time.
    """

    averages = True
    embed: Pointwise
    refine: Pointwise

    def __init__(self, channels: int, width: int, adjacency: Tensor) -> None:
        features = FEWEST if channels <= FEW else channels // REDUCTION
        embed = Pointwise(channels, 2 * SUBSETS * features)
        refine = Pointwise(features, SUBSETS * width)  # of each subset's own features
        super().__init__(channels, width, adjacency, embed=embed, refine=refine)
        self.alpha = nn.Parameter(torch.zeros(1))
        self.one: Tensor
        one = F.one_hot(torch.zeros(SUBSETS, width, dtype=torch.long), kernels.MORE_FEATURES - 1).float()
        self.register_buffer("one", one, persistent=False)
        _draw(self.embed, features)
        _draw(self.refine, width)
        _draw(self.transform, width)
        nn.init.constant_(self.norm.weight, NORM_START)
        if isinstance(self.shortcut, Shortcut):
            _draw(self.shortcut[0], width)

    def mixing(self, joints: Tensor | None) -> Tensor:
        """The graphs (SUBSETS, width, N, V, V) of clips whose joints (C, N, V) are averaged over time.

        The adjacency and the bias are two more features of a pair, so that one product gives the sum.
        """
        assert joints is not None
        _, N, V = joints.shape
        embedded = self.embed(joints).unflatten(0, (2, SUBSETS, -1))
        pairs = kernels.features_of_pairs(embedded, self.graphs, self.alpha)
        weight, bias = self.refine.weight.unflatten(0, (SUBSETS, -1)), self.refine.bias.view(SUBSETS, -1, 1)
        weight = torch.cat([weight, bias, self.one], dim=2)
        return product(weight, pairs.flatten(2), N).unflatten(2, (N, V, V))


class TemporalLayer(nn.Sequential):
    """Four branches over time, then BatchNorm, the residual and ReLU: (C, N, V, T) -> (C, N, V, T').

    In the published network this norm is one of each branch, which is the same.
    """

    def __init__(self, width: int, stride: int) -> None:
        branches, norm = TemporalBranches(width, KERNEL, DILATIONS, stride), Norm(width)
        super().__init__(branches, norm)
        _draw(branches.enter, width // BRANCHES)
        for convolution in branches.convolutions:
            assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
            nn.init.zeros_(convolution.bias)
        for layer in (branches.enter_norm, norm):
            nn.init.normal_(layer.weight, 1, NORM_DEVIATION)

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        branches, norm = self
        return norm(branches(input), cast(TemporalBranches, branches).left_out(), residual, relu=True)


class CTRGCN(GraphNetwork):
    """CTR-GCN: (N, C, T, V, M) -> logits (N, num_classes).

    `width`: of the first unit, 64 in the paper, a multiple of 4; `dropout`: before the classifier.
    Raises TsgcError: another width, too few frames.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        num_classes: int,
        *,
        bodies: int = 2,
        channels: int = 3,
        frames: int = 64,
        width: int = WIDTH,
        dropout: float = 0.0,
    ) -> None:
        if width < BRANCHES or width % BRANCHES:
            raise TsgcError(f"CTR-GCN of width {width}, expected a multiple of {BRANCHES}, its branches")
        matrices = torch.from_numpy(adjacency(skeleton))
        shapes = list(unit_shapes(channels, width))
        norm = BodyNorm(bodies * skeleton.num_joints * channels)
        units = [_unit(number, *shape, matrices) for number, shape in enumerate(shapes)]
        last = shapes[-1][1]
        super().__init__(skeleton, num_classes, bodies, channels, frames, dropout, norm, units, last)
        nn.init.normal_(self.head.weight, std=(2 / num_classes) ** 0.5)


def _unit(number: int, channels: int, width: int, stride: int, matrices: Tensor) -> Unit:
    residual: nn.Module | None = nn.Identity()
    if number == 0:
        residual = None
    elif (channels, stride) != (width, 1):
        residual = Shortcut(channels, width, stride)
        _draw(residual[0], width)
    return Unit(RefinedGraph(channels, width, matrices), TemporalLayer(width, stride), residual)


def _draw(layer: nn.Module, fan_out: int) -> None:
    """Draw the weights of a 1x1 convolution, or of several in one, each of `fan_out` channels (He, 2015)."""
    assert isinstance(layer, Pointwise)
    nn.init.normal_(layer.weight, std=(2 / fan_out) ** 0.5)
    nn.init.zeros_(layer.bias)
