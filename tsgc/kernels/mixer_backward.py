"""The backward pass of the inverted bottleneck with its mixing of joints, and the products around its middle.

Dropped rows cost nothing, and are left as they are where nothing reads them. The last two kernels visit only
the sequences that are kept: `order` (`operands`) lists these first, and holds their number at its end. So
tensors are (R, rows of a sequence, channels) there, and no tile reaches over a sequence's end: descriptors
read 0 beyond it. Tiles and names are as in `mixer`.
"""

import triton
import triton.language as tl

from tsgc.kernels.gelu import gelu_parts
from tsgc.kernels.tiles import load_tile, load_tile_of, store_tile


@triton.jit
def linear_kernel(
    a_d, w_d, out_d, survival,
    total, frame_rows,
    N: tl.constexpr, K: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    TRANSPOSED: tl.constexpr, STAGES: tl.constexpr, IP: tl.constexpr,
):  # fmt: skip
    """a w -> out (total, N) by (BM, BN), of tiles with a row that is not dropped.

    a (total, K) by (BM, BK); w (K, N) by (BK, BN), or TRANSPOSED (N, K) by (BN, BK).
    """
    columns = tl.cdiv(N, BN)
    first = tl.program_id(0) // columns * BM
    n0 = tl.program_id(0) % columns * BN
    rows = first + tl.arange(0, BM)
    if tl.max(tl.load(survival + rows // frame_rows, mask=rows < total, other=0.0), 0) > 0:
        accumulator = tl.zeros((BM, BN), tl.float32)
        for k in tl.range(0, K, BK, num_stages=STAGES):
            if TRANSPOSED:
                w = tl.trans(load_tile(w_d, n0, k, N, K, BN, BK))
            else:
                w = load_tile(w_d, k, n0, K, N, BK, BN)
            a = load_tile(a_d, first, k, total, K, BM, BK)
            accumulator = tl.dot(a, w, accumulator, input_precision=IP)
        store_tile(out_d, accumulator, first, n0, total, N, BM, BN)


@triton.jit
def mix_backward_kernel(
    p_d, dg_d, w2_d, survival, order, adjacency, u_out, g_out, adjacency_sums, bias_sums,
    R, frame_rows, V, first_chunk, programs,
    C: tl.constexpr, PIECE: tl.constexpr, PIECES: tl.constexpr, BH: tl.constexpr, STAGES: tl.constexpr,
    MIXED: tl.constexpr, WHOLE: tl.constexpr, ROWS: tl.constexpr, FAST: tl.constexpr, IP: tl.constexpr,
):  # fmt: skip
    """One chunk of BH hidden channels over every `programs`-th tile.

    p = z W1' + b1 and dg = dout W2 are (R, frame_rows, 4C) by (1, ROWS, BH); with PIECES > 0 the second
    product is made here, of dout (R, frame_rows, C) by (1, ROWS, PIECE) and w2 (4C, C) by (BH, PIECE).
    Writes s g (for the gradient of W2) and u, the gradient of p, each (R, frame_rows, 4C), and sums of the
    gradient of the block-diagonal matrix (chunks of k < 3, programs, ROWS, ROWS). They are of a whole tile;
    its diagonal blocks are taken later. WHOLE: dropped sequences get 0, and the sums of u over rows are
    written too (chunks, programs, BH).
    """
    chunks: tl.constexpr = (3 if MIXED else 1) * C // BH
    used = (ROWS // V) * V
    tiles = tl.cdiv(frame_rows, used)  # of a sequence
    alive = tl.load(order + R)
    chunk = first_chunk + tl.program_id(0) % chunks
    program = tl.program_id(0) // chunks
    start = chunk * BH
    k = start // C
    dtype = u_out.dtype.element_ty
    r = tl.arange(0, ROWS)
    at = r[:, None] * (4 * C) + (start + tl.arange(0, BH))[None, :]
    if MIXED:
        matrix = tl.load(adjacency + k * ROWS * ROWS + r[:, None] * ROWS + r[None, :])
        adjacency_sum = tl.zeros((ROWS, ROWS), tl.float32)
    if WHOLE:
        bias_sum = tl.zeros((ROWS, BH), tl.float32)
    weights = ()
    for i in tl.static_range(PIECES):
        weights = weights + (load_tile(w2_d, start, i * PIECE, 4 * C, C, BH, PIECE),)
    # A row and its factor are loaded a turn early, so that the loads of the tiles can start earlier.
    row = tl.load(order + tl.minimum(program // tiles, R - 1))
    s = tl.load(survival + row)
    for tile in tl.range(program, alive * tiles, programs, num_stages=STAGES):
        first = tile % tiles * used
        p = load_tile_of(p_d, row, first, start, frame_rows, 4 * C, ROWS, BH)
        if PIECES == 0:
            dg = load_tile_of(dg_d, row, first, start, frame_rows, 4 * C, ROWS, BH).to(tl.float32)
        else:
            dg = tl.zeros((ROWS, BH), tl.float32)
            for i in tl.static_range(PIECES):
                part = load_tile_of(dg_d, row, first, i * PIECE, frame_rows, C, ROWS, PIECE)
                dg = tl.dot(part, tl.trans(weights[i]), dg, input_precision=IP)
        inside = ((r < used) & (first + r < frame_rows))[:, None]
        if MIXED:
            h = tl.dot(matrix, p, input_precision=IP)
        else:
            h = p.to(tl.float32)
        cdf, slope = gelu_parts(h, FAST)
        to = at + (row.to(tl.int64) * frame_rows + first) * (4 * C)
        tl.store(g_out + to, (h * (cdf * s)).to(dtype), mask=inside)
        u = dg * (s * slope)
        if MIXED:
            dh = u.to(dtype)
            adjacency_sum = tl.dot(dh, tl.trans(p), adjacency_sum, input_precision=IP)
            u = tl.dot(tl.trans(matrix), dh, input_precision=IP)
        if WHOLE:
            bias_sum += tl.where(inside, u, 0.0)
        tl.store(u_out + to, u.to(dtype), mask=inside)
        row = tl.load(order + tl.minimum((tile + programs) // tiles, R - 1))
        s = tl.load(survival + row)
    if WHOLE:
        for tile in range(alive * tiles + program, R * tiles, programs):
            first = tile % tiles * used
            to = at + (tl.load(order + tile // tiles).to(tl.int64) * frame_rows + first) * (4 * C)
            nothing = tl.zeros((ROWS, BH), dtype)
            inside = ((r < used) & (first + r < frame_rows))[:, None]
            tl.store(g_out + to, nothing, mask=inside)
            tl.store(u_out + to, nothing, mask=inside)
        place = (chunk * programs + program).to(tl.int64) * BH
        tl.store(bias_sums + place + tl.arange(0, BH), tl.sum(bias_sum, 0))
    if MIXED:
        place = (chunk * programs + program).to(tl.int64) * ROWS * ROWS
        tl.store(adjacency_sums + place + r[:, None] * ROWS + r[None, :], adjacency_sum)


@triton.jit
def outer_kernel(
    a_d, b_d, order, sums, column_sums,
    R, frame_rows, splits,
    A: tl.constexpr, C: tl.constexpr, BA: tl.constexpr, PIECE: tl.constexpr, BR: tl.constexpr,
    COLUMNS: tl.constexpr, STAGES: tl.constexpr, IP: tl.constexpr,
):  # fmt: skip
    """a' b over every `splits`-th block of rows -> sums (splits, A, C) float32; COLUMNS: a' 1 -> (splits, A).

    a (R, frame_rows, A) by (1, BR, BA), b (R, frame_rows, C) by (1, BR, PIECE).
    """
    columns = tl.cdiv(C, PIECE)
    tiles = columns * (A // BA)
    split = tl.program_id(0) // tiles
    j0 = tl.program_id(0) % tiles // columns * BA
    c0 = tl.program_id(0) % columns * PIECE
    blocks = tl.cdiv(frame_rows, BR)  # of a sequence
    accumulator = tl.zeros((BA, PIECE), tl.float32)
    if COLUMNS:
        if isinstance(a_d, tl.tensor):
            ones = tl.full((BR, 16), 1.0, a_d.dtype.element_ty)
        else:
            ones = tl.full((BR, 16), 1.0, a_d.dtype)
        column_sum = tl.zeros((BA, 16), tl.float32)
    row = tl.load(order + tl.minimum(split // blocks, R - 1))
    for block in tl.range(split, tl.load(order + R) * blocks, splits, num_stages=STAGES):
        first = block % blocks * BR
        left = load_tile_of(a_d, row, first, j0, frame_rows, A, BR, BA)
        right = load_tile_of(b_d, row, first, c0, frame_rows, C, BR, PIECE)
        accumulator = tl.dot(tl.trans(left), right, accumulator, input_precision=IP)
        if COLUMNS:
            # A product costs less here than a sum across threads.
            column_sum = tl.dot(tl.trans(left), ones, column_sum, input_precision=IP)
        row = tl.load(order + tl.minimum((block + splits) // blocks, R - 1))
    j = j0 + tl.arange(0, BA)
    c = c0 + tl.arange(0, PIECE)
    at = sums + split.to(tl.int64) * A * C + j[:, None] * C + c[None, :]
    tl.store(at, accumulator, mask=(c < C)[None, :])
    if COLUMNS:
        # The programs of all columns have the same sums: only the first writes them.
        tl.store(column_sums + split * A + j, tl.sum(column_sum, 1) / 16, mask=(j >= 0) & (c0 == 0))
