"""The packed batch: ragged clips end to end, unpadded, as they lie in the shards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class PackedBatch:
    """B clips of V joints and C channels; clip b is
    `joints[offsets[b]:offsets[b] + frames[b] * bodies[b]].reshape(frames[b], bodies[b], V, C)`.
    """

    joints: Tensor
    """(rows, V, C) float32: all frames of all clips end to end, each frame its bodies in order."""
    frames: Tensor
    """(B,) int64, as all that follow."""
    bodies: Tensor
    offsets: Tensor
    """First row of each clip."""
    labels: Tensor
    """Classes, from 0."""
    indices: Tensor
    """Index of each clip in the loader's `clips`."""
    positions: Tensor
    """Position of each clip in its global batch; random numbers are keyed by it."""
    partner: Tensor
    """Index in this batch of each clip's mixing partner."""
    missing: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    """(D,) indices, in the loader's `clips`, of damaged clips that are left out."""

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "PackedBatch":
        """The batch on another device; from pinned memory the copy does not hold up the host."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "PackedBatch":
        """The batch in page-locked memory, from which a GPU copies by itself."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> "PackedBatch":
        return replace(self, **{f.name: function(getattr(self, f.name)) for f in fields(self)})


def pack_clips(clips: Sequence[np.ndarray]) -> PackedBatch:
    """Clips (T, M, V, C) packed end to end, as the loader does; labels are 0."""
    frames, bodies = (np.array([clip.shape[axis] for clip in clips]) for axis in (0, 1))
    rows = [clip.reshape(-1, *clip.shape[2:]) for clip in clips]
    counts = frames * bodies
    alone = torch.from_numpy(np.arange(len(clips)))
    return PackedBatch(
        joints=torch.from_numpy(np.concatenate(rows)),
        frames=torch.from_numpy(frames),
        bodies=torch.from_numpy(bodies),
        offsets=torch.from_numpy(counts.cumsum() - counts),
        labels=torch.from_numpy(np.zeros_like(frames)),
        indices=alone,
        positions=alone,
        partner=alone,
    )


@dataclass(frozen=True)
class Step:
    """One rank's share of one global batch."""

    step: int
    """Within the epoch, from 0."""
    size: int
    """Clips of the global batch, over all ranks: what to divide a sum of losses by, if none is missing."""
    parts: list[PackedBatch]
    """This rank's micro-batches; their sizes differ by at most 2, and by what is missing."""

    @property
    def missing(self) -> int:
        """Damaged clips that this rank has left out."""
        return sum(len(part.missing) for part in self.parts)
