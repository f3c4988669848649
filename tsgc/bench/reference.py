"""The published network written straight down, to compare speed with: the plain twin of `TSGCNeXt`.

Tensors are (R, C, T, V) as in the published code, R the N*M bodies. Temporal layers are 2-D convolutions,
layers on channels move them last and back again, and in training each block's adjacency is repeated over
the rows, so that its gradient is a batched product and a sum (the paper's acceleration). The mathematics
and the weights are those of `TSGCNeXt`: `plain_twin` makes one of the other.
"""

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsgc.network.layers import EXPANSION, NORM_EPS, SUBSETS
from tsgc.network.model import DOWN_STRIDE, STEM_STRIDE, VARIANTS, TSGCNeXt


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (R, C, T, V)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PlainBlock(nn.Module):
    """One DS-SMG block on (R, C, T, V)."""

    def __init__(self, width: int, joints: int) -> None:
        super().__init__()
        self.graphs = nn.Parameter(torch.empty(SUBSETS, joints, joints))
        self.temporal = nn.Conv2d(width, width, (3, 1), padding=(1, 0), groups=width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.expand = nn.Linear(width, EXPANSION * width)
        self.project = nn.Linear(EXPANSION * width, width)

    def forward(self, x: Tensor, survival: Tensor | None) -> Tensor:
        R, C, T, V = x.shape
        h = self.temporal(x).permute(0, 2, 3, 1)  # (R, T, V, C)
        h = self.expand(self.norm(h)).view(R, T, V, C, EXPANSION)
        adjacency: Tensor = self.graphs
        if self.training:
            adjacency = adjacency.repeat(R, 1, 1, 1)  # (R, SUBSETS, V, V)
            mixed = torch.einsum("rkuv,rtvck->rtuck", adjacency, h[..., :SUBSETS])
        else:
            mixed = torch.einsum("kuv,rtvck->rtuck", adjacency, h[..., :SUBSETS])
        h = torch.cat([mixed, h[..., SUBSETS:]], dim=-1).reshape(R, T, V, EXPANSION * C)
        h = self.project(F.gelu(h)).permute(0, 3, 1, 2)  # (R, C, T, V)
        if survival is not None:
            h = h * survival[:, None, None, None]
        return x + h


class PlainNetwork(nn.Module):
    """The whole network: (N, C, T, V, M) -> logits (N, K); `survival` (blocks, N*M): drop path's factors."""

    def __init__(self, variant: str, joints: int, bodies: int, channels: int, num_classes: int) -> None:
        super().__init__()
        shape = VARIANTS[variant]
        widths = shape.widths
        self.input_norm = nn.BatchNorm1d(bodies * joints * channels)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], (STEM_STRIDE, 1), stride=(STEM_STRIDE, 1)),
            ChannelNorm(widths[0], eps=NORM_EPS),
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(PlainBlock(width, joints) for _ in range(depth))
            for depth, width in zip(shape.depths, widths)
        )
        self.downs = nn.ModuleList(
            nn.Sequential(
                ChannelNorm(narrow, eps=NORM_EPS),
                nn.Conv2d(narrow, wide, (DOWN_STRIDE, 1), stride=(DOWN_STRIDE, 1)),
            )
            for narrow, wide in pairwise(widths)
        )
        self.norm = nn.LayerNorm(widths[-1], eps=NORM_EPS)
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor, survival: Tensor | None = None) -> Tensor:
        N, C, T, V, M = x.shape
        x = x.permute(0, 4, 3, 1, 2).reshape(N, M * V * C, T)
        x = self.input_norm(x).view(N, M, V, C, T)
        x = x.permute(0, 1, 3, 4, 2).reshape(N * M, C, T, V)
        x = self.stem(x)
        index = 0
        for stage, blocks in enumerate(self.stages):
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                x = block(x, None if survival is None else survival[index])
                index += 1
            if stage < len(self.downs):
                x = self.downs[stage](x)
        x = x.mean((2, 3)).view(N, M, -1).mean(1)
        return self.head(self.norm(x))


def plain_twin(model: TSGCNeXt) -> PlainNetwork:
    """A PlainNetwork with a network's weights, on its device and in its mode."""
    channels, joints, bodies = model.input_shape
    depths = tuple(len(list(blocks.children())) for blocks in model.stages)
    width = model.head.in_features
    variant = next(
        name for name, shape in VARIANTS.items() if shape.depths == depths and shape.widths[-1] == width
    )
    twin = PlainNetwork(variant, joints, bodies, channels, model.head.out_features)
    twin.load_state_dict(plain_layout(model.state_dict()))
    return twin.to(model.head.weight.device).train(model.training)


def plain_layout(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A TSGCNeXt's tensors by name (weights, or their gradients) in PlainNetwork's layout."""
    return {name: _as_plain(name, tensor) for name, tensor in tensors.items()}


def _as_plain(name: str, tensor: Tensor) -> Tensor:
    block_part = name.split(".")[-2:]
    if block_part == ["temporal", "weight"]:  # (3, C) -> (C, 1, 3, 1)
        return tensor.T[:, None, :, None].contiguous()
    if block_part[0] == "expand":  # rows: our quarters follow one another, there they are the fastest axis
        return tensor.unflatten(0, (EXPANSION, -1)).transpose(0, 1).flatten(0, 1)
    if block_part == ["project", "weight"]:  # the same for columns
        return tensor.unflatten(1, (EXPANSION, -1)).transpose(1, 2).flatten(1, 2)
    stride = STEM_STRIDE if name == "stem.0.weight" else DOWN_STRIDE
    if name == "stem.0.weight" or (name.startswith("downs.") and name.endswith(".1.weight")):
        return tensor.unflatten(1, (stride, -1)).transpose(1, 2)[..., None].contiguous()  # (W, C, stride, 1)
    return tensor
