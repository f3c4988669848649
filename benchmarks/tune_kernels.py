"""Check the fused kernels on this GPU, and time ways of cutting them.

    python benchmarks/tune_kernels.py [--widths 96 192 384] [--kinds backward] [--batch 128] [--processes 12]

The table in tsgc/kernels/tunings.py comes from here. Checks a block of each width in bfloat16 against
float64, values and gradients. Then times each kernel at the size that it has in variant 252 at T = 256, 25
joints and 2 bodies, with the rows dropped that drop path drops there, for every candidate of
`kernel_cuts.py`. Candidates are compiled by several processes first; one that does not fit the GPU is
reported.
"""

import argparse
import copy
import dataclasses
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kernel_cuts import CANDIDATES, WAVES

from tsgc import kernels
from tsgc.kernels import bottleneck, mixer_hopper, temporal, temporal_backward, tunings
from tsgc.kernels.operands import Operands, make_operands
from tsgc.network.layers import NORM_EPS, Block

FRAMES = {96: 64, 192: 32, 384: 16}
DROPPED = {96: 0.025, 192: 0.2, 384: 0.375}  # mean drop-path rate of the blocks of a width


class KernelInputs:
    """Inputs of one width's kernels, random, bfloat16."""

    def __init__(self, width: int, rows: int, frames: int, joints: int) -> None:
        gen = torch.Generator("cuda").manual_seed(0)

        def rand(*shape: int, scale: float = 1.0) -> Tensor:
            return torch.randn(*shape, device="cuda", generator=gen) * scale

        shape = (rows, frames, joints, width)
        self.x = rand(*shape).bfloat16()
        self.z = rand(*shape).bfloat16()
        self.dout = rand(*shape).bfloat16()
        self.survival = (torch.rand(rows, device="cuda", generator=gen) >= DROPPED[width]).float()
        self.adjacency = rand(3, joints, joints, scale=0.2)
        self.w1 = rand(4 * width, width, scale=width**-0.5)
        self.w2 = rand(width, 4 * width, scale=(4 * width) ** -0.5)
        self.b1, self.b2 = rand(4 * width, scale=0.1), rand(width, scale=0.1)
        self.conv, self.bias = rand(3, width), rand(width)
        self.gamma, self.beta = rand(width), rand(width)
        self.total = rows * frames * joints
        self.width = width

    def hidden(self) -> Tensor:
        return torch.randn(self.total, 4 * self.width, device="cuda", dtype=torch.bfloat16)

    def work(self, kind: str, u: Tensor, p: Tensor) -> Callable[[], object]:
        """What a kernel does in a step, with the tuning as it is now; u and p are `hidden`'s."""
        before = tunings.TUNINGS[self.width]
        if kind in ("forward", "expand"):  # tiles are cut for the one or the other
            tunings.TUNINGS[self.width] = dataclasses.replace(before, fused=kind == "forward")
        way = bottleneck.Kernels(self.width)
        tunings.TUNINGS[self.width] = before
        x, z, s = self.x, self.z, self.survival
        ready = make_operands(self.w1, self.w2, self.adjacency, s, torch.bfloat16, *way.tuning.tile_rows)
        tuning = way.tuning
        norm = (self.conv, self.bias, self.gamma)
        of = temporal.temporal_norm(x, s, *norm, self.beta, NORM_EPS, tuning.temporal)[1]
        works: dict[str, Callable[[], object]] = {
            "temporal": lambda: temporal.temporal_norm(x, s, *norm, self.beta, NORM_EPS, tuning.temporal),
            "temporal_backward": lambda: temporal_backward.temporal_norm_backward(
                x, z, self.dout, s, ready.order, *norm, of, tuning.temporal_backward
            ),
            "forward": lambda: way.forward(z, x, s, ready, self.b1, self.b2, training=True),
            "expand": lambda: way.expand(z, s, ready, self.b1, p),
            "contract": lambda: way.contract(u, x, s, ready.w2, self.b2),
            "widen": lambda: way.linear(self.dout, ready.w2, s, transposed=True),
            "narrow": lambda: way.linear(u, ready.w1, s),
            "backward": lambda: self.backward(way, p, u, ready),
            "gather": lambda: self.gather(way, p, u, ready),
            "outer": lambda: way.outer(u, z, ready.order, len(z)),
        }
        return works[kind]

    def backward(self, way: bottleneck.Kernels, p: Tensor, u: Tensor, ready: Operands) -> None:
        """Mixing backwards, with the two products that fused candidates include."""
        cut, programs = way.tuning.backward, way.tuning.programs
        s, shape = self.survival, self.x.shape
        dg = self.dout.view(-1, self.width)
        if not cut.piece:
            dg = way.linear(self.dout, ready.w2, s, transposed=True)
        bottleneck.mix_backward(p, dg, u, p, s, ready, shape, cut, programs, whole=False)
        way.outer(p, self.dout, ready.order, len(s), columns=False)

    def gather(self, way: bottleneck.Kernels, p: Tensor, u: Tensor, ready: Operands) -> None:
        """Mixing backwards in one kernel, for Hopper GPUs."""
        assert way.tuning.gather
        mixer_hopper.mix_gather(p, self.dout, u, self.survival, ready, way.tuning.gather)


