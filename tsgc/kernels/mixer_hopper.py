"""Mixing backwards together with the gradient of W2, for Hopper GPUs, in Gluon: Triton with layouts, copies
and barriers written out.

Triton's own compiler starts to load a tile only when the turn before is over, unless there is room for a
third one, which here would leave one program to a multiprocessor. So `mixer_backward.mix_backward_kernel`
waits half of its time. Here the load of a tile starts as soon as its place is free, products run during
loads, and s g goes from registers into the gradient of W2 without being stored. Plain twin: that kernel, then
`outer_kernel`. Shared memory is 112 KB at C = 192, so that two programs fit: p and dout twice, 16 and 48, W2
24, the matrix, s g and u 8 each.
"""

import torch
import triton
from torch import Tensor
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia import hopper
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from tsgc.kernels.cards import share
from tsgc.kernels.gelu import LIMIT, A, B
from tsgc.kernels.gelu import C as C5
from tsgc.kernels.launching import launch
from tsgc.kernels.operands import Operands
from tsgc.kernels.tunings import GATHER_PIECE, GATHER_ROWS, GatherTuning

barrier = getattr(gl, "barrier", None) or gl.thread_barrier  # by its name before Triton 3.7
ROWS = gl.constexpr(GATHER_ROWS)  # of a tile, and what one product has at least
PIECE = gl.constexpr(GATHER_PIECE)  # channels of dout and W2 that lie together
LIGHTER = 0.75  # the work of a program without mixing, over that of one with


@gluon.jit
def _ask(
    p_d, dout_d, p_s, dout_s, ready, buffer, row, first, start, wanted, PIECES: gl.constexpr, BH: gl.constexpr
):
    """Start to load a tile; `ready` is the barrier that tells when it is there."""
    there = ready.index(buffer)
    mbarrier.expect(there, (PIECES * PIECE + BH) * ROWS * 2, pred=wanted)
    tma.async_copy_global_to_shared(p_d, [row, first, start], there, p_s.index(buffer), pred=wanted)
    for i in gl.static_range(PIECES):
        to = dout_s.index(buffer * PIECES + i)
        tma.async_copy_global_to_shared(dout_d, [row, first, i * PIECE], there, to, pred=wanted)


@gluon.jit
def _gelu_parts(h, s):
    """s Phi(h) and s d(h Phi(h))/dh, as `gelu.gelu_parts`; s (ROWS, 1)."""
    square = gl.minimum(h * h, LIMIT * LIMIT)
    inner = h * ((C5 * square + B) * square + A)
    t = gl.inline_asm_elementwise(
        "tanh.approx.f32 $0, $1;", "=f,f", [inner], dtype=gl.float32, is_pure=True, pack=1
    )
    half = 0.5 * s
    cdf = t * half + half
    rest = h * (cdf * (0.5 - 0.5 * t))
    return cdf, rest * ((10 * C5 * square + 6 * B) * square + 2 * A) + cdf


