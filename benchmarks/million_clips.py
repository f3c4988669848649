"""Time and memory of the manifest and the plan at a million clips, no data behind them.

    python benchmarks/million_clips.py [--clips 1000000] [--rounds 3]

A made manifest of 256 shards is written, parsed and checked; an epoch is planned, drawing from all shards
and from windows of them. Times are the least of the rounds; memory is the peak that Python and NumPy ask
for in that step (tracemalloc, in a round that is not timed).
"""

import argparse
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.datasets.table import DATASETS
from shards.load_manifest import load_manifest
from shards.manifest import FILE_NAME, Clips, Manifest, Shard
from shards.plan import deal, epoch_batches

SHARDS = 256
ROW_BYTES = 25 * 3 * 4
BATCH = 128


def made_manifest(count: int) -> Manifest:
    """A manifest of `count` training clips of 20 to 200 frames; everything fits together."""
    rng = np.random.default_rng(0)
    frames, bodies = rng.integers(20, 200, count), rng.integers(1, 3, count)
    shards = np.arange(count) * SHARDS // count
    lengths = frames * bodies * ROW_BYTES
    spaced = lengths + 3072  # headers and paddings, roughly
    first = np.flatnonzero(np.diff(shards, prepend=-1))
    before = np.cumsum(spaced) - spaced
    clips = Clips(
        names=tuple(f"S{i // 10_000:03d}C001P001R001A{i % 10_000:06d}" for i in range(count)),
        labels=rng.integers(0, 60, count),
        shards=shards,
        offsets=before - before[first][shards] + 3072,
        lengths=lengths,
        frames=frames,
        bodies=bodies,
        crc32=rng.integers(0, 1 << 32, count),
        holdout=rng.random(count) < 0.1,
        repeats=np.zeros(count, np.bool_),
    )
    sizes = np.add.reduceat(spaced, first) + 10_240
    counts = np.bincount(shards, minlength=SHARDS)
    tars = tuple(
        Shard(f"train-{k:06d}.tar", int(size), f"{k:064x}", int(n))
        for k, (size, n) in enumerate(zip(sizes, counts))
    )
    return Manifest(
        dataset="ntu60", benchmark="ntu60/xsub", preset="reference", skeleton="ntu-25", num_joints=25,
        channels="xyz", units="metres", fps=30, absent_body="zeros",
        class_names=DATASETS["ntu60"].class_names, seed=0, tool_version="made", source_digest="made",
        shards={"train": tars, "test": ()}, clips={"train": clips, "test": clips.select(shards < 0)},
    )  # fmt: skip


def measure_peak(what: str, work: Callable[[], Any], rounds: int) -> None:
    """Print the shortest time of `rounds` calls, and the peak memory of one more."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"{what:40} {min(times):8.3f} s  {peak / 1e6:8.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    manifest = made_manifest(options.clips)
    shards = manifest.clips["train"].shards
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / FILE_NAME
        file.write_bytes(manifest.to_json())
        print(
            f"{options.clips:,} clips, {SHARDS} shards, manifest.json of {file.stat().st_size / 1e6:.1f} MB"
        )
        measure_peak("manifest: to JSON", manifest.to_json, options.rounds)
        measure_peak("manifest: read, parsed, checked", lambda: load_manifest(file), options.rounds)
    for window in (0, 16, 1):
        name = f"window of {window}" if window else "all shards"
        measure_peak(
            f"plan of an epoch, {name}",
            lambda window=window: epoch_batches(
                options.clips, BATCH, 0, 0, "spread", shards=shards, window=window
            ),
            options.rounds,
        )
    measure_peak("dealing a batch to 8 ranks", lambda: deal(BATCH, 32, 8), options.rounds)


if __name__ == "__main__":
    main()
