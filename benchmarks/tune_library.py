"""Time ways of cutting the kernels that lie between the library's products in float32 and TF32, on this GPU.

    python benchmarks/tune_library.py [--precision tf32 float32]       # widths of variant 252, NTU's input
    python benchmarks/tune_library.py --input nw-ucla --widths 32 48 64 128 256 --out library.jsonl

The table LIBRARY_TUNINGS in tsgc/kernels/tunings.py comes from here. Sizes, dropped rows, `--minutes`,
`--out` and `--device cpu` are as in `tune_kernels.py`. The library's own products stand beside: to 4C, back
to C, and a weight's gradient; and first a whole block, forward and backward, as it is cut now and plain.
"""

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

if "cpu" in sys.argv:  # before Triton is loaded
    os.environ.setdefault("TRITON_INTERPRET", "1")

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kernel_cuts import DROPPED, INPUTS
from kernel_work import Log, Size, made_block, milliseconds, sizes

from tsgc import kernels
from tsgc.kernels import bottleneck, library, tunings
from tsgc.kernels.block import apply_block
from tsgc.kernels.operands import make_operands

MATMUL = {"tf32": "high", "float32": "highest"}  # torch's names
# As in `kernels.tunings.LibraryTuning`; BH has to divide the width.
MIX = [(32, 16, 2), (32, 32, 2), (32, 32, 4), (32, 64, 2), (32, 64, 4), (64, 16, 4), (64, 32, 4), (64, 64, 4)]
BACKWARD = [
    (32, 16, 2, 3, 0), (32, 32, 2, 3, 0), (32, 32, 4, 2, 0), (32, 32, 4, 3, 0), (32, 64, 4, 3, 0),
    (64, 16, 4, 3, 0), (64, 32, 4, 3, 0),
]  # fmt: skip
WAVES = (2, 4, 8)  # programs of the backward pass for each multiprocessor, in chunks that are mixed


class LibraryInputs:
    """Inputs of one size's kernels, random, float32."""

    def __init__(self, size: Size, device: torch.device) -> None:
        def rand(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, device=device)

        width, rows, frames, joints = size
        self.width, self.shape = width, torch.Size((rows, frames, joints, width))
        total = rows * frames * joints
        self.survival = (torch.rand(rows, device=device) >= DROPPED[width]).float()
        self.adjacency = 0.2 * rand(3, joints, joints)
        self.w1, self.w2 = rand(4 * width, width), rand(width, 4 * width)
        self.z = rand(*self.shape)
        self.p, self.u, self.g = (rand(total, 4 * width) for _ in range(3))

    def work(self, tuning: tunings.LibraryTuning, kind: str) -> Callable[[], object]:
        """What a kernel does in a step, cut so."""
        way = library.Library(self.width, tuning)
        ready = make_operands(
            self.w1, self.w2, self.adjacency, self.survival, torch.float32, *tuning.tile_rows
        )
        if kind == "mix":
            return lambda: way.mix(self.p, self.survival, ready, self.shape)
        return lambda: bottleneck.mix_backward(
            self.p, self.u, self.u, self.g, self.survival, ready, self.shape,
            tuning.backward, tuning.programs, whole=True,
        )  # fmt: skip


def products(case: LibraryInputs, kept: float) -> dict[str, Callable[[], object]]:
    """The library's, of a part of the rows."""
    R, T, V, _ = case.shape
    rows = round(kept * R) * T * V
    z, u = case.z.view(-1, case.width)[:rows], case.u[:rows]
    return {
        "library: z W1'": lambda: torch.mm(z, case.w1.t()),
        "library: u W1": lambda: torch.mm(u, case.w1),
        "library: u' z, in parts": lambda: library.outer_product(u, z),
    }


def whole_blocks(case: LibraryInputs, device: torch.device) -> dict[str, Callable[[], object]]:
    """A training pass of a block, by the library's road and plain."""
    module = made_block(case.width, case.shape[2], device)
    x = case.z.clone().requires_grad_()

    def run(road: type[library.Library] | None) -> None:
        with kernels.plain():
            out = apply_block(x, case.survival, module, road) if road else module(x, case.survival)
            torch.autograd.grad(out, [x, *module.parameters()], case.z)

    return {"block, as cut": lambda: run(library.Library), "block, plain": lambda: run(None)}


def candidates(width: int) -> Iterator[tuple[str, tunings.LibraryTuning]]:
    """Ways to cut a width's kernels, by name."""
    base = tunings.LIBRARY_TUNINGS[width]
    for mix in MIX:
        if width % mix[1] == 0:  # else a chunk would lie in two slices
            yield f"mix {mix}", dataclasses.replace(base, mix=mix)
    for cut in BACKWARD:
        if width % cut[1] == 0:
            for wave in WAVES:
                programs = -(-wave * 132 * cut[1] // (3 * width))
                tuning = dataclasses.replace(base, backward=tunings.MixTuning(*cut), programs=programs)
                yield f"backward {cut} {programs} programs", tuning


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", nargs="+", default=list(MATMUL), choices=MATMUL)
    parser.add_argument(
        "--widths", type=int, nargs="+", default=[96, 192, 384], choices=tunings.LIBRARY_TUNINGS
    )
    parser.add_argument("--input", default="ntu", choices=INPUTS, help="whose frames and joints blocks have")
    parser.add_argument("--rows", type=int, nargs="+", default=[], help="clips x bodies x views")
    parser.add_argument("--frames", type=int, help="in place of the input's")
    parser.add_argument("--kept", type=float, default=1.0, help="part of the rows that products are of")
    parser.add_argument("--minutes", type=float, default=60, help="after which nothing more is timed")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    options = parser.parse_args()
    until, device, log = time.time() + 60 * options.minutes, torch.device(options.device), Log(options.out)
    found = sizes(options.input, options.widths, options.rows)
    for precision in options.precision:
        torch.set_float32_matmul_precision(MATMUL[precision])
        for size in (size for of_width in found.values() for size in of_width):
            size = size._replace(frames=options.frames or size.frames)
            case = LibraryInputs(size, device)
            runs = whole_blocks(case, device) | products(case, options.kept)
            for name, tuning in candidates(size.width):
                runs[name] = case.work(tuning, name.partition(" ")[0])
            for name, run in runs.items():
                if time.time() > until:
                    log(f"  {precision} {size} {name}: not timed, no time is left")
                    break
                try:
                    ms = milliseconds(run, device)
                except Exception as error:  # whatever Triton raises is reported, and the others go on
                    log(f"  {precision} {size} {name}: {' '.join(str(error).split())[:150]}")
                    continue
                log(f"  {precision} {size!s:28s} {name:42s} {ms:7.3f} ms", size=size, cut=name, ms=ms)


if __name__ == "__main__":
    main()
