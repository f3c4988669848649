"""Ranks that each train runs of their own: words exchanged through a store, waiting that can be stopped."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.distributed as dist

from tsgc.distributed import apart
from tsgc.distributed.apart import Apart, join_apart
from tsgc.distributed.process import LostRankError

CPU = torch.device("cpu")


@pytest.fixture
def ranks(monkeypatch):
    """Two ranks of one store."""
    monkeypatch.setattr(apart, "PAUSE", 0.01)
    store = dist.HashStore()
    return [Apart(rank, 2, CPU, store) for rank in range(2)]


def test_every_rank_hears_every_word_in_the_order_of_ranks_however_late_one_is(ranks):
    def late(one):
        time.sleep(0.1 * one.rank)
        return one.exchange("first", f"of {one.rank}"), one.exchange("second", str(one.rank))

    with ThreadPoolExecutor(2) as pool:
        heard = list(pool.map(late, ranks))
    assert heard == [(["of 0", "of 1"], ["0", "1"])] * 2


def test_waiting_for_one_that_still_trains_ends_where_it_is_asked_to(ranks):
    asked = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ranks[0].exchange, "over", "", asked.is_set)
        time.sleep(0.05)
        assert not waiting.done()
        asked.set()
        assert waiting.result(60) is None


def test_the_rank_that_may_keep_the_store_leaves_it_last(ranks):
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ranks[0].leave)
        time.sleep(0.05)
        assert not first.done()
        ranks[1].leave()
        first.result(60)


def test_a_store_that_is_gone_is_one_line(ranks):
    class Gone:
        def set(self, key, word):
            raise dist.DistNetworkError("connection reset")

    with pytest.raises(LostRankError, match="process 1 of 2: lost the one that keeps the list of runs"):
        Apart(1, 2, CPU, Gone()).exchange("over", "")
    Apart(1, 2, CPU, Gone()).leave()  # nothing is lost by then


def test_one_process_waits_for_nobody():
    with join_apart("cpu") as alone:
        assert (alone.rank, alone.world, alone.store) == (0, 1, None)
        assert alone.exchange("over", "word") == ["word"]
        assert (alone.alone().world, alone.alone().main) == (1, True)
