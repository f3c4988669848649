"""The inverted bottleneck with its mixing of joints in bfloat16: the launches of the kernels of `mixer`.

p = z W1' + b1 is kept for the backward pass, as computing it again would cost a seventh of all products;
other tensors of 4C channels are computed again. On Hopper GPUs mixing backwards and the gradient of W2 are
one kernel (`hopper`). The road for float32 is in `library`, and shares the launch of the backward kernel.
"""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from tsgc.kernels import hopper, mixer, mixer_backward
from tsgc.kernels.cards import card_of, share
from tsgc.kernels.launching import launch
from tsgc.kernels.operands import Operands
from tsgc.kernels.sums import sums
from tsgc.kernels.tunings import TUNINGS, MixTuning, Tuning

OUTER_PROGRAMS = 264  # two a multiprocessor of `cards.TUNED_FOR`


class Gradients(NamedTuple):
    """Gradients of z (like it), the adjacency (3, V, V), w1 (4C, C), b1 (4C,), w2 (C, 4C)."""

    z: Tensor
    adjacency: Tensor
    w1: Tensor
    b1: Tensor
    w2: Tensor


def _rows(x: Tensor, *block: int) -> Tensor | TensorDescriptor:
    """All rows, whatever sequence they belong to: (total, channels)."""
    return _described(x.flatten(0, -2), *block)


def sequences(x: Tensor, R: int, *block: int) -> Tensor | TensorDescriptor:
    """R sequences, (R, rows of a sequence, channels), by blocks within one of them."""
    return _described(x.view(R, -1, x.shape[-1]), 1, *block)


def _described(x: Tensor, *block: int) -> Tensor | TensorDescriptor:
    """x, or its descriptor where the GPU has these: see `tiles`."""
    return TensorDescriptor.from_tensor(x, list(block)) if card_of(x.device).descriptors else x


def _kept(p: Tensor, z: Tensor, rows: int, hidden: int) -> Tensor | TensorDescriptor:
    """p; where it is empty, a stand-in that nothing is written to."""
    return _rows(p if len(p) else z, rows, hidden)


def _precision(x: Tensor) -> str:
    """How kernels multiply float32: as torch is set to."""
    strict = torch.get_float32_matmul_precision() == "highest" or card_of(x.device).amd
    return "ieee" if strict else "tf32"


def options(x: Tensor) -> dict[str, Any]:
    # GELU's fast form has one of NVIDIA's instructions; on CPUs kernels are interpreted.
    fast = x.dtype != torch.float32 and x.device.type != "cpu" and not card_of(x.device).amd
    return {"FAST": fast, "IP": _precision(x)}


