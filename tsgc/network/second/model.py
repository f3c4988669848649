"""TSGCNeXt2: a few views of a clip (joints, bones, how either moves) in one network.

Each view has a stem and a head of its own; the stages between them are shared, and a view is there what a
body is: a row. So no view can drown another, as where they lie side by side in the first layer. In training
every head learns from the labels; the answer is the mean of the heads'.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from tsgc.network.adjacency import adjacency
from tsgc.network.layers import NORM_EPS, Block, Down, InputNorm, Stem, draw_weights
from tsgc.network.model import pool_present
from tsgc.network.second.clip_graph import ClipAttention, ClipGraph
from tsgc.networks import DOWN_STRIDE, SECOND_VARIANTS, STEM_STRIDE, Variant


class TSGCNeXt2(nn.Module):
    """Classifies clips of skeletons: (N, C, T, V, M) -> logits (N, K); in training (N, views, K).

    `channels`: of all `views` together, side by side. `widths` and `depths` replace the variant's.
    `clip_graphs`: stages, counted from 1, that begin with mixing by graphs made of the clip.
    `clip_attention`: layers of attention over the clip after the last stage. With one view and neither it is
    TSGCNeXt.
    """

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
        clip_attention: int = 0,
    ) -> None:
        super().__init__()
        shape = settle_shape(variant, depths, widths)
        if frames < shape.min_frames:
            raise TsgcError(f"frames is {frames}, TSGCNeXt2 takes {shape.min_frames} or more")
        if wrong := set(clip_graphs) - set(range(1, 1 + len(shape.widths))):
            raise TsgcError(f"clip_graphs has {min(wrong)}, expected stages from 1 to {len(shape.widths)}")
        self.views, self.bodies = views, bodies
        joints, each = skeleton.num_joints, channels // views
        matrices = torch.from_numpy(adjacency(skeleton))
        self.input_norm = InputNorm(bodies * joints * channels)
        self.stems = nn.ModuleList(Stem(each, shape.widths[0], STEM_STRIDE) for _ in range(views))
        self.graphs = nn.ModuleDict(
            {str(stage): ClipGraph(shape.widths[stage - 1]) for stage in sorted(clip_graphs)}
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(width, matrices, layer_scale) for _ in range(depth))
            for depth, width in zip(shape.depths, shape.widths)
        )
        self.downs = nn.ModuleList(
            Down(narrow, wide, DOWN_STRIDE) for narrow, wide in zip(shape.widths, shape.widths[1:])
        )
        last = shape.widths[-1]
        self.attention = nn.ModuleList(ClipAttention(last, joints, bodies) for _ in range(clip_attention))
        self.norms = nn.ModuleList(nn.LayerNorm(last, eps=NORM_EPS) for _ in range(views))
        self.heads = nn.ModuleList(nn.Linear(last, num_classes) for _ in range(views))
        rates = torch.linspace(0, drop_path, sum(shape.depths)).repeat_interleave(views)
        self.drop_path_rates: Tensor
        self.register_buffer("drop_path_rates", rates, persistent=False)
        """Rates of drop path, a block in a view each."""
        self._initialise()

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

        `survival` (blocks * views, N*M): drop path's factors, by `drop_path_rates`; None: nothing is dropped.
        """
        N, _, T, V, M = x.shape
        x = x.permute(0, 2, 4, 3, 1)  # (N, T, M, V, C)
        x = self.input_norm(x.reshape(N * T, -1)).view(N, T, M, V, -1)
        if presence is not None:
            x = x * (presence > 0)[..., None, None]
        x = x.transpose(1, 2).reshape(N * M, T, V, -1)
        x = torch.cat([stem(view) for stem, view in zip(self.stems, x.chunk(self.views, -1), strict=True)])
        factors = None if survival is None else survival.reshape(-1, self.views * N * M)
        x = self._stages(x, factors)
        if presence is not None:
            presence = presence.repeat(self.views, 1, 1)  # rows are (view, clip, body)
        share = None if presence is None else shares(presence, x.shape[1])
        for layer in self.attention:
            x = layer(x, share)
        if presence is None:
            x = x.mean((1, 2)).view(self.views * N, M, -1).mean(1)
        else:
            x = pool_present(x, presence)
        pairs = zip(self.norms, self.heads, x.chunk(self.views), strict=True)
        logits = torch.stack([head(norm(features)) for norm, head, features in pairs], dim=1)
        return logits if self.training and self.views > 1 else logits.mean(1)

    def _stages(self, x: Tensor, survival: Tensor | None) -> Tensor:
        """x (views * N*M, T, V, C) through the shared stages; `survival` (blocks, views * N*M)."""
        index = 0
        for stage, blocks in enumerate(self.stages):
            if str(stage + 1) in self.graphs:
                x = self.graphs[str(stage + 1)](x)
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                x = block(x, None if survival is None else survival[index])
                index += 1
            if stage < len(self.downs):
                x = self.downs[stage](x)
        return x


def shares(presence: Tensor, steps: int) -> Tensor:
    """How much of each body is in each of `steps` steps: presence (N, T, M) -> (N, M, steps)."""
    stride = presence.shape[1] // steps
    return presence[:, : steps * stride].unflatten(1, (steps, stride)).mean(2).transpose(1, 2)


def settle_shape(variant: str, depths: Sequence[int] | None, widths: Sequence[int] | None) -> Variant:
    """The variant's shape with what replaces it. Raises TsgcError: not three numbers each."""
    shape = SECOND_VARIANTS[variant]
    return Variant(_three("depths", depths, shape.depths), _three("widths", widths, shape.widths))


def _three(name: str, given: Sequence[int] | None, known: tuple[int, int, int]) -> tuple[int, int, int]:
    numbers = known if given is None else tuple(given)
    if len(numbers) != 3 or not all(isinstance(one, int) and one >= 1 for one in numbers):
        raise TsgcError(f"{name} is {given}, expected 3 whole numbers of 1 or more")
    first, second, third = numbers
    return first, second, third
