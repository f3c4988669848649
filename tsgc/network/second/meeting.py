"""How views meet: each looks at the others, near the end; or a clip's features say how much each counts.

Both change nothing before they have learned: a network that has them starts as the network without them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsgc.network.layers import NORM_EPS
from tsgc.network.second.clip_graph import HEADS, drawn, silent


class Meeting(nn.Module):
    """Attention of each view to the others: x (R, T, V, C) -> the same; R: views * clips * bodies.

    A view's mean over the joints of a body in a frame looks at those of all other views, in all frames and
    bodies of the clip; what it finds is added to all of its joints. So it costs next to nothing beside a
    block. Frames in which a body is absent, where `share` (views * clips, bodies, T) is 0, are not looked at,
    unless no body is there at all.
    """

    def __init__(self, width: int, views: int, bodies: int, heads: int = HEADS) -> None:
        super().__init__()
        self.views, self.bodies, self.heads = views, bodies, heads
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.which = nn.Parameter(torch.zeros(views, width))  # what a view is
        self.relate = drawn(width, 2 * width)
        self.value = drawn(width, width)
        self.project = silent(width)

    def forward(self, x: Tensor, share: Tensor | None = None) -> Tensor:
        R, T, _, C = x.shape
        N, each = R // (self.views * self.bodies), self.bodies * T  # each: a view's tokens of a clip
        z = self.norm(x.mean(2)).view(self.views, N, each, C).transpose(0, 1)
        z = (z + self.which.to(z.dtype)[:, None]).reshape(N, self.views * each, C)
        query, key = map(self._by_head, self.relate(z).chunk(2, dim=-1))
        value = self._by_head(self.value(z))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=self._seen(share, each, x.device))
        found = self.project(mixed.transpose(1, 2).reshape(N, self.views, each, C))
        return x + found.transpose(0, 1).reshape(R, T, 1, C)

    def _seen(self, share: Tensor | None, each: int, device: torch.device) -> Tensor:
        """Which tokens look at which, (1 or N, 1, tokens, tokens): those of other views, where a body is."""
        others = ~torch.eye(self.views, dtype=torch.bool, device=device)
        seen = others[:, None, :, None].expand(-1, each, -1, each).reshape(1, 1, self.views * each, -1)
        if share is None:
            return seen
        there = share.reshape(self.views, -1, each).transpose(0, 1).flatten(1) > 0
        there = there | ~there.any(1, keepdim=True)
        return seen & there[:, None, None]

    def _by_head(self, x: Tensor) -> Tensor:
        """(N, tokens, C) -> (N, heads, tokens, C / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Gate(nn.Module):
    """How much each view's logits count: features (N, views, C) and logits (N, views, K) -> (N, K) float32.

    The weights are a softmax of a linear layer for each view, of that view's features; equal at first.
    """

    def __init__(self, width: int, views: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(views, width))
        self.bias = nn.Parameter(torch.zeros(views))

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        asked = (features.float() * self.weight).sum(-1) + self.bias
        return (torch.softmax(asked, dim=-1)[..., None] * logits.float()).sum(1)
