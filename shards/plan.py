"""Who reads what, when: pure functions from (seed, epoch, step) to clips; no files, no ranks that talk.

A *global batch* is what one optimiser step sees, over all ranks. Its clips and their positions depend on
seed, epoch and step alone, so a run may change its number of ranks and go on with the same batches.
Random choices made later (crop, rotation, mixing) must be keyed by (seed, epoch, step, position).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import TsgcError

IntArray = NDArray[np.int64]


def clip_order(
    num_clips: int,
    seed: int,
    epoch: int,
    repeats: int = 1,
    shards: IntArray | None = None,
    window: int = 0,
) -> IntArray:
    """The clips of one epoch in training order: `repeats` fresh permutations, one after another.

    With `window` W above 0 and the clips' `shards` (num_clips,), each pass draws from at most W shards at
    any time: see `windowed`. Returns (repeats * num_clips,) int64. Sorting the raw output of a bit
    generator, whose stream NumPy promises to keep, gives the same order on every NumPy version;
    `Generator.permutation` does not.
    """
    passes = []
    for k in range(repeats):
        random = np.random.PCG64(np.random.SeedSequence((seed, epoch, k)))
        if window and shards is not None:
            passes.append(windowed(shards, window, random))
        else:
            passes.append(np.argsort(random.random_raw(num_clips), kind="stable"))
    return np.concatenate(passes).astype(np.int64, copy=False)


def windowed(shards: IntArray, window: int, random: np.random.PCG64) -> IntArray:
    """An order of all clips, their `shards` (N,) given, that needs no more than `window` shards at a time.

    Shards come in random order. Clips of the k-th are spread evenly over the times k to k + W, so that W
    shards are in use at any time, each a W-th further on than the next. Before W - 1 fewer than W shards
    have begun, and after the last has begun fewer than W are left: there clips come in any order. With W
    shards or fewer that is every clip: a permutation.
    """
    present, shard = np.unique(shards, return_inverse=True)  # a part of the clips may leave shards out
    if window >= len(present):
        return np.argsort(random.random_raw(len(shards)), kind="stable")
    place = np.argsort(np.argsort(random.random_raw(len(present)), kind="stable"), kind="stable")
    time = place[shard] + window * _uniform(random, len(shards))
    free = _uniform(random, len(shards))
    first, last = window - 1, len(present)
    time = np.where(time < first, first * free, time)
    return np.argsort(np.where(time >= last, last + free, time), kind="stable")


def _uniform(random: np.random.PCG64, count: int) -> NDArray[np.float64]:
    """Numbers (count,) in [0, 1)."""
    return (random.random_raw(count) >> 11).astype(np.float64) * 2.0**-53


def _drop(total: int, batch: int) -> list[int]:
    return [batch] * (total // batch)


def _spread(total: int, batch: int) -> list[int]:
    steps = -(-total // batch)
    return [total // steps + (step < total % steps) for step in range(steps)]


LAST_BATCH: dict[str, Callable[[int, int], list[int]]] = {
    # Only full batches, as published (S = clips // batch); the order's rest waits for another epoch.
    "drop": _drop,
    # Every clip exactly once: as many batches as needed, their sizes differing by at most one.
    "spread": _spread,
}


def batch_sizes(num_clips: int, batch: int, last_batch: str, repeats: int = 1) -> list[int]:
    """Sizes of an epoch's global batches, the same in every epoch.

    Raises TsgcError if there is no clip, no full batch, or no such policy.
    """
    if last_batch not in LAST_BATCH:
        raise TsgcError(f"last_batch is {last_batch!r}, expected one of {', '.join(LAST_BATCH)}")
    if batch < 1 or repeats < 1:
        raise TsgcError(f"batch {batch} and repeats {repeats} must both be 1 or more")
    sizes = LAST_BATCH[last_batch](num_clips * repeats, batch) if num_clips else []
    if not sizes:
        raise TsgcError(
            f"{num_clips} training clips x {repeats} give no global batch of {batch}; "
            "use a smaller batch or last_batch 'spread'"
        )
    return sizes


def epoch_batches(
    num_clips: int,
    batch: int,
    seed: int,
    epoch: int,
    last_batch: str = "drop",
    repeats: int = 1,
    shards: IntArray | None = None,
    window: int = 0,
) -> list[IntArray]:
    """The global batches of one epoch: arrays of clip indices, in the order of their positions.

    With `repeats` above 1 an epoch is that many passes; a batch that spans two passes may hold a clip twice.
    `shards` and `window` are as in `clip_order`.
    """
    ends = np.cumsum(batch_sizes(num_clips, batch, last_batch, repeats))
    order = clip_order(num_clips, seed, epoch, repeats, shards, window)
    return np.split(order[: ends[-1]], ends[:-1])


def mixing_partners(batch_size: int, mix_group: int) -> IntArray:
    """Position of each position's mixing partner, (batch_size,).

    Consecutive positions form groups of `mix_group` (the last may be shorter); the partner is the position
    mirrored within the group, and the middle of an odd group is its own.
    """
    position = np.arange(batch_size)
    start = position // mix_group * mix_group
    return start + np.minimum(start + mix_group, batch_size) - 1 - position


def deal(batch_size: int, mix_group: int, parts: int) -> list[tuple[IntArray, IntArray]]:
    """Cut a global batch into `parts` micro-batches that keep mixing partners together.

    Returns per part (positions, partner): positions in the global batch, ascending, and for each its
    partner's index within the part. Sizes differ by at most 2. Where `parts` divides the groups evenly,
    parts are whole groups: 128 clips, groups of 32 and 4 parts are the published micro-batches.
    Raises TsgcError if the batch has fewer than 2 clips a part, as a part could be empty.
    """
    if mix_group < 1 or parts < 1:
        raise TsgcError(f"mix_group {mix_group} and parts {parts} must both be 1 or more")
    if batch_size < 2 * parts:
        raise TsgcError(
            f"a global batch of {batch_size} clips cannot feed {parts} micro-batches (ranks x accumulation), "
            f"which takes {2 * parts}; use a larger batch or fewer ranks"
        )
    partner = mixing_partners(batch_size, mix_group)
    first = np.flatnonzero(np.arange(batch_size) < partner)
    members = [np.concatenate((lows, partner[lows])) for lows in np.array_split(first, parts)]
    # Groups of odd size leave single clips; the smallest part takes the next, so that sizes stay even.
    singles: list[list[int]] = [[] for _ in range(parts)]
    for single in np.flatnonzero(partner == np.arange(batch_size)).tolist():
        smallest = min(range(parts), key=lambda part: len(members[part]) + len(singles[part]))
        singles[smallest].append(single)
    dealt = []
    for pairs, rest in zip(members, singles):
        positions = np.sort(np.concatenate((pairs, np.array(rest, dtype=np.int64))))
        dealt.append((positions, np.searchsorted(positions, partner[positions])))
    return dealt


def partners_left(partner: IntArray, kept: IntArray) -> IntArray:
    """Partners once a part's other clips are left out: places among the `kept`, itself where it is gone."""
    here = np.arange(len(kept))
    place = np.full(len(partner), -1)
    place[kept] = here
    left = place[partner[kept]]
    return np.where(left < 0, here, left)


def parts_of_rank(rank: int, world: int, accumulation: int) -> range:
    """The parts that one rank works through in one step: part p belongs to rank p // accumulation."""
    if not 0 <= rank < world or accumulation < 1:
        raise TsgcError(
            f"rank {rank} of {world}, accumulation {accumulation}: expected 0 <= rank < world and 1 or more"
        )
    return range(rank * accumulation, (rank + 1) * accumulation)


def eval_batches(num_clips: int, batch: int, rank: int = 0, world: int = 1) -> list[IntArray]:
    """The evaluation batches of one rank: consecutive clips, fixed by `batch`, dealt whole.

    Rank r takes batches r, r + world, ...: all ranks together have every clip once, and each batch is the
    same whatever the world size, so its logits are too. A rank may have one batch less than another or none.
    """
    if batch < 1 or not 0 <= rank < world:
        raise TsgcError(
            f"batch {batch}, rank {rank} of {world}: expected a batch of 1 or more and 0 <= rank < world"
        )
    starts = range(rank * batch, num_clips, world * batch)
    return [np.arange(start, min(start + batch, num_clips)) for start in starts]
