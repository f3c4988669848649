"""Clips of a shard set as they were prepared, each by its number: a map-style data set of torch."""

import os
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipelines.errors import UsageError
from shards.loader import EVALUATED
from shards.manifest import Manifest
from shards.options import LoaderOptions
from shards.reader import ShardReader


class RawClips(Dataset[tuple[Tensor, int]]):
    """A split's clips: `joints, label = clips[i]`, (T, M, V, C) float32 and the class; by `ShardSet.clips`.

    T frames, M bodies, V joints, C coordinates; T and M differ from clip to clip, so a DataLoader needs a
    `collate_fn`, or `batch_size=None`. Nothing is cropped, resized or normalised. Each clip is checked by
    its CRC-32; damage raises TsgcError.
    """

    def __init__(
        self, manifest: Manifest, split: str = "train", options: LoaderOptions | None = None
    ) -> None:
        if split not in EVALUATED:
            raise UsageError(f"split is {split!r}, expected one of {', '.join(EVALUATED)}")
        self._source, choose = EVALUATED[split]
        self._manifest = manifest
        self._clips = choose(manifest.clips[self._source])
        self._options = replace(options or LoaderOptions(), on_error="raise")
        self._readers: dict[int, ShardReader] = {}  # by process

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the clips."""
        return self._clips.names

    @property
    def labels(self) -> Tensor:
        """Classes (N,) int64, from 0."""
        return torch.from_numpy(self._clips.labels)

    @property
    def frames(self) -> Tensor:
        """Frames of each clip, (N,) int64."""
        return torch.from_numpy(self._clips.frames)

    @property
    def bodies(self) -> Tensor:
        """Bodies of each clip, (N,) int64."""
        return torch.from_numpy(self._clips.bodies)

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        place = range(len(self))[index]  # IndexError beyond the last
        packed = self._reader().read(np.array([place]))
        joints = packed.joints.view(int(packed.frames), int(packed.bodies), *packed.joints.shape[1:])
        return joints, int(packed.labels)

    def _reader(self) -> ShardReader:
        process = os.getpid()
        if process not in self._readers:  # a forked worker has files of its own
            reader = ShardReader(self._manifest, self._source, self._clips, options=self._options)
            self._readers = {process: reader}
        return self._readers[process]

    def __getstate__(self) -> dict[str, Any]:
        """What another process gets: not this one's files."""
        return {**self.__dict__, "_readers": {}}
