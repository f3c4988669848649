"""The inverted bottleneck with its mixing of joints: the library's products, kernels between them.

No kernel of ours is as fast as the library's products in float32. In narrow types this is the road for
GPUs that have no room for the kernels of `bottleneck`: tiles here are small. z W1' + b1 is kept for the
backward pass, as computing it again would cost a seventh of all products.

Where z has fewer rows than x, it is packed: it holds only the rows that drop path keeps, in `Operands.order`,
and so does everything computed from it. The host has to know their number, as shapes of products depend on
it. Otherwise all rows are multiplied, dropped ones by 0.
"""

import torch
import triton
from torch import Tensor

from tsgc.kernels import mixer
from tsgc.kernels.bottleneck import Gradients, mix_backward, options, sequences
from tsgc.kernels.launching import launch
from tsgc.kernels.operands import Operands
from tsgc.kernels.packed import add_packed, pack_rows
from tsgc.kernels.sums import diagonal_sum
from tsgc.kernels.tunings import LIBRARY_TUNINGS, LibraryTuning

SPLIT_NUMBERS = 1 << 24  # in the partial sums of a weight's gradient


class Library:
    """The road of the library's products, of any type; float32 is multiplied as torch is set to."""

    packs = True
    """Works on the kept rows alone, where the host knows how many they are."""

    def __init__(self, width: int, tuning: LibraryTuning | None = None) -> None:
        self.tuning = tuning or LIBRARY_TUNINGS[width]

    def forward(
        self, z: Tensor, x: Tensor, survival: Tensor, ready: Operands, b1: Tensor, b2: Tensor, training: bool
    ) -> tuple[Tensor, Tensor]:
        C = x.shape[-1]
        packed = len(z) < len(x)
        factors = survival.index_select(0, ready.order[: len(z)]) if packed else survival
        p = torch.addmm(b1.to(z.dtype), z.view(-1, C), ready.w1.t())
        branch = torch.addmm(b2.to(z.dtype), self.mix(p, factors, ready, z.shape), ready.w2)
        if packed:
            return add_packed(x, branch.view_as(z), survival, ready.order), p
        return torch.addcmul(x, branch.view_as(x), survival.to(x.dtype)[:, None, None, None]), p

    def mix(self, p: Tensor, survival: Tensor, ready: Operands, shape: torch.Size) -> Tensor:
        """GELU(mix(p)), 0 for dropped rows: (total, 4C)."""
        R, T, V, C = shape
        rows, hidden, warps = self.tuning.mix
        g = torch.empty_like(p)
        launch(
            mixer.mix_kernel, triton.cdiv(T * V, rows // V * V) * R * (4 * C // hidden),
            sequences(p, R, rows, hidden), survival, ready.forward, g, T * V, V,
            C=C, BH=hidden, ROWS=rows, **options(p), num_warps=warps,
        )  # fmt: skip
        return g

    def backward(self, z: Tensor, dout: Tensor, p: Tensor, survival: Tensor, ready: Operands) -> Gradients:
        kept, C = len(z), z.shape[-1]
        if kept < len(dout):
            dout = pack_rows(dout, ready.order, kept)
            survival = survival.index_select(0, ready.order[:kept])
            # From here on no row is dropped: the kept rows are contiguous and complete.
            in_turn = torch.arange(kept + 1, device=z.device, dtype=torch.int32)
            ready = ready._replace(order=in_turn)
        u = torch.mm(dout.view(-1, C), ready.w2.t())
        g = torch.empty_like(p)
        adjacency, b1 = mix_backward(
            p, u, u, g, survival, ready, z.shape, self.tuning.backward, self.tuning.programs, whole=True
        )
        assert b1 is not None
        w1, w2 = outer_product(u, z.view(-1, C)), outer_product(g, dout.view(-1, C))
        dz = torch.mm(u, ready.w1).view_as(z)
        return Gradients(dz, diagonal_sum(adjacency.sum(1), z.shape[2]), w1, b1, w2.t())


def outer_product(a: Tensor, b: Tensor) -> Tensor:
    """a' b of tall a (total, A) and b (total, C) -> (A, C), in parts over rows, which keep the GPU full.

    The parts of narrow types are added in float32.

    Parts have equal size, so their number divides that of rows. The number of sequences may be a prime, but
    a sequence has frames times joints rows.
    """
    total, A, C = len(a), a.shape[-1], b.shape[-1]
    most = min(total, max(1, SPLIT_NUMBERS // (A * C)))
    parts = next(n for n in range(most, 0, -1) if total % n == 0)
    wide = torch.promote_types(a.dtype, torch.float32)
    return torch.bmm(a.view(parts, -1, A).transpose(1, 2), b.view(parts, -1, C)).sum(0, dtype=wide)
