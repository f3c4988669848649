"""Twins: a step's B clips are B / 2 clips and the twin of each; the two predictions of a pair are to agree.

Both of a pair are mixed alike, so that their targets are equal; crop, augmentations and drop path are each
one's own. Consistency of two passes over one example: R-Drop, Liang et al. (2021), arXiv 2106.14448, there by
dropout alone. A batch of an odd size has one clip that is in no pair.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from zlib import crc32

import numpy as np
import torch
import torch.nn.functional as F

from nw_ucla.data import ResidentClips, ResidentLoader
from nw_ucla.folds import NW_UCLA
from pipelines.datasets import nw_ucla
from shards.batch import Step
from shards.plan import mixing_partners
from tsgc.config import TrainConfig
from tsgc.input.random_numbers import Draws
from tsgc.training.feed import Feed

MIXING = ("lam", "mixup_lam", "cut_frames", "cut_joints")  # of Draws


class TwinLoader(ResidentLoader):
    """Batches of the plain sizes, each of pairs: first clips, their twins, and where it is odd a lone one.

    An epoch has half of each batch that it would have had, and the next one the other half, so that after the
    two each clip has led as many pairs.
    """

    def __init__(self, clips: ResidentClips, chosen: np.ndarray, config: TrainConfig, kind: str) -> None:
        super().__init__(clips, chosen, config)
        self.twins = possible_twins(kind, clips, chosen)
        """Each clip's possible twins: places in `chosen`, as no other clip trains."""
        self._flat = np.concatenate(self.twins)
        self._counts = np.array(list(map(len, self.twins)))
        self._starts = np.cumsum(self._counts) - self._counts
        self._seed, self._mix_group = config.seed, config.mix_group

    def epoch(self, epoch: int, start_step: int = 0, stride: int = 1) -> Iterator[Step]:
        for step, clips in list(enumerate(self._order(epoch=epoch // 2)))[start_step::stride]:
            pairs, size = len(clips) // 2, len(clips)
            first = clips[size - pairs :] if epoch % 2 else clips[:pairs]
            alone = clips[pairs : size - pairs]  # none, or the middle one
            partner = mixing_partners(pairs, self._mix_group)
            partner = np.concatenate([partner, partner + pairs, np.arange(2 * pairs, size)])
            which = self.chosen[np.concatenate([first, self._drawn(first, epoch, step), alone])]
            yield Step(step, size, [self._reader.read(which, np.arange(size), partner)])

    def _drawn(self, first: np.ndarray, epoch: int, step: int) -> np.ndarray:
        """A twin of each of the clips `first`, by numbers that are the step's own."""
        uniform = np.random.default_rng((self._seed, epoch, step, 2, crc32(b"twins"))).random(len(first))
        return self._flat[self._starts[first] + np.floor(uniform * self._counts[first]).astype(np.int64)]

    @property
    def told(self) -> str:
        """How many clips have another one as twin."""
        others = sum(twins != [place] for place, twins in enumerate(self.twins))
        return f"{others} of {len(self.twins)} clips have another one as twin"


class TwinFeed(Feed):
    """The steps of `TwinLoader`: the second of a pair is mixed as the first."""

    def draw(self, epoch: int, step: Step) -> Draws:
        return mixed_alike(super().draw(epoch, step))


def mixed_alike(draws: Draws) -> Draws:
    """A step's random numbers (B, ...) with the first half's mixing in the second half."""
    pairs = len(draws.lam) // 2
    changed = {}
    for name in MIXING:
        array = getattr(draws, name)
        changed[name] = np.concatenate([array[:pairs], array[:pairs], array[2 * pairs :]])
    return dataclasses.replace(draws, **changed)


def performance(clips: ResidentClips, clip: int) -> Hashable:
    """What clips of one performance by several cameras have in common; of one camera, the clip itself."""
    if clips.manifest.dataset != NW_UCLA:  # no other has several cameras
        return clip
    told = nw_ucla.identify(clips.clips.names[clip])
    return told.label, told.fields["performers"], told.fields["episodes"]


def performer(clips: ResidentClips, clip: int) -> Hashable:
    """The performer's number."""
    return int(clips.fields["performers"][clip])


ALIKE: dict[str, Callable[[ResidentClips, int], Hashable]] = {
    "same": lambda clips, clip: clip,
    "cameras": performance,
    "takes": performer,
}
"""Kind -> what clips of one class must have in common to be twins."""


def possible_twins(kind: str, clips: ResidentClips, chosen: np.ndarray) -> list[list[int]]:
    """Places in `chosen` (N,) of the clips that may be the twin of each of these.

    It is the clip's own where there is no other one of its class: some files of NW-UCLA show another action
    than their names say, and are of the corrected class.
    """
    alike = [(ALIKE[kind](clips, clip), int(clips.clips.labels[clip])) for clip in chosen.tolist()]
    groups = defaultdict(list)
    for place, group in enumerate(alike):
        groups[group].append(place)
    return [[one for one in groups[group] if one != place] or [place] for place, group in enumerate(alike)]


def disagreement(logits: torch.Tensor, weight: float) -> torch.Tensor:
    """`weight` times the pairs' mean divergence times the batch's size, for a loss that is summed over clips.

    Divergence: (KL(p || q) + KL(q || p)) / 2 at temperature 1, as in R-Drop, with a gradient through both. Of
    several heads' logits (N, heads, K) it is head by head, and their mean. In float32.
    """
    pairs = len(logits) // 2
    one, two = F.log_softmax(logits[: 2 * pairs].float(), dim=-1).chunk(2)
    divergence = ((one.exp() - two.exp()) * (one - two)).sum() / 2
    heads = logits.shape[1] if logits.dim() == 3 else 1
    return weight * len(logits) / (pairs * heads) * divergence
