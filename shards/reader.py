"""Clips from shards into packed batches: one positioned read a clip, straight into the batch, checked.

Files are read by offset, so any order costs the same and no process holds a place in a stream.
"""

import os
import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from pipelines.errors import TsgcError
from shards.batch import PackedBatch
from shards.buffers import BufferPool
from shards.in_memory import ClipsInMemory
from shards.local_files import AGAIN, DamagedError, LocalFiles, ShardFiles, check_shard
from shards.manifest import Clips, Manifest
from shards.options import ON_ERROR, LoaderOptions
from shards.plan import IntArray, partners_left
from shards.remote_files import RemoteFiles, announce_shards

try:
    from isal.isal_zlib import crc32  # nine times as fast, where it has wheels
except ImportError:
    crc32: Callable[[memoryview], int] = zlib.crc32  # type: ignore[no-redef]


class ShardReader:
    """Reads clips of one split; threads may share it.

    `clips` may be a part of the split's. Files open on first use and close with the reader. Raises
    TsgcError, naming the shard, if one that is needed is missing or has not its size; with on_error "skip" in
    `options` the clips of such a shard are left out of their batches, as damaged clips are.
    Clips of up to `memory_bytes` in all stay in memory once they have been read, if their shards are files.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        clips: Clips,
        pin: bool = False,
        options: LoaderOptions | None = None,
        memory_bytes: int = 0,
    ) -> None:
        options = options or LoaderOptions()
        if options.on_error not in ON_ERROR:
            raise TsgcError(f"on_error is {options.on_error!r}, expected one of {', '.join(ON_ERROR)}")
        self.clips = clips
        self._row_shape = (manifest.num_joints, len(manifest.channels))
        self._pin = pin
        self._skip = options.on_error == "skip"
        self._buffers = BufferPool()
        self._memory: ClipsInMemory | None = None
        shards = manifest.shards[split]
        self.files: ShardFiles
        """Where the bytes come from."""
        if manifest.url:
            self.files = RemoteFiles(manifest.url, shards, options)
            return
        self.files = LocalFiles(manifest.folder, shards)
        if clips.lengths.sum() <= memory_bytes:
            self._memory = ClipsInMemory(clips, 4 * int(np.prod(self._row_shape)))
        if not self._skip:
            for index in np.unique(clips.shards).tolist():
                check_shard(manifest.folder, shards[index])

    def close(self) -> None:
        """Close the files; also done when the reader is no longer used."""
        self.files.close()

    def announced(self, batches: Sequence[IntArray]) -> Iterator[IntArray]:
        """Passes batches (clips each) on; remote shards that they need are fetched in time."""
        return announce_shards(self.files, batches, self.clips.shards)

    def read(
        self,
        indices: IntArray,
        positions: IntArray | None = None,
        partner: IntArray | None = None,
    ) -> PackedBatch:
        """The clips at `indices` (B,) of `clips`, in that order.

        `positions` and `partner` (B,) are passed on (default: alone, unmixed). Raises DamagedError, naming
        shard and clip, for bytes that are missing or changed; where damage is skipped, such clips are in
        the batch's `missing` instead, and the clips that were to be mixed with them stay unmixed.
        """
        alone = np.arange(len(indices))
        positions = alone if positions is None else positions
        partner = alone if partner is None else partner
        missing: list[int] = []
        while True:
            joints, damaged = self._joints(indices)
            if not damaged:
                return self._batch(joints, indices, positions, partner, missing)
            missing += indices[damaged].tolist()
            kept = np.delete(np.arange(len(indices)), damaged)
            indices, positions, partner = indices[kept], positions[kept], partners_left(partner, kept)

    def _batch(
        self,
        joints: torch.Tensor,
        indices: IntArray,
        positions: IntArray,
        partner: IntArray,
        missing: list[int],
    ) -> PackedBatch:
        clips = self.clips
        frames, bodies = clips.frames[indices], clips.bodies[indices]
        columns = {
            "frames": frames,
            "bodies": bodies,
            "offsets": np.cumsum(frames * bodies) - frames * bodies,
            "labels": clips.labels[indices],
            "indices": indices,
            "positions": positions,
            "partner": partner,
            "missing": np.array(missing, np.int64),
        }
        tensors = {name: torch.from_numpy(column) for name, column in columns.items()}
        return PackedBatch(joints, **tensors)

    def _joints(self, indices: IntArray) -> tuple[torch.Tensor, list[int]]:
        """The clips' numbers end to end (rows, V, C), and which clips are damaged, as places in `indices`."""
        lengths = self.clips.lengths[indices]
        count = int(lengths.sum()) // np.dtype(np.float32).itemsize
        if self._pin:  # torch itself uses page-locked memory again, when the GPU has read it too
            joints = torch.empty(count, dtype=torch.float32, pin_memory=True)
        else:
            joints = torch.from_numpy(self._buffers.take(count))
        if self._memory is not None:
            damaged = self._memory.read(indices, self._fill)
            if not damaged:
                self._memory.gather(indices, joints.view(-1, int(np.prod(self._row_shape))).numpy())
            return joints.view(-1, *self._row_shape), damaged
        damaged = self._fill(joints.numpy().view(np.uint8).data, indices, np.cumsum(lengths) - lengths)
        return joints.reshape(-1, *self._row_shape), damaged

    def _fill(self, memory: memoryview, indices: IntArray, starts: IntArray) -> list[int]:
        """Reads each clip's bytes to its place, `starts` (B,) in bytes, and checks them."""
        clips, damaged = self.clips, []
        shards = clips.shards[indices]
        # Shard by shard and forwards: no more than one shard is in use at a time.
        order = np.lexsort((clips.offsets[indices], shards))
        # Plain integers: indexing arrays one element at a time would cost more than the reads.
        columns = (clips.offsets, clips.lengths, clips.crc32)
        todo = zip(
            order.tolist(), starts[order].tolist(), *(column[indices[order]].tolist() for column in columns)
        )
        current, descriptor = -1, -1
        try:
            for shard, (place, start, offset, length, expected) in zip(shards[order].tolist(), todo):
                try:
                    if shard != current:
                        if current >= 0:
                            self.files.release(current, descriptor)
                            current = -1
                        descriptor, current = self.files.open(shard), shard
                    where = memory[start : start + length]
                    read = os.preadv(descriptor, [where], offset)
                    if read != length or crc32(where) != expected:
                        raise self._damage(int(indices[place]), shard, read, length)
                except OSError as error:
                    raise TsgcError(f"{self.files.name(shard)}: cannot be read: {error.strerror}") from error
                except DamagedError:
                    if not self._skip:
                        raise
                    damaged.append(place)
        finally:
            if current >= 0:
                self.files.release(current, descriptor)
        return damaged

    def _damage(self, index: int, shard: int, read: int, length: int) -> DamagedError:
        what = f"{read} of {length} bytes" if read != length else "bytes that do not match its CRC-32"
        name = self.clips.names[index]
        return DamagedError(
            f"{self.files.name(shard)}: damaged: clip {name} has {what}; {AGAIN}, or pass --on-error skip"
        )
