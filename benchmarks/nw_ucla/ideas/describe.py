"""Finer targets: beside the classes a network describes what each part of the body does (parts.py).

A linear layer beside each head, on the same features, predicts a clip's numbers; it is thrown away after
training. The numbers are those of the clip as it is augmented, but for noise, so that none is false: it is
described after it is cut, played, mirrored and turned, and its sides swapped where its back is seen. Mixed
clips have their numbers mixed as labels are. Source: multitask learning, Caruana (1997), Machine Learning 28.
"""

import dataclasses
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nw_ucla.data import ResidentClips
from nw_ucla.ideas import parts
from nw_ucla.ideas.trunk import classifiers, own_network
from nw_ucla.ideas.twins import TwinFeed
from pipelines.errors import TsgcError
from shards.batch import PackedBatch
from tsgc.config import TrainConfig
from tsgc.input import geometry
from tsgc.input.mixing import mix
from tsgc.input.pipeline import InputPipeline
from tsgc.input.random_numbers import Draws
from tsgc.step.micro_batch import MicroBatch
from tsgc.step.optimizer import parameter_groups
from tsgc.training.feed import Feed

NOISE = {"scale", "joint_offset", "noise", "drop_joints", "drop_axis"}
"""Augmentations that clips are described without: they change no movement, or hide it."""
AT_A_TIME = 512  # clips that are described as they are, before the training
CONSTANT = 1e-6  # deviation of a number that is the same in all clips; it is 0 when standardised


@dataclass(frozen=True)
class DescribedBatch(MicroBatch):
    """A micro-batch, and the numbers of its clips."""

    numbers: Tensor | None = None
    """(N, D) float32, standardised, not yet mixed."""


class Describer:
    """Numbers of clips, standardised by the clips `chosen` (N,), those that train, as they are and mirrored.

    With both, an arm that hardly moves in any clip has small numbers, not noise as large as the other arm's.
    Raises TsgcError for a skeleton without the joints that are described.
    """

    def __init__(self, pipeline: InputPipeline, clips: ResidentClips, chosen: np.ndarray) -> None:
        self.places, self.device = parts.places(pipeline.skeleton), clips.joints.device
        config = dataclasses.replace(pipeline.config, modality="joint", normalise="none", centre="prepared")
        self.pipeline = dataclasses.replace(pipeline, config=config)
        batches = np.array_split(chosen, -(-len(chosen) // AT_A_TIME))
        numbers = torch.cat([self._as_they_are(clips.batch(batch)) for batch in batches]).double()
        deviation, self._mean = torch.std_mean(numbers, 0, correction=0)
        self._factor = torch.where(deviation > CONSTANT, 1 / deviation, 0.0).float()
        self._mean = self._mean.float()

    def of(self, part: PackedBatch, draws: Draws) -> Tensor:
        """Numbers (N, D) of a micro-batch's clips, augmented by its part of a step's random numbers."""
        drawn = {name: array for name, array in draws.augmentations.items() if name not in NOISE}
        x, presence = self.pipeline.train(part, dataclasses.replace(draws, augmentations=drawn), self.device)
        return (self._numbers(x, presence) - self._mean) * self._factor

    def _as_they_are(self, batch: PackedBatch) -> Tensor:
        """Numbers (2 * N, D), not standardised, of clips without augmentation, and of the same mirrored."""
        x, presence = self.pipeline.test(batch, self.device)
        return torch.cat([self._numbers(one, presence) for one in (x, mirrored(x, self.pipeline))])

    def _numbers(self, x: Tensor, presence: Tensor | None) -> Tensor:
        """Numbers (N, D) of the first bodies of x (N, 3, T, V, M); `presence` (N, T, M)."""
        body = x[..., 0]
        seen = (body != 0).any(3).any(1) if presence is None else presence[..., 0] > 0
        order = geometry.constant(self.places, torch.int64, self.device)
        return parts.describe(body.permute(0, 2, 3, 1).index_select(2, order), seen)


def mirrored(x: Tensor, pipeline: InputPipeline) -> Tensor:
    """Clips (N, 3, T, V, M) with x negated, left and right joints swapped."""
    order = list(range(pipeline.skeleton.num_joints))
    for left, right in pipeline.skeleton.left_right:
        order[left], order[right] = right, left
    return (
        x[:, :, :, order] * geometry.constant(((-1.0,), (1.0,), (1.0,)), x.dtype, x.device)[..., None, None]
    )


class DescribedFeed(Feed):
    """Steps whose clips have their numbers. Set `describer` before the first one."""

    describer: Describer

    @torch.no_grad()
    def micro_batch(self, part: PackedBatch, draws: Draws) -> MicroBatch:
        batch = super().micro_batch(part, draws)
        return DescribedBatch(**vars(batch), numbers=self.describer.of(part, draws))


class DescribedTwinFeed(DescribedFeed, TwinFeed):
    """The same of twins."""


class Describing(nn.Module):
    """Linear layers beside a network's heads, which learn a clip's numbers with the network.

    They are no part of the network: neither its average nor what is saved has them, and its gradient is
    clipped without theirs. Raises TsgcError for a network other than TSGCNeXt and TSGCNeXt2, and for float16.
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        super().__init__()
        if config.arithmetic == "float16":  # whose gradients would need a scale
            raise TsgcError("describe: precision is float16, expected auto, bf16, tf32 or float32")
        heads = classifiers(own_network(model, "describe"))
        self.layers = nn.ModuleList(nn.Linear(head.in_features, len(parts.NAMES)) for head in heads)
        self.error: Tensor
        self.register_buffer("error", torch.zeros((), dtype=torch.float64))
        """Summed loss of the clips since it was last 0."""
        self._features: dict[int, Tensor] = {}
        for place, head in enumerate(heads):
            head.register_forward_pre_hook(partial(self._keep, place))

    def loss(self, batch: MicroBatch) -> Tensor:
        """Smooth L1 of the numbers of a micro-batch that the network has just seen, mixed, in float32.

        The mean over numbers and heads, summed over clips.
        """
        assert isinstance(batch, DescribedBatch) and batch.numbers is not None
        goal = mix(batch.numbers, batch.partner, batch.lam)
        made = [layer(self._features.pop(place).float()) for place, layer in enumerate(self.layers)]
        loss = sum(F.smooth_l1_loss(one, goal, reduction="sum") for one in made) / (len(made) * goal.shape[1])
        self.error += loss.detach()
        return loss

    def take_error(self, clips: int) -> float:
        """The mean loss of the last `clips` clips. Waits for the device."""
        error = self.error.item() / clips
        self.error.zero_()
        return error

    def _keep(self, place: int, head: nn.Module, given: tuple[Tensor, ...]) -> None:
        (self._features[place],) = given


def make_describing(model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig) -> Describing:
    """The layers beside a network's heads, in its optimiser, initialised by numbers of their own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        describing = Describing(model, config)
    describing.to(next(model.parameters()).device)
    for group in parameter_groups(describing, config):
        optimizer.add_param_group(group)
    return describing
