"""What making one training step's input costs the host, on a CPU: GPUs whose steps are short wait for it.

    python benchmarks/feed.py data/shards/nw-ucla/xview [--steps 200] [--together 1]

For a step of the shards' own recipe, in milliseconds of CPU time: reading; the draws; joining the steps whose
input is made as one batch (as on a GPU; --together says how many); planning (which frames, which rows, what
each is given); and launching, which is all that is left when input is made of two clips of one frame, so that
the operations have next to nothing to do. Those are counted, views apart. On a GPU each costs more to launch
than here, 5 to 10 microseconds. Last, all of it (and the planning of two clips once more) on steps read
before, and while the loader's threads read: what is more than the reading is lost by threads that take turns.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from shards.batch import PackedBatch, Step
from shards.load_manifest import load_manifest
from tsgc.bench.data import data_config
from tsgc.distributed.process import Process
from tsgc.input.random_numbers import Draws
from tsgc.step.join_steps import join_draws, join_parts
from tsgc.training.feed import NUMBERS, SWITCH, TOGETHER
from tsgc.training.run import Training, build_training

VIEWS = {
    "alias", "as_strided", "detach", "expand", "permute", "select", "slice", "split", "split_with_sizes", "t",
    "transpose", "unbind", "unsqueeze", "view", "_unsafe_view",
}  # fmt: skip


class Counted(TorchDispatchMode):
    """Counts the operations that reach a device."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[str(function).split(".")[1]] += 1
        return function(*args, **(kwargs or {}))


def milliseconds(work: Callable[[], object], calls: int) -> float:
    """CPU time of a call, the least of five runs: others on this machine do not count."""
    runs = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(calls):
            work()
        runs.append(1e3 * (time.process_time() - start) / calls)
    return min(runs)


def small(part: PackedBatch) -> PackedBatch:
    """The first two clips, of one frame each."""
    two, rows = {name: column[:2] for name, column in vars(part).items()}, part.bodies[:2]
    two |= {"frames": torch.ones_like(rows), "offsets": rows.cumsum(0) - rows, "partner": rows * 0}
    two["joints"] = part.joints[: int(rows.sum())]
    return PackedBatch(**two)


def plan(run: Training, part: PackedBatch, draws: Draws) -> None:
    """The host's part of `InputPipeline.train` and `Feed.micro_batch`."""
    pipeline, here = run.pipeline, part.positions.numpy()
    numbers = {name: array[here] for name, array in draws.augmentations.items()}
    pipeline.host_arrays(part, pipeline.train_positions(part, draws), numbers)
    run.feed.arrays(part, draws)


def make(run: Training, steps: Sequence[Step]) -> None:
    """Make steps' input, of two clips of one frame, so that operations do next to nothing."""
    blocks = len(run.model.drop_path_rates)
    draws = join_draws([run.pipeline.draw(0, step.step, step.size, blocks) for step in steps])
    part = join_parts(steps, run.process.device)
    plan(run, part, draws)
    run.feed.micro_batch(small(part), draws)


def cost(run: Training, source: Iterable[Step], steps: int, together: int) -> tuple[float, float]:
    """Milliseconds of wall clock and of CPU time, of all threads, to make a step's input."""
    few = iter(source)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps // together):
        make(run, list(islice(few, together)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    made = steps // together * together
    return 1e3 * wall / made, 1e3 * cpu / made


def measure_feed(run: Training, steps: int, together: int) -> None:
    live = chain.from_iterable(run.loader.epoch(epoch) for epoch in range(run.config.epochs))
    first = list(islice(live, max(20, run.loader.steps_per_epoch)))
    group = first[:together]
    blocks = len(run.model.drop_path_rates)

    def drawn() -> list[Draws]:
        return [run.pipeline.draw(0, step.step, step.size, blocks) for step in group]

    def joined() -> tuple[PackedBatch, Draws]:
        return join_parts(group, run.process.device), join_draws(each)

    each = drawn()
    part, draws = joined()
    little = small(part)
    run.feed.micro_batch(part, draws)  # tables are made once
    with Counted() as counted:
        run.feed.micro_batch(part, draws)
    views = sum(count for name, count in counted.counts.items() if name in VIEWS)
    rounds = max(steps // 10, 1)
    indices = group[0].parts[0].indices.numpy()
    costs = {
        "reading": milliseconds(lambda: run.loader._reader.read(indices), rounds) * together,
        "draws": milliseconds(drawn, rounds),
        "joining": milliseconds(joined, rounds) if together > 1 else 0.0,
        "planning": milliseconds(lambda: plan(run, part, draws), rounds),
        "launching": milliseconds(lambda: run.feed.micro_batch(little, draws), rounds)
        - milliseconds(lambda: plan(run, little, draws), rounds),
    }
    for name, spent in (costs | {"sum": sum(costs.values())}).items():
        print(f"{name:10} {spent / together:6.3f} ms")
    work = (sum(counted.counts.values()) - views) / together
    print(f"operations {work:6.1f} and {views / together:.1f} views")
    for name, source in (("alone", cycle(first[:20])), ("together", live)):
        wall, cpu = cost(run, source, steps, together)
        print(f"{name:10} {cpu:6.3f} ms of all threads, {wall:.3f} of wall clock")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--together", type=int, help="default: as many as a GPU's feed joins")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sys.setswitchinterval(SWITCH)
    config = data_config(options.shards, ())
    benchmark = load_manifest(options.shards).benchmark
    with tempfile.TemporaryDirectory() as folder:
        run = build_training(
            config, benchmark, options.shards, Path(folder), Process(0, 1, torch.device("cpu"))
        )
        print(f"{benchmark}, T {config.frames}, batch {config.batch}, {run.pipeline.bodies} bodies")
        size = run.feed.numbers(next(iter(run.loader.epoch(0))))
        measure_feed(run, options.steps, options.together or max(1, min(TOGETHER, NUMBERS // size)))


if __name__ == "__main__":
    main()
