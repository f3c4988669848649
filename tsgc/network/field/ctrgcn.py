"""CTR-GCN (Chen et al., ICCV 2021, arXiv 2107.12213): channel-wise refined graphs, for comparisons.

Its function is the published one. What is linear is cut for few, large products: the features of a pair of
joints come from the mean over time, and the three subsets are one tensor all the way.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from tsgc.network.adjacency import adjacency
from tsgc.network.field.gcn_layers import (
    SUBSETS,
    BodyNorm,
    GraphNetwork,
    Norm,
    Pointwise,
    Shortcut,
    TemporalBranches,
    Unit,
    unit_shapes,
)

WIDTH = 64  # of the first unit
KERNEL, DILATIONS = 5, (1, 2)  # frames of the temporal convolutions
BRANCHES = len(DILATIONS) + 2
REDUCTION = 8  # channels over the features of a pair of joints
FEWEST = 8  # features of a pair of joints, of an input with few channels
FEW = 16  # channels
NORM_START, NORM_DEVIATION = (
    1e-6,
    0.02,
)  # of BatchNorm's weights: a graph layer's last one; a temporal layer's


class RefinedGraph(nn.Module):
    """Mixes joints with a graph for each clip, subset and channel: (N, C, T, V) -> (N, width, T, V).

    A graph is the subset's learned adjacency, plus `alpha` times a 1x1 convolution of the features of pairs:
    tanh of the difference of two embeddings of the joints, averaged over time.
    """

    def __init__(self, channels: int, width: int, adjacency: Tensor) -> None:
        super().__init__()
        features = FEWEST if channels <= FEW else channels // REDUCTION
        self.graphs = nn.Parameter(adjacency.clone())  # (SUBSETS, V, V); settings know it by this name
        self.alpha = nn.Parameter(torch.zeros(1))
        self.embed = Pointwise(channels, 2 * SUBSETS * features)
        self.refine = Pointwise(features, SUBSETS * width)  # of each subset's own features
        self.transform = Pointwise(channels, SUBSETS * width)
        self.norm = Norm(width)
        self.shortcut = nn.Identity() if channels == width else Shortcut(channels, width)
        self.one: Tensor
        self.register_buffer("one", torch.ones(SUBSETS, width, 1), persistent=False)
        _draw(self.embed, features)
        _draw(self.refine, width)
        _draw(self.transform, width)
        nn.init.constant_(self.norm.weight, NORM_START)
        if isinstance(self.shortcut, Shortcut):
            _draw(self.shortcut[0], width)

    def forward(self, x: Tensor) -> Tensor:
        N, _, T, V = x.shape
        graphs = self.refined(x.mean(2)).view(-1, V, V)  # of clips, subsets, channels
        z = self.transform(x).view(-1, T, V)
        mixed = torch.bmm(z, graphs.mT).view(N, SUBSETS, -1, T, V).sum(1)
        return F.relu(self.norm(mixed) + self.shortcut(x))

    def refined(self, joints: Tensor) -> Tensor:
        """The graphs (N, SUBSETS, width, V*V) of clips whose joints (N, C, V) are averaged over time.

        The adjacency and the bias are two more features of a pair, so that one product gives the sum.
        """
        one, other = self.embed(joints).unflatten(1, (2, SUBSETS, -1)).unbind(1)  # (N, SUBSETS, features, V)
        pairs = torch.tanh(one[..., :, None] - other[..., None, :]).flatten(3)
        N, _, _, places = pairs.shape
        alpha, graphs = self.alpha.to(pairs.dtype), self.graphs.to(pairs.dtype).flatten(1)[:, None]
        features = [alpha * pairs, alpha.expand(N, SUBSETS, 1, places), graphs.expand(N, -1, -1, -1)]
        pairs = torch.cat(features, dim=2)
        weight, bias = self.refine.weight.unflatten(0, (SUBSETS, -1)), self.refine.bias.view(SUBSETS, -1, 1)
        parts = [part.to(pairs.dtype).expand(N, -1, -1, -1) for part in (weight, bias, self.one)]
        weight = torch.cat(parts, dim=3)
        return torch.bmm(weight.flatten(0, 1), pairs.flatten(0, 1)).unflatten(0, (N, SUBSETS))


class TemporalLayer(nn.Sequential):
    """Four branches over time, then BatchNorm: (N, C, T, V) -> (N, C, T', V).

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
