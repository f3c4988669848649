"""Evaluation batches of a shard set, as a data set of torch: the same as `tsgc evaluate` sees."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from shards.loader import EvalLoader
from shards.manifest import Manifest
from shards.options import LoaderOptions
from tsgc.config import TrainConfig
from tsgc.data.batch import Batch
from tsgc.data.place import kept_rank, known_device, this_device, this_rank
from tsgc.input.pipeline import input_pipeline
from tsgc.workspace.relabel import relabelled


class EvalBatches(IterableDataset[Batch]):
    """This rank's batches of a split, in order. Made by `ShardSet.test`; every pass over it is the same.

    Batches are dealt whole: over all ranks each clip comes once, and none twice, so that a rank may have one
    batch more than another, or none. `len` is those of this rank.
    """

    def __init__(
        self,
        manifest: Manifest,
        config: TrainConfig,
        split: str = "test",
        *,
        device: torch.device | str = "cpu",
        rank: int | None = None,
        world: int | None = None,
        options: LoaderOptions | None = None,
    ) -> None:
        self.config = config
        """The settings that the batches follow."""
        self._manifest, self._split = relabelled(manifest, config.relabel), split
        self._options = options
        self._pipeline = input_pipeline(config, manifest)
        self._device, self._given = device, (rank, world)
        clips = self._loader().clips
        self.names = clips.names
        """Names of all clips of the split, over all ranks; a batch's `indices` point there."""
        self.labels = torch.from_numpy(clips.labels)
        """Classes of all those clips, (N,) int64."""

    def __len__(self) -> int:
        return len(self._loader())

    def __iter__(self) -> Iterator[Batch]:
        device = this_device(self._device)
        worker = get_worker_info()
        loader = self._loader(*((worker.id, worker.num_workers) if worker else (0, 1)))
        try:
            for packed in loader:
                with torch.no_grad():
                    x, presence = self._pipeline.test(packed, device)
                yield Batch(x, packed.labels.to(device), presence, packed.indices, len(packed))
        finally:
            loader.close()

    def _loader(self, worker: int = 0, workers: int = 1) -> EvalLoader:
        rank, world = this_rank(*self._given)
        return EvalLoader(
            self._manifest,
            self._split,
            batch=self.config.eval_batch,
            rank=rank + world * worker,
            world=world * workers,
            pin=known_device(self._device).type == "cuda",
            options=self._options,
        )

    def __getstate__(self) -> dict[str, Any]:
        """What another process gets: this one's rank of several, too."""
        return {**self.__dict__, "_given": kept_rank(*self._given)}
