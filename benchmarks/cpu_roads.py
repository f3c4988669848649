"""Both roads of a CPU side by side, in turns: blocks with joints outermost, and the plain ones.

    python benchmarks/cpu_roads.py                                      # some minutes
    python benchmarks/cpu_roads.py networks --rounds 5 --precision float32
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/cpu_roads.py   # as without AVX-512

`sizes`: a block of each width in recognition and in training, on inputs of more and more numbers, with joints
outermost throughout: where the ratio passes 1, `cpu_block.LEAST` should be. `networks`: a training step, a
batch and a lone clip of whole networks, as `LEAST` chooses. A ratio is the plain road's CPU time over the
other's, the median of pairs that follow each other, with the least and the most: above 1 the other is faster.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from pipelines.skeleton import SKELETONS
from tsgc import kernels
from tsgc.bench import machine
from tsgc.bench.contenders import Contender, training_work
from tsgc.bench.inputs import Shape, make_batch, make_model
from tsgc.network import cpu_block
from tsgc.network.adjacency import adjacency
from tsgc.network.cpu_memory import keep_memory
from tsgc.network.layers import Block
from tsgc.network.precision import DTYPES, arithmetic

CPU = torch.device("cpu")
BODY = SKELETONS["nw-ucla-20"]
WIDTHS = (24, 48, 96, 192, 384)
NUMBERS = tuple(2**power for power in range(13, 21))
LEAST_SECONDS = 0.02  # of a timing: the clock of a process ticks in steps of its own
SHAPES = {
    "tiny, NW-UCLA": Shape("tiny", "nw-ucla-20", 64, 1, 10, 64),
    "small, NW-UCLA": Shape("small", "nw-ucla-20", 64, 1, 10, 32),
    "tiny, NTU": Shape("tiny", "ntu-25", 256, 2, 120, 4),
    "252, NTU": Shape("252", "ntu-25", 256, 2, 120, 2),
}

Work = Callable[[], object]


@contextmanager
def whatever_size() -> Iterator[None]:
    """A context in which blocks run with joints outermost however small they are."""
    before, cpu_block.LEAST = cpu_block.LEAST, dict.fromkeys(cpu_block.LEAST, 0)
    try:
        yield
    finally:
        cpu_block.LEAST = before


def cpu_seconds(work: Work, calls: int) -> float:
    start = time.process_time()
    for _ in range(calls):
        work()
    return (time.process_time() - start) / calls


def paired(
    plain: Work, other: Work, rounds: int, way: Callable[[], AbstractContextManager[object]] = nullcontext
) -> list[float]:
    """Ratios of the plain road's CPU time to the other's, in `rounds` pairs whose order turns."""
    with way():
        other()
        calls = max(1, int(LEAST_SECONDS / max(cpu_seconds(other, 1), 1e-6)))
    ratios = []
    for turn in range(rounds + 1):
        found = {}
        for road in ("plain", "other") if turn % 2 else ("other", "plain"):
            with kernels.plain() if road == "plain" else way():
                found[road] = cpu_seconds(plain if road == "plain" else other, calls)
        ratios.append(found["plain"] / found["other"])
    return sorted(ratios[1:])  # the first warms up


def block_works(width: int, numbers: int, precision: str, joints_first: bool) -> Mapping[str, Work]:
    """Two blocks, one after the other, on an input as others of their road leave it."""
    rows = max(1, numbers // (BODY.num_joints * width * 8))
    first, second = (Block(width, torch.from_numpy(adjacency(BODY))) for _ in range(2))
    x, grad = torch.randn(2, rows, 8, BODY.num_joints, width).to(DTYPES.get(precision, torch.float32))
    if joints_first:
        x, grad = (cpu_block.joints_third(cpu_block.joints_first(one)) for one in (x, grad))
    survival = torch.ones(rows)

    def recognise() -> object:
        with torch.inference_mode(), arithmetic(precision, CPU):
            return second(first(x))

    def train() -> object:
        leaf = x.detach().requires_grad_()
        with arithmetic(precision, CPU):
            out = second(first(leaf, survival), survival)
        return out.backward(grad)

    return {"recognition": recognise, "training": train}


def print_sizes(precision: str, rounds: int) -> None:
    for name in ("recognition", "training"):
        print(f"\n{precision}, a block in {name}, by its numbers\n")
        print("| channels | " + " | ".join(f"2^{numbers.bit_length() - 1}" for numbers in NUMBERS) + " |")
        print("|---|" + "---|" * len(NUMBERS))
        for width in WIDTHS:
            cells = []
            for numbers in NUMBERS:
                plain, other = (block_works(width, numbers, precision, road)[name] for road in (False, True))
                cells.append(f"{statistics.median(paired(plain, other, rounds, whatever_size)):.2f}")
            print(f"| {width} | " + " | ".join(cells) + " |", flush=True)


def network_works(shape: Shape, precision: str) -> Mapping[str, Work]:
    model = make_model(shape, CPU).eval()
    x = make_batch(shape, model, CPU, seed=0).x

    def recognise(clips: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), arithmetic(precision, CPU):
            logits: torch.Tensor = model(clips)
            return logits

    return {
        "a training step": training_work(Contender("ours", precision), shape, CPU)[0],
        "a batch": lambda: recognise(x),
        "one clip": lambda: recognise(x[:1]),
    }


def print_networks(precision: str, rounds: int) -> None:
    print(f"\n{precision}, whole networks\n")
    for name, shape in SHAPES.items():
        for what, work in network_works(shape, precision).items():
            ratios = paired(work, work, rounds)
            span = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
            print(f"| {name} | {what} | {statistics.median(ratios):.2f} | {span} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", default=["sizes", "networks"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--precision", nargs="+", default=["float32", "bf16"], choices=["float32", "bf16"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    keep_memory(CPU)  # as training and evaluation do
    about = machine.machine_facts(CPU)
    runs_as = torch.backends.cpu.get_cpu_capability()
    print(f"{about['cpu']}, as {runs_as}, {options.threads} threads, torch {about['torch']}")
    for precision in options.precision:
        if precision == "bf16" and not cpu_block.convolves(torch.bfloat16):
            print("\nbf16: oneDNN does not convolve in it here; blocks run plain")
            continue
        if "sizes" in options.what:
            print_sizes(precision, options.rounds)
        if "networks" in options.what:
            print_networks(precision, options.rounds)


if __name__ == "__main__":
    main()
