"""TSGCNeXt2: a few views of a clip (joints, bones, how either moves) in one network.

Each view has a stem and a head of its own; the stages between them are shared, and a view is there what a
body is: a row. So no view can drown another, as where they lie side by side in the first layer. In training
every head learns from the labels; the answer is the mean of the heads'. On request views meet near the end.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from tsgc import kernels
from tsgc.network.adjacency import adjacency
from tsgc.network.layers import NORM_EPS, Block, Down, InputNorm, Stem, draw_weights
from tsgc.network.model import drop_path_factors, pool_present
from tsgc.network.second.clip_graph import HEADS, ClipAttention, ClipGraph
from tsgc.network.second.clip_time import ClipSampling, DilatedConvs
from tsgc.network.second.meeting import Gate, Meeting
from tsgc.network.second.settings import (
    refuse_one_view,
    settle_shape,
    settle_stages,
    settle_switch,
    settle_views,
)
from tsgc.networks import DOWN_STRIDE, STEM_STRIDE


class TSGCNeXt2(nn.Module):
    """Classifies clips of skeletons: (N, C, T, V, M) -> logits (N, K); in training (N, heads, K).

    `channels`: of all `views` together, side by side. `widths` and `depths` replace the variant's.
    `clip_graphs`: stages, counted from 1, that begin with mixing by graphs made of the clip.
    `dilated_convs`: stages that end with dilated convolutions over time. `clip_attention`: stages that end
    with attention over the clip. `clip_sampling`: frames are sampled as the clip asks for. `meeting`: stages
    after which each view looks at the others. `gated`: the answer is a weighted mean of the heads', by what
    the clip is; in training it is one head more. With one view and none of them it is TSGCNeXt.
    """

    takes_views = True
    """No copy is made of its input, which lies in memory as the first layers want it."""

    def __init__(
        self,
        skeleton: Skeleton,
        num_classes: int,
        *,
        bodies: int,
        channels: int,
        frames: int,
        views: int = 1,
        variant: str = "252",
        drop_path: float = 0.4,
        layer_scale: float | None = None,
        depths: Sequence[int] | None = None,
        widths: Sequence[int] | None = None,
        clip_graphs: Sequence[int] = (),
        clip_attention: Sequence[int] = (),
        dilated_convs: Sequence[int] = (),
        clip_sampling: bool = False,
        meeting: Sequence[int] = (),
        gated: bool = False,
    ) -> None:
        super().__init__()
        shape = settle_shape(variant, depths, widths)
        mixed = settle_stages("clip_graphs", clip_graphs, shape, HEADS)
        attended = settle_stages("clip_attention", clip_attention, shape, HEADS)
        dilated = settle_stages("dilated_convs", dilated_convs, shape)
        sampled = settle_switch("clip_sampling", clip_sampling)
        met = settle_stages("meeting", meeting, shape, HEADS)
        weighed = settle_switch("gated", gated)
        each = settle_views(channels, views)
        refuse_one_view(views, meeting=met, gated=weighed)
        self.min_frames = shape.min_frames
        if frames < self.min_frames:
            raise TsgcError(f"frames is {frames}, TSGCNeXt2 takes {self.min_frames} or more")
        joints = skeleton.num_joints
        self.views, self.input_shape = views, (channels, joints, bodies)
        matrices = torch.from_numpy(adjacency(skeleton))
        self.input_norm = InputNorm(bodies * joints * channels)
        self.stem_width = shape.widths[0]
        self.stems = nn.ModuleList(Stem(each, shape.widths[0], STEM_STRIDE) for _ in range(views))
        self.graphs = nn.ModuleDict({str(stage): ClipGraph(shape.widths[stage - 1]) for stage in mixed})
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(width, matrices, layer_scale) for _ in range(depth))
            for depth, width in zip(shape.depths, shape.widths)
        )
        self.downs = nn.ModuleList(
            Down(narrow, wide, DOWN_STRIDE) for narrow, wide in zip(shape.widths, shape.widths[1:])
        )
        self.attention = nn.ModuleDict(
            {str(stage): ClipAttention(shape.widths[stage - 1], joints, bodies) for stage in attended}
        )
        # Their places are before the heads, which are the last linear layers.
        self.register_module("sampling", None)
        self.meeting = nn.ModuleDict()
        last = shape.widths[-1]
        self.norms = nn.ModuleList(nn.LayerNorm(last, eps=NORM_EPS) for _ in range(views))
        self.heads = nn.ModuleList(nn.Linear(last, num_classes) for _ in range(views))
        rates = torch.linspace(0, drop_path, sum(shape.depths)).repeat_interleave(views)
        self.drop_path_rates: Tensor
        self.register_buffer("drop_path_rates", rates, persistent=False)
        """Rates of drop path, a block in a view each."""
        self._initialise()
        # Last, so that the weights before them are drawn as without them.
        self.dilated = nn.ModuleDict({str(stage): DilatedConvs(shape.widths[stage - 1]) for stage in dilated})
        self.sampling = ClipSampling(views) if sampled else None
        self.meeting.update({str(stage): Meeting(shape.widths[stage - 1], views, bodies) for stage in met})
        self.gate = Gate(last, views) if weighed else None

    def _initialise(self) -> None:
        """Draw weights as `TSGCNeXt` does."""
        for stage in (self.stages, self.downs):
            for module in stage.modules():
                if isinstance(module, nn.Linear):
                    draw_weights(module.weight)
                    nn.init.zeros_(module.bias)
        for head in self.heads:
            assert isinstance(head, nn.Linear)
            nn.init.normal_(head.weight, std=(2 / head.out_features) ** 0.5)

    def forward(self, x: Tensor, presence: Tensor | None = None, survival: Tensor | None = None) -> Tensor:
        """Logits; `presence` (N, T, M) from 0 to 1, as `TSGCNeXt` takes it.

        `survival` (blocks * views, N*M): drop path's factors, by `drop_path_rates`; drawn here in training
        when not given. Raises TsgcError for an input of another shape than the network's.
        """
        N, C, T, V, M = x.shape
        if self.input_shape != (C, V, M) or self.min_frames > T:
            channels, joints, bodies = self.input_shape
            expected = f"({channels}, T >= {self.min_frames}, {joints}, {bodies})"
            raise TsgcError(f"input of (C, T, V, M) = {(C, T, V, M)}, the network expects {expected}")
        if survival is None and self.training:
            uniform = torch.rand(len(self.drop_path_rates), N * M, device=x.device)
            survival = drop_path_factors(self.drop_path_rates, uniform)
        x = x.permute(0, 2, 4, 3, 1)  # (N, T, M, V, C)
        x = self.input_norm(x.reshape(N * T, M * V * C)).view(N, T, M, V, C)
        if presence is not None:
            x = x * (presence > 0)[..., None, None]
        if self.sampling is not None:
            x, presence = self.sampling(x, presence)
        if presence is not None:
            presence = presence.repeat(self.views, 1, 1)  # (views * N, T, M)
        x = x.transpose(1, 2).reshape(N * M, T, V, C)
        dtype = kernels.fused_dtype(x, self.stem_width)
        if dtype is not None:
            x = x.to(dtype)  # all views at once, where each stem would
        views = zip(self.stems, x.chunk(self.views, -1), strict=True)
        x = torch.cat([stem(view) for stem, view in views])  # rows are (view, clip, body)
        x = self._stages(x, presence, None if survival is None else survival.reshape(-1, len(x)))
        if presence is None:
            x = kernels.pooled(x).view(self.views * N, M, -1).mean(1)  # (views * N, C)
        else:
            x = pool_present(x.mean(2), presence)
        pairs = zip(self.norms, x.view(self.views, N, -1), strict=True)
        features = [norm(view) for norm, view in pairs]
        logits = torch.stack([head(view) for head, view in zip(self.heads, features, strict=True)], dim=1)
        if self.gate is None:
            return logits if self.training and self.views > 1 else logits.mean(1, dtype=torch.float32)
        answer = self.gate(torch.stack(features, dim=1), logits)
        # What answers learns, too, as one head more: it is all that teaches the gate.
        return torch.cat([logits.float(), answer[:, None]], dim=1) if self.training else answer

    def _stages(self, x: Tensor, presence: Tensor | None, survival: Tensor | None) -> Tensor:
        """x (views * N*M, T', V, C) through the shared stages; `presence` (views * N, T, M).

        `survival` (blocks, views * N*M).
        """
        index = 0
        for stage, blocks in enumerate(self.stages, 1):
            if str(stage) in self.graphs:
                x = self.graphs[str(stage)](x)
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                x = block(x, None if survival is None else survival[index])
                index += 1
            for layers in (self.dilated, self.attention, self.meeting):
                if str(stage) in layers:
                    share = None if presence is None else shares(presence, x.shape[1])
                    x = layers[str(stage)](x, share)
            if stage <= len(self.downs):
                x = self.downs[stage - 1](x)
        return x


def shares(presence: Tensor, steps: int) -> Tensor:
    """How much of each body is in each of `steps` steps: presence (N, T, M) -> (N, M, steps)."""
    stride = presence.shape[1] // steps
    return presence[:, : steps * stride].unflatten(1, (steps, stride)).mean(2).transpose(1, 2)
