"""Where a training step's time goes on a GPU: its kernels by name, of one step launch by launch.

    python benchmarks/step_kernels.py [--precision bf16] [--batch 128] [--rows 45] [--recognition]

Variant 252, NTU's input; with --recognition a forward pass without gradients in place of a step. Times are
the GPU's own, without the gaps between kernels; names are cut short.
"""

import argparse
import re
import sys
from functools import partial
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tsgc.bench.contenders import Contender, Work, training_work
from tsgc.bench.inputs import Shape, make_batch, make_model
from tsgc.step.forward_graphs import ForwardGraphs

STEPS = 4


def short_name(name: str) -> str:
    """A kernel's name without its namespaces' and templates' tails."""
    return re.sub(r"\s+", " ", re.sub(r"(void |at::native::|\(anonymous namespace\)::)", "", name))[:110]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", default="bf16", choices=["bf16", "tf32", "float32"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rows", type=int, default=45, help="kernels to print, the longest first")
    parser.add_argument("--recognition", action="store_true", help="a forward pass, not a step")
    options = parser.parse_args()
    shape = Shape("252", "ntu-25", 256, 2, 120, options.batch)
    contender = Contender("ours", options.precision, settings=("graphs=false",))
    device = torch.device("cuda")
    if options.recognition:
        # As the commands recognise, but launch by launch: a replay has the same kernels.
        model, x = make_model(shape, device).eval(), make_batch(shape, make_model(shape, device), device, 0).x
        step: Work = partial(ForwardGraphs(options.precision, device, ()), model, x)
    else:
        step, _ = training_work(contender, shape, device)
    for _ in range(3):
        step()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize()
    events = [event for event in found.key_averages() if event.self_device_time_total > 0]
    events.sort(key=lambda event: -event.self_device_time_total)
    total = sum(event.self_device_time_total for event in events) / STEPS / 1e3
    launches = sum(event.count for event in events) / STEPS
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.precision}:")
    print(f"{total:.2f} ms of kernels a step, {launches:.0f} of them")
    for event in events[: options.rows]:
        ms = event.self_device_time_total / STEPS / 1e3
        print(f"{ms:8.3f} ms {event.count / STEPS:6.1f} x  {short_name(event.key)}")


if __name__ == "__main__":
    main()