def set_tuning(width: int, kind: str, candidate: tuple[int, ...] | None, programs: int = 22) -> None:
    values: dict[str, object] = {kind: candidate}
    if kind == "backward":
        values["programs"] = programs
    tunings.TUNINGS[width] = dataclasses.replace(tunings.TUNINGS[width], **values)


def compile_one(
    task: tuple[str, int, tuple[int, ...] | None, int],
) -> tuple[str, int, tuple[int, ...] | None, str]:
    """Run a candidate once on little data, so that it lies compiled in Triton's cache."""
    kind, width, candidate, joints = task
    try:
        set_tuning(width, kind, candidate)
        case = KernelInputs(width, 16, 16, joints)
        case.work(kind, case.hidden(), case.hidden())()
        torch.cuda.synchronize()
    except Exception as error:  # whatever Triton raises is reported, and the others go on
        return kind, width, candidate, " ".join(str(error).split())[:150]
    return kind, width, candidate, ""


def relative_errors(width: int, joints: int, frames: int) -> dict[str, float]:
    """Relative errors of a block in bfloat16 against float64: values and gradients."""
    torch.manual_seed(width)
    module = Block(width, torch.randn(3, joints, joints) * 0.2)
    for parameter in module.parameters():
        if parameter.dim() < 3:
            parameter.data = torch.randn_like(parameter) * (0.1 if parameter.dim() == 1 else width**-0.5)
    module.norm.weight.data += 1
    module.temporal.weight.data.mul_(width**0.5)
    module = module.cuda()
    x = torch.randn(12, frames, joints, width, device="cuda")
    survival = torch.tensor([0.0, 1.25, 1.25], device="cuda").repeat(4)
    weights = torch.randn_like(x)

    def grads(network: Block, x: Tensor, survival: Tensor) -> list[Tensor]:
        x = x.detach().requires_grad_()
        out = network(x, survival)
        return [out, *torch.autograd.grad((out * weights).sum(), [x, *network.parameters()])]

    exact = grads(copy.deepcopy(module).double(), x.bfloat16().double(), survival.double())
    with torch.autocast("cuda", torch.bfloat16):
        ours = grads(module, x.bfloat16(), survival)
        with kernels.plain():
            twin = grads(module, x.bfloat16(), survival)
    names = ["out", "x", *(name for name, _ in module.named_parameters())]
    result = {}
    for name, want, got, plain in zip(names, exact, ours, twin):
        error = ((got - want).norm() / want.norm()).item()
        beside = ((plain - want).norm() / want.norm()).item()
        mark = "" if error < max(2 * beside, 1e-2) else "   <-- WRONG"
        print(f"  {width} V={joints} T={frames} {name:18s} fused {error:.1e}   plain bf16 {beside:.1e}{mark}")
        result[name] = error
    return result


