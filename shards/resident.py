"""All clips of a split on one device, which several trainings share: batches are gathered there.

Each clip is read and checked once, whoever trains on it; no thread reads while they train.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from shards.batch import PackedBatch
from shards.manifest import Clips, Manifest
from shards.plan import IntArray
from shards.reader import ShardReader


class ResidentClips:
    """The joints of a split's clips on `device`. Raises TsgcError where one of them cannot be read."""

    def __init__(self, manifest: Manifest, split: str, device: torch.device) -> None:
        clips = manifest.clips[split]
        reader = ShardReader(manifest, split, clips)
        whole = reader.read(np.arange(len(clips)))
        reader.close()
        self.joints = whole.joints.to(device)
        """(rows, V, C) float32: the clips end to end, as in a PackedBatch."""
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # readers gather on streams of their own
        self._starts = dict(zip(clips.names, whole.offsets.tolist(), strict=True))

    def reader(self, clips: Clips) -> "ResidentReader":
        """A reader of `clips`, which may be a part of the split, under other labels."""
        return ResidentReader(self.joints, clips, np.array([self._starts[name] for name in clips.names]))


class ResidentReader:
    """Gathers batches of `clips`, whose joints begin at the rows `starts` (N,) of `joints`.

    The plain twin is `ShardReader`, which reads the same from the shards.
    """

    def __init__(self, joints: torch.Tensor, clips: Clips, starts: IntArray) -> None:
        self.clips = clips
        self._joints, self._starts = joints, starts
        self._rows = clips.frames * clips.bodies

    def read(
        self, indices: IntArray, positions: IntArray | None = None, partner: IntArray | None = None
    ) -> PackedBatch:
        """The clips at `indices` (B,) of `clips`, in that order; joints on the device, all else on the host.

        `positions` and `partner` (B,) are passed on (default: alone, unmixed).
        """
        alone = np.arange(len(indices))
        rows = self._rows[indices]
        offsets = np.cumsum(rows) - rows
        row = torch.from_numpy(np.repeat(self._starts[indices] - offsets, rows) + np.arange(rows.sum()))
        if self._joints.is_cuda:
            row = row.pin_memory().to(self._joints.device, non_blocking=True)
        columns = {
            "frames": self.clips.frames[indices],
            "bodies": self.clips.bodies[indices],
            "offsets": offsets,
            "labels": self.clips.labels[indices],
            "indices": np.asarray(indices),
            "positions": alone if positions is None else positions,
            "partner": alone if partner is None else partner,
        }
        tensors = {name: torch.from_numpy(column) for name, column in columns.items()}
        return PackedBatch(self._joints.index_select(0, row), **tensors)

    def announced(self, batches: Sequence[IntArray]) -> Iterator[IntArray]:
        """The batches themselves: nothing has to be fetched for them."""
        return iter(batches)

    def close(self) -> None:
        """Nothing is open."""
