"""A captured training step of a network, alone and beside others on streams of one GPU, on made clips.

    python benchmarks/side_by_side.py --network ctrgcn --batch 16 --precision tf32 --beside 12

By `configs/nw-ucla-ctrgcn.yaml`, with NW-UCLA's shape: 20 joints, one body, 10 classes. Eager, captured, and
captured with N such trainings that take turns. On a CPU, which captures nothing, the plain step alone.
"""

import argparse
import dataclasses
import itertools
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch

from tsgc.bench.clock import seconds_a_call, synchronise
from tsgc.bench.inputs import Shape, make_batch, make_step
from tsgc.config import CONFIGS, resolve_config
from tsgc.step.train_step import TrainStep
from tsgc.train_config import TrainConfig

WARM_UP = 6  # steps: the first ones, then the capture


def training(
    shape: Shape, config: TrainConfig, device: torch.device, captured: bool
) -> tuple[TrainStep, Callable[[], object]]:
    """A training of its own, and a function that takes its next step on one made batch."""
    step = make_step(shape, config, device, cuda_graphs=captured)
    batch = make_batch(shape, step.model, device, seed=0)  # type: ignore[arg-type]
    positions = itertools.count()
    return step, lambda: step([batch], lr=0.01, size=shape.batch, position=next(positions))


def beside(count: int, shape: Shape, config: TrainConfig, device: torch.device, steps: int) -> float:
    """Seconds of a round in which each of `count` trainings takes a step, on a stream of its own."""
    lanes = []
    for _ in range(count):
        stream = torch.cuda.Stream(device)
        with torch.cuda.stream(stream):
            owner, work = training(shape, config, device, captured=True)
            for _ in range(WARM_UP):
                work()
        lanes.append((stream, owner, work))
    synchronise(device)
    start = time.perf_counter()
    for _ in range(steps):
        for stream, _, work in lanes:
            with torch.cuda.stream(stream):
                work()
    synchronise(device)
    seconds = (time.perf_counter() - start) / steps
    for _, owner, _ in lanes:
        owner.reset()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="ctrgcn", help="tsgcnext (small), ctrgcn or stgcn++")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", default=None, help="tf32, bf16 or float32 (default: the recipe's)")
    parser.add_argument("--beside", type=int, default=12, help="trainings side by side")
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", 0) if on_gpu else torch.device("cpu")
    chosen = {
        "network": options.network,
        "batch": options.batch,
        "variant": "small",
        "precision": options.precision,
    }
    config = resolve_config("nw-ucla/xview", config=CONFIGS / "nw-ucla-ctrgcn.yaml", options=chosen)
    config = dataclasses.replace(config, micro_batch=options.batch)
    shape = Shape("small", "nw-ucla-20", config.frames, 1, 10, options.batch, options.network)
    where = torch.cuda.get_device_name(device) if on_gpu else "CPU"
    print(f"{options.network}, batch {options.batch}, {config.precision}; {where}, torch {torch.__version__}")
    with torch.cuda.device(device) if on_gpu else nullcontext():
        for name, captured in (("eager", False), ("captured", True)) if on_gpu else (("eager", False),):
            owner, work = training(shape, config, device, captured)
            seconds = seconds_a_call(work, device, options.steps, warm_up=WARM_UP if on_gpu else 1)
            print(f"{name}: {1e3 * seconds:.2f} ms, {options.batch / seconds:,.0f} clips/s")
            owner.reset()
        if on_gpu:
            seconds = beside(options.beside, shape, config, device, options.steps)
            rate = options.beside * options.batch / seconds
            print(f"{options.beside} side by side: {rate:,.0f} clips/s in all")


if __name__ == "__main__":
    main()
