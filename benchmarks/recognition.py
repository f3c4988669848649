"""How fast a trained run answers here: one clip from joints in memory, and a test split by two networks.

    python benchmarks/recognition.py RUN [SHARDS] [--device cuda]

The clip is made. A split is recognised by raw and averaged weights, as training evaluates it; the first pass
reads the shards and, on a GPU, captures.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from shards.loader import EvalLoader
from tsgc import load_run
from tsgc.distributed.process import Process
from tsgc.evaluation.predict_split import predict_split
from tsgc.network.precision import for_recognition
from tsgc.step.forward_graphs import ForwardGraphs

CALLS = 300
PASSES = 6


def seconds(work: Callable[[], object], calls: int) -> list[float]:
    """Seconds of each call, whose results lie on the host."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("shards", type=Path, nargs="?")
    parser.add_argument("--device")
    parser.add_argument("--calls", type=int, default=CALLS)
    options = parser.parse_args()
    recogniser = load_run(options.run, device=options.device)
    device = recogniser.device
    joints, axes = recogniser.joint_shape
    clip = np.random.default_rng(0).normal(size=(60, 1, joints, axes)).astype(np.float32)
    clip -= clip[:1, :1, [recogniser.skeleton.centre]]
    seconds(lambda: recogniser.predict(clip), 10)
    times = seconds(lambda: recogniser.predict(clip), options.calls)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"one clip: median {1e3 * statistics.median(times):.2f} ms, least {1e3 * min(times):.2f} ms")
    if options.shards is None:
        return
    averaged = load_run(options.run, ema=True, device=options.device)
    models = {"": recogniser.streams[0].model, "-ema": averaged.streams[0].model}
    pipeline, process = recogniser.streams[0].pipeline, Process(0, 1, device)
    batch = pipeline.config.eval_batch
    loader = EvalLoader(options.shards, "test", batch=batch, pin=device.type == "cuda")
    forward = ForwardGraphs(for_recognition(pipeline.config.precision, device), device, (batch,))
    passes = seconds(lambda: predict_split(models, loader, pipeline, process, forward=forward), PASSES)
    print(f"{len(loader.labels)} test clips by two networks: {1e3 * statistics.median(passes[1:]):.1f} ms")


if __name__ == "__main__":
    main()