def checked(widths: Sequence[int], joints: int) -> None:
    """Print `relative_errors` of each width with its present tuning, at two sizes."""
    for width in widths:
        for V, frames in ((joints, 16), (17, 7)):
            try:
                relative_errors(width, V, frames)
            except Exception as error:
                print(f"  check {width}: {' '.join(str(error).split())[:300]}   <-- WRONG")


def gpu_milliseconds(function, repeats: int = 10) -> float:  # type: ignore[no-untyped-def]
    """Median milliseconds of what the GPU does, replayed from a CUDA graph: the host's share is left out."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    graph.replay()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[96, 192, 384])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--joints", type=int, default=25)
    parser.add_argument("--processes", type=int, default=12)
    parser.add_argument("--kinds", nargs="+", default=list(CANDIDATES), choices=list(CANDIDATES))
    parser.add_argument("--compile-only", action="store_true", help="leave candidates in Triton's cache")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    began = time.time()
    candidates = {kind: CANDIDATES[kind] for kind in options.kinds}
    tasks = [
        (kind, width, candidate, options.joints)
        for kind, widths in candidates.items()
        for width in options.widths
        for candidate in widths[width]
    ]
    good = {}
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for kind, width, candidate, error in pool.imap_unordered(compile_one, tasks):
            good[kind, width, candidate] = not error
            if error:
                print(f"  {kind} {width} {candidate}: {error}")
    print(f"compiled {len(tasks)} candidates in {time.time() - began:.0f} s", flush=True)
    if options.compile_only:
        return
    checked(options.widths, options.joints)
    results = []
    for width in options.widths:
        case = KernelInputs(width, 2 * options.batch, FRAMES[width], options.joints)
        u = case.hidden()
        one = case.x.numel() * 2 / 1e9  # GB of one pass over an activation
        flop = 2 * case.total * width * width * 4 / 1e9  # GFLOP of one C x 4C product
        print(
            f"width {width}: {case.total} rows, one pass {one:.3f} GB, one product {flop:.0f} GFLOP",
            flush=True,
        )

        def report(name: str, ms: float) -> None:
            results.append({"width": width, "what": name, "ms": ms})
            print(f"  {width} {name:60s} {ms:7.3f} ms", flush=True)

        p, dz = case.hidden(), torch.randn_like(case.z)
        report("copy of one activation", gpu_milliseconds(lambda: dz.copy_(case.z)))
        least: dict[str, float] = {}  # milliseconds of each kernel's best
        multiprocessors = torch.cuda.get_device_properties(0).multi_processor_count
        for kind, widths in candidates.items():
            best: tuple[float, tuple[int, ...] | None, int] | None = None
            for candidate in widths[width]:
                if not good[kind, width, candidate]:
                    continue
                counts = [0]
                if kind == "backward":
                    assert candidate is not None
                    chunks = 3 * width // candidate[1]
                    counts = [-(-multiprocessors * wave // chunks) for wave in WAVES]
                for programs in counts:
                    set_tuning(width, kind, candidate, programs)
                    try:
                        ms = gpu_milliseconds(case.work(kind, u, p))
                    except Exception as error:
                        print(f"  {kind} {width} {candidate}: {' '.join(str(error).split())[:200]}")
                        continue
                    report(f"{kind} {candidate}" + (f" {programs} programs" if programs else ""), ms)
                    if best is None or ms < best[0]:
                        best = (ms, candidate, programs)
            if best:
                set_tuning(width, kind, best[1], best[2])
                least[kind] = best[0]
        if least.keys() >= {"forward", "expand", "contract"}:
            fused = least["forward"] <= least["expand"] + least["contract"]
            tunings.TUNINGS[width] = dataclasses.replace(tunings.TUNINGS[width], fused=fused)
        print(f"  best: {tunings.TUNINGS[width]}", flush=True)
    checked(options.widths, options.joints)  # with what was found
    if options.out:
        options.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
