"""The whole DS-SMG block as one differentiable function over fused kernels.

Forward: two kernels, six to seven passes over activations of the block's width, and two tensors kept for the
backward pass (the input, and what comes out of the norm). Backward: the 4C-wide middle is computed again.
Plain twin: `layers.Block.forward`; which one runs is `kernels.fused_dtype`'s choice.
"""

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from tsgc.kernels import mixer
from tsgc.kernels.prepare import prepare
from tsgc.kernels.temporal import temporal_norm, temporal_norm_backward


@dataclass(frozen=True)
class Tuning:
    """How the kernels of one width are cut; found by `benchmarks/tune_kernels.py` on a Hopper GPU.

    ROWS, PIECE, BH and so on are as in the kernels; `registers` is the most a thread may have, 0: no limit.
    """

    fused: bool
    """Forward in one kernel (`forward`); otherwise GELU(mix(...)) is written once and read once."""
    forward: tuple[int, int, int, int, int, int]
    """ROWS, PIECE, BH, warps, stages, registers of `forward_kernel`."""
    expand: tuple[int, int, int, int, int]
    """ROWS, PIECE, BH, warps, stages of `expand_kernel`."""
    contract: tuple[int, int, int, int, int]
    """BM, BN, BK, warps, stages of `contract_kernel`."""
    backward: tuple[int, int, int, int]
    """ROWS, BH, warps, stages of `mix_backward_kernel`."""
    programs: int
    """Programs for each chunk of BH hidden channels in the backward pass."""
    outer: tuple[int, int, int, int, int]
    """BA, PIECE, BR, warps, stages of `outer_kernel`."""
    temporal: tuple[int, int]
    """Joints and warps of `temporal_norm`."""
    temporal_backward: tuple[int, int]
    """Joints and warps of `temporal_norm_backward`."""


TUNINGS = {
    96: Tuning(
        fused=True,
        forward=(64, 32, 32, 4, 2, 0),
        expand=(128, 32, 32, 4, 3),
        contract=(128, 32, 64, 4, 4),
        backward=(64, 32, 4, 3),
        programs=44,
        outer=(128, 32, 64, 4, 4),
        temporal=(2, 2),
        temporal_backward=(2, 2),
    ),
    192: Tuning(
        fused=True,
        forward=(128, 64, 64, 8, 2, 0),
        expand=(128, 64, 64, 4, 3),
        contract=(128, 64, 64, 4, 4),
        backward=(64, 64, 4, 3),
        programs=88,
        outer=(128, 64, 64, 4, 4),
        temporal=(1, 2),
        temporal_backward=(1, 2),
    ),
    384: Tuning(
        fused=False,
        forward=(64, 64, 64, 8, 2, 0),
        expand=(128, 64, 128, 4, 3),
        contract=(128, 128, 64, 4, 3),
        backward=(64, 64, 4, 3),
        programs=44,
        outer=(128, 128, 64, 8, 3),
        temporal=(1, 2),
        temporal_backward=(1, 4),
    ),
}
LEAST_ROWS = 64  # of any tile
OUTER_PROGRAMS = 264  # twice a Hopper GPU's multiprocessors


def fits(width: int, joints: int) -> bool:
    """Whether the kernels are cut for this width, and a frame's joints fit into a tile."""
    return width in TUNINGS and joints <= LEAST_ROWS


def tile_rows(width: int) -> tuple[int, int]:
    """Rows of a tile in the forward and in the backward pass."""
    tuning = TUNINGS[width]
    forward = tuning.forward if tuning.fused else tuning.expand
    return forward[0], tuning.backward[0]


def _described(x: Tensor, *block: int) -> TensorDescriptor:
    return TensorDescriptor.from_tensor(x.flatten(0, -2), list(block))


def diagonal_sum(sums: Tensor, V: int) -> Tensor:
    """The sum over a tile's frames of their diagonal blocks: (3, rows, rows) -> (3, V, V)."""
    frames = sums.shape[-1] // V
    used = frames * V
    blocks = sums[:, :used, :used].reshape(3, frames, V, frames, V)
    return blocks.diagonal(dim1=1, dim2=3).sum(-1)


