"""What `tune_kernels.py` and `tune_library.py` time and check: kernels at a size, and whole blocks."""

import copy
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from kernel_cuts import DROPPED, INPUTS, Candidate
from torch import Tensor

from tsgc import kernels
from tsgc.kernels import bottleneck, ladder, mixer_hopper, temporal, temporal_backward, tunings
from tsgc.kernels.block import apply_block
from tsgc.kernels.cards import card_of
from tsgc.kernels.operands import Operands, make_operands
from tsgc.kernels.sums import sums
from tsgc.network.layers import NORM_EPS, Block

Work = Callable[[], object]


class Size(NamedTuple):
    """A block's input (rows, frames, joints, width)."""

    width: int
    rows: int
    frames: int
    joints: int

    def __str__(self) -> str:
        return f"{self.width} (R {self.rows}, T {self.frames}, V {self.joints})"


def sizes(kind: str, widths: Sequence[int], rows: Sequence[int]) -> dict[int, list[Size]]:
    """Each width's sizes; without `rows`, those of a batch of 128."""
    of = INPUTS[kind]
    return {
        width: [
            Size(width, one, frames, of.joints) for one in rows or [of.rows] for frames in of.frames[width]
        ]
        for width in widths
    }


class Log:
    """Lines of text for the reader, and of JSON for `--out`, each written as soon as it is known."""

    def __init__(self, out: Path | None) -> None:
        self.out = out
        if out is not None:
            out.write_text("")

    def __call__(self, text: str, **facts: object) -> None:
        print(text, flush=True)
        if self.out is not None:
            with self.out.open("a") as file:
                file.write(json.dumps({"text": text.strip(), **facts}) + "\n")


def milliseconds(function: Work, device: torch.device, repeats: int = 10) -> float:
    """Median milliseconds of what the GPU does, replayed from a CUDA graph: the host's share is left out.

    On a CPU, where kernels are interpreted, those of one call.
    """
    if device.type != "cuda":
        began = time.perf_counter()
        function()
        return 1e3 * (time.perf_counter() - began)
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


def narrow(device: torch.device) -> torch.dtype:
    """The type of products: the interpreter, which is NumPy's, has no bfloat16."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def set_tuning(width: int, kind: str, candidate: Candidate, programs: int = 0) -> None:
    """Cut a kernel so; `programs` 0: as many as before."""
    values: dict[str, Any] = {kind: candidate}
    if programs:
        values["programs"] = programs
    tunings.TUNINGS[width] = dataclasses.replace(tunings.TUNINGS[width], **values)


class KernelInputs:
    """Inputs of one size's kernels, random."""

    def __init__(self, size: Size, device: torch.device) -> None:
        gen = torch.Generator(device).manual_seed(0)

        def rand(*shape: int, scale: float = 1.0) -> Tensor:
            return torch.randn(*shape, device=device, generator=gen) * scale

        width, rows, frames, joints = self.size = size
        dtype = narrow(device)
        self.x, self.z, self.dout = (rand(rows, frames, joints, width).to(dtype) for _ in range(3))
        self.u, self.p = (rand(rows * frames * joints, 4 * width).to(dtype) for _ in range(2))
        self.survival = (torch.rand(rows, device=device, generator=gen) >= DROPPED[width]).float()
        self.adjacency = rand(3, joints, joints, scale=0.2)
        self.w1 = rand(4 * width, width, scale=width**-0.5)
        self.w2 = rand(width, 4 * width, scale=(4 * width) ** -0.5)
        self.b1, self.b2 = rand(4 * width, scale=0.1), rand(width, scale=0.1)
        self.conv, self.bias = rand(3, width), rand(width)
        self.gamma, self.beta = rand(width), rand(width)

    def work(self, kind: str) -> Work:
        """What a kernel does in a step, with the tuning as it is now."""
        tuning = tunings.TUNINGS[self.size.width]
        if kind in ("forward", "expand"):  # tiles are cut for the one or the other
            tuning = dataclasses.replace(tuning, fused=kind == "forward")
        way = bottleneck.Kernels(self.size.width, tuning)
        x, z, s, u, p = self.x, self.z, self.survival, self.u, self.p
        ready = make_operands(self.w1, self.w2, self.adjacency, s, x.dtype, *tuning.tile_rows)
        norm = (self.conv, self.bias, self.gamma)
        of = temporal.temporal_norm(x, s, *norm, self.beta, NORM_EPS, tuning.temporal)[1]
        works: dict[str, Work] = {
            "temporal": lambda: temporal.temporal_norm(x, s, *norm, self.beta, NORM_EPS, tuning.temporal),
            "temporal_backward": lambda: temporal_backward.temporal_norm_backward(
                x, z, self.dout, s, ready.order, *norm, of, tuning.temporal_backward
            ),
            "forward": lambda: way.forward(z, x, s, ready, self.b1, self.b2, training=True),
            "expand": lambda: way.expand(z, s, ready, self.b1, p),
            "contract": lambda: way.contract(u, x, s, ready.w2, self.b2),
            "widen": lambda: way.linear(self.dout, ready.w2, s, transposed=True),
            "narrow": lambda: way.linear(u, ready.w1, s),
            "backward": lambda: self.backward(way, ready),
            "gather": lambda: self.gather(way, ready),
            "outer": lambda: self.backward(way, ready),
        }
        return works[kind]

    def backward(self, way: bottleneck.Kernels, ready: Operands) -> None:
        """Mixing backwards, both weights' gradients, and the sums of their parts, without `gather`."""
        cut, programs, order = way.tuning.backward, way.tuning.programs, ready.order
        s, shape, rows = self.survival, self.x.shape, self.size.rows
        dg = self.dout.view(-1, self.size.width)
        if not cut.piece:
            dg = way.linear(self.dout, ready.w2, s, transposed=True)
        u = torch.empty_like(self.u)
        g = torch.empty_like(self.p)
        adjacency, _ = bottleneck.mix_backward(self.p, dg, u, g, s, ready, shape, cut, programs, whole=False)
        w2, _ = way.outer(g, self.dout, order, rows, columns=False)
        w1, b1 = way.outer(u, self.z, order, rows)
        sums(adjacency, w1, w2.transpose(1, 2), b1, self.size.joints, len(w2))

    def gather(self, way: bottleneck.Kernels, ready: Operands) -> None:
        """The same, with mixing backwards and one gradient in one kernel, for Hopper GPUs."""
        assert way.tuning.gather
        u = torch.empty_like(self.u)
        adjacency, w2, fewer = mixer_hopper.mix_gather(
            self.p, self.dout, u, self.survival, ready, way.tuning.gather
        )
        w1, b1 = way.outer(u, self.z, ready.order, self.size.rows)
        sums(adjacency, w1, w2, b1, self.size.joints, fewer)


