"""Layers whose mixing depends on the clip: of its joints, and of its joints, frames and bodies at once.

Each adds to its input what a last product gives that starts at zero: a network that has them starts as the
network without them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsgc.network.layers import NORM_EPS, draw_weights

HEADS = 4  # groups of channels that share a graph, or attend on their own


def silent(width: int) -> nn.Linear:
    """A layer from `width` to `width` channels that gives 0 before it has learned."""
    layer = nn.Linear(width, width)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def drawn(width: int, out: int) -> nn.Linear:
    """A layer whose weights start as a block's."""
    layer = nn.Linear(width, out)
    draw_weights(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class ClipGraph(nn.Module):
    """Mixing of joints by graphs made of the clip: x (R, T, V, C) -> the same.

    For each group of channels joint u takes from joint v softmax(q_u . k_v) of v's features, in all frames;
    q and k come from the joints' features averaged over time, as CTR-GCN's refinement does
    (arXiv 2107.12213).
    """

    def __init__(self, width: int, heads: int = HEADS) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.relate = drawn(width, 2 * width)
        self.value = drawn(width, width)
        self.project = silent(width)

    def forward(self, x: Tensor) -> Tensor:
        R, T, V, C = x.shape
        z = self.norm(x)
        query, key = self.relate(z.mean(1)).view(R, V, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        graph = torch.softmax(query @ key.transpose(-1, -2) * (C // self.heads) ** -0.5, dim=-1)
        value = self.value(z).view(R, T, V, self.heads, -1).permute(0, 3, 2, 1, 4)  # (R, heads, V, T, c)
        mixed = graph.to(value.dtype) @ value.flatten(3)
        mixed = mixed.view(R, self.heads, V, T, -1).permute(0, 3, 2, 1, 4)
        return x + self.project(mixed.reshape(R, T, V, C))


class ClipAttention(nn.Module):
    """Attention among all joints, frames and bodies of a clip: x (R, T, V, C) -> the same; R: clips * bodies.

    Frames in which a body is absent, where `share` (clips, bodies, T) is 0, are not looked at, unless no body
    is there at all.
    """

    def __init__(self, width: int, joints: int, bodies: int, heads: int = HEADS) -> None:
        super().__init__()
        self.heads, self.bodies = heads, bodies
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.places = nn.Parameter(torch.zeros(joints, width))  # what a joint is, for queries and keys
        self.relate = drawn(width, 2 * width)
        self.value = drawn(width, width)
        self.project = silent(width)

    def forward(self, x: Tensor, share: Tensor | None = None) -> Tensor:
        R, T, V, C = x.shape
        z = self.norm(x)
        query, key = self.relate(z + self.places.to(z.dtype)).chunk(2, dim=-1)
        seen = None
        if share is not None:
            there = (share > 0) | (share <= 0).all(2, keepdim=True).all(1, keepdim=True)
            seen = there[..., None].expand(-1, -1, -1, V).flatten(1)[:, None, None]  # (N, 1, 1, M T V)
        query, key, value = map(self._tokens, (query, key, self.value(z)))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)  # (N, heads, M T V, c)
        return x + self.project(mixed.transpose(1, 2).reshape(R, T, V, C))

    def _tokens(self, x: Tensor) -> Tensor:
        """(N*M, T, V, C) -> (N, heads, M*T*V, C / heads)."""
        R, T, V, C = x.shape  # R, not len(x): programs are traced for any number of clips
        tokens = x.reshape(R // self.bodies, self.bodies * T * V, self.heads, C // self.heads)
        return tokens.transpose(1, 2)