def mix_backward(
    p: Tensor, dg: Tensor, u: Tensor, g: Tensor, survival: Tensor, ready: Operands, shape: torch.Size,
    tuning: MixTuning, programs: int, *, whole: bool,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Write u, the gradient of p, and s GELU(mix(p)) into g, all (total, 4C); u may be dg, and g may be p.

    `dg` is dout W2, or with a piece in `tuning` dout itself (total, C). Returns the gradient of the
    block-diagonal adjacency in parts, (3, n, rows, rows), and with `whole` the sums of u over rows (4C,).
    Without it dropped rows keep what they hold.
    """
    R, T, V, C = shape
    rows, hidden, warps, stages, piece = tuning
    assert C % hidden == 0  # a chunk of hidden channels is mixed by one matrix
    tiles = triton.cdiv(T * V, rows // V * V) * R
    programs = min(share(programs, p.device), tiles)
    chunks = C // hidden
    adjacency_sums = p.new_empty(3 * chunks, programs, rows, rows, dtype=torch.float32)
    bias_sums = p.new_empty(4 * chunks if whole else 0, programs, hidden, dtype=torch.float32)
    inputs = (
        sequences(p, R, rows, hidden),
        sequences(dg, R, rows, piece or hidden),
        _rows(ready.w2, hidden, piece or min(C, hidden)),
    )
    for mixed in (True, False):
        launch(
            mixer_backward.mix_backward_kernel, programs * chunks * (3 if mixed else 1),
            *inputs, survival, ready.order, ready.backward, u, g, adjacency_sums, bias_sums,
            R, T * V, V, 0 if mixed else 3 * chunks, programs,
            C=C, PIECE=piece, PIECES=triton.cdiv(C, piece) if piece else 0, BH=hidden, STAGES=stages,
            MIXED=mixed, WHOLE=whole, ROWS=rows, **options(p),
            num_warps=warps,
        )  # fmt: skip
    return adjacency_sums.view(3, -1, rows, rows), bias_sums.sum(1).flatten() if whole else None


class Mixed(NamedTuple):
    """The results of mixing backwards."""

    u: Tensor
    """The gradient of p, (total, 4C); dropped rows hold anything."""
    adjacency: Tensor
    """The gradient of the block-diagonal adjacency, in parts: (3, n, rows, rows)."""
    w2: Tensor
    """The gradient of W2, in parts: (m, C, 4C), which may lie in memory as (m, 4C, C)."""
    fewer: int
    """How many parts the last quarter of its columns has, the slice that no matrix mixes."""


class Kernels:
    """The road of kernels alone, of any type; tile sizes are those of bfloat16."""

    packs = False
    """Kernels skip dropped rows by themselves."""

    def __init__(self, width: int, tuning: Tuning | None = None) -> None:
        self.tuning = tuning or TUNINGS[width]

    def forward(
        self, z: Tensor, x: Tensor, survival: Tensor, ready: Operands, b1: Tensor, b2: Tensor, training: bool
    ) -> tuple[Tensor, Tensor]:
        """x + s (GELU(mix(p)) W2' + b2); and p (total, 4C), which is empty unless `training`.

        Dropped rows of p hold arbitrary values.
        """
        p = z.new_empty(z.numel() // z.shape[-1] if training else 0, 4 * z.shape[-1])
        if self.tuning.fused:
            return self.fused_forward(z, x, survival, ready, b1, b2, p), p
        return self.contract(self.expand(z, survival, ready, b1, p), x, survival, ready.w2, b2), p

    def backward(self, z: Tensor, dout: Tensor, p: Tensor, survival: Tensor, ready: Operands) -> Gradients:
        of = self.mix(z, dout, p, survival, ready)
        w1, b1 = self.outer(of.u, z, ready.order, len(z))
        dz = self.linear(of.u, ready.w1, survival).view_as(z)
        added = sums(of.adjacency, w1, of.w2, b1, z.shape[2], of.fewer)
        return Gradients(dz, added.adjacency, added.w1, added.b1, added.w2)

    def mix(self, z: Tensor, dout: Tensor, p: Tensor, survival: Tensor, ready: Operands) -> Mixed:
        """Mixing backwards, in one kernel where there is one for this GPU and width."""
        if self.tuning.gather and hopper.usable(p, self.tuning.gather):
            u = torch.empty_like(p)
            gathered = hopper.gathered(p, dout, u, survival, ready, self.tuning.gather)
            if gathered:
                return Mixed(u, *gathered)
        cut = self.tuning.backward
        dg = dout.view(-1, dout.shape[-1])
        if not cut.piece:
            dg = self.linear(dout, ready.w2, survival, transposed=True)
        u = torch.empty_like(p) if cut.piece else dg  # a tile is read before its memory is overwritten
        g = torch.empty_like(p)
        adjacency, _ = mix_backward(
            p, dg, u, g, survival, ready, z.shape, cut, self.tuning.programs, whole=False
        )
        w2, _ = self.outer(g, dout, ready.order, len(z), columns=False)
        return Mixed(u, adjacency, w2.transpose(1, 2), len(w2))

    def linear(self, a: Tensor, w: Tensor, survival: Tensor, *, transposed: bool = False) -> Tensor:
        """a w, or a w', of rows that are not dropped, (total, N); dropped rows hold arbitrary values."""
        cut = self.tuning.widen if transposed else self.tuning.narrow
        if cut is None:  # the library's product, of all rows
            return torch.mm(a.view(-1, a.shape[-1]), w.t() if transposed else w)
        BM, BN, BK, warps, stages = cut
        K = a.shape[-1]
        total, N = a.numel() // K, w.numel() // K
        out = a.new_empty(total, N)
        launch(
            mixer_backward.linear_kernel, triton.cdiv(total, BM) * triton.cdiv(N, BN),
            _rows(a, BM, BK), _rows(w, *((BN, BK) if transposed else (BK, BN))), _rows(out, BM, BN),
            survival, total, total // len(survival),
            N=N, K=K, BM=BM, BN=BN, BK=BK, TRANSPOSED=transposed, STAGES=stages, IP=_precision(a),
            num_warps=warps,
        )  # fmt: skip
        return out

    def fused_forward(
        self, z: Tensor, x: Tensor, survival: Tensor, ready: Operands, b1: Tensor, b2: Tensor, p: Tensor
    ) -> Tensor:
        """`forward` as one kernel, which also writes p unless it is empty."""
        R, T, V, C = x.shape
        total = R * T * V
        out = torch.empty_like(x)
        rows, piece, hidden, warps, stages, registers = self.tuning.forward
        launch(
            mixer.forward_kernel, triton.cdiv(total, rows // V * V),
            _rows(z, rows, piece), _rows(ready.w1, hidden, piece), _rows(ready.w2, hidden, piece),
            _kept(p, z, rows, hidden), x, survival, ready.forward, b1, b2, out, total, T * V, V,
            C=C, PIECE=piece, PIECES=triton.cdiv(C, piece), BH=hidden, STAGES=stages, KEEP=len(p) > 0,
            ROWS=rows, **options(z), num_warps=warps, maxnreg=registers or None,
        )  # fmt: skip
        return out

    def expand(self, z: Tensor, survival: Tensor, ready: Operands, b1: Tensor, p: Tensor) -> Tensor:
        """GELU(mix(p)) of rows that are not dropped, (total, 4C); also writes p unless it is empty."""
        R, T, V, C = z.shape
        total = R * T * V
        g = z.new_empty(total, 4 * C)
        rows, piece, hidden, warps, stages = self.tuning.expand
        launch(
            mixer.expand_kernel, triton.cdiv(total, rows // V * V) * (4 * C // hidden),
            _rows(z, rows, piece), _rows(ready.w1, hidden, piece), _kept(p, z, rows, hidden),
            survival, ready.forward, b1, g, total, T * V, V,
            C=C, PIECE=piece, PIECES=triton.cdiv(C, piece), BH=hidden, STAGES=stages, KEEP=len(p) > 0,
            ROWS=rows, **options(z), num_warps=warps,
        )  # fmt: skip
        return g

    def contract(self, g: Tensor, x: Tensor, survival: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        """x + s (g W2' + b2)."""
        R, T, V, C = x.shape
        total = R * T * V
        out = torch.empty_like(x)
        BM, BN, BK, warps, stages = self.tuning.contract
        launch(
            mixer.contract_kernel, triton.cdiv(total, BM) * triton.cdiv(C, BN),
            _rows(g, BM, BK), _rows(w2, BK, BN), x, survival, b2, out, total, T * V,
            C=C, BM=BM, BN=BN, BK=BK, STAGES=stages, IP=_precision(x), num_warps=warps,
        )  # fmt: skip
        return out

    def outer(
        self, a: Tensor, b: Tensor, order: Tensor, R: int, columns: bool = True
    ) -> tuple[Tensor, Tensor]:
        """a' b over rows that are not dropped, in parts (splits, A, C) float32; sums of a (splits, A)."""
        A, C = a.shape[-1], b.shape[-1]
        BA, piece, rows, warps, stages = self.tuning.outer
        frame_rows = a.numel() // (A * R)
        blocks = (A // BA) * triton.cdiv(C, piece)
        splits = max(1, min(share(OUTER_PROGRAMS, a.device) // blocks, R * triton.cdiv(frame_rows, rows)))
        parts = torch.empty(splits, A, C, device=a.device, dtype=torch.float32)
        column_sums = torch.empty(splits if columns else 0, A, device=a.device, dtype=torch.float32)
        launch(
            mixer_backward.outer_kernel, blocks * splits,
            sequences(a, R, rows, BA), sequences(b, R, rows, piece), order, parts, column_sums,
            R, frame_rows, splits,
            A=A, C=C, BA=BA, PIECE=piece, BR=rows, COLUMNS=columns, STAGES=stages, IP=_precision(a),
            num_warps=warps,
        )  # fmt: skip
        return parts, column_sums
