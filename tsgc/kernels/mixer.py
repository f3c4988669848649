"""The inverted bottleneck between graphs, in kernels that keep its 4C-wide middle on the chip.

    out = x + s (GELU(mix(z W1' + b1)) W2' + b2),   mix: out[u] = sum_v A[k, u, v] in[v] for slices k = 0..2

A tile is as many whole frames as fit into ROWS rows (2 of 25 joints into 64), so that mixing joints is one
product with a block-diagonal matrix of the graph; the slice that passes through has the unit matrix. The
last rows of a tile are the next tile's: nothing mixes them in, and nothing is stored from them. Widths are
cut into pieces that are powers of two. Nothing 4C wide is kept from the forward pass; the backward pass
computes it again. Tiles whose rows are all dropped (s = 0) cost less. Names that end in `_d` are tensor
descriptors.
Plain twin: the second half of `layers.Block.forward`.
"""

import triton
import triton.language as tl

from tsgc.kernels.gelu import gelu_parts


@triton.jit
def _expand(
    pieces, w1_d, b1, start,
    PIECE: tl.constexpr, PIECES: tl.constexpr, BH: tl.constexpr, ROWS: tl.constexpr, IP: tl.constexpr,
):  # fmt: skip
    """z W1' + b1 for BH hidden channels from `start`: (ROWS, BH) float32."""
    h = tl.zeros((ROWS, BH), tl.float32)
    for i in tl.static_range(PIECES):
        w = w1_d.load([start, i * PIECE])
        h = tl.dot(pieces[i], tl.trans(w), h, input_precision=IP)
    return h + tl.load(b1 + start + tl.arange(0, BH)).to(tl.float32)[None, :]


@triton.jit
def _contract(accumulators, g, w2_d, start, PIECE: tl.constexpr, PIECES: tl.constexpr, IP: tl.constexpr):
    """Adds g (ROWS, BH) times rows `start` and on of w2."""
    added = ()
    for i in tl.static_range(PIECES):
        w = w2_d.load([start, i * PIECE])
        added = added + (tl.dot(g, w, accumulators[i], input_precision=IP),)
    return added


