"""Training batches of a shard set, as a data set of torch: the same as `tsgc train` sees."""

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch.utils.data import IterableDataset, get_worker_info

from pipelines.errors import TsgcError
from shards.loader import TrainLoader
from shards.manifest import Manifest
from shards.options import LoaderOptions
from tsgc.config import TrainConfig, settle_window
from tsgc.data.batch import Batch
from tsgc.data.passes import Passes, tag_of
from tsgc.data.place import kept_rank, this_device, this_rank
from tsgc.input.mixing import mix, mix_presence
from tsgc.input.pipeline import input_pipeline
from tsgc.modalities import num_channels
from tsgc.step.loss import soft_targets
from tsgc.step.micro_batch import MicroBatch
from tsgc.training.feed import Feed, ReadyStep
from tsgc.workspace.relabel import relabelled


class Share(NamedTuple):
    """The steps of an epoch that one worker of a DataLoader gives: from the first, each `stride`-th."""

    first: int
    stride: int


def num_workers() -> int:
    """Workers of the DataLoader that this process is one of; 0 in a process that is none."""
    worker = get_worker_info()
    return worker.num_workers if worker else 0


class NoBlocks:
    """A network of somebody else, which draws its own random numbers: the input has none for it."""

    drop_path_rates = torch.zeros(0)


