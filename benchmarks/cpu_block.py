"""Time what a CPU trains with, in float32 and bfloat16: blocks, the operations inside them, whole steps.

    python benchmarks/cpu_block.py --threads 8                  # a minute or two
    python benchmarks/cpu_block.py --threads 8 --profile        # a step's operators by their own time

Blocks and steps run plain, and with joints outermost (`tsgc/network/cpu_block.py`). Steps run once more with
the C library told to keep memory that is freed (`kept`): else each large tensor's pages are asked of the
kernel and set to zero again and again. Every figure is the least of a few tries, in milliseconds.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from pipelines.skeleton import SKELETONS
from tsgc.bench import machine
from tsgc.bench.contenders import Contender, training_work
from tsgc.bench.inputs import Shape
from tsgc.network import cpu_block
from tsgc.network.adjacency import adjacency
from tsgc.network.cpu_memory import is_kept, keep_memory
from tsgc.network.layers import Block
from tsgc.network.precision import arithmetic

CPU = torch.device("cpu")
NTU = SKELETONS["ntu-25"]
FRAMES = {96: 64, 192: 32, 384: 16}  # of 252's three stages at T = 256
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
WAYS: dict[str, dict[torch.dtype, int]] = {"plain": {}, "joints first": dict.fromkeys(DTYPES.values(), 0)}
PRODUCTS = {f"aten::{name}" for name in ("mm", "addmm", "addmm_", "bmm", "baddbmm")}
aten = torch.ops.aten


@contextmanager
def way(name: str) -> Iterator[None]:
    """A context in which blocks run plain or with joints first, whatever their type and size."""
    before, cpu_block.LEAST = cpu_block.LEAST, WAYS[name]
    try:
        yield
    finally:
        cpu_block.LEAST = before


def least_ms(work: Callable[[], object], seconds: float = 0.2, least: int = 2, most: int = 20) -> float:
    work()
    times: list[float] = []
    while len(times) < least or (sum(times) < seconds and len(times) < most):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def line(name: str, cells: dict[str, float]) -> None:
    words = [f"{cells[key]:10.2f}" if key in cells else " " * 10 for key in DTYPES]
    ratio = cells["float32"] / cells["bf16"] if len(cells) == 2 else float("nan")
    print(f"{name:48}{''.join(words)}{ratio:8.2f} x", flush=True)


def head(title: str) -> None:
    print(f"\n{title:48}{''.join(f'{name:>10}' for name in DTYPES)}   ratio")


def time_blocks(rows: int) -> None:
    """Forward and backward of a block, as training runs it; dropped rows are there, and computed."""
    head(f"a block, {rows} rows, forward and backward, ms")
    for width in FRAMES:
        for name in WAYS:
            line(
                f"{width:4} wide: {name}",
                {key: least_ms(block_work(width, rows, key, name)) for key in DTYPES},
            )


def block_work(width: int, rows: int, precision: str, name: str) -> Callable[[], object]:
    block = Block(width, torch.from_numpy(adjacency(NTU)))
    survival = (torch.rand(rows) > 0.2) / 0.8
    x, grad = torch.randn(2, rows, FRAMES[width], NTU.num_joints, width, dtype=DTYPES[precision])
    if name == "joints first":  # as they are between two blocks of that kind
        x, grad = (cpu_block.joints_third(cpu_block.joints_first(one)) for one in (x, grad))

    def work() -> None:
        leaf = x.detach().requires_grad_()
        with arithmetic(precision, CPU), way(name):
            out = block(leaf, survival)
        out.backward(grad)

    return work


def block_operations(width: int, rows: int, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """The operations between which a block's way can be chosen."""
    T, V, C = FRAMES[width], NTU.num_joints, width
    N = rows * T * V

    def rand(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype)

    x, g, z = rand(3, V, rows, T, C)
    h, a, gh = rand(3, N, 4 * C)
    w1, w2, A = rand(4 * C, C), rand(C, 4 * C), rand(3 * V, V)
    b1, taps, ones = rand(4 * C), rand(3, C), rand(N)[None]
    m, frame = rand(3 * V, rows * T * C), z.view(rows * T, V, C)
    apart, other = rand(2, 4, N, C)
    mixed = m.view(3, V, -1)
    many = A.expand(rows * T, -1, -1).contiguous()
    gframe = m.view(rows * T, 3 * V, C)
    h5 = h.view(rows, T, V, 4, C)[..., :3, :]
    norm = torch.randn(2, C)
    _, mean, rstd = aten.native_layer_norm(x, (C,), *norm, 1e-6)
    flat, z2 = z.view(V, -1), z.view(N, C)
    return {
        "mix: einsum as plain, 3 C channels": lambda: torch.einsum("kuv,rtvkc->rtukc", A.view(3, V, V), h5),
        "mix: (3V, V) @ (V, RTC)": lambda: A @ flat,
        "mix: (3V, V) @ (V, C) by frames": lambda: torch.bmm(many, frame),
        "mix back: (V, 3V) @ (3V, RTC)": lambda: A.t() @ m,
        "graphs' gradient: (3V, RTC) @ (RTC, V)": lambda: m @ flat.t(),
        "graphs' gradient: 3 x (V, RTC) @ (RTC, V)": lambda: torch.bmm(
            mixed, flat.t().expand(3, -1, -1).contiguous()
        ),
        "graphs' gradient: by frames, summed": lambda: torch.bmm(gframe, frame.mT).sum(0),
        "graphs' gradient: by rows, copied, summed": lambda: torch.bmm(
            m.view(3 * V, rows, -1).transpose(0, 1).contiguous(),
            flat.view(V, rows, -1).permute(1, 2, 0).contiguous(),
        ).sum(0),
        "graphs' gradient: (3V, RTC) @ (RTC, V) as linear": lambda: F.linear(m, flat),
        "expand: N x C x 4C, bias copied": lambda: torch.addmm(b1, z2, w1.t()),
        "expand: N x C x 4C, bias fused": lambda: torch.ops.mkldnn._linear_pointwise(
            z2, w1, b1, "none", [], ""
        ),
        "expand: N x C x 4C, no bias": lambda: torch.mm(z2, w1.t(), out=h),
        "expand: 4 of N x C x C, into columns": lambda: [
            torch.mm(z2, w.t(), out=p) for p, w in zip(h.split(C, 1), w1.split(C))
        ],
        "expand: 4 of N x C x C, added to columns": lambda: [
            p.addmm_(z2, w.t()) for p, w in zip(h.split(C, 1), w1.split(C))
        ],
        "expand: 4 of N x C x C, apart": lambda: [
            torch.mm(z2, w.t(), out=p) for p, w in zip(apart, w1.split(C))
        ],
        "expand: 4 of N x C x C, apart, at once": lambda: torch.bmm(apart, w1.view(4, C, C).mT, out=other),
        "expand: 4 of N x C x C, apart, at once, added": lambda: other.baddbmm_(apart, w1.view(4, C, C).mT),
        "w1's gradient: 4C x N x C": lambda: h.t() @ z2,
        "w1's gradient: 4 of C x N x C": lambda: [p.t() @ z2 for p in apart],
        "w1's gradient: 4 of C x N x C, at once": lambda: torch.bmm(apart.mT, apart),
        "z's gradient: N x 4C x C": lambda: h @ w1,
        "z's gradient: 4 of N x C x C": lambda: [p @ w for p, w in zip(apart, w1.split(C))],
        "z's gradient: 4 of N x C x C, at once": lambda: torch.bmm(apart, w1.view(4, C, C), out=other),
        "project: N x 4C x C, bias copied": lambda: torch.addmm(b1[:C], a, w2.t()),
        "project: N x 4C x C, bias fused": lambda: torch.ops.mkldnn._linear_pointwise(
            a, w2, b1[:C], "none", [], ""
        ),
        "project: 4 of N x C x C, added": lambda: [z2.addmm_(p, w) for p, w in zip(apart, w1.split(C))],
        "w2's gradient: C x N x 4C, 4 of C x N x C at once": lambda: torch.bmm(
            z2.t().expand(4, -1, -1), apart
        ),
        "w2's gradient: C x N x 4C": lambda: z2.t() @ a,
        "h's gradient: N x C x 4C": lambda: z2 @ w2,
        "GELU": lambda: F.gelu(h),
        "GELU into the same place": lambda: aten.gelu.out(h, out=a),
        "GELU back": lambda: aten.gelu_backward(gh, h),
        "GELU back into the same place": lambda: aten.gelu_backward.grad_input(gh, h, grad_input=a),
        "GELU back, parts apart": lambda: aten.gelu_backward.grad_input(
            gh.view(N, 4, C).transpose(0, 1), h.view(N, 4, C).transpose(0, 1), grad_input=apart
        ),
        "parts apart": lambda: apart.copy_(h.view(N, 4, C).transpose(0, 1)),
        "a copy of h": lambda: h.clone(),
        "a copy of h into the same place": lambda: a.copy_(h),
        "parts side by side (cat)": lambda: torch.cat([h5, h5[..., :1, :]], dim=-2),
        "sums of columns, 4C": lambda: h.sum(0),
        "sums of columns, 4C, as a product": lambda: ones @ h,
        "sums of columns, 4C, by joints, as products": lambda: cpu_block.sums_by_joint(h.view(V, -1, 4 * C)),
        "in time: 3 times multiply and add": lambda: [torch.addcmul(g, x, taps[0]) for _ in range(3)],
        "in time: convolution": lambda: cpu_block.convolve(x, taps, b1[:C]),
        "in time, back: convolution": lambda: cpu_block.convolve_backward(g, x, taps),
        "in time, back: weights by multiply and sum": lambda: [(g * x).sum((0, 1, 2)) for _ in range(3)],
        "LayerNorm": lambda: aten.native_layer_norm(x, (C,), *norm, 1e-6),
        "LayerNorm back": lambda: aten.native_layer_norm_backward(
            g, x, (C,), mean, rstd, *norm, [True, True, True]
        ),
        "joints first: a copy of x": lambda: cpu_block.joints_first(x),
        "x + y s": lambda: torch.addcmul(x, g, z),
    }


