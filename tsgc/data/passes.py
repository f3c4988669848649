"""The number of the epoch that comes next, agreed on by the workers of a DataLoader without talking.

A DataLoader starts its workers anew for each pass, as copies of a data set that its own process never
iterates, so that a plain count would give the first epoch again and again. The count is in shared memory,
and a process that is no worker, such as a rank that was started with a copy, leaves that for one of its own.
"""

import os
from multiprocessing import parent_process
from typing import Any, NamedTuple

import torch
from torch.utils.data import get_worker_info

from pipelines.errors import UsageError

MOST_WORKERS = 512
EPOCH_BITS, TAG_BITS, TIMES_BITS = 24, 31, 8
OPEN = 0  # tag of an epoch that nobody has begun
OWN = 1  # tag of this process; those of DataLoaders are larger


class Word(NamedTuple):
    """What all know: one number, which is read and written whole."""

    times: int
    """How often the epoch was set by hand; it tells two passes over one epoch apart."""
    tag: int
    """Who began the epoch; OPEN: nobody has."""
    epoch: int

    def packed(self) -> int:
        """The word as one number of 63 bits."""
        return (self.times << TAG_BITS | self.tag) << EPOCH_BITS | self.epoch

    @classmethod
    def unpacked(cls, number: int) -> "Word":
        """The word that `packed` made a number of."""
        rest, epoch = divmod(number, 1 << EPOCH_BITS)
        times, tag = divmod(rest, 1 << TAG_BITS)
        return cls(times, tag, epoch)


class Passes:
    """Counts passes over a data set: each gives the next epoch, in this process and in workers alike.

    Whoever begins a pass under a new tag makes the epoch the next one; the other workers of that pass find
    their tag there, and take the same. Two that begin at once write the same word. Beside it each worker
    keeps the word that it took last: finding that again under its own tag, it is asked for one pass more
    (`persistent_workers`). Copies by pickle count for themselves, from where this one is.
    """

    def __init__(self) -> None:
        self._words = torch.zeros(1 + MOST_WORKERS, dtype=torch.int64).share_memory_()
        self._home = os.getpid()

    def settle(self) -> None:
        """Make the count this process's own, unless it is a worker, which counts with who started it.

        UsageError in a worker of a process that was started with a copy and has not settled.
        """
        here, parent = os.getpid(), parent_process()
        if self._home == here:
            return
        if get_worker_info() is None:
            self._words, self._home = self._words.clone().share_memory_(), here
        elif parent is not None and self._home != parent.pid:
            raise UsageError(
                "workers of a DataLoader in a process that was started with these batches, as others may be:"
                " open the shards in that process, or ask for len(batches) there first"
            )

    def set(self, epoch: int) -> None:
        """Make `epoch` the one that the next pass gives. UsageError for a number that is none."""
        if not 0 <= epoch < 1 << EPOCH_BITS:
            raise UsageError(f"epoch is {epoch}, expected 0 or more, under {1 << EPOCH_BITS:,}")
        self._write(Word((self._word.times + 1) % (1 << TIMES_BITS), OPEN, epoch))

    def begin(self, tag: int = OWN, worker: int | None = None) -> int:
        """The epoch of a pass that begins; `tag` and `worker` are those of a DataLoader's worker."""
        place = 0 if worker is None else 1 + worker
        if place > MOST_WORKERS:
            raise UsageError(
                f"worker {worker} of a DataLoader; expected num_workers of {MOST_WORKERS} or less"
            )
        found = self._word
        sibling = worker is not None and found.tag == tag and self._number(place) != found.packed()
        if not sibling:
            found = Word(found.times, tag, found.epoch + (found.tag != OPEN))
            self._write(found)
        if worker is not None:
            self._words[place] = found.packed()
        return found.epoch

    def take(self, epoch: int, tag: int, worker: int) -> None:
        """Say that a worker goes on in the midst of `epoch`, whatever the count was."""
        word = Word(self._word.times, tag, epoch)
        self._write(word)
        self._words[1 + worker] = word.packed()

    @property
    def epoch(self) -> int:
        """The epoch that began last, or that comes first."""
        return self._word.epoch

    @property
    def elsewhere(self) -> bool:
        """Whether it is a DataLoader's workers that began it."""
        return self._word.tag not in (OPEN, OWN)

    @property
    def _word(self) -> Word:
        self.settle()
        return Word.unpacked(self._number(0))

    def _number(self, place: int) -> int:
        return int(self._words[place])

    def _write(self, word: Word) -> None:
        self._words[0] = word.packed()

    def __getstate__(self) -> dict[str, Any]:
        self.settle()
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._words.share_memory_()  # no effect on memory that another process shares


def tag_of(seed: int) -> int:
    """A DataLoader's pass, by the base seed of its workers: the same in all of them, another next time."""
    return 2 + seed % ((1 << TAG_BITS) - 2)