class TrainBatches(IterableDataset[Batch]):
    """This rank's training batches. Made by `ShardSet.train`; each pass over it is the next epoch.

    Batches are the same on any number of ranks: all ranks' shares together are the global batch. They are
    whole already: a DataLoader around it takes `batch_size=None`, with any `num_workers`. `len` is the steps
    of an epoch, the same on every rank.
    """

    def __init__(
        self,
        manifest: Manifest,
        config: TrainConfig,
        *,
        device: torch.device | str = "cpu",
        rank: int | None = None,
        world: int | None = None,
        mixed: bool = False,
        options: LoaderOptions | None = None,
    ) -> None:
        self.config = settle_window(config, remote=bool(manifest.url))
        """The settings that the batches follow."""
        self._manifest = relabelled(manifest, config.relabel)
        self._options = options or LoaderOptions()
        self._pipeline = input_pipeline(self.config, self._manifest)
        self._device, self._given = device, (rank, world)
        self._mixed = mixed
        self._passes = Passes()
        self._position = (0, 0)  # epoch and step of the next batch, as far as this process has come
        self._resume: tuple[int, int] | None = None  # epoch and step of a state that was loaded
        self._loaded_in = 0  # the process that it was loaded in
        self._feeds: dict[tuple[int, int, int], Feed] = {}  # by process, rank and number of ranks
        self._feed()

    def __repr__(self) -> str:
        config = self.config
        return (
            f"<training batches of {self._manifest.benchmark}: {len(self.names):,} clips, {config.modality},"
            f" {len(self)} steps of {config.batch} an epoch, x (N, {', '.join(map(str, self.shape))})>"
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the clips that are trained on; a batch's `indices` point there."""
        return self._feed().loader.clips.names

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (C, T, V, M) of a clip's input: channels, frames, joints, bodies."""
        config, manifest = self.config, self._manifest
        channels = num_channels(config.modality, manifest.channels)
        return channels, config.frames, manifest.num_joints, self._pipeline.bodies

    @property
    def epoch(self) -> int:
        """The epoch that batches are of, from 0: the one that began last, or that comes first."""
        return self._passes.epoch

    def __len__(self) -> int:
        return self._feed().loader.steps_per_epoch

    def set_epoch(self, epoch: int) -> None:
        """Make `epoch`, from 0, the one that the next pass gives, from its first batch on."""
        self._passes.set(epoch)
        self._position, self._resume = (epoch, 0), None

    def state_dict(self) -> dict[str, Any]:
        """Where this process, or worker of a StatefulDataLoader, has come to: plain numbers and text.

        TsgcError where a DataLoader's workers took the last batches: how many, they alone know.
        """
        epoch, step = self._position
        if not num_workers() and self._passes.elsewhere:
            raise TsgcError(
                f"workers of a DataLoader are in epoch {self.epoch}, and how far is theirs to say: ask"
                " torchdata's StatefulDataLoader, or give num_workers=0; set_epoch(epoch) begins anew"
            )
        return {"epoch": epoch, "step": step, "workers": num_workers(), **self._order}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the next pass gives the rest of its epoch, on any number of ranks.

        TsgcError for a state of other clips, of another order of them, or of one of several workers.
        """
        here = {"workers": num_workers(), **self._order}
        wrong = [f"{name} is {state.get(name)} there, {here[name]} here" for name in here
                 if state.get(name) != here[name]]  # fmt: skip
        if wrong or not {"epoch", "step"} <= state.keys():
            raise TsgcError(f"a state of other batches: {'; '.join(wrong) or 'no epoch and step'}")
        epoch, step = state["epoch"], state["step"]
        if not num_workers():
            if step >= len(self):
                epoch, step = epoch + 1, 0
            self._passes.set(epoch)
        self._position = self._resume = (epoch, step)
        self._loaded_in = os.getpid()

    def close(self) -> None:
        """Close the shards, and stop the thread that makes batches ahead; another pass opens them again."""
        for feed in self._feeds.values():
            feed.close()
            feed.loader.close()
        self._feeds.clear()

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        if worker is None:
            return self._pass()
        # At once, not with the first batch: a DataLoader waits for this before it asks for another pass, and
        # a StatefulDataLoader then asks for the state.
        epoch, share = self._begin_in_worker(worker.id, worker.num_workers, tag_of(worker.seed - worker.id))
        self._position = (epoch, share.first)
        return self._batches(epoch, share)

    def _pass(self) -> Iterator[Batch]:
        epoch = self._passes.begin()
        self._position = (epoch, self._start(epoch))
        yield from self._batches(epoch, Share(self._start(epoch), 1))

    def _begin_in_worker(self, worker: int, workers: int, tag: int) -> tuple[int, Share]:
        if self._resume is not None and self._loaded_in == os.getpid():  # the state is this worker's own
            (epoch, step), self._resume = self._resume, None
            self._passes.take(epoch, tag, worker)
            return epoch, Share(step, workers)
        epoch = self._passes.begin(tag, worker)
        return epoch, Share(self._start(epoch) + worker, workers)

    def _start(self, epoch: int) -> int:
        """The step that an epoch begins with: that of a loaded state, in its epoch."""
        return self._resume[1] if self._resume is not None and self._resume[0] == epoch else 0

    def _batches(self, epoch: int, share: Share) -> Iterator[Batch]:
        feed = self._feed()
        for ready in feed.epoch(epoch, share.first, share.stride):
            self._position = (epoch, ready.step.step + share.stride)
            yield self._batch(ready)

    @torch.no_grad()
    def _batch(self, ready: ReadyStep) -> Batch:
        made, packed = ready.parts[0], ready.step.parts[0]
        x, labels, presence = self._mix(made) if self._mixed else (made.x, made.labels, made.presence)
        return Batch(x, labels, presence, packed.indices, ready.step.size)

    def _mix(self, made: MicroBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        lam = made.lam if made.lam_map is None else made.lam_map
        classes, smoothing = len(self._manifest.class_names), self.config.label_smoothing
        targets = soft_targets(made.labels, made.partner, made.lam, classes, smoothing)
        presence = None if made.presence is None else mix_presence(made.presence, made.partner, lam)
        return mix(made.x, made.partner, lam), targets, presence

    def _feed(self) -> Feed:
        """The input of this process and rank; a forked worker has threads and memory of its own."""
        rank, world = this_rank(*self._given)
        key = (os.getpid(), rank, world)
        if key not in self._feeds:
            self._passes.settle()  # before this process starts workers, which count with it
            device, config = this_device(self._device), self.config
            loader = TrainLoader(
                self._manifest,
                batch=config.batch,
                seed=config.seed,
                rank=rank,
                world=world,
                mix_group=config.mix_group,
                last_batch=config.last_batch,
                repeats=config.repeats,
                holdout=config.holdout,
                window=config.shuffle_window or 0,
                pin=device.type == "cuda",
                options=self._options,
            )
            self._feeds = {key: Feed(loader, self._pipeline, NoBlocks(), device)}
        return self._feeds[key]

    @property
    def _order(self) -> dict[str, Any]:
        """What the clips of each step follow from."""
        names = ("batch", "seed", "last_batch", "repeats", "holdout", "shuffle_window")
        return {"data": self._manifest.digest, **{name: getattr(self.config, name) for name in names}}

    def __getstate__(self) -> dict[str, Any]:
        """What another process gets: this one's rank of several, not its threads and files."""
        return {**self.__dict__, "_feeds": {}, "_given": kept_rank(*self._given)}
