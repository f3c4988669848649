"""Tiles of matrices, loaded and stored by kernels, whether these are given descriptors or pointers.

GPUs of compute capability 9.0 and more copy tiles by descriptors (TMA). For others Triton turns a descriptor
into pointers whose strides it knows nothing of, and loads number by number; so these are given pointers, and
strides as constants.
"""

import triton
import triton.language as tl


@triton.jit
def load_tile(x, first, start, rows, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """(ROWS, COLUMNS) of x (rows, WIDTH) from row `first` and column `start`; 0 beyond its ends."""
    if isinstance(x, tl.tensor):
        at, inside = _places(first, start, rows, WIDTH, ROWS, COLUMNS)
        tile = tl.load(x + at, mask=inside, other=0.0)
    else:
        tile = x.load([first, start])
    return tile


@triton.jit
def load_tile_of(x, row, first, start, rows, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The same of sequence `row` of x (R, rows, WIDTH)."""
    if isinstance(x, tl.tensor):
        to = x + row.to(tl.int64) * rows * WIDTH
        tile = load_tile(to, first, start, rows, WIDTH, ROWS, COLUMNS)
    else:
        tile = x.load([row, first, start]).reshape(ROWS, COLUMNS)
    return tile


@triton.jit
def store_tile(x, tile, first, start, rows, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Write what of the tile lies inside x (rows, WIDTH), in x's type."""
    if isinstance(x, tl.tensor):
        at, inside = _places(first, start, rows, WIDTH, ROWS, COLUMNS)
        tl.store(x + at, tile.to(x.dtype.element_ty), mask=inside)
    else:
        x.store([first, start], tile.to(x.dtype))


@triton.jit
def _places(first, start, rows, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    r = first + tl.arange(0, ROWS)
    c = start + tl.arange(0, COLUMNS)
    at = r.to(tl.int64)[:, None] * WIDTH + c[None, :]
    inside = (r < rows)[:, None]
    if WIDTH % COLUMNS != 0:
        inside = inside & (c < WIDTH)[None, :]
    return at, inside