def made_block(width: int, joints: int, device: torch.device) -> Block:
    """A block of random parameters."""
    torch.manual_seed(width)
    module = Block(width, torch.randn(3, joints, joints) * 0.2)
    for parameter in module.parameters():
        if parameter.dim() < 3:
            parameter.data = torch.randn_like(parameter) * (0.1 if parameter.dim() == 1 else width**-0.5)
    module.norm.weight.data += 1
    module.temporal.weight.data.mul_(width**0.5)
    return module.to(device)


def rungs(size: Size, device: torch.device, training: bool) -> list[tuple[str, Any]]:
    """Ways to run a block, by name: every rung that this GPU has room for; None: plain."""
    found = ladder.fitting(card_of(device), torch.bfloat16, size.width, size.joints, training)
    return [*((choice.rung.name, choice.road) for choice in found), ("plain", None)]


def block_runs(size: Size, device: torch.device, training: bool) -> Iterator[tuple[str, Work]]:
    """A whole block's pass, forward and in training backward, on each rung and plain."""
    width, rows, frames, joints = size
    module = made_block(width, joints, device)
    x = torch.randn(rows, frames, joints, width, device=device).to(narrow(device)).requires_grad_(training)
    survival = (torch.rand(rows, device=device) >= DROPPED[width]).float()
    dout = torch.randn_like(x)
    inputs = [x, *module.parameters()]

    def run(road: Any) -> None:
        with (
            torch.set_grad_enabled(training),
            kernels.plain(),
            torch.autocast(device.type, torch.bfloat16, device.type == "cuda", cache_enabled=False),
        ):
            out = module(x, survival) if road is None else apply_block(x, survival, module, road)
            if training:
                torch.autograd.grad(out, inputs, dout.to(out.dtype))

    for name, road in rungs(size, device, training):
        yield name, lambda road=road: run(road)


def relative_errors(size: Size, device: torch.device) -> dict[str, tuple[float, float]]:
    """A block's result and its gradients, by name: errors against float64, of the kernels and of plain."""
    width, _, frames, joints = size
    module = made_block(width, joints, device)
    survival = torch.tensor([0.0, 1.25, 1.25], device=device).repeat(4 if device.type == "cuda" else 1)
    x = torch.randn(len(survival), frames, joints, width, device=device).to(narrow(device))
    weights = torch.randn(x.shape, device=device)

    def grads(run: Callable[[Tensor], Tensor], network: Block, x: Tensor) -> list[Tensor]:
        x = x.detach().requires_grad_()
        out = run(x)
        return [out, *torch.autograd.grad((out * weights).sum(), [x, *network.parameters()])]

    double = copy.deepcopy(module).double()
    ours = grads(lambda x: apply_block(x, survival, module, bottleneck.Kernels), module, x)
    with kernels.plain():
        exact = grads(lambda x: double(x, survival.double()), double, x.double())
        with torch.autocast(device.type, torch.bfloat16, device.type == "cuda"):
            twin = grads(lambda x: module(x, survival), module, x)
    names = ["out", "x", *(name for name, _ in module.named_parameters())]
    found = {}
    for name, want, got, plain in zip(names, exact, ours, twin, strict=True):
        error, beside = (((one - want).norm() / want.norm()).item() for one in (got, plain))
        found[name] = error, beside
    return found
