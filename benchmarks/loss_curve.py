"""Does the fused path train as the plain one does? Loss curves side by side, on real clips.

    python benchmarks/loss_curve.py data/shards/nw-ucla/xview --steps 200

Trains the shards' own recipe three times: as it runs here, on the plain path with the same seed, and on the
plain path with another seed. The first two see the same clips, augmentations and drop-path masks; how far
they part is to be less than what another seed does to the plain path. Prints the mean loss of every 20
steps, and the two distances.
"""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch

from shards.load_manifest import load_manifest
from tsgc import kernels
from tsgc.config import TrainConfig, resolve_config
from tsgc.console import Talker
from tsgc.distributed.process import Process, pick_device
from tsgc.step.optimizer import learning_rate
from tsgc.training.run import build_training

WINDOW = 20  # steps that a figure is the mean of: single batches of mixed clips are noisy


def losses(config: TrainConfig, shards: Path, steps: int, device: torch.device) -> np.ndarray:
    """The loss of each of the first `steps` steps (steps,)."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        benchmark = load_manifest(shards).benchmark
        run = build_training(config, benchmark, shards, Path(folder), Process(0, 1, device))
        try:
            run.model.train()
            per_epoch = run.loader.steps_per_epoch
            ready = chain.from_iterable(run.feed.epoch(epoch) for epoch in range(config.epochs))
            for position, step in enumerate(islice(ready, steps)):
                run.train_step.clear()
                lr = learning_rate(position, per_epoch, config)
                run.train_step(step.parts, lr=lr, size=step.step.size, position=position)
                found.append(run.train_step.loss_sum.item() / step.step.size)
        finally:
            run.feed.close()
            run.train_step.reset()
    return np.array(found)


def windows(curve: np.ndarray) -> np.ndarray:
    return curve[: len(curve) // WINDOW * WINDOW].reshape(-1, WINDOW).mean(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--device")
    parser.add_argument("--set", action="append", default=[], help="key=value of the recipe")
    parser.add_argument("--out", type=Path, help="file for the curves as JSON")
    options = parser.parse_args()
    device = pick_device(options.device, 0)
    config = resolve_config(load_manifest(options.shards).benchmark, settings=options.set)
    other = dataclasses.replace(config, seed=config.seed + 1)
    ways: dict[str, tuple[TrainConfig, Callable[[], AbstractContextManager]]] = {
        "as it runs here": (config, nullcontext),
        "plain": (config, kernels.plain),
        "plain, another seed": (other, kernels.plain),
    }
    curves = {}
    for name, (settings, way) in ways.items():
        with way():
            curves[name] = losses(settings, options.shards, options.steps, device)
    talker = Talker()
    rows = zip(*(windows(curve) for curve in curves.values()), strict=True)
    talker.table(
        f"Mean loss of {WINDOW} steps, {config.variant}, {config.precision}, batch {config.batch}",
        ("steps", *curves),
        [
            [f"{WINDOW * i + 1}-{WINDOW * (i + 1)}", *(f"{loss:.4f}" for loss in row)]
            for i, row in enumerate(rows)
        ],
    )
    ours, plain, seed = curves.values()
    distances = {
        "fused from plain": np.abs(windows(ours) - windows(plain)),
        "seed from seed, plain": np.abs(windows(plain) - windows(seed)),
    }
    for name, distance in distances.items():
        talker.line(f"{name}: {distance.mean():.4f} on average, {distance.max():.4f} at most")
    if options.out:
        options.out.write_text(json.dumps({name: curve.tolist() for name, curve in curves.items()}))


if __name__ == "__main__":
    main()
