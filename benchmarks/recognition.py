"""How fast a trained run answers here: one clip from joints in memory, and a test split by two networks.

    python benchmarks/recognition.py RUN [SHARDS] [--device cuda]

The clip is made, of one body. A split is recognised by raw and averaged weights, as training evaluates it;
the first pass reads the shards and, on a GPU, captures. The batch is the split's first, from tensors on the
device to logits there. Where clips may have several bodies, all are timed with absent bodies left out and,
in turns, with all computed.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from shards.loader import EvalLoader
from tsgc import load_run
from tsgc.bench.clock import synchronise
from tsgc.distributed.process import Process
from tsgc.evaluation.predict_split import predict_split
from tsgc.network.precision import for_recognition
from tsgc.step.forward_graphs import ForwardGraphs

CALLS = 300
PASSES = 6
BATCHES = 23  # of which three warm up and capture


class AllRows(ForwardGraphs):
    """Computes bodies that are absent, too."""

    def _present_rows(self, *given: object) -> None:
        return None


def seconds(works: Sequence[Callable[[], object]], calls: int) -> list[list[float]]:
    """Seconds of each call of each work, in turns; their results lie on the host."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(calls):
        for work, mine in zip(works, times):
            start = time.perf_counter()
            work()
            mine.append(time.perf_counter() - start)
    return times


def told(times: Sequence[Sequence[float]]) -> str:
    """Medians and least of a work, and of its twin with all rows."""
    medians = [1e3 * statistics.median(mine) for mine in times]
    words = f"median {medians[0]:.2f} ms, least {1e3 * min(times[0]):.2f} ms"
    if len(times) == 1:
        return words
    ratios = [one / other for one, other in zip(*times)]
    return f"{words}; all bodies computed {medians[1]:.2f} ms, ratio of pairs {statistics.median(ratios):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("shards", type=Path, nargs="?")
    parser.add_argument("--device")
    parser.add_argument("--calls", type=int, default=CALLS)
    options = parser.parse_args()
    recogniser = load_run(options.run, device=options.device)
    device, twin = recogniser.device, copy(recogniser)
    several = recogniser.streams[0].pipeline.bodies > 1
    twin.streams = [
        replace(stream, forward=AllRows(stream.forward.precision, device, stream.forward.sizes))
        for stream in twin.streams
    ]
    joints, axes = recogniser.joint_shape
    clip = np.random.default_rng(0).normal(size=(60, 1, joints, axes)).astype(np.float32)
    clip -= clip[:1, :1, [recogniser.skeleton.centre]]
    lone = [partial(one.predict, clip) for one in ([recogniser, twin] if several else [recogniser])]
    seconds(lone, 10)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"one clip: {told(seconds(lone, options.calls))}")
    if options.shards is None:
        return
    averaged = load_run(options.run, ema=True, device=options.device)
    models = {"": recogniser.streams[0].model, "-ema": averaged.streams[0].model}
    pipeline, process = recogniser.streams[0].pipeline, Process(0, 1, device)
    batch = pipeline.config.eval_batch
    loader = EvalLoader(options.shards, "test", batch=batch, pin=device.type == "cuda")
    precision = for_recognition(pipeline.config.precision, device)
    made = [ForwardGraphs, AllRows] if several else [ForwardGraphs]
    forwards = [kind(precision, device, (batch,)) for kind in made]
    passes = [
        partial(predict_split, models, loader, pipeline, process, forward=forward) for forward in forwards
    ]
    times = [mine[1:] for mine in seconds(passes, PASSES)]
    print(f"{len(loader.labels)} test clips by two networks: {told(times)}")
    first = next(iter(loader))
    (x, presence), there = pipeline.test(first, device), pipeline.bodies_there(first)

    def answers(forward: ForwardGraphs) -> None:
        forward(models[""], x, presence, there)
        synchronise(device)

    times = [mine[3:] for mine in seconds([partial(answers, forward) for forward in forwards], BATCHES)]
    rate = len(x) / statistics.median(times[0])
    print(
        f"one batch of {len(x)} clips of {there.sum(1).mean():.2f} bodies: {told(times)}; {rate:,.0f} clips/s"
    )


if __name__ == "__main__":
    main()
