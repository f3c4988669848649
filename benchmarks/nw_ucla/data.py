"""All clips of a shard set on the device, and batches cut from them: no file is read while trials train.

`ResidentLoader` gives the batches that `shards.loader.TrainLoader` reads, clip for clip; a test says so.
"""

import copy
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from pipelines.datasets.nw_ucla import identify
from shards.batch import PackedBatch, Step
from shards.manifest import Clips, Manifest
from shards.plan import batch_sizes, deal, epoch_batches
from shards.reader import ShardReader
from tsgc.config import TrainConfig
from tsgc.workspace.relabel import relabelled


class ResidentClips:
    """The clips of one split, joints on the device, all else on the host."""

    def __init__(self, manifest: Manifest, split: str, device: torch.device) -> None:
        self.manifest, self.split = manifest, split
        self.clips: Clips = manifest.clips[split]
        reader = ShardReader(manifest, split, self.clips)
        whole = reader.read(np.arange(len(self.clips)))
        reader.close()
        self.joints = whole.joints.to(device)
        self.frames, self.bodies = self.clips.frames, self.clips.bodies
        self.offsets = whole.offsets.numpy()
        self.views = np.array([identify(name).fields["views"] for name in self.clips.names])

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
        alone = np.arange(len(indices))
        rows = self.frames[indices] * self.bodies[indices]
        offsets = np.cumsum(rows) - rows
        row = np.repeat(self.offsets[indices] - offsets, rows) + np.arange(rows.sum())
        picked = torch.from_numpy(row)
        if self.joints.is_cuda:
            picked = picked.pin_memory().to(self.joints.device, non_blocking=True)
        columns = {
            "frames": self.frames[indices],
            "bodies": self.bodies[indices],
            "offsets": offsets,
            "labels": self.clips.labels[indices],
            "indices": np.asarray(indices),
            "positions": alone if positions is None else positions,
            "partner": alone if partner is None else partner,
        }
        return PackedBatch(
            self.joints[picked], **{name: torch.from_numpy(column) for name, column in columns.items()}
        )


class ResidentLoader:
    """Training batches of the clips `chosen` (N,), as `TrainLoader` plans them for one rank."""

    def __init__(self, clips: ResidentClips, chosen: np.ndarray, config: TrainConfig) -> None:
        self.clips, self.chosen = clips, chosen
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

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Step]:
        """The steps of an epoch from `start_step` on."""
        for step, clips in list(enumerate(self._order(epoch=epoch)))[start_step:]:
            positions, partner = self._dealt[len(clips)]
            part = self.clips.batch(self.chosen[clips[positions]], positions, partner)
            yield Step(step, len(clips), [part])
