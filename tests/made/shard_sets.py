"""Tiny made prepared files for the tests of shards and loaders."""

from pathlib import Path

import numpy as np

from pipelines.datasets.table import DATASETS
from pipelines.prepared.store import Clip, Info
from pipelines.prepared.writer import StoreWriter
from shards.manifest import Manifest
from shards.writer import write_shards

SHARD_BYTES = 20_000  # a handful of these clips


def make_store(path: Path, clips: int = 101, seed: int = 0, frames: tuple[int, int] = (1, 9)) -> Path:
    """A prepared ntu60 file: random joints, 1 or 2 bodies, three of four performers train.

    The last test clip has exactly the first training clip's joints.
    """
    dataset = DATASETS["ntu60"]
    rng = np.random.default_rng(seed)
    info = Info(
        dataset="ntu60", preset="reference", skeleton="ntu-25", channels="xyz", units="metres", fps=30,
        absent_body="zeros", class_names=dataset.class_names, source_digest="made", tool_version="0",
    )  # fmt: skip
    first = None
    with StoreWriter(path, info, dataset.fields) as store:
        for i in range(clips):
            performer, label = i % 4 + 1, i % 60  # 1, 2 and 4 train, 3 tests
            T, M = int(rng.integers(*frames)), int(rng.integers(1, 3)) if frames[1] - frames[0] > 1 else 1
            joints = rng.standard_normal((T, M, 25, 3)).astype(np.float32)
            first = joints if first is None else first
            if i == (clips - 3) // 4 * 4 + 2:
                joints = first
            name = (
                f"S{i // 300 + 1:03d}C{i % 3 + 1:03d}P{performer:03d}R{i // 60 % 99 + 1:03d}A{label + 1:03d}"
            )
            fields = {"setups": 1, "cameras": i % 3 + 1, "performers": performer, "replications": 1}
            present = np.ones(joints.shape[:2], np.bool_)
            store.append(Clip(name, label, joints, present, rng.random(3, np.float32), fields))
        store.finish(dataset.splits(store.fields()))
    return path


def make_shards(folder: Path, **options: int) -> Manifest:
    """Shards of `make_store`'s clips by performers, several of each split."""
    prepared = make_store(folder / "made.h5", **options)
    return write_shards(prepared, "xsub", folder / "xsub", jobs=1, shard_bytes=SHARD_BYTES)


def make_data(root: Path) -> None:
    """A data root of 61 made NTU clips: ./made.h5 and ./shards/ntu60/xsub."""
    make_shards(root, clips=61)
    (root / "shards/ntu60").mkdir(parents=True)
    (root / "xsub").rename(root / "shards/ntu60/xsub")
