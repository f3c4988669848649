"""Normal noise from keys: the same number for the same (key, row, column) on any device and in any batch.

A hash of a counter stands in for a generator's stream, so that the device makes as many numbers as a batch
has rows, without the host drawing and copying them, and a clip's do not depend on its neighbours.
"""

import math
from collections.abc import Mapping
from functools import cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from pipelines.skeleton import Skeleton
from tsgc.config import TrainConfig
from tsgc.input.geometry import displace
from tsgc.input.packed_rows import HostRows, Rows, Values

Numbers = TypeVar("Numbers", Tensor, np.ndarray)

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9  # 2**32 over the golden ratio: neighbouring counters land far apart


def draw_keys(rng: np.random.Generator, count: int, config: TrainConfig, skeleton: Skeleton) -> np.ndarray:
    """A key for each clip's noise (count,) int64, from 0 under 2**32."""
    return rng.integers(2**32, size=count)


def noise_values(keys: np.ndarray, host: HostRows) -> Values:
    """A hashed key for each row (rows,)."""
    place = np.arange(len(host.clip)) - host.batch.offsets.numpy()[host.clip]
    return Values(sent={"keys": row_keys(keys, host.clip, place)})


def add_noise(joints: Tensor, values: Mapping[str, Tensor], rows: Rows) -> Tensor:
    """Noise of deviation `noise` in every coordinate of every frame."""
    numbers = normal(values["keys"], joints[0].numel()).view_as(joints)
    return displace(joints, rows.config.noise * numbers, rows.there)


def hash32(x: Numbers) -> Numbers:
    """Hash of int64 numbers from 0 under 2**32, one to one (lowbias32, Wellons, 2018)."""
    x = (x ^ (x >> 16)) * 0x7FEB352D & _MASK
    x = (x ^ (x >> 15)) * 0x846CA68B & _MASK
    return x ^ (x >> 16)


def row_keys(keys: np.ndarray, clip: np.ndarray, place: np.ndarray) -> np.ndarray:
    """A key for each row (rows,) int64: of its clip's (N,) and its place in it; hashed, as `normal` needs it.

    `clip` (rows,): each row's; `place` (rows,): its number in the clip.
    """
    places = _place_hashes(int(place.max(initial=0)).bit_length())[place]
    return hash32(hash32(keys)[clip] ^ places)


@cache
def _place_hashes(bits: int) -> np.ndarray:
    """Hashes of places under 2**bits: a table that grows as it must."""
    return hash32(np.arange(1 << bits) * _GOLDEN & _MASK)


def normal(keys: Tensor, columns: int) -> Tensor:
    """Standard normal numbers (rows, columns) float32, of `row_keys` (rows,) int64: Box and Muller's."""
    pairs = -(-columns // 2)
    radius, turn = torch.split_with_sizes(uniform(keys, 2 * pairs), [pairs, pairs], 1)
    radius, turn = (-2 * radius.log()).sqrt(), 2 * math.pi * turn
    numbers = torch.cat([radius * turn.cos(), radius * turn.sin()], dim=1)
    return numbers if columns == 2 * pairs else numbers[:, :columns]


def uniform(keys: Tensor, columns: int) -> Tensor:
    """Uniform numbers (rows, columns) float32 in (0, 1), of `row_keys` (rows,) int64."""
    bits = hash32(keys[:, None] ^ _column_keys(columns, keys.device))
    return ((bits >> 8) + 0.5) * 2.0**-24  # 24 bits and a half, as float32


@cache
def _column_keys(columns: int, device: torch.device) -> Tensor:
    """A key for each column; made from a list, which is waited for: no stream sees it before it is whole."""
    return torch.tensor([column * _GOLDEN & _MASK for column in range(1, columns + 1)], device=device)
