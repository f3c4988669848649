"""Normal noise from keys: the same number for the same (key, row, column) on any device and in any batch.

A hash of a counter stands in for a generator's stream, so that the device makes as many numbers as a batch
has rows, without the host drawing and copying them, and a clip's do not depend on its neighbours.
"""

import math

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9  # 2**32 over the golden ratio: neighbouring counters land far apart


def hash32(x: Tensor) -> Tensor:
    """Mixes the bits of int64 numbers from 0 under 2**32; one to one (lowbias32, Wellons, 2018)."""
    x = (x ^ (x >> 16)) * 0x7FEB352D & _MASK
    x = (x ^ (x >> 15)) * 0x846CA68B & _MASK
    return x ^ (x >> 16)


def uniform(key: Tensor, columns: int) -> Tensor:
    """Uniform numbers (rows, columns) float32 in (0, 1), of `key` (rows,) int64."""
    column = torch.arange(1, columns + 1, device=key.device) * _GOLDEN & _MASK
    bits = hash32(hash32(key & _MASK)[:, None] ^ column)
    return ((bits >> 8).to(torch.float32) + 0.5) * 2.0**-24


def normal(key: Tensor, columns: int) -> Tensor:
    """Standard normal numbers (rows, columns) float32, of `key` (rows,) int64: Box and Muller's."""
    pairs = -(-columns // 2)
    radius, turn = uniform(key, 2 * pairs).split(pairs, dim=1)
    radius, turn = (-2 * radius.log()).sqrt(), 2 * math.pi * turn
    return torch.cat([radius * turn.cos(), radius * turn.sin()], dim=1)[:, :columns]


def row_keys(clip_key: Tensor, row: Tensor) -> Tensor:
    """A key for each row (rows,) of clips: of its clip's key and its place in the clip, both (rows,)."""
    return hash32(clip_key & _MASK) ^ hash32(row * _GOLDEN & _MASK)
