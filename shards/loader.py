"""What training and evaluation iterate over: the plan, read ahead by threads.

Rank and world are arguments; nothing here talks to other processes, and no rank is special.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from pipelines.errors import TsgcError, UsageError
from shards.batch import PackedBatch, Step
from shards.in_memory import MEMORY_BYTES
from shards.load_manifest import load_manifest
from shards.manifest import Clips, Manifest
from shards.options import LoaderOptions
from shards.plan import batch_sizes, deal, epoch_batches, eval_batches, parts_of_rank
from shards.reader import ShardReader
from shards.remote_files import check_room
from shards.resident import ResidentClips, ResidentReader

Task = Callable[[], PackedBatch]

# Split of an evaluation -> which split of the manifest, and which of its clips.
EVALUATED: dict[str, tuple[str, Callable[[Clips], Clips]]] = {
    "train": ("train", lambda clips: clips),
    "test": ("test", lambda clips: clips),
    "holdout": ("train", lambda clips: clips.select(clips.holdout)),
}


class TrainLoader:
    """One rank's share of every training batch.

    `shards`: a manifest, or the folder or URL of one.
    `batch` is global: clips of one optimiser step over all ranks and micro-batches. It is cut into
    world x accumulation micro-batches (`plan.deal`), of which this rank has `accumulation` in a row. The
    clips, positions and mixing partners of a global batch do not depend on `world` or `accumulation`.
    `mix_group`, `last_batch` and `repeats` are as in `plan`; with `holdout` the clips that the manifest
    lists as held out are not trained on. `window` shards are drawn from at a time (0: all). `prefetch`
    steps are read ahead by `threads` threads, their joints into page-locked memory if `pin`. Clips of up to
    `memory_bytes` in all are read once, and stay in memory.
    With `resident`, the clips of `train` on a device, batches are gathered there, when they are due.
    `options` says what happens to damaged clips, and where remote shards are kept; where they are left out,
    a step's parts are smaller, and one that would be empty raises.
    Raises TsgcError: no clips, no batch, too small a batch for the ranks, a shard missing or cut.
    """

    def __init__(
        self,
        shards: Manifest | Path | str,
        *,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        accumulation: int = 1,
        mix_group: int = 32,
        last_batch: str = "drop",
        repeats: int = 1,
        holdout: bool = False,
        window: int = 0,
        prefetch: int = 4,
        threads: int = 2,
        pin: bool = False,
        options: LoaderOptions | None = None,
        memory_bytes: int = MEMORY_BYTES,
        resident: ResidentClips | None = None,
    ) -> None:
        manifest = shards if isinstance(shards, Manifest) else load_manifest(shards)
        if manifest.url:
            check_room(manifest.shards["train"], window, options or LoaderOptions())
        clips = manifest.clips["train"]
        if holdout:
            _some(clips.select(clips.holdout), manifest, "holdout")
            clips = clips.select(~clips.holdout)
        self.clips = _some(clips, manifest, "train")
        """The clips trained on; a batch's `indices` point into them."""
        self.step_counts = batch_sizes(len(clips), batch, last_batch, repeats)
        """Clips in each step's global batch; the same in every epoch."""
        parts = parts_of_rank(rank, world, accumulation)
        # Sizes take one or two values, so all dealing is done, and checked on every rank alike, here.
        self._dealt = {
            size: deal(size, mix_group, world * accumulation)[parts.start : parts.stop]
            for size in sorted(set(self.step_counts))
        }
        self._order = partial(
            epoch_batches,
            len(clips),
            batch,
            seed,
            last_batch=last_batch,
            repeats=repeats,
            shards=clips.shards,
            window=window,
        )
        self._accumulation = accumulation
        self._ahead = prefetch * accumulation
        self._threads = 0 if resident else threads
        self._reader: ShardReader | ResidentReader
        if resident is not None:
            self._reader = resident.reader(clips)
        else:
            self._reader = ShardReader(manifest, "train", clips, pin, options, memory_bytes)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch: the same on every rank."""
        return len(self.step_counts)

    @property
    def num_clips(self) -> int:
        """Clips trained on, over all ranks."""
        return len(self.clips)

    def epoch(self, epoch: int, start_step: int = 0, stride: int = 1) -> Iterator[Step]:
        """This rank's share of every step from `start_step` on: a resumed epoch's exact tail.

        With a `stride` above 1 only every so-many-th of them: processes that take turns read one each.
        Raises TsgcError, naming shard and clip, when a batch that cannot be read is due.
        """
        batches = _read_ahead(self._tasks(epoch, start_step, stride), self._ahead, self._threads)
        try:
            for step in range(start_step, self.steps_per_epoch, stride):
                parts = list(islice(batches, self._accumulation))
                self._check_parts(step, parts)
                yield Step(step, self.step_counts[step], parts)
        finally:
            batches.close()

    def close(self) -> None:
        """Close the shards."""
        self._reader.close()

    def _tasks(self, epoch: int, start_step: int, stride: int) -> Iterator[Task]:
        batches = self._order(epoch=epoch)[start_step::stride]
        for clips in self._reader.announced(batches):
            for positions, partner in self._dealt[len(clips)]:
                yield partial(self._reader.read, clips[positions], positions, partner)

    def _check_parts(self, step: int, parts: list[PackedBatch]) -> None:
        """A rank must take part in every step, so a micro-batch may be smaller, but not empty."""
        for part in parts:
            if not len(part):
                first = self.clips.names[int(part.missing[0])]
                raise TsgcError(
                    f"step {step}: all {len(part.missing)} clips of a micro-batch are damaged ({first}, ...),"
                    " too many to skip; `tsgc verify` names what is wrong"
                )


class EvalLoader:
    """One rank's share of an evaluation: whole batches, each clip once over all ranks, none twice.

    `shards`: a manifest, or the folder or URL of one. `split`: `test`, `train` (all of it) or `holdout`.
    Batches are `batch` consecutive clips of `clips`, the same on any number of ranks; rank r has batches r,
    r + world, ... and may have none. Iterate as often as wanted; batches of which no clip can be read are
    left out where damage is skipped. With `resident`, the clips of the split (`train` for `holdout`) on a
    device, batches are gathered there. Raises TsgcError as `TrainLoader` does.
    """

    def __init__(
        self,
        shards: Manifest | Path | str,
        split: str = "test",
        *,
        batch: int = 128,
        rank: int = 0,
        world: int = 1,
        prefetch: int = 4,
        threads: int = 2,
        pin: bool = False,
        options: LoaderOptions | None = None,
        resident: ResidentClips | None = None,
    ) -> None:
        if split not in EVALUATED:
            raise UsageError(f"split is {split!r}, expected one of {', '.join(EVALUATED)}")
        manifest = shards if isinstance(shards, Manifest) else load_manifest(shards)
        source, choose = EVALUATED[split]
        self.clips = _some(choose(manifest.clips[source]), manifest, split)
        """All clips of the evaluation, over all ranks; a batch's `indices` point into them."""
        self.names = self.clips.names
        self.labels = self.clips.labels
        self.repeats = self.clips.repeats
        self._batches = eval_batches(len(self.clips), batch, rank, world)
        self._ahead = prefetch
        self._threads = 0 if resident else threads
        self._reader: ShardReader | ResidentReader
        if resident is not None:
            self._reader = resident.reader(self.clips)
        else:
            self._reader = ShardReader(manifest, source, self.clips, pin, options)

    def __len__(self) -> int:
        """Batches of this rank."""
        return len(self._batches)

    def __iter__(self) -> Iterator[PackedBatch]:
        tasks = (partial(self._reader.read, indices) for indices in self._reader.announced(self._batches))
        return (batch for batch in _read_ahead(tasks, self._ahead, self._threads) if len(batch))

    def close(self) -> None:
        """Close the shards."""
        self._reader.close()


def _read_ahead(tasks: Iterable[Task], ahead: int, threads: int) -> Generator[PackedBatch]:
    """Results of `tasks` in order, at most `ahead` of them waiting; stopping early stops the threads.

    With 0 `threads` each is done when it is due.
    """
    if not threads:
        yield from (task() for task in tasks)
        return
    waiting: deque[Future[PackedBatch]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="shards") as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(task))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _some(clips: Clips, manifest: Manifest, split: str) -> Clips:
    if not len(clips):
        raise TsgcError(
            f"{manifest.location}: {manifest.benchmark} has no {split} clips;"
            " choose another split or data set"
        )
    return clips