@triton.jit
def forward_kernel(
    z_d, w1_d, w2_d, x, survival, graphs, b1, b2, out,
    total, frame_rows, V,
    C: tl.constexpr, PIECE: tl.constexpr, PIECES: tl.constexpr, BH: tl.constexpr, STAGES: tl.constexpr,
    ROWS: tl.constexpr, FAST: tl.constexpr, IP: tl.constexpr,
):  # fmt: skip
    """The whole of it for one tile.

    z (total, C) by (ROWS, PIECE); w1, w2 (4C, C) by (BH, PIECE); x, out (total, C). `frame_rows`: T * V, the
    rows of one body's sequence.
    """
    used = (ROWS // V) * V
    first = tl.program_id(0) * used
    r = tl.arange(0, ROWS)
    inside = (r < used) & (first + r < total)
    s = tl.load(survival + (first + r) // frame_rows, mask=inside, other=0.0).to(tl.float32)
    # A tile whose rows are all dropped keeps its input: no turn of the loops.
    hidden = tl.where(tl.max(s, 0) > 0, 4 * C, 0)
    dtype = x.dtype.element_ty
    pieces = ()
    accumulators = ()
    for i in tl.static_range(PIECES):
        pieces = pieces + (z_d.load([first, i * PIECE]),)
        accumulators = accumulators + (tl.zeros((ROWS, PIECE), tl.float32),)
    square = r[:, None] * ROWS + r[None, :]
    for j in tl.range(0, hidden, BH, num_stages=STAGES):
        h = _expand(pieces, w1_d, b1, j, PIECE, PIECES, BH, ROWS, IP)
        graph = tl.load(graphs + j // C * (ROWS * ROWS) + square)
        h = tl.dot(graph, h.to(dtype), input_precision=IP)
        cdf, _ = gelu_parts(h, FAST)
        accumulators = _contract(accumulators, (h * cdf).to(dtype), w2_d, j, PIECE, PIECES, IP)
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
    z_d, w1_d, graphs, b1, g,
    total, V,
    C: tl.constexpr, PIECE: tl.constexpr, PIECES: tl.constexpr, BH: tl.constexpr, STAGES: tl.constexpr,
    ROWS: tl.constexpr, FAST: tl.constexpr, IP: tl.constexpr,
):  # fmt: skip
    """GELU(mix(z W1' + b1)) for one tile and BH hidden channels -> g (total, 4C); z, w1 as before."""
    used = (ROWS // V) * V
    chunks: tl.constexpr = 4 * C // BH
    first = tl.program_id(0) // chunks * used
    start = tl.program_id(0) % chunks * BH
    r = tl.arange(0, ROWS)
    dtype = g.dtype.element_ty
    h = tl.zeros((ROWS, BH), tl.float32)
    for i in tl.range(PIECES, num_stages=STAGES):
        h = tl.dot(
            z_d.load([first, i * PIECE]), tl.trans(w1_d.load([start, i * PIECE])), h, input_precision=IP
        )
    hidden = start + tl.arange(0, BH)
    h += tl.load(b1 + hidden).to(tl.float32)[None, :]
    graph = tl.load(graphs + start // C * (ROWS * ROWS) + r[:, None] * ROWS + r[None, :])
    h = tl.dot(graph, h.to(dtype), input_precision=IP)
    cdf, _ = gelu_parts(h, FAST)
    to = g + first.to(tl.int64) * (4 * C) + r[:, None] * (4 * C) + hidden[None, :]
    tl.store(to, (h * cdf).to(dtype), mask=((r < used) & (first + r < total))[:, None])


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
    accumulator = tl.zeros((BM, BN), tl.float32)
    for j in tl.range(0, 4 * C, BK, num_stages=STAGES):
        accumulator = tl.dot(g_d.load([first, j]), w2_d.load([j, c0]), accumulator, input_precision=IP)
    r = tl.arange(0, BM)
    c = c0 + tl.arange(0, BN)
    inside = first + r < total
    s = tl.load(survival + (first + r) // frame_rows, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(b2 + c, mask=c < C, other=0.0).to(tl.float32)
    mask = inside[:, None] & (c < C)[None, :]
    at = first.to(tl.int64) * C + r[:, None] * C + c[None, :]
    value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32) + (accumulator + bias[None, :]) * s[:, None]
    tl.store(out + at, value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def mix_backward_kernel(
    p_d, dg_d, survival, graphs, u_out, g_out, graph_sums,
    total, frame_rows, V, tiles, first_chunk, programs,
    C: tl.constexpr, BH: tl.constexpr, STAGES: tl.constexpr, MIXED: tl.constexpr, ROWS: tl.constexpr,
    FAST: tl.constexpr, IP: tl.constexpr,
):  # fmt: skip
    """One chunk of BH hidden channels over every `programs`-th tile, after the products by the library.

    p = z W1' + b1 and dg = dout W2 are (total, 4C) by (ROWS, BH). Writes s g (for the gradient of W2) and u,
    the gradient of p, each (total, 4C); and sums of the gradient of the block-diagonal graph (chunks of
    k < 3, programs, ROWS, ROWS), kept for the whole tile: its blocks are picked out later.
    """
    chunks: tl.constexpr = (3 if MIXED else 1) * C // BH
    used = (ROWS // V) * V
    chunk = first_chunk + tl.program_id(0) % chunks
    program = tl.program_id(0) // chunks
    start = chunk * BH
    k = start // C
    dtype = u_out.dtype.element_ty
    r = tl.arange(0, ROWS)
    at = r[:, None] * (4 * C) + (start + tl.arange(0, BH))[None, :]
    if MIXED:
        graph = tl.load(graphs + k * ROWS * ROWS + r[:, None] * ROWS + r[None, :])
        graph_sum = tl.zeros((ROWS, ROWS), tl.float32)
    for tile in tl.range(program, tiles, programs, num_stages=STAGES):
        first = tile * used
        inside = (r < used) & (first + r < total)
        p = p_d.load([first, start])
        dg = dg_d.load([first, start])
        s = tl.load(survival + (first + r) // frame_rows, mask=inside, other=0.0)
        if MIXED:
            h = tl.dot(graph, p, input_precision=IP)
        else:
            h = p.to(tl.float32)
        cdf, slope = gelu_parts(h, FAST)
        to = at + (tl.zeros((), tl.int64) + first) * (4 * C)
        tl.store(g_out + to, (h * cdf * s[:, None]).to(dtype), mask=inside[:, None])
        u = dg.to(tl.float32) * s[:, None] * slope
        if MIXED:
            dh = u.to(dtype)
            graph_sum = tl.dot(dh, tl.trans(p), graph_sum, input_precision=IP)
            u = tl.dot(tl.trans(graph), dh, input_precision=IP)
        tl.store(u_out + to, u.to(dtype), mask=inside[:, None])
    if MIXED:
        place = (chunk * programs + program).to(tl.int64) * ROWS * ROWS
        tl.store(graph_sums + place + r[:, None] * ROWS + r[None, :], graph_sum)


@triton.jit
def outer_kernel(
    a_d, b_d, sums, columns_sums,
    total, splits,
    A: tl.constexpr, C: tl.constexpr, BA: tl.constexpr, PIECE: tl.constexpr, BR: tl.constexpr,
    STAGES: tl.constexpr, IP: tl.constexpr,
):  # fmt: skip
    """a' b over every `splits`-th block of rows -> sums (splits, A, C) float32, and a' 1 -> (splits, A).

    a (total, A) by (BR, BA), b (total, C) by (BR, PIECE); rows beyond `total` read as 0.
    """
    columns = tl.cdiv(C, PIECE)
    blocks = columns * (A // BA)
    split = tl.program_id(0) // blocks
    j0 = tl.program_id(0) % blocks // columns * BA
    c0 = tl.program_id(0) % columns * PIECE
    accumulator = tl.zeros((BA, PIECE), tl.float32)
    ones = tl.full((BR, 16), 1.0, a_d.dtype)
    column_sum = tl.zeros((BA, 16), tl.float32)
    for block in tl.range(split, tl.cdiv(total, BR), splits, num_stages=STAGES):
        left = a_d.load([block * BR, j0])
        right = b_d.load([block * BR, c0])
        accumulator = tl.dot(tl.trans(left), right, accumulator, input_precision=IP)
        # A product costs less here than adding up across threads.
        column_sum = tl.dot(tl.trans(left), ones, column_sum, input_precision=IP)
    j = j0 + tl.arange(0, BA)
    c = c0 + tl.arange(0, PIECE)
    at = sums + split.to(tl.int64) * A * C + j[:, None] * C + c[None, :]
    tl.store(at, accumulator, mask=(c < C)[None, :])
    if c0 == 0:
        tl.store(columns_sums + split * A + j, tl.sum(column_sum, 1) / 16)
