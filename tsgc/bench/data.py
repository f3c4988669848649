"""What the data path costs: training on real batches through the loader against one batch repeated."""

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from shards.load_manifest import load_manifest
from tsgc.bench.clock import cost_a_call, synchronise
from tsgc.bench.trace import trace_idle
from tsgc.bench.training import WARM_UP
from tsgc.config import TrainConfig, resolve_config
from tsgc.distributed.process import Process
from tsgc.network.cpu_memory import keep_memory
from tsgc.training.feed import ReadyStep
from tsgc.training.run import Training, build_training


def data_config(shards: Path | str, settings: Sequence[str], **options: Any) -> TrainConfig:
    """The shards' own recipe with the given settings, full batches only, and epochs without end."""
    config = resolve_config(load_manifest(shards).benchmark, settings=settings, options=options)
    return dataclasses.replace(config, epochs=1_000_000, warmup_epochs=0, last_batch="drop")


def data_path(
    shards: Path | str, config: TrainConfig, process: Process, steps: int, *, traced: bool = False
) -> dict[str, Any]:
    """Clips a second of training on real batches, and on the first of them repeated; CPU cores used.

    Both run in one process, in turn, twice; the better time of each counts. `traced`: also the GPU's idle
    share.
    """
    keep_memory(process.device)  # as training does
    with tempfile.TemporaryDirectory() as folder:
        run = build_training(config, load_manifest(shards).benchmark, shards, Path(folder), process)
        try:
            return _compare(run, steps, traced)
        finally:
            run.feed.close()
            run.train_step.reset()


def shape_of(run: Training) -> dict[str, Any]:
    """The shape of the run's network and batches, with the fields of `inputs.Shape`."""
    config, manifest = run.config, run.manifest
    return {
        "variant": config.variant,
        "skeleton": manifest.skeleton,
        "frames": config.frames,
        "bodies": config.bodies,
        "classes": len(manifest.class_names),
        "batch": config.batch,
    }


def _compare(run: Training, steps: int, traced: bool) -> dict[str, Any]:
    device, size = run.process.device, run.config.batch
    run.model.train()
    ready = chain.from_iterable(run.feed.epoch(epoch) for epoch in range(run.config.epochs))
    kept = next(ready)

    def made() -> None:
        run.train_step(kept.parts, lr=1e-4, size=kept.step.size, position=1000)

    def real() -> None:
        _train(run, ready)

    for _ in range(WARM_UP):
        made()
        real()
    synchronise(device)
    costs: dict[str, list[tuple[float, float]]] = {"made": [], "real": []}
    for _ in range(2):
        for name, work in (("made", made), ("real", real)):
            costs[name].append(cost_a_call(work, device, steps, warm_up=3))
    (made_seconds, made_cores), (real_seconds, real_cores) = (min(costs[name]) for name in ("made", "real"))
    result = {
        "benchmark": run.benchmark,
        "clips": len(run.loader.clips),
        "shape": shape_of(run),
        "made": size / made_seconds,
        "real": size / real_seconds,
        "slower": 1 - made_seconds / real_seconds,
        "cores_made": made_cores,
        "cores_real": real_cores,
    }
    if traced:
        result["trace"] = trace_idle(real, device)
    return result


def _train(run: Training, ready: Iterator[ReadyStep]) -> None:
    step = next(ready)
    run.train_step(step.parts, lr=1e-4, size=step.step.size, position=1000)
