"""One prepared HDF5 to a shard set: tar files that stock WebDataset reads, and their manifest.

The set is built in a hidden folder beside its final place and renamed when whole. Order, sizes and bytes
follow from the input and the seed alone, so the number of jobs changes nothing.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import joblib
import numpy as np

from pipelines.datasets.table import hold_out
from pipelines.errors import TsgcError
from pipelines.prepared.store import Store, open_store, tool_version
from pipelines.workers.run_tasks import run_as_they_come
from shards.load_manifest import load_manifest
from shards.manifest import FILE_NAME, PAYLOAD, SPLITS, Clips, Manifest, check_names
from shards.plan import IntArray, clip_order
from shards.tar import TAR_BLOCK, Written, write_tar
from shards.whole_folder import check_space, new_folder

SHARD_BYTES = 32 << 20  # about 1,000 NTU clips: enough shards for every reader, few enough files
SHARDS_PER_JOB = 16  # starting a process takes as long as writing about that many
MAX_SHARDS = 256  # a split; larger sets get larger shards, so that a reader may keep every file open

Progress = Callable[[int, int], None]
"""Called as progress(done, total), in clips."""


@dataclass(frozen=True)
class _Job:
    """One shard to write."""

    split: str
    file: str
    clips: IntArray
    """Indices in the store, in the order of writing."""


def write_shards(
    prepared: Path,
    benchmark: str,
    out: Path,
    *,
    seed: int = 0,
    jobs: int | None = None,
    overwrite: bool = False,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> Manifest:
    """Write one benchmark of a prepared file as a shard set in the folder `out`; returns its manifest.

    `benchmark` is named as in the file: `xsub`. `seed` orders the clips, at most `jobs` processes write
    (default: one a core), shards have about `shard_bytes` bytes, all of a split the same. Raises
    TsgcError: no such benchmark, a clip that shards cannot hold, an `out` that exists without
    `overwrite` or holds other things, no space.
    """
    with open_store(prepared) as store:
        planned = _plan(store, prepared, benchmark, seed, shard_bytes)
        with new_folder(out, overwrite) as folder:
            check_space(folder, int(store.offsets[-1]) * _row_bytes(store) + len(store) * 5 * TAR_BLOCK)
            written = _write_all(prepared, benchmark, folder, planned, jobs, progress)
            manifest = _describe(store, benchmark, seed, planned, written)
            (folder / FILE_NAME).write_bytes(manifest.to_json())
            load_manifest(folder)  # what a reader would refuse is not put in place
    return load_manifest(out)


def _plan(store: Store, prepared: Path, benchmark: str, seed: int, shard_bytes: int) -> list[_Job]:
    """The shards of both splits, in the manifest's order."""
    if benchmark not in store.splits:
        raise TsgcError(f"{prepared}: no benchmark {benchmark!r}; it has {', '.join(store.splits)}")
    if wrong := check_names(store.names):
        raise TsgcError(f"{prepared}: {wrong}, which shards cannot hold; prepare it under another name")
    split_of = store.splits[benchmark]
    rows = np.diff(store.offsets)
    empty = np.flatnonzero((rows == 0) & (split_of >= 0))
    if len(empty):
        raise TsgcError(f"{prepared}: clip {store.names[empty[0]]} has no frames; run `tsgc prepare` again")
    jobs = []
    for split, code in SPLITS.items():
        clips = np.flatnonzero(split_of == code)
        clips = clips[clip_order(len(clips), seed, epoch=code)]
        sizes = rows[clips] * _row_bytes(store)
        before, total = np.cumsum(sizes) - sizes, int(sizes.sum())
        count = min(MAX_SHARDS, -(-total // shard_bytes))
        starts = np.unique(before * count // max(total, 1), return_index=True)[1]
        for index, part in enumerate(np.split(clips, starts[1:]) if len(clips) else []):
            jobs.append(_Job(split, f"{split}-{index:06d}.tar", part))
    if not jobs:
        raise TsgcError(f"{prepared}: benchmark {benchmark} has no clips; was anything prepared?")
    return jobs


def _row_bytes(store: Store) -> int:
    return store.info.body.num_joints * len(store.info.channels) * PAYLOAD.itemsize


def _write_all(
    prepared: Path,
    benchmark: str,
    folder: Path,
    planned: list[_Job],
    jobs: int | None,
    progress: Progress | None,
) -> list[Written]:
    """Every shard, written by `jobs` processes; results in the order of `planned`."""
    total, done = sum(len(job.clips) for job in planned), 0
    written: list[Written] = []
    workers = max(1, min(jobs or joblib.cpu_count(), len(planned) // SHARDS_PER_JOB))
    # Workers live on between calls, in the folder that was current when they started.
    write = partial(_write_shard, prepared.absolute(), benchmark, folder.absolute())
    with closing(run_as_they_come(write, planned, workers)) as results:
        for result in results:
            written.append(result)
            done += result.shard.count
            if progress:
                progress(done, total)
    return written


def _write_shard(prepared: Path, benchmark: str, folder: Path, job: _Job) -> Written:
    with open_store(prepared) as store:
        # Read in the file's order, then write in the shuffled one: one shard fits in memory.
        clips = {index: store.clip(index) for index in sorted(job.clips.tolist())}
        shuffled = (clips.pop(index) for index in job.clips.tolist())
        about = {"benchmark": f"{store.info.dataset}/{benchmark}", "split": job.split}
        return write_tar(folder / job.file, shuffled, store.info, about)


def _describe(
    store: Store, benchmark: str, seed: int, planned: list[_Job], written: list[Written]
) -> Manifest:
    """The manifest of the shards written."""
    info = store.info
    held_out = _held_out(store, benchmark)
    seen = {digest for job, done in zip(planned, written) if job.split == "train" for digest in done.digests}
    shards, clips = {}, {}
    for split in SPLITS:
        parts = [(job, done) for job, done in zip(planned, written) if job.split == split]
        indices = np.concatenate([job.clips for job, _ in parts]) if parts else np.empty(0, np.int64)
        frames, bodies = (column[indices].astype(np.int64) for column in (store.num_frames, store.num_bodies))
        shards[split] = tuple(done.shard for _, done in parts)
        clips[split] = Clips(
            names=tuple(store.names[index] for index in indices.tolist()),
            labels=store.labels[indices].astype(np.int64),
            shards=np.repeat(np.arange(len(parts)), [len(job.clips) for job, _ in parts]),
            offsets=np.array([offset for _, done in parts for offset in done.offsets], np.int64),
            lengths=frames * bodies * _row_bytes(store),
            frames=frames,
            bodies=bodies,
            crc32=np.array([value for _, done in parts for value in done.crc32], np.int64),
            holdout=held_out[indices],
            repeats=np.array(
                [split == "test" and digest in seen for _, done in parts for digest in done.digests], np.bool_
            ),
        )
    return Manifest(
        dataset=info.dataset, benchmark=f"{info.dataset}/{benchmark}", preset=info.preset,
        skeleton=info.skeleton, num_joints=info.body.num_joints, channels=info.channels,
        units=info.units, fps=info.fps,
        absent_body=info.absent_body, class_names=info.class_names, seed=seed, tool_version=tool_version(),
        source_digest=info.source_digest, shards=shards, clips=clips,
        reader=info.reader, people=info.people, up=info.up,
        alignment=info.alignment, skeleton_definition=info.skeleton_definition,
    )  # fmt: skip


def _held_out(store: Store, benchmark: str) -> np.ndarray:
    """Training clips that `--holdout` leaves out, (N,) bool; see `hold_out`."""
    mask = np.zeros(len(store), np.bool_)
    train = np.flatnonzero(store.splits[benchmark] == SPLITS["train"])
    if len(train):
        fields = {name: values[train] for name, values in store.fields.items()}
        mask[train] = hold_out(
            store.info.reader or store.info.dataset, [store.names[index] for index in train], fields
        )
    return mask
