"""Layers in time: convolutions at several scales, and frames that are sampled as the clip asks for.

Both change nothing before they have learned: a network that has them starts as the network without them.
"""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsgc.network.layers import NORM_EPS

DILATIONS = 2, 4  # steps between the frames that a branch sees; a block's own convolution sees neighbours
TAPS = 3  # frames that a branch sees
SEEN = 5  # speeds side by side that a layer of the sampling sees
HIDDEN = 16  # channels between the sampling's two layers
DENSEST = 4.0  # times as dense as on average, before densities are brought to their mean; 1 / 4 at least
STILL = 1e-6  # mean speed, in deviations of the input a frame, below which a clip does not move


class DilatedConvs(nn.Module):
    """Depthwise convolutions over time with gaps, a branch each, summed: x (R, T, V, C) -> the same.

    Added to x times a factor for each channel that starts at 0. Zeros beyond the ends, and where a body is
    absent: where `share` (clips, bodies, T) is 0. R: clips * bodies.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.weight = nn.Parameter(torch.empty(len(DILATIONS), TAPS, width))
        self.scale = nn.Parameter(torch.zeros(width))
        nn.init.uniform_(self.weight, -(TAPS**-0.5), TAPS**-0.5)  # as torch's depthwise convolutions start

    def forward(self, x: Tensor, share: Tensor | None = None) -> Tensor:
        T = x.shape[1]
        z = self.norm(x).to(x.dtype)
        if share is not None:
            z = z * (share > 0).flatten(0, 1)[..., None, None]
        most = max(DILATIONS)
        z = F.pad(z, (0, 0, 0, 0, most, most))
        mixed = torch.zeros_like(x)
        for gap, taps in zip(DILATIONS, self.weight.to(x.dtype), strict=True):
            for place, weight in zip((most - gap, most, most + gap), taps, strict=True):
                mixed = torch.addcmul(mixed, z[:, place : place + T], weight)
        return x + mixed * self.scale.to(x.dtype)


class ClipSampling(nn.Module):
    """Frames sampled anew, densely where the clip asks for it: x (N, T, M, V, C) -> the same, and presence.

    Two layers see how fast the joints are from frame to frame, relative to the clip's mean, and give how
    densely frames are taken there (`resampling`). All views and bodies of a clip are sampled alike. A body
    that is in one of two frames alone stays as it is there, and `presence` (N, T, M) is what is between.
    """

    def __init__(self, views: int) -> None:
        super().__init__()
        self.views = views
        self.look = nn.Linear(SEEN, HIDDEN)
        self.decide = nn.Linear(SEEN * HIDDEN, 1, bias=False)
        nn.init.zeros_(self.decide.weight)

    def forward(self, x: Tensor, presence: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        with without_autocast(x.device.type):  # in bfloat16 frames would lie where they are not
            weights = resampling(self.density(x.detach(), presence))
            sampled = (weights @ x.flatten(2)).view_as(x)
            if presence is None:
                return sampled, None
            seen = weights @ (presence > 0).to(x.dtype)  # share of the frames between which it is in sight
            return sampled / torch.where(seen > 0, seen, 1.0)[..., None, None], weights @ presence

    def density(self, x: Tensor, presence: Tensor | None = None) -> Tensor:
        """How densely frames are taken between each frame and the next: (N, T - 1), above 0."""
        speeds = self.speeds(x, presence)
        speeds = speeds / speeds.mean(1, keepdim=True).clamp(min=STILL)
        hidden = F.gelu(self.look(side_by_side(speeds[..., None]))).mean(
            2
        )  # (N, T - 1, views, .) -> no views
        asked = self.decide(side_by_side(hidden)).squeeze(-1)
        return torch.exp(math.log(DENSEST) * torch.tanh(asked))

    def speeds(self, x: Tensor, presence: Tensor | None = None) -> Tensor:
        """How far joints move to the next frame, the mean of joints and bodies: (N, T - 1, views)."""
        moved = (x[:, 1:] - x[:, :-1]).unflatten(-1, (self.views, -1))
        speeds = torch.linalg.vector_norm(moved, dim=-1).mean(3)  # (N, T - 1, M, views)
        if presence is None:
            return speeds.mean(2)
        both = ((presence[:, 1:] > 0) & (presence[:, :-1] > 0)).to(x.dtype)[..., None]
        return (speeds * both).sum(2) / both.sum(2).clamp(min=1)


def without_autocast(device: str) -> AbstractContextManager[object]:
    """A context in which products keep their type; the meta device, which counts them, has no autocast."""
    return torch.autocast(device, enabled=False) if device != "meta" else nullcontext()


def side_by_side(x: Tensor) -> Tensor:
    """Channels of SEEN steps around each, zeros beyond the ends: (N, T, ..., C) -> (N, T, ..., SEEN * C)."""
    T, reach = x.shape[1], SEEN // 2
    x = F.pad(x, (0, 0) * (x.dim() - 2) + (reach, reach))
    return torch.cat([x[:, place : place + T] for place in range(SEEN)], dim=-1)


def resampling(density: Tensor) -> Tensor:
    """The weights of T frames in each of T new ones: densities (N, T - 1), above 0 -> (N, T, T).

    Frame t lies at the share of the density before it, from 0 to T - 1; new frames lie evenly there, each
    between two, whose weights sum to 1. So the order of frames stays, and the ends. Equal densities give the
    frames themselves, to the bit. No frame is gathered by its number: gradients of that are added on GPUs in
    any order.
    """
    T = density.shape[1] + 1
    sums = density.cumsum(1)
    ends = F.pad(sums[:, :-1] * ((T - 1) / sums[:, -1:]), (1, 0))
    ends = F.pad(ends, (0, 1), value=T - 1.0)  # (N, T): where the frames lie, the last one exactly
    new = torch.arange(T, device=density.device)
    before = (ends[:, None, 1:-1] <= new[:, None]).sum(
        -1, keepdim=True
    )  # (N, T, 1): the frame before a new one
    here = before == new[:-1]  # (N, T, T - 1)
    beyond = (new[:, None] - ends[:, None, :-1]) / ends.diff()[:, None]
    near, far = torch.where(here, 1 - beyond, 0.0), torch.where(here, beyond, 0.0)
    return F.pad(near, (0, 1)) + F.pad(far, (1, 0))