def time_parts(rows: int) -> None:
    for width in FRAMES:
        head(f"parts of a block {width} wide, ms")
        works = {precision: block_operations(width, rows, dtype) for precision, dtype in DTYPES.items()}
        with torch.no_grad():
            for name in works["bf16"]:
                cells = {}
                for precision, made in works.items():
                    try:
                        cells[precision] = least_ms(made[name], 0.03)
                    except (RuntimeError, AttributeError):  # not in every torch
                        continue
                line(name, cells)


def step(precision: str, batch: int) -> Callable[[], object]:
    shape = Shape("252", NTU.name, 256, 2, 120, batch)
    return training_work(Contender("ours", precision), shape, CPU)[0]


def time_steps(batch: int, tries: int) -> None:
    """A whole step of `tsgc bench train`: forward, backward, AdamW, average."""
    for kept in ("", ", memory kept"):
        if kept:
            keep_memory(CPU)
            if not is_kept():
                print("memory kept: the C library is not glibc")
                return
        head(f"a step of {batch} clips{kept}, ms")
        found: dict[str, dict[str, float]] = {}
        for name in WAYS:
            with way(name):
                works = {precision: step(precision, batch) for precision in DTYPES}
                found[name] = {precision: least_ms(work, 0, tries) for precision, work in works.items()}
            line(name, found[name])
            rates = ", ".join(f"{key} {1e3 * batch / value:.1f}" for key, value in found[name].items())
            print(f"    clips/s: {rates}")
        line(
            "plain float32 over joints first bf16", {**found["plain"], "bf16": found["joints first"]["bf16"]}
        )


