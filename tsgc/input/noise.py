"""Normal noise from keys: the same number for the same (key, row, column) on any device and in any batch.

A hash of a counter stands in for a generator's stream, so that the device makes as many numbers as a batch
has rows, without the host drawing and copying them, and a clip's do not depend on its neighbours.
"""

import math
from functools import cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Numbers = TypeVar("Numbers", Tensor, np.ndarray)

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9  # 2**32 over the golden ratio: neighbouring counters land far apart


def hash32(x: Numbers) -> Numbers:
    """Mixes the bits of int64 numbers from 0 under 2**32; one to one (lowbias32, Wellons, 2018)."""
    x = (x ^ (x >> 16)) * 0x7FEB352D & _MASK
    x = (x ^ (x >> 15)) * 0x846CA68B & _MASK
    return x ^ (x >> 16)


def uniform(key: Tensor, columns: int) -> Tensor:
    """Uniform numbers (rows, columns) float32 in (0, 1), of `key` (rows,) int64."""
    return _uniform_hashed(hash32(key & _MASK), columns)


def normal(key: Tensor, columns: int) -> Tensor:
    """Standard normal numbers (rows, columns) float32, of `key` (rows,) int64: Box and Muller's."""
    return normal_hashed(hash32(key & _MASK), columns)


def normal_hashed(hashed: Tensor, columns: int) -> Tensor:
    """`normal` of keys that `hash32` has been applied to already."""
    pairs = -(-columns // 2)
    radius, turn = torch.split_with_sizes(_uniform_hashed(hashed, 2 * pairs), [pairs, pairs], 1)
    radius, turn = (-2 * radius.log()).sqrt(), 2 * math.pi * turn
    numbers = torch.cat([radius * turn.cos(), radius * turn.sin()], dim=1)
    return numbers if columns == 2 * pairs else numbers[:, :columns]


def row_keys(clip_key: Tensor, row: Tensor) -> Tensor:
    """A key for each row (rows,) of clips: of its clip's key and its place in the clip, both (rows,)."""
    return hash32(clip_key & _MASK) ^ hash32(row * _GOLDEN & _MASK)


def row_hashes(row: np.ndarray) -> np.ndarray:
    """`row_keys`'s part of a row's place in its clip (rows,), from a table that grows as it must."""
    return _row_table(int(row.max(initial=0)).bit_length())[row]


@cache
def _row_table(bits: int) -> np.ndarray:
    return hash32(np.arange(1 << bits) * _GOLDEN & _MASK)


def _uniform_hashed(hashed: Tensor, columns: int) -> Tensor:
    bits = hash32(hashed[:, None] ^ _column_keys(columns, hashed.device))
    return ((bits >> 8) + 0.5) * 2.0**-24  # 24 bits and a half, as float32


@cache
def _column_keys(columns: int, device: torch.device) -> Tensor:
    """Made from a list, which is waited for: no stream can see the table before it is whole."""
    return torch.tensor([column * _GOLDEN & _MASK for column in range(1, columns + 1)], device=device)