@gluon.jit
def _chunk(
    p_d, dout_d, w2_d, survival, order, adjacency, u_out, adjacency_sums, w2_sums,
    R, frame_rows, V, chunk, program, programs,
    C: gl.constexpr, PIECES: gl.constexpr, BH: gl.constexpr, MIXED: gl.constexpr,
):  # fmt: skip
    """One chunk of BH hidden channels over every `programs`-th tile."""
    product: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BH, 16])
    square: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, ROWS, 16])
    narrow: gl.constexpr = gl.NVMMASharedLayout.get_default_for([ROWS, BH], gl.bfloat16)
    wide: gl.constexpr = gl.NVMMASharedLayout.get_default_for([ROWS, PIECE], gl.bfloat16)
    whole: gl.constexpr = gl.NVMMASharedLayout.get_default_for([ROWS, ROWS], gl.bfloat16)
    lanes: gl.constexpr = gl.BlockedLayout([1, 8], [256 // BH, BH // 8], [4, 1], [1, 0])

    used = (ROWS // V) * V
    tiles = gl.cdiv(frame_rows, used)  # of a sequence
    end = gl.load(order + R) * tiles
    start = chunk * BH
    k = start // C

    p_s = gl.allocate_shared_memory(gl.bfloat16, [2, ROWS, BH], narrow)
    dout_s = gl.allocate_shared_memory(gl.bfloat16, [2 * PIECES, ROWS, PIECE], wide)
    w2_s = gl.allocate_shared_memory(gl.bfloat16, [PIECES, BH, PIECE], wide)
    g_s = gl.allocate_shared_memory(gl.bfloat16, [ROWS, BH], narrow)
    u_s = gl.allocate_shared_memory(gl.bfloat16, [ROWS, BH], narrow)
    ready = gl.allocate_shared_memory(gl.int64, [3, 1], mbarrier.MBarrierLayout())  # both tiles and W2
    for i in gl.static_range(3):
        mbarrier.init(ready.index(i), count=1)
    hopper.fence_async_shared()
    barrier()
    mbarrier.expect(ready.index(2), PIECES * PIECE * BH * 2)
    for i in gl.static_range(PIECES):
        tma.async_copy_global_to_shared(w2_d, [start, i * PIECE], ready.index(2), w2_s.index(i))
    row = gl.load(order + gl.minimum(program // tiles, R - 1))
    first = program % tiles * used
    _ask(p_d, dout_d, p_s, dout_s, ready, 0, row, first, start, program < end, PIECES, BH)

    if MIXED:
        matrix_s = gl.allocate_shared_memory(gl.bfloat16, [ROWS, ROWS], whole)
        rows: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])
        down = gl.arange(0, ROWS, gl.SliceLayout(1, rows))[:, None]
        across = gl.arange(0, ROWS, gl.SliceLayout(0, rows))[None, :]
        matrix_s.store(gl.load(adjacency + k * ROWS * ROWS + down * ROWS + across))
        hopper.fence_async_shared()
        barrier()
        adjacency_sum = gl.zeros([ROWS, ROWS], gl.float32, square)
    w2_sum = ()
    for _i in gl.static_range(PIECES):
        w2_sum = w2_sum + (gl.zeros([PIECE, BH], gl.float32, product),)
    nothing = gl.zeros([ROWS, BH], gl.float32, product)
    r = gl.arange(0, ROWS, gl.SliceLayout(1, product))
    r_out = gl.arange(0, ROWS, gl.SliceLayout(1, lanes))
    at = r_out[:, None] * (4 * C) + (start + gl.arange(0, BH, gl.SliceLayout(0, lanes)))[None, :]
    mbarrier.wait(ready.index(2), 0)
    turn = 0
    for tile in range(program, end, programs):
        buffer = turn & 1
        later = tile + programs
        later_row = gl.load(order + gl.minimum(later // tiles, R - 1))
        s = gl.load(survival + row)
        # Its place is free: the turn before waited for all products that read it.
        later_first = later % tiles * used
        _ask(
            p_d, dout_d, p_s, dout_s, ready, buffer ^ 1, later_row, later_first, start, later < end,
            PIECES, BH,
        )  # fmt: skip
        mbarrier.wait(ready.index(buffer), (turn >> 1) & 1)
        p = p_s.index(buffer)
        if MIXED:
            h = hopper.warpgroup_mma(matrix_s, p, nothing, use_acc=False, is_async=True)
        dg = nothing
        for i in gl.static_range(PIECES):
            dout, w2 = dout_s.index(buffer * PIECES + i), w2_s.index(i).permute([1, 0])
            dg = hopper.warpgroup_mma(dout, w2, dg, use_acc=i > 0, is_async=True)
        if MIXED:
            h = hopper.warpgroup_mma_wait(PIECES, deps=[h])
        else:
            h = p.load(product).to(gl.float32)
        # Rows of the next tile have a factor of 0: they add nothing to any sum.
        factor = gl.where((r < used) & (first + r < frame_rows), s, 0.0)[:, None]
        cdf, slope = _gelu_parts(h, factor)
        g_s.store((h * cdf).to(gl.bfloat16))
        u = hopper.warpgroup_mma_wait(0, deps=[dg]) * slope
        if MIXED:
            u_s.store(u.to(gl.bfloat16))
        hopper.fence_async_shared()
        barrier()
        if MIXED:
            mixed = hopper.warpgroup_mma(matrix_s.permute([1, 0]), u_s, nothing, use_acc=False, is_async=True)
            adjacency_sum = hopper.warpgroup_mma(u_s, p.permute([1, 0]), adjacency_sum, is_async=True)
        sums = ()
        for i in gl.static_range(PIECES):
            dout = dout_s.index(buffer * PIECES + i).permute([1, 0])
            sums = sums + (hopper.warpgroup_mma(dout, g_s, w2_sum[i], is_async=True),)
        if MIXED:
            u = hopper.warpgroup_mma_wait(PIECES, deps=[mixed])
            adjacency_sum = hopper.warpgroup_mma_wait(PIECES, deps=[adjacency_sum])
            barrier()  # no product of any warp reads u_s any more
        u_s.store(u.to(gl.bfloat16))
        barrier()
        to = u_out + (row.to(gl.int64) * frame_rows + first) * (4 * C)
        inside = (r_out < used) & (first + r_out < frame_rows)
        gl.store(to + at, u_s.load(lanes), mask=inside[:, None])
        w2_sum = ()
        for i in gl.static_range(PIECES):
            w2_sum = w2_sum + (hopper.warpgroup_mma_wait(0, deps=[sums[i]]),)
        barrier()
        row = later_row
        first = later_first
        turn += 1  # noqa: SIM113  (Gluon has no enumerate)
    to = w2_sums + program.to(gl.int64) * (4 * C * C) + start
    j = gl.arange(0, BH, gl.SliceLayout(0, product))[None, :]
    for i in gl.static_range(PIECES):
        c = (i * PIECE + gl.arange(0, PIECE, gl.SliceLayout(1, product)))[:, None]
        gl.store(to + c * (4 * C) + j, w2_sum[i], mask=c < C)
    if MIXED:
        to = adjacency_sums + (chunk * programs + program).to(gl.int64) * (ROWS * ROWS)
        down = gl.arange(0, ROWS, gl.SliceLayout(1, square))[:, None]
        across = gl.arange(0, ROWS, gl.SliceLayout(0, square))[None, :]
        gl.store(to + down * ROWS + across, adjacency_sum)


@gluon.jit
def mix_gather_kernel(
    p_d, dout_d, w2_d, survival, order, adjacency, u_out, adjacency_sums, w2_sums,
    R, frame_rows, V, mixing, passing,
    C: gl.constexpr, PIECES: gl.constexpr, BH: gl.constexpr,
):  # fmt: skip
    """Write u, the gradient of p, of rows that are not dropped, and the sums of two gradients.

    p and u (R, frame_rows, 4C) by (1, ROWS, BH), dout (R, frame_rows, C) by (1, ROWS, PIECE), w2 (4C, C) by
    (BH, PIECE). `mixing` programs share each chunk that a matrix mixes, `passing` each of the others. Sums:
    adjacency_sums (chunks of k < 3, mixing, ROWS, ROWS) and w2_sums (mixing, C, 4C), of whose last quarter of
    columns only the first `passing` are written.
    """
    chunks: gl.constexpr = C // BH
    i = gl.program_id(0)
    if i < 3 * chunks * mixing:
        _chunk(
            p_d, dout_d, w2_d, survival, order, adjacency, u_out, adjacency_sums, w2_sums,
            R, frame_rows, V, i % (3 * chunks), i // (3 * chunks), mixing, C, PIECES, BH, True,
        )  # fmt: skip
    else:
        i -= 3 * chunks * mixing
        _chunk(
            p_d, dout_d, w2_d, survival, order, adjacency, u_out, adjacency_sums, w2_sums,
            R, frame_rows, V, 3 * chunks + i % chunks, i // chunks, passing, C, PIECES, BH, False,
        )  # fmt: skip


def layout(*block: int) -> gl.NVMMASharedLayout:
    """The layout of a block of bfloat16 in shared memory."""
    return gl.NVMMASharedLayout.get_default_for(list(block), gl.bfloat16)


def _by(x: Tensor, *block: int) -> TensorDescriptor:
    return TensorDescriptor.from_tensor(x, list(block), layout(*block))


def mix_gather(
    p: Tensor, dout: Tensor, u: Tensor, survival: Tensor, ready: Operands, cut: GatherTuning
) -> tuple[Tensor, Tensor, int]:
    """Write u, the gradient of p, both (total, 4C), given dout (R, T, V, C), all bfloat16.

    Returns the gradients of the block-diagonal adjacency, (3, n, 64, 64), and of W2, (m, C, 4C), in parts,
    and how many parts the last quarter of W2's columns has: the slice that no matrix mixes.
    """
    R, T, V, C = dout.shape
    hidden, slots, registers = cut
    slots = share(slots, p.device)
    chunks = C // hidden
    mixing = max(1, int(slots / (3 + LIGHTER) / chunks))
    passing = min(mixing, max(1, slots // chunks - 3 * mixing))
    adjacency_sums = p.new_empty(3, chunks * mixing, ROWS.value, ROWS.value, dtype=torch.float32)
    w2_sums = p.new_empty(mixing, C, 4 * C, dtype=torch.float32)
    launch(
        mix_gather_kernel, chunks * (3 * mixing + passing),
        _by(p.view(R, T * V, 4 * C), 1, ROWS.value, hidden),
        _by(dout.view(R, T * V, C), 1, ROWS.value, PIECE.value),
        _by(ready.w2, hidden, PIECE.value),
        survival, ready.order, ready.backward, u, adjacency_sums, w2_sums, R, T * V, V, mixing, passing,
        C=C, PIECES=triton.cdiv(C, PIECE.value), BH=hidden, num_warps=4, maxnreg=registers or None,
    )  # fmt: skip
    return adjacency_sums, w2_sums, passing
