"""Text many bytes at a time, for `ntu_scan`: which bytes of a block are what, as the bits of a word.

One comparison of a whole vector register gives a bit for each byte, and counting or finding bits takes one
instruction (Langdale and Lemire, 2019: simdjson). Written as LLVM's vectors, which any processor has some
form of. A text is given by its address; nothing here looks where it ends, so callers keep BEFORE and AFTER
bytes away from its ends.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import extending
from numba.core import types

BEFORE, AFTER = 16, 64  # bytes that callers keep away from both ends of the text
NIBBLES, TWOS, HALVES = map(np.uint64, (0x0F0F0F0F0F0F0F0F, 0x00FF00FF00FF00FF, 0x0000FFFF0000FFFF))
PAIRS, FOURS, EIGHTS = map(np.uint64, (10 * 2**8 + 1, 100 * 2**16 + 1, 10_000 * 2**32 + 1))
EIGHT, SIXTEEN, THIRTY_TWO = map(np.uint64, (8, 16, 32))
intrinsic: Any = extending.intrinsic  # its types would have callers pass `typing` too
WORD = ir.IntType(64)
BYTES = {32: ir.VectorType(ir.IntType(8), 32), 64: ir.VectorType(ir.IntType(8), 64)}


def _load(builder: Any, arguments: Any, kind: Any) -> Any:
    """What lies in the text (first argument) from a place (second) on, as `kind`; at any address."""
    place = builder.inttoptr(builder.add(*arguments), kind.as_pointer())
    return builder.load(place, align=1)


def _marks(comparison: str, limit: int, size: int) -> Callable[..., Any]:
    """The bytes of a block of `size` that compare so to `limit`: bit i for byte i."""

    @intrinsic
    def marks(typing, text, at):  # type: ignore[no-untyped-def]
        def write(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            block = _load(builder, arguments, BYTES[size])
            limits = ir.Constant(BYTES[size], [limit] * size)
            bits = builder.bitcast(builder.icmp_unsigned(comparison, block, limits), ir.IntType(size))
            return builder.zext(bits, WORD) if size < 64 else bits

        return types.uint64(types.intp, types.intp), write

    return marks


@intrinsic
def byte(typing, text, at):  # type: ignore[no-untyped-def]
    """One byte as a number."""

    def write(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.zext(_load(builder, arguments, ir.IntType(8)), WORD)

    return types.intp(types.intp, types.intp), write


@intrinsic
def word(typing, text, at):  # type: ignore[no-untyped-def]
    """Eight bytes as a number, the first byte its lowest, on any processor that Numba knows."""

    def write(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return _load(builder, arguments, WORD)

    return types.uint64(types.intp, types.intp), write


@intrinsic
def count_bits(typing, bits):  # type: ignore[no-untyped-def]
    """The number of 1 bits in a uint64."""

    def write(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.intp(types.uint64), write


@intrinsic
def first_bit(typing, bits):  # type: ignore[no-untyped-def]
    """Place of the lowest 1 of a uint64; 64 where there is none."""

    def write(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.intp(types.uint64), write


blanks_32 = _marks("<=", ord(" "), 32)  # space and everything below: what ends a field
points_32 = _marks("==", ord("."), 32)
from_zero_32 = _marks(">=", ord("0"), 32)
to_nine_32 = _marks("<=", ord("9"), 32)
spaces_64 = _marks("==", ord(" "), 64)
controls_64 = _marks("<", ord(" "), 64)  # line ends and tabs


@numba.njit
def eight_digits(digits):  # type: ignore[no-untyped-def]
    """The number that eight ASCII digits make, zero bytes being 0 (see `word`): by pairs, by fours, all."""
    digits = (digits & NIBBLES) * PAIRS >> EIGHT
    digits = (digits & TWOS) * FOURS >> SIXTEEN
    return (digits & HALVES) * EIGHTS >> THIRTY_TWO
