"""Clips a second of the loader and of stock WebDataset, on the same shards, in one run.

    python benchmarks/loader.py data/shards/ntu60/xsub [--threads 2] [--seconds 5]

Both read the training split from the page cache (each runs once before it is timed), on the CPU alone.
Stock: `WebDataset(...).decode()` in this process, .npy, .cls and .json members decoded. Ours: shuffled
batches of 128, CRC-32 checked, nothing kept in memory. Per core = per second of CPU time, user and system, of
the whole process.
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import webdataset

from shards.load_manifest import load_manifest
from shards.loader import TrainLoader
from shards.manifest import Manifest


def stock(manifest: Manifest) -> Iterator[int]:
    """Clips of one pass, as counts."""
    files = [str(manifest.folder / shard.file) for shard in manifest.shards["train"]]
    for _ in webdataset.WebDataset(files, shardshuffle=False).decode():
        yield 1


def ours(manifest: Manifest, threads: int) -> Iterator[int]:
    """Clips of one epoch, as counts."""
    loader = TrainLoader(manifest, batch=128, seed=0, last_batch="spread", threads=threads, memory_bytes=0)
    for step in loader.epoch(0):
        yield step.size
    loader.close()


def measure_rates(passes: Iterator[Iterator[int]], seconds: float) -> tuple[float, float]:
    """Clips a second of wall clock and of CPU time, over at least `seconds`."""
    sum(next(passes))  # fills the page cache
    clips, wall, cpu = 0, time.perf_counter(), time.process_time()
    for one in passes:
        clips += sum(one)
        if time.perf_counter() - wall >= seconds:
            break
    return clips / (time.perf_counter() - wall), clips / (time.process_time() - cpu)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    manifest = load_manifest(options.shards)
    clips = manifest.clips["train"]
    size = clips.lengths.mean() / 1000
    print(f"{manifest.benchmark}: {len(clips):,} training clips of {size:.1f} kB on average")
    rates = {
        "stock webdataset": measure_rates((stock(manifest) for _ in itertools.count()), options.seconds),
        f"ours, {options.threads} threads": measure_rates(
            (ours(manifest, options.threads) for _ in itertools.count()), options.seconds
        ),
    }
    base = next(iter(rates.values()))
    for name, (wall, cpu) in rates.items():
        ratios = f"{wall / base[0]:5.1f} x  {cpu / base[1]:5.1f} x a core"
        print(f"{name:20} {wall:9,.0f} clips/s  {cpu:9,.0f} a core  {ratios}")


if __name__ == "__main__":
    main()
