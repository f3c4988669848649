"""What a network's trunk learns without labels: tubes of its input are hidden, and predicted from the rest.

A tube is a joint of a body in the frames that become one step of the trunk's last features, 16 in a row.
Where it is hidden the input is 0, after augmentation and normalising. Masked prediction with a light decoder:
He et al. (2022), arXiv 2111.06377.
"""

import dataclasses
from types import TracebackType
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

from nw_ucla.ideas.trunk import classifiers, own_network
from shards.batch import PackedBatch, Step
from tsgc.input.packed_rows import to_device
from tsgc.input.random_numbers import Draws
from tsgc.network.second.model import TSGCNeXt2
from tsgc.networks import DOWN_STRIDE, STEM_STRIDE
from tsgc.step.micro_batch import MicroBatch
from tsgc.training.feed import Feed

TUBES = "tubes"  # among the augmentations of Draws: uniform (B, T', V, M)


class Masked(nn.Module):
    """A network's trunk, and a linear decoder of each view's last features, which is thrown away.

    As a context it listens to the trunk. Raises TsgcError for a network other than TSGCNeXt and TSGCNeXt2.
    """

    def __init__(self, model: nn.Module, target: str) -> None:
        super().__init__()
        trunk = own_network(model, "pretrain")
        heads = classifiers(trunk)
        self.model, self.target = model, target
        self.views = len(heads)
        self.token = STEM_STRIDE * DOWN_STRIDE ** len(trunk.downs)
        """Frames of a tube."""
        each = trunk.input_shape[0] // self.views
        self.decoders = nn.ModuleList(nn.Linear(head.in_features, self.token * each) for head in heads)
        self._trunk = (trunk,)  # not registered twice
        self._features: list[Tensor] = []

    def __enter__(self) -> "Masked":
        (trunk,) = self._trunk
        stage, last = str(len(trunk.stages)), trunk.stages[-1][-1]
        if isinstance(trunk, TSGCNeXt2):
            for layers in (trunk.dilated, trunk.attention, trunk.meeting):  # in their order
                if stage in layers:
                    last = layers[stage]
        self._hook = last.register_forward_hook(lambda _, given, made: self._features.append(made))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hook.remove()

    def forward(self, x: Tensor, kept: Tensor, survival: Tensor, presence: Tensor | None) -> Tensor:
        """Predictions (views, N, M, T', V, token, C / views) of all tubes.

        x (N, C, T, V, M), of which those tubes are seen where `kept` (N, 1, T', V, M) is 1, and not where it
        is 0.
        """
        N, _, T, V, M = x.shape
        frames = kept.repeat_interleave(self.token, 2)
        rest = frames.new_ones(N, 1, T - frames.shape[2], V, M)  # frames that no feature stands for
        self._features.clear()
        self.model(x * torch.cat([frames, rest], 2), survival, presence)
        features = self._features.pop().unflatten(0, (self.views, N, M))  # of (views * N*M, T', V, width)
        made = [decoder(view) for decoder, view in zip(self.decoders, features, strict=True)]
        return torch.stack(made).unflatten(-1, (self.token, -1))

    def loss(self, batch: MicroBatch) -> Tensor:
        """Mean squared error over the numbers that are hidden, in float32; `batch` as `MaskedFeed` makes it.

        Frames in which a body is absent do not count. Drop path is off: what is hidden is noise enough.
        """
        kept = batch.lam_map
        assert kept is not None
        made = self(batch.x, kept, torch.ones_like(batch.survival), batch.presence)
        goal, there = self.goal(batch.x, batch.presence)
        hidden = (1 - kept)[:, 0].permute(0, 3, 1, 2)[None, ..., None, None]  # (1, N, M, T', V, 1, 1)
        weight = (hidden * there).expand(made.shape)
        return (weight * (made.float() - goal).square()).sum() / weight.sum().clamp(min=1)

    def goal(self, x: Tensor, presence: Tensor | None) -> tuple[Tensor, Tensor]:
        """What is to be predicted, and where a body is there: 1, else 0.

        (views, N, M, T', V, token, C / views) and (1, N, M, T', 1, token, 1), or one number without
        `presence` (N, T, M).
        """
        there = presence
        if self.target == "motion":  # of the last frame none
            x = torch.cat([x[:, :, 1:] - x[:, :, :-1], torch.zeros_like(x[:, :, :1])], 2)
            if there is not None:
                there = torch.cat([there[:, 1:] * there[:, :-1], there[:, -1:]], 1)
        steps = x.shape[2] // self.token
        x = x[:, :, : steps * self.token].unflatten(2, (steps, self.token)).unflatten(1, (self.views, -1))
        goal = x.permute(1, 0, 6, 3, 5, 4, 2)  # of (N, views, C / views, T', token, V, M)
        if there is None:
            return goal, x.new_ones(())
        there = there[:, : steps * self.token].unflatten(1, (steps, self.token))  # (N, T', token, M)
        return goal, there.permute(0, 3, 1, 2)[None, :, :, :, None, :, None]


class MaskedFeed(Feed):
    """Steps whose tubes are hidden by `mask`, each with that chance; `lam_map` says where they are kept.

    That is (N, 1, T', V, M) here: clips are not mixed. Set `mask` and `token` before the first step.
    """

    mask: float
    token: int

    def draw(self, epoch: int, step: Step) -> Draws:
        draws, config, pipeline = super().draw(epoch, step), self.pipeline.config, self.pipeline
        rng = np.random.default_rng((config.seed, epoch, step.step, 2, crc32(TUBES.encode())))
        shape = (step.size, config.frames // self.token, pipeline.skeleton.num_joints, pipeline.bodies)
        tubes = {TUBES: rng.random(shape, dtype=np.float32)}
        return dataclasses.replace(draws, augmentations={**draws.augmentations, **tubes})

    @torch.no_grad()
    def micro_batch(self, part: PackedBatch, draws: Draws) -> MicroBatch:
        kept = draws.augmentations[TUBES][part.positions.numpy()] >= self.mask
        (kept_there,) = to_device([kept[:, None].astype(np.float32)], self.device)
        return dataclasses.replace(super().micro_batch(part, draws), lam_map=kept_there)
