"""The inverted bottleneck with its mixing of joints, in kernels that keep its middle on the chip if it fits.

    out = x + s (GELU(mix(p)) W2' + b2),   p = z W1' + b1,   mix: out[u] = sum_v A[k, u, v] in[v] (k < 3)

A tile is as many whole frames as fit into ROWS rows (2 of 25 joints into 64), so that mixing joints is one
product with a block-diagonal matrix of the adjacency; the slice that passes through has the unit matrix, or
no product. The last rows of a tile belong to the next one: they are not mixed in, and nothing is stored
from them but p, which is equal there. p is written where a backward pass may follow (KEEP). Widths are cut
into pieces that are powers of two. Tiles whose rows are all dropped (s = 0) cost less. Names that end in `_d`
are tensor descriptors. The backward pass is in `mixer_backward`.
Plain twin: the second half of `layers.Block.forward`.
"""

import triton
import triton.language as tl

from tsgc.kernels.gelu import gelu_parts
from tsgc.kernels.tiles import load_tile, load_tile_of, store_tile


@triton.jit
def _expand(
    pieces, w1_d, b1, start,
    C: tl.constexpr, PIECE: tl.constexpr, PIECES: tl.constexpr, BH: tl.constexpr, ROWS: tl.constexpr,
    IP: tl.constexpr,
):  # fmt: skip
    """z W1' + b1 for BH hidden channels from `start`: (ROWS, BH) float32."""
    h = tl.zeros((ROWS, BH), tl.float32)
    for i in tl.static_range(PIECES):
        w = load_tile(w1_d, start, i * PIECE, 4 * C, C, BH, PIECE)
        h = tl.dot(pieces[i], tl.trans(w), h, input_precision=IP)
    return h + tl.load(b1 + start + tl.arange(0, BH)).to(tl.float32)[None, :]


@triton.jit
def _contract(
    accumulators, g, w2_d, start,
    C: tl.constexpr, PIECE: tl.constexpr, PIECES: tl.constexpr, BH: tl.constexpr, IP: tl.constexpr,
):  # fmt: skip
    """Add g (ROWS, BH) times rows `start` and on of w2."""
    added = ()
    for i in tl.static_range(PIECES):
        w = load_tile(w2_d, start, i * PIECE, 4 * C, C, BH, PIECE)
        added = added + (tl.dot(g, w, accumulators[i], input_precision=IP),)
    return added


@triton.jit
def _chunk(
    accumulators, pieces, w1_d, w2_d, p_d, b1, matrix, first, j, total, dtype: tl.constexpr,
    C: tl.constexpr, PIECE: tl.constexpr, PIECES: tl.constexpr, BH: tl.constexpr, KEEP: tl.constexpr,
    MIXED: tl.constexpr, ROWS: tl.constexpr, FAST: tl.constexpr, IP: tl.constexpr,
):  # fmt: skip
    """Add the contribution of BH hidden channels from `j`."""
    p = _expand(pieces, w1_d, b1, j, C, PIECE, PIECES, BH, ROWS, IP).to(dtype)
    if KEEP:
        # The next tile's rows too: they are equal there.
        store_tile(p_d, p, first, j, total, 4 * C, ROWS, BH)
    if MIXED:
        h = tl.dot(matrix, p, input_precision=IP)
    else:
        h = p.to(tl.float32)
    cdf, _ = gelu_parts(h, FAST)
    return _contract(accumulators, (h * cdf).to(dtype), w2_d, j, C, PIECE, PIECES, BH, IP)


