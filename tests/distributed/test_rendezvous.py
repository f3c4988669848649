"""Ranks that start again meet apart from what ranks of earlier starts left in the launcher's store."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from pipelines.errors import TsgcError
from tsgc.distributed.rendezvous import fresh_store

SOON = timedelta(seconds=60)


def meet(store: dist.Store, world: int) -> list[dist.Store]:
    """Every rank's part of the store, the ranks coming in any order."""

    def come(rank: int) -> dist.Store:
        time.sleep(random.Random(rank).random() / 10)
        return fresh_store(store, rank, world, SOON)

    with ThreadPoolExecutor(world) as threads:
        return list(threads.map(come, range(world)))


@pytest.mark.parametrize("worlds", [(2, 2, 2), (3, 2, 5), (1, 1)])
def test_each_start_has_a_part_of_its_own(worlds):
    store = dist.HashStore()
    for start, world in enumerate(worlds):
        parts = meet(store, world)
        assert not any(part.check(["address"]) for part in parts)  # nothing is left of the last start
        parts[0].set("address", str(start))
        assert all(part.get("address") == str(start).encode() for part in parts)


def test_a_rank_of_an_earlier_start_is_waited_for_until_it_comes_again():
    store = dist.HashStore()
    meet(store, 2)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(fresh_store, store, 0, 2, SOON)  # finds rank 1's old number
        time.sleep(0.3)
        assert not first.done()
        second = threads.submit(fresh_store, store, 1, 2, SOON)
        first.result().set("met", "1")
        assert second.result().check(["met"])


def test_ranks_that_never_come_are_named_in_one_line():
    with pytest.raises(TsgcError, match=r"rank 0 of 2: the others did not come within 0:00:00\.2"):
        fresh_store(dist.HashStore(), 0, 2, timedelta(seconds=0.2))
