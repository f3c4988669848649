"""Where a training step's time goes on a GPU: its kernels by name, of one step launch by launch.

    python benchmarks/step_kernels.py                                        # TSGCNeXt 252, NTU's input
    python benchmarks/step_kernels.py --variant small --input nw-ucla --recognition
    python benchmarks/step_kernels.py --network tsgcnext2 --modality joint+bone --rows 20
    python benchmarks/step_kernels.py --network ctrgcn --input nw-ucla --precision tf32 --batch 16

With --recognition a forward pass without gradients in place of a step. Times are the GPU's own, without the
gaps between kernels; names are cut short.
"""

import argparse
import re
import sys
from functools import partial
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines.errors import TsgcError
from tsgc.bench.contenders import Contender, Work, training_work
from tsgc.bench.inputs import NTU, NW_UCLA, make_batch, make_model
from tsgc.bench.options import check_shape
from tsgc.network.own.code import admit
from tsgc.networks import OURS, recorded_name
from tsgc.step.forward_graphs import ForwardGraphs

STEPS = 4
INPUTS = {"ntu": NTU, "nw-ucla": NW_UCLA}


def short_name(name: str) -> str:
    """A kernel's name without its namespaces' and templates' tails."""
    return re.sub(r"\s+", " ", re.sub(r"(void |at::native::|\(anonymous namespace\)::)", "", name))[:110]


def one_step(options: argparse.Namespace) -> tuple[Work, str]:
    """What is profiled, and its title. Raises TsgcError: wrong options, or no GPU."""
    admit(options.network)
    like, there = INPUTS[options.input], torch.cuda.is_available()
    shape, device, precision, _ = check_shape(
        options.variant, like.skeleton, like.frames, like.bodies, like.classes, options.batch,
        options.precision if there else None, None, None, recorded_name(options.network),
        modality=options.modality,
    )  # fmt: skip
    model = make_model(shape, device).eval()
    title = f"{shape.title}, {shape.modality}, {options.input}, batch {shape.batch}, {precision}"
    if not there:
        raise TsgcError(f"{title}: the times are a GPU's, and torch finds none here")
    if options.recognition:
        # As the commands recognise, but launch by launch: a replay has the same kernels.
        return partial(
            ForwardGraphs(precision, device, ()), model, make_batch(shape, model, device, 0).x
        ), title
    step, _ = training_work(Contender("ours", precision, settings=("graphs=false",)), shape, device)
    return step, title


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default=OURS, help="as of `tsgc bench train`")
    parser.add_argument("--variant", default="252")
    parser.add_argument("--modality", default="joint", help="several joined by +: a view each of tsgcnext2")
    parser.add_argument("--input", default="ntu", choices=INPUTS, help="frames, joints, bodies and classes")
    parser.add_argument("--precision", help="bf16, tf32, float32 or float16 (default: the fastest here)")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rows", type=int, default=45, help="kernels to print, the longest first")
    parser.add_argument("--recognition", action="store_true", help="a forward pass, not a step")
    options = parser.parse_args()
    try:
        step, title = one_step(options)
    except TsgcError as error:
        sys.exit(f"error: {error}")
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
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}: {title}")
    print(f"{total:.2f} ms of kernels a step, {launches:.0f} of them")
    for event in events[: options.rows]:
        ms = event.self_device_time_total / STEPS / 1e3
        print(f"{ms:8.3f} ms {event.count / STEPS:6.1f} x  {short_name(event.key)}")


if __name__ == "__main__":
    main()
