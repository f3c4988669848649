"""Clips from shards into packed batches: one positioned read a clip, straight into the batch, checked.

Files are read by offset, so any order costs the same and no process holds a place in a stream.
"""

import os
import threading
import weakref
import zlib
from pathlib import Path

import numpy as np
import torch

from pipelines.errors import TsgcError
from shards.batch import PackedBatch
from shards.manifest import Clips, Manifest, Shard
from shards.plan import IntArray

AGAIN = "write the shards again with `tsgc shard --overwrite`"


class ShardReader:
    """Reads clips of one split; threads may share it.

    `clips` may be a part of the split's. Files open on first use and close with the reader. Raises
    TsgcError, naming the shard, if one that is needed is missing or has not its size.
    """

    def __init__(self, manifest: Manifest, split: str, clips: Clips, pin: bool = False) -> None:
        self.clips = clips
        self._folder = manifest.folder
        self._shards = manifest.shards[split]
        self._row_shape = (manifest.num_joints, len(manifest.channels))
        self._pin = pin
        self._descriptors: dict[int, int] = {}
        self._lock = threading.Lock()
        self._close = weakref.finalize(self, _close_all, self._descriptors)
        for index in np.unique(clips.shards).tolist():
            check_shard(self._folder, self._shards[index])

    def close(self) -> None:
        """Close the files; also done when the reader is no longer used."""
        self._close()

    def read(
        self,
        indices: IntArray,
        positions: IntArray | None = None,
        partner: IntArray | None = None,
    ) -> PackedBatch:
        """The clips at `indices` (B,) of `clips`, in that order.

        `positions` and `partner` (B,) are passed on (default: alone, unmixed). Raises TsgcError, naming
        shard and clip, for bytes that are missing or changed.
        """
        clips = self.clips
        alone = np.arange(len(indices))
        frames, bodies, lengths = clips.frames[indices], clips.bodies[indices], clips.lengths[indices]
        rows = frames * bodies
        ends = np.cumsum(rows)
        joints = torch.empty((int(ends[-1]), *self._row_shape), dtype=torch.float32, pin_memory=self._pin)
        self._fill(joints.numpy(), indices, np.cumsum(lengths) - lengths)
        columns = {
            "frames": frames,
            "bodies": bodies,
            "offsets": ends - rows,
            "labels": clips.labels[indices],
            "indices": indices,
            "positions": alone if positions is None else positions,
            "partner": alone if partner is None else partner,
        }
        tensors = {name: torch.from_numpy(column) for name, column in columns.items()}
        batch = PackedBatch(joints, **tensors)
        return batch.pin_memory() if self._pin else batch

    def _fill(self, joints: np.ndarray, indices: IntArray, starts: IntArray) -> None:
        """Reads each clip's bytes to its place, `starts` (B,) in bytes, and checks them."""
        clips = self.clips
        # Plain integers: indexing arrays one element at a time would cost more than the reads.
        columns = (clips.shards, clips.offsets, clips.lengths, clips.crc32)
        todo = zip(indices.tolist(), starts.tolist(), *(column[indices].tolist() for column in columns))
        memory = joints.reshape(-1).view(np.uint8).data
        for index, start, shard, offset, length, crc32 in todo:
            place = memory[start : start + length]
            descriptor = self._descriptors.get(shard)
            if descriptor is None:
                descriptor = self._open(shard)
            read = os.preadv(descriptor, [place], offset)
            if read != length or zlib.crc32(place) != crc32:
                what = f"{read} of {length} bytes" if read != length else "bytes that do not match its CRC-32"
                path = self._folder / self._shards[shard].file
                raise TsgcError(f"{path}: damaged: clip {clips.names[index]} has {what}; {AGAIN}")

    def _open(self, shard: int) -> int:
        with self._lock:  # two threads may come for the same file
            if shard not in self._descriptors:
                path = self._folder / self._shards[shard].file
                try:
                    self._descriptors[shard] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                except OSError as error:
                    raise TsgcError(f"{path}: cannot be opened: {error.strerror}") from error
            return self._descriptors[shard]


def check_shard(folder: Path, shard: Shard) -> None:
    """Raises TsgcError if the shard is missing or not as long as the manifest says."""
    path = folder / shard.file
    try:
        size = path.stat().st_size
    except OSError as error:
        raise TsgcError(f"{path}: {error.strerror}, but the manifest lists it; {AGAIN}") from None
    if size != shard.bytes:
        kind = "cut" if size < shard.bytes else "changed"
        raise TsgcError(f"{path}: {kind}: {size:,} bytes, the manifest says {shard.bytes:,}; {AGAIN}")


def _close_all(descriptors: dict[int, int]) -> None:
    while descriptors:
        os.close(descriptors.popitem()[1])
