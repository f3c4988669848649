"""TSGCNeXt (arXiv 2304.11631): forward pass, drop path."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from tsgc import kernels
from tsgc.network.adjacency import adjacency
from tsgc.network.layers import NORM_EPS, Block, Down, InputNorm, Stem, draw_weights
from tsgc.network.present_rows import PresentRows
from tsgc.networks import DOWN_STRIDE, STEM_STRIDE, VARIANTS


def pool_present(x: Tensor, presence: Tensor) -> Tensor:
    """Mean over frames and bodies, weighted by how much of each body is present.

    x (N*M, T', C) after the strides; `presence` (N, T, M), 0 to 1 -> (N, C). In a clip without any body
    all frames and bodies have equal weight.
    """
    N, T, M = presence.shape
    steps = x.shape[1]
    stride = T // steps
    share = presence[:, : steps * stride].unflatten(1, (steps, stride)).mean(2)  # (N, T', M)
    share = share.transpose(1, 2)  # (N, M, T')
    share = torch.where(share.sum((1, 2), keepdim=True) > 0, share, 1.0)
    share = share / share.sum((1, 2), keepdim=True)
    return (x.view(N, M, steps, -1) * share[..., None]).sum((1, 2))


def drop_path_factors(rates: Tensor, uniform: Tensor) -> Tensor:
    """0, or 1 / (1 - rate), of `rates` (blocks,) and uniform numbers in [0, 1), (blocks, rows)."""
    return (uniform >= rates[:, None]) / (1 - rates[:, None])


class TSGCNeXt(nn.Module):
    """Classifies clips of skeletons: (N, C, T, V, M) -> logits (N, num_classes).

    `drop_path` is the rate of the last block; rates grow linearly from 0 at the first. `layer_scale`: the
    first value of the blocks' factors (`layers.Block`); None: they have none.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        num_classes: int,
        *,
        variant: str = "252",
        bodies: int = 2,
        channels: int = 3,
        drop_path: float = 0.4,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        shape = VARIANTS[variant]
        self.min_frames = shape.min_frames
        self.num_classes = num_classes
        self.input_shape = (channels, skeleton.num_joints, bodies)
        matrices = torch.from_numpy(adjacency(skeleton))

        self.input_norm = InputNorm(bodies * skeleton.num_joints * channels)
        self.stem = Stem(channels, shape.widths[0], STEM_STRIDE)
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(width, matrices, layer_scale) for _ in range(depth))
            for depth, width in zip(shape.depths, shape.widths)
        )
        self.downs = nn.ModuleList(
            Down(narrow, wide, DOWN_STRIDE) for narrow, wide in zip(shape.widths, shape.widths[1:])
        )
        self.norm = nn.LayerNorm(shape.widths[-1], eps=NORM_EPS)
        self.head = nn.Linear(shape.widths[-1], num_classes)
        self.drop_path_rates: Tensor
        self.register_buffer(
            "drop_path_rates", torch.linspace(0, drop_path, sum(shape.depths)), persistent=False
        )
        self._initialise()

    def _initialise(self) -> None:
        """Draw weights from a truncated normal of deviation 0.02 in blocks and downs; biases are 0.

        The stem keeps torch's default.
        """
        for module in (*self.stages.modules(), *self.downs.modules()):
            if isinstance(module, nn.Linear):
                draw_weights(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.head.weight, std=(2 / self.head.out_features) ** 0.5)

    def forward(
        self,
        x: Tensor,
        survival: Tensor | None = None,
        presence: Tensor | None = None,
        kept: Sequence[int] | None = None,
        rows: PresentRows | None = None,
    ) -> Tensor:
        """Logits of clips; TsgcError for an input of another shape than the network's.

        `survival` (blocks, N*M): the factors of drop path; drawn here in training when not given. `kept`: how
        many rows each block does not drop, where the host knows that (`layers.Block`). `presence` (N, T, M),
        0 to 1: how much of a body is in a frame. Absent bodies are 0 after the input's norm, and pooling
        weighs by presence. Without it all bodies count alike. `rows`, in evaluation alone: bodies that are
        computed, the others being absent.
        """
        N, C, T, V, M = x.shape
        if self.input_shape != (C, V, M) or self.min_frames > T:
            expected = "({}, T >= {}, {}, {})".format(
                self.input_shape[0], self.min_frames, *self.input_shape[1:]
            )
            raise TsgcError(f"input of (C, T, V, M) = {(C, T, V, M)}, the network expects {expected}")
        assert kept is None or survival is not None, "`kept` counts rows of a `survival` that is given"
        if survival is None and self.training:
            uniform = torch.rand(len(self.drop_path_rates), N * M, device=x.device)
            survival = self.survival(uniform)
        assert rows is None or not self.training, "rows that are left out get no gradient and no drop path"
        x = self._features(x, survival, presence, kept, rows)
        if rows is not None:
            x = rows.spread(x)
        x = x.view(N, M, -1).mean(1) if presence is None else pool_present(x, presence)
        return self.head(self.norm(x))

    def _features(
        self,
        x: Tensor,
        survival: Tensor | None,
        presence: Tensor | None,
        kept: Sequence[int] | None = None,
        rows: PresentRows | None = None,
    ) -> Tensor:
        """Means over joints and frames of the last stage, a row each: (N*M, C); of `rows` alone (R, C).

        With `presence` frames are kept: (rows, T', C).
        """
        N, C, T, V, M = x.shape
        x = x.permute(0, 2, 4, 3, 1)  # (N, T, M, V, C)
        x = self.input_norm(x.reshape(N * T, M * V * C)).view(N, T, M, V, C)
        if presence is not None:
            x = x * (presence > 0)[..., None, None]
        x = x.transpose(1, 2).reshape(N * M, T, V, C)
        if rows is not None:
            x = rows.take(x)
        x = self.stem(x)
        index = 0
        for stage, blocks in enumerate(self.stages):
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                factors = None if survival is None else survival[index]
                x = block(x, factors, None if kept is None else kept[index])
                index += 1
            if stage < len(self.downs):
                x = self.downs[stage](x)
        return kernels.pooled(x) if presence is None else x.mean(2)

    def absent_features(self, frames: int, told: bool) -> Tensor:
        """What it makes, in evaluation, of bodies that are absent from clips of so many frames: (M, C).

        `told`: by `presence`, which keeps the frames: (M, T', C).
        """
        C, V, M = self.input_shape
        x = self.head.weight.new_zeros(1, C, frames, V, M)
        return self._features(x, None, x.new_zeros(1, frames, M) if told else None)

    def survival(self, uniform: Tensor) -> Tensor:
        """Drop-path factors of its blocks (`drop_path_factors`)."""
        return drop_path_factors(self.drop_path_rates, uniform)
