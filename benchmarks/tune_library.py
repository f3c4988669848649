"""Time ways of cutting the kernels that lie between the library's products in float32 and TF32, on this GPU.

    python benchmarks/tune_library.py [--precision tf32 float32] [--widths 96 192 384] [--batch 128]

The table LIBRARY_TUNINGS in tsgc/kernels/tunings.py comes from here. Sizes and dropped rows are as in
`tune_kernels.py`. The library's own products stand beside: to 4C, back to C, and a weight's gradient.
"""

import argparse
import dataclasses
from collections.abc import Callable

import torch
from tune_kernels import DROPPED, FRAMES, gpu_milliseconds

from tsgc.kernels import bottleneck, library, tunings
from tsgc.kernels.operands import make_operands

MATMUL = {"tf32": "high", "float32": "highest"}  # torch's names
# As in `kernels.tunings.LibraryTuning`; BH has to divide the width.
MIX = [(32, 32, 2), (32, 32, 4), (32, 64, 2), (32, 64, 4), (64, 32, 4), (64, 64, 4)]
BACKWARD = [(32, 32, 2, 3, 0), (32, 32, 4, 2, 0), (32, 32, 4, 3, 0), (32, 64, 4, 3, 0), (64, 32, 4, 3, 0)]
PROGRAMS = (29, 58, 116)


class LibraryInputs:
    """Inputs of one width's kernels, random, float32."""

    def __init__(self, width: int, rows: int, frames: int, joints: int, device: str = "cuda") -> None:
        def rand(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, device=device)

        self.width, self.shape = width, torch.Size((rows, frames, joints, width))
        total = rows * frames * joints
        self.survival = (torch.rand(rows, device=device) >= DROPPED[width]).float()
        self.adjacency = 0.2 * rand(3, joints, joints)
        self.w1, self.w2 = rand(4 * width, width), rand(width, 4 * width)
        self.z = rand(*self.shape)
        self.p, self.u, self.g = (rand(total, 4 * width) for _ in range(3))

    def work(self, tuning: tunings.LibraryTuning, kind: str) -> Callable[[], object]:
        """What a kernel does in a step, cut so."""
        way = library.Library(self.width)
        way.tuning = tuning
        ready = make_operands(
            self.w1, self.w2, self.adjacency, self.survival, torch.float32, *way.tuning.tile_rows
        )
        if kind == "mix":
            return lambda: way.mix(self.p, self.survival, ready, self.shape)
        return lambda: bottleneck.mix_backward(
            self.p, self.u, self.u, self.g, self.survival, ready, self.shape,
            tuning.backward, tuning.programs, whole=True,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", nargs="+", default=list(MATMUL), choices=MATMUL)
    parser.add_argument("--widths", type=int, nargs="+", default=list(FRAMES))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--joints", type=int, default=25)
    parser.add_argument("--kept", type=float, default=1.0, help="part of the rows that products are of")
    options = parser.parse_args()
    for precision in options.precision:
        torch.set_float32_matmul_precision(MATMUL[precision])
        for width in options.widths:
            case = LibraryInputs(width, 2 * options.batch, FRAMES[width], options.joints)
            kept = round(options.kept * 2 * options.batch) * FRAMES[width] * options.joints
            z, u = case.z.view(-1, width)[:kept], case.u[:kept]
            for name, product in {
                "library: z W1'": lambda: torch.mm(z, case.w1.t()),
                "library: u W1": lambda: torch.mm(u, case.w1),
                "library: u' z, in parts": lambda: library.outer_product(u, z),
            }.items():
                print(f"  {precision} {width} {name:40s} {gpu_milliseconds(product):7.3f} ms", flush=True)
            base = tunings.LIBRARY_TUNINGS[width]
            candidates = [("mix", dataclasses.replace(base, mix=cut)) for cut in MIX]
            candidates += [
                ("backward", dataclasses.replace(base, backward=cut, programs=programs))
                for cut in BACKWARD
                for programs in PROGRAMS
            ]
            for kind, tuning in candidates:
                cut = tuning.mix if kind == "mix" else tuning.backward
                if width % cut[1]:
                    continue  # a chunk would lie in two slices
                name = f"{kind} {cut}" + (f" {tuning.programs} programs" if kind == "backward" else "")
                try:
                    ms = gpu_milliseconds(case.work(tuning, kind))
                except Exception as error:  # whatever Triton raises is reported, and the others go on
                    print(f"  {name}: {' '.join(str(error).split())[:150]}")
                    continue
                print(f"  {precision} {width} {name:40s} {ms:7.3f} ms", flush=True)


if __name__ == "__main__":
    main()