@triton.jit
def forward_kernel(
    z_d, w1_d, w2_d, p_d, x, survival, adjacency, b1, b2, out,
    total, frame_rows, V,
    C: tl.constexpr, PIECE: tl.constexpr, PIECES: tl.constexpr, BH: tl.constexpr, STAGES: tl.constexpr,
    KEEP: tl.constexpr, ROWS: tl.constexpr, FAST: tl.constexpr, IP: tl.constexpr,
):  # fmt: skip
    """The whole bottleneck for one tile.

    z (total, C) by (ROWS, PIECE); w1, w2 (4C, C) by (BH, PIECE); x, out (total, C). `frame_rows`: T * V, the
    rows of one body's sequence. KEEP: writes p (total, 4C) by (ROWS, BH) too, for the backward pass, as a
    kernel that computes has memory to spare.
    """
    used = (ROWS // V) * V
    first = tl.program_id(0) * used
    r = tl.arange(0, ROWS)
    inside = (r < used) & (first + r < total)
    s = tl.load(survival + (first + r) // frame_rows, mask=inside, other=0.0).to(tl.float32)
    # A tile whose rows are all dropped keeps its input: the loops do not run.
    width = tl.where(tl.max(s, 0) > 0, C, 0)
    dtype: tl.constexpr = x.dtype.element_ty
    pieces = ()
    accumulators = ()
    for i in tl.static_range(PIECES):
        pieces = pieces + (load_tile(z_d, first, i * PIECE, total, C, ROWS, PIECE),)
        accumulators = accumulators + (tl.zeros((ROWS, PIECE), tl.float32),)
    square = r[:, None] * ROWS + r[None, :]
    for k in range(3):
        matrix = tl.load(adjacency + k * (ROWS * ROWS) + square)
        for j in tl.range(k * C, k * C + width, BH, num_stages=STAGES):
            accumulators = _chunk(
                accumulators, pieces, w1_d, w2_d, p_d, b1, matrix, first, j, total, dtype,
                C, PIECE, PIECES, BH, KEEP, True, ROWS, FAST, IP,
            )  # fmt: skip
    for j in tl.range(3 * C, 3 * C + width, BH, num_stages=STAGES):
        accumulators = _chunk(
            accumulators, pieces, w1_d, w2_d, p_d, b1, 0, first, j, total, dtype,
            C, PIECE, PIECES, BH, KEEP, False, ROWS, FAST, IP,
        )  # fmt: skip
    base = first.to(tl.int64) * C
    for i in tl.static_range(PIECES):
        c = i * PIECE + tl.arange(0, PIECE)
        mask = inside[:, None] & (c < C)[None, :]
        at = r[:, None] * C + c[None, :]
        bias = tl.load(b2 + c, mask=c < C, other=0.0).to(tl.float32)
        branch = (accumulators[i] + bias[None, :]) * s[:, None]
        value = tl.load(x + base + at, mask=mask, other=0.0).to(tl.float32) + branch
        tl.store(out + base + at, value.to(dtype), mask=mask)


@triton.jit
def expand_kernel(
    z_d, w1_d, p_d, survival, adjacency, b1, g,
    total, frame_rows, V,
    C: tl.constexpr, PIECE: tl.constexpr, PIECES: tl.constexpr, BH: tl.constexpr, STAGES: tl.constexpr,
    KEEP: tl.constexpr, ROWS: tl.constexpr, FAST: tl.constexpr, IP: tl.constexpr,
):  # fmt: skip
    """GELU(mix(z W1' + b1)) for one tile and BH hidden channels -> g (total, 4C); the others as before.

    Tiles whose rows are all dropped are left as they are.
    """
    used = (ROWS // V) * V
    chunks: tl.constexpr = 4 * C // BH
    first = tl.program_id(0) // chunks * used
    start = tl.program_id(0) % chunks * BH
    r = tl.arange(0, ROWS)
    inside = (r < used) & (first + r < total)
    if tl.max(tl.load(survival + (first + r) // frame_rows, mask=inside, other=0.0), 0) > 0:
        dtype = g.dtype.element_ty
        h = tl.zeros((ROWS, BH), tl.float32)
        for i in tl.range(PIECES, num_stages=STAGES):
            w = load_tile(w1_d, start, i * PIECE, 4 * C, C, BH, PIECE)
            z = load_tile(z_d, first, i * PIECE, total, C, ROWS, PIECE)
            h = tl.dot(z, tl.trans(w), h, input_precision=IP)
        hidden = start + tl.arange(0, BH)
        h += tl.load(b1 + hidden).to(tl.float32)[None, :]
        matrix = tl.load(adjacency + start // C * (ROWS * ROWS) + r[:, None] * ROWS + r[None, :])
        p = h.to(dtype)
        if KEEP:
            store_tile(p_d, p, first, start, total, 4 * C, ROWS, BH)
        h = tl.dot(matrix, p, input_precision=IP)
        cdf, _ = gelu_parts(h, FAST)
        to = g + first.to(tl.int64) * (4 * C) + r[:, None] * (4 * C) + hidden[None, :]
        tl.store(to, (h * cdf).to(dtype), mask=inside[:, None])


@triton.jit
def contract_kernel(
    g_d, w2_d, x, survival, b2, out,
    total, frame_rows,
    C: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr,
    IP: tl.constexpr,
):  # fmt: skip
    """x + s (g W2' + b2) -> out (total, C); g (total, 4C) by (BM, BK), w2 (4C, C) by (BK, BN)."""
    columns = tl.cdiv(C, BN)
    first = tl.program_id(0) // columns * BM
    c0 = tl.program_id(0) % columns * BN
    r = tl.arange(0, BM)
    c = c0 + tl.arange(0, BN)
    inside = first + r < total
    s = tl.load(survival + (first + r) // frame_rows, mask=inside, other=0.0).to(tl.float32)
    accumulator = tl.zeros((BM, BN), tl.float32)
    hidden = tl.where(tl.max(s, 0) > 0, 4 * C, 0)
    for j in tl.range(0, hidden, BK, num_stages=STAGES):
        g = load_tile(g_d, first, j, total, 4 * C, BM, BK)
        w2 = load_tile(w2_d, j, c0, 4 * C, C, BK, BN)
        accumulator = tl.dot(g, w2, accumulator, input_precision=IP)
    bias = tl.load(b2 + c, mask=c < C, other=0.0).to(tl.float32)
    mask = inside[:, None] & (c < C)[None, :]
    at = first.to(tl.int64) * C + r[:, None] * C + c[None, :]
    # g holds arbitrary values in dropped rows, NaN included.
    branch = tl.where((s > 0)[:, None], (accumulator + bias[None, :]) * s[:, None], 0.0)
    value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32) + branch
    tl.store(out + at, value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def mix_kernel(
    p_d, survival, adjacency, g,
    frame_rows, V,
    C: tl.constexpr, BH: tl.constexpr, ROWS: tl.constexpr, FAST: tl.constexpr, IP: tl.constexpr,
):  # fmt: skip
    """GELU(mix(p)) for one tile of one sequence and BH hidden channels, where the library made p.

    p (R, frame_rows, 4C) by (1, ROWS, BH) -> g (R, frame_rows, 4C), 0 for dropped rows.
    """
    used = (ROWS // V) * V
    chunks: tl.constexpr = 4 * C // BH
    tiles = tl.cdiv(frame_rows, used)
    tile = tl.program_id(0) // chunks
    start = tl.program_id(0) % chunks * BH
    row = tile // tiles
    first = tile % tiles * used
    r = tl.arange(0, ROWS)
    dtype = g.dtype.element_ty
    value = tl.zeros((ROWS, BH), tl.float32)
    if tl.load(survival + row) > 0:
        p = load_tile_of(p_d, row, first, start, frame_rows, 4 * C, ROWS, BH)
        k = start // C
        if k < 3:
            matrix = tl.load(adjacency + k * (ROWS * ROWS) + r[:, None] * ROWS + r[None, :])
            h = tl.dot(matrix, p, input_precision=IP)
        else:
            h = p.to(tl.float32)
        cdf, _ = gelu_parts(h, FAST)
        value = h * cdf
    at = (row.to(tl.int64) * frame_rows + first) * (4 * C)
    to = g + at + r[:, None] * (4 * C) + (start + tl.arange(0, BH))[None, :]
    tl.store(to, value.to(dtype), mask=((r < used) & (first + r < frame_rows))[:, None])
