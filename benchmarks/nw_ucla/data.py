"""All clips of a shard set on the device, and batches cut from them: no file is read while trials train.

`ResidentLoader` gives the batches that `shards.loader.TrainLoader` reads, clip for clip; a test says so.
"""

import copy
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from nw_ucla.folds import clip_fields
from shards import resident
from shards.batch import PackedBatch, Step
from shards.manifest import Clips, Manifest
from shards.plan import batch_sizes, deal, epoch_batches
from tsgc.config import TrainConfig
from tsgc.workspace.relabel import relabelled


class ResidentClips:
    """The clips of one split, joints on the device, all else on the host."""

    def __init__(self, manifest: Manifest, split: str, device: torch.device) -> None:
        self.manifest, self.split = manifest, split
        self.clips: Clips = manifest.clips[split]
        self.resident = resident.ResidentClips(manifest, split, device)
        self.joints = self.resident.joints
        self.frames = self.clips.frames
        rows = self.frames * self.clips.bodies
        self.offsets = np.cumsum(rows) - rows
        self.fields = clip_fields(manifest.dataset, self.clips.names)
        """Columns (N,) of what the clips' names tell: performers, of NW-UCLA also views."""

    def relabelled(self, config: TrainConfig) -> "ResidentClips":
        """The same clips with the classes that the configuration corrects."""
        other = copy.copy(self)
        other.manifest = relabelled(self.manifest, config.relabel)
        other.clips = other.manifest.clips[self.split]
        return other

    def batch(
        self, indices: np.ndarray, positions: np.ndarray | None = None, partner: np.ndarray | None = None
    ) -> PackedBatch:
        """The clips at `indices` (B,), in that order, as `ShardReader.read` gives them."""
        return self.reader().read(indices, positions, partner)

    def reader(self) -> resident.ResidentReader:
        """A reader of the clips."""
        return self.resident.reader(self.clips)


class ResidentLoader:
    """Training batches of the clips `chosen` (N,), as `TrainLoader` plans them for one rank."""

    def __init__(self, clips: ResidentClips, chosen: np.ndarray, config: TrainConfig) -> None:
        self.chosen = chosen
        self._reader = clips.reader()
        self.step_counts = batch_sizes(len(chosen), config.batch, config.last_batch, config.repeats)
        self._dealt = {size: deal(size, config.mix_group, 1)[0] for size in set(self.step_counts)}
        self._order = partial(
            epoch_batches,
            len(chosen),
            config.batch,
            config.seed,
            last_batch=config.last_batch,
            repeats=config.repeats,
        )

    @property
    def steps_per_epoch(self) -> int:
        return len(self.step_counts)

    def epoch(self, epoch: int, start_step: int = 0, stride: int = 1) -> Iterator[Step]:
        """Every `stride`-th of an epoch's steps from `start_step` on."""
        for step, clips in list(enumerate(self._order(epoch=epoch)))[start_step::stride]:
            positions, partner = self._dealt[len(clips)]
            part = self._reader.read(self.chosen[clips[positions]], positions, partner)
            yield Step(step, len(clips), [part])