def outer(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """a' b of tall matrices (total, A), (total, C) -> (A, C) float32; and a's sums over rows (A,)."""
    total, A = a.shape
    C = b.shape[1]
    BA, piece, rows, warps, stages = TUNINGS[C].outer
    blocks = (A // BA) * triton.cdiv(C, piece)
    splits = max(1, min(OUTER_PROGRAMS // blocks, triton.cdiv(total, rows)))
    sums = torch.empty(splits, A, C, device=a.device, dtype=torch.float32)
    column_sums = torch.empty(splits, A, device=a.device, dtype=torch.float32)
    mixer.outer_kernel[(blocks * splits,)](
        _described(a, rows, BA), _described(b, rows, piece), sums, column_sums, total, splits,
        A=A, C=C, BA=BA, PIECE=piece, BR=rows, STAGES=stages, IP=_precision(), num_warps=warps,
    )  # fmt: skip
    return sums.sum(0), column_sums.sum(0)


def mix_forward(
    z: Tensor, x: Tensor, survival: Tensor, graphs: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor
) -> Tensor:
    """x + s (GELU(mix(z W1' + b1)) W2' + b2); w2 (4C, C), `graphs` of `prepare`'s for the forward pass."""
    if TUNINGS[x.shape[-1]].fused:
        return fused_forward(z, x, survival, graphs, w1, b1, w2, b2)
    return contract(expand(z, graphs, w1, b1), x, survival, w2, b2)


def fused_forward(
    z: Tensor, x: Tensor, survival: Tensor, graphs: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor
) -> Tensor:
    """`mix_forward` in one kernel."""
    R, T, V, C = x.shape
    total = R * T * V
    out = torch.empty_like(x)
    rows, piece, hidden, warps, stages, registers = TUNINGS[C].forward
    mixer.forward_kernel[(triton.cdiv(total, rows // V * V),)](
        _described(z, rows, piece), _described(w1, hidden, piece), _described(w2, hidden, piece),
        x, survival, graphs, b1, b2, out, total, T * V, V,
        C=C, PIECE=piece, PIECES=triton.cdiv(C, piece), BH=hidden, STAGES=stages, ROWS=rows, **_options(z),
        num_warps=warps, maxnreg=registers or None,
    )  # fmt: skip
    return out


def expand(z: Tensor, graphs: Tensor, w1: Tensor, b1: Tensor) -> Tensor:
    """GELU(mix(z W1' + b1)): (total, 4C)."""
    R, T, V, C = z.shape
    total = R * T * V
    g = z.new_empty(total, 4 * C)
    rows, piece, hidden, warps, stages = TUNINGS[C].expand
    mixer.expand_kernel[(triton.cdiv(total, rows // V * V) * (4 * C // hidden),)](
        _described(z, rows, piece), _described(w1, hidden, piece), graphs,
        b1, g, total, V,
        C=C, PIECE=piece, PIECES=triton.cdiv(C, piece), BH=hidden, STAGES=stages, ROWS=rows, **_options(z),
        num_warps=warps,
    )  # fmt: skip
    return g


def contract(g: Tensor, x: Tensor, survival: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """x + s (g W2' + b2)."""
    R, T, V, C = x.shape
    total = R * T * V
    out = torch.empty_like(x)
    BM, BN, BK, warps, stages = TUNINGS[C].contract
    mixer.contract_kernel[(triton.cdiv(total, BM) * triton.cdiv(C, BN),)](
        _described(g, BM, BK), _described(w2, BK, BN), x, survival, b2, out, total, T * V,
        C=C, BM=BM, BN=BN, BK=BK, STAGES=stages, IP=_precision(), num_warps=warps,
    )  # fmt: skip
    return out


def mix_backward(
    z: Tensor, dout: Tensor, survival: Tensor, graphs: Tensor, w1: Tensor, b1: Tensor, w2: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """u (total, 4C), the gradient of z W1' + b1; s g (total, 4C); the gradient of the graphs (3, V, V).

    w2 (4C, C), `graphs` of `prepare`'s for the backward pass.
    """
    R, T, V, C = z.shape
    total = R * T * V
    rows, hidden, warps, stages = TUNINGS[C].backward
    p = torch.addmm(b1.to(z.dtype), z.view(-1, C), w1.t())
    dg = torch.mm(dout.view(-1, C), w2.t())
    u, g = dg, p  # a tile is read before its place is written
    inputs = [_described(p, rows, hidden), _described(dg, rows, hidden)]
    tiles = triton.cdiv(total, rows // V * V)
    programs = min(TUNINGS[C].programs, tiles)
    chunks = C // hidden
    graph_sums = torch.empty(3 * chunks, programs, rows, rows, device=z.device, dtype=torch.float32)
    for mixed in (True, False):
        mixer.mix_backward_kernel[(programs * chunks * (3 if mixed else 1),)](
            *inputs, survival, graphs, u, g, graph_sums,
            total, T * V, V, tiles, 0 if mixed else 3 * chunks, programs,
            C=C, BH=hidden, STAGES=stages, MIXED=mixed, ROWS=rows, **_options(z), num_warps=warps,
        )  # fmt: skip
    sums = graph_sums.view(3, chunks * programs, rows, rows).sum(1)
    return u, g, diagonal_sum(sums, V)


def _options(x: Tensor) -> dict[str, Any]:
    return {"FAST": x.dtype == torch.bfloat16 and x.is_cuda, "IP": _precision()}


def _precision() -> str:
    """How kernels multiply float32: as torch is told to."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"


class BlockFunction(torch.autograd.Function):
    """`apply(x, survival, graphs, w_t, b_t, gamma, beta, w1, b1, w2, b2, eps)` in x's dtype.

    x (R, T, V, C) contiguous, `survival` (R,) float32, the others as `layers.Block` holds them, float32.
    """

    @staticmethod
    def forward(ctx, x, survival, graphs, w_t, b_t, gamma, beta, w1, b1, w2, b2, eps):
        z = temporal_norm(x, survival, w_t, b_t, gamma, beta, eps, TUNINGS[x.shape[-1]].temporal)
        narrow1, narrow2, blocks, backward = prepare(w1, w2, graphs, x.dtype, *tile_rows(x.shape[-1]))
        out = mix_forward(z, x, survival, blocks, narrow1, b1, narrow2, b2)
        ctx.save_for_backward(x, z, survival, w_t, b_t, gamma, backward, narrow1, b1, narrow2)
        ctx.eps = eps
        return out

    @staticmethod
    def backward(ctx, dout):
        x, z, survival, w_t, b_t, gamma, graphs, w1, b1, w2 = ctx.saved_tensors
        C = x.shape[-1]
        dout = dout.to(x.dtype).contiguous()
        u, g, d_graphs = mix_backward(z, dout, survival, graphs, w1, b1, w2)
        dz = torch.mm(u, w1).view_as(z)
        d_w1, d_b1 = outer(u, z.view(-1, C))
        d_w2 = outer(g, dout.view(-1, C))[0].t()
        dx, sums = temporal_norm_backward(
            x, dz, dout, survival, w_t, b_t, gamma, ctx.eps, TUNINGS[C].temporal_backward
        )
        return dx, None, d_graphs, sums[:3], sums[3], sums[4], sums[5], d_w1, d_b1, d_w2, sums[6], None


def run(x: Tensor, survival: Tensor | None, module: Any) -> Tensor:
    """The block `module` (a `layers.Block`) of x (R, T, V, C)."""
    if survival is None:
        survival = torch.ones(len(x), device=x.device)
    result: Tensor = BlockFunction.apply(
        x.contiguous(), survival.float(), module.graphs, module.temporal.weight, module.temporal.bias,
        module.norm.weight, module.norm.bias, module.expand.weight, module.expand.bias,
        *module.projection(), module.norm.eps,
    )  # fmt: skip
    return result
