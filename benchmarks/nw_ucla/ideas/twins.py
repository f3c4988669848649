"""Twins: a step's B clips are B / 2 clips and the twin of each; the two predictions of a pair are to agree.

Both of a pair are mixed alike, so that their targets are equal; crop, augmentations and drop path are each
one's own. Consistency of two passes over one example: R-Drop, Liang et al. (2021), arXiv 2106.14448, there by
dropout alone. A batch of an odd size has one clip that is in no pair.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator

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
        own = np.arange(len(chosen))
        self.twins = other_cameras(clips, chosen) if kind == "cameras" else own
        """Each clip's twin (N,): a place in `chosen`, as no other clip trains."""
        self._mix_group = config.mix_group

    def epoch(self, epoch: int, start_step: int = 0, stride: int = 1) -> Iterator[Step]:
        for step, clips in list(enumerate(self._order(epoch=epoch // 2)))[start_step::stride]:
            pairs, size = len(clips) // 2, len(clips)
            first = clips[size - pairs :] if epoch % 2 else clips[:pairs]
            alone = clips[pairs : size - pairs]  # none, or the middle one
            partner = mixing_partners(pairs, self._mix_group)
            partner = np.concatenate([partner, partner + pairs, np.arange(2 * pairs, size)])
            which = self.chosen[np.concatenate([first, self.twins[first], alone])]
            yield Step(step, size, [self._reader.read(which, np.arange(size), partner)])


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


def other_cameras(clips: ResidentClips, chosen: np.ndarray) -> np.ndarray:
    """Places (N,) in `chosen` (N,): for each of these clips that of its performance by another camera.

    It is the clip's own where no other of `chosen` is, or where that has another class: some files of NW-UCLA
    show another action than their names say. Of more than two cameras each clip has the next one's.
    """
    twins = np.arange(len(chosen))
    if clips.manifest.dataset != NW_UCLA:  # no other has several cameras
        return twins
    groups = defaultdict(list)
    for place, clip in enumerate(chosen.tolist()):
        told = nw_ucla.identify(clips.clips.names[clip])
        performance = (told.label, told.fields["performers"], told.fields["episodes"])
        groups[performance, int(clips.clips.labels[clip])].append(place)
    for places in groups.values():
        twins[places] = np.roll(places, -1)
    return twins


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