def print_profiles(batch: int, rows: int) -> None:
    for name in WAYS:
        for precision in DTYPES:
            with way(name):
                work = step(precision, batch)
                work()
                with profile(activities=[ProfilerActivity.CPU]) as found:
                    work()
            print(f"\n{name}, {precision}")
            events = sorted(found.key_averages(), key=lambda e: -e.self_cpu_time_total)
            total = sum(event.self_cpu_time_total for event in events)
            products = sum(event.self_cpu_time_total for event in events if event.key in PRODUCTS)
            print(f"  products {products / 1e3:.1f} ms, all else {(total - products) / 1e3:.1f} ms")
            for event in events[:rows]:
                ms = event.self_cpu_time_total / 1e3
                print(f"  {event.key:52}{ms:9.1f} ms {100e3 * ms / total:5.1f} %{event.count:6}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=8, help="clips of 2 bodies")
    parser.add_argument("--tries", type=int, default=3, help="steps of each kind that are timed")
    parser.add_argument(
        "--what", nargs="+", default=["blocks", "parts", "steps"], choices=["blocks", "parts", "steps"]
    )
    parser.add_argument("--profile", action="store_true", help="whole steps by operator, and nothing else")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    about = machine.machine_facts(CPU)
    print(
        f"{about['cpu']}, {options.threads} threads, {' '.join(about['cpu_flags'])}, torch {about['torch']}"
    )
    if options.profile:
        print_profiles(options.batch, 28)
        return
    rows = 2 * options.batch
    if "blocks" in options.what:
        time_blocks(rows)
    if "parts" in options.what:
        time_parts(rows)
    if "steps" in options.what:
        time_steps(options.batch, options.tries)


if __name__ == "__main__":
    main()
