"""Input made ahead by a thread: in order, errors when due, nothing left running."""

import threading
import time

import pytest
import torch
from made.waiting import wait_until

from tsgc.config import TrainConfig
from tsgc.distributed.process import Process
from tsgc.input.random_numbers import draw
from tsgc.training.feed import Feed, read_ahead
from tsgc.training.run import build_training


def numbers(count, log=None, fail_at=None):
    try:
        for number in range(count):
            if number == fail_at:
                raise OSError("shard lost")
            if log is not None:
                log.append((number, threading.current_thread().name))
            yield number
    finally:
        if log is not None:
            log.append("closed")


def test_items_come_in_order_from_a_thread_of_their_own():
    log = []
    assert list(read_ahead(numbers(9, log), 2)) == list(range(9))
    names = {entry[1] for entry in log if entry != "closed"}
    assert len(names) == 1 and names.pop().startswith("feed") and log[-1] == "closed"


def test_no_more_than_asked_for_wait():
    log = []
    items = read_ahead(numbers(50, log), 2)
    assert next(items) == 0
    wait_until(lambda: len(log) >= 3)
    time.sleep(0.1)  # for a fourth, were there one
    assert len(log) == 3  # one taken, two waiting
    items.close()
    assert log[-1] == "closed" and not [t for t in threading.enumerate() if t.name.startswith("feed")]


def test_an_error_is_raised_when_it_is_due():
    items = read_ahead(numbers(9, fail_at=3), 2)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="shard lost"):
        next(items)


@pytest.fixture
def run(made, tmp_path):
    """A training that has not begun."""
    shards = made / "shards/ntu60/xsub"
    config = TrainConfig(
        variant="tiny", frames=16, crop_min_frames=2, batch=8, mix_group=8, epochs=3, warmup_epochs=1,
        sampling="frames", normalise="min-max", last_batch="spread",
    )  # fmt: skip
    return build_training(config, "ntu60/xsub", shards, tmp_path, Process(0, 1, torch.device("cpu")))


def test_the_feeds_input_is_that_of_the_draws(run):
    """A clip's input depends on its position alone, not on when it was made."""
    steps = list(run.feed.epoch(1, 2))
    assert [ready.step.step for ready in steps] == list(range(2, run.loader.steps_per_epoch))
    for ready, step in zip(steps, run.loader.epoch(1, 2), strict=True):
        draws = draw(run.config, 1, step.step, step.size, 2, 3, run.pipeline.skeleton)
        x, _ = run.pipeline.train(step.parts[0], draws, torch.device("cpu"))
        here = step.parts[0].positions
        (mine,) = ready.parts
        assert torch.equal(mine.x, x) and torch.equal(mine.labels, step.parts[0].labels)
        assert torch.equal(mine.lam, torch.from_numpy(draws.lam)[here])
        uniform = torch.from_numpy(draws.survival)[here]  # (N, M, blocks)
        for block, rate in enumerate(run.model.drop_path_rates.tolist()):
            kept = (uniform[..., block] >= rate).flatten() / (1 - rate)
            torch.testing.assert_close(mine.survival[block], kept)
        assert mine.kept == tuple((mine.survival > 0).sum(1).tolist())
        assert len(set(mine.kept)) > 1  # the first block keeps all rows, others do not


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nothing is made ahead")
def test_input_made_ahead_is_input_made_in_turn(run):
    device = torch.device("cuda", 0)
    feed = Feed(run.loader, run.pipeline, run.model.to(device), device)
    for epoch, start in ((0, 0), (1, 0), (2, 1), (0, 2)):
        for ahead, turn in zip(feed.epoch(epoch, start), feed._in_turn(epoch, start), strict=True):
            for mine, plain in zip(ahead.parts, turn.parts, strict=True):
                for name, tensor in mine.tensors.items():
                    assert torch.equal(tensor, plain.tensors[name])
    feed.close()
