"""How far a training says it is, and what it expects."""

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from made.steps import CONFIG, CPU, SHAPE, batches
from timm.utils import ModelEmaV3

from tsgc import live
from tsgc.bench.inputs import make_model
from tsgc.distributed.process import Process
from tsgc.step.optimizer import build_optimizer
from tsgc.step.train_step import TrainStep
from tsgc.training import progress
from tsgc.training.epoch import EpochLoss
from tsgc.training.progress import RunProgress


@pytest.fixture
def now(monkeypatch):
    time = SimpleNamespace(at=1000.0)
    for module in (live, progress):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: time.at))
    return time


@pytest.fixture
def run(ucla):
    run = ucla(epochs=4, batch=4, mix_group=4, eval_every=2)
    yield run
    run.feed.close()


def drive(seen, now, epoch, steps, seconds=2.0):
    """An epoch's steps, of so many seconds each."""
    seen.begin(epoch, 0)
    for done in range(1, steps + 1):
        seen.ready(1)
        now.at += seconds
        seen.step(done, 1.5)


def test_each_step_moves_it_and_the_time_left_is_that_of_the_epoch_and_of_the_run(run, now):
    seen, steps, clips = RunProgress(run), run.loader.steps_per_epoch, run.loader.num_clips
    assert seen.look().words == ["starting"]
    seen.begin(0, 0)
    assert seen.look().words == ["reading the first clips"] and seen.look().share is None
    now.at += 4
    assert seen.look().words == ["reading the first clips 0:00:04"]
    seen.ready(1)
    assert seen.look().words == [f"step 0/{steps}"] and seen.look().share == 0
    now.at += 60  # the first step is slow
    assert "this step 0:01:00" in seen.look().more
    shares = []
    for done in range(1, steps + 1):
        seen.step(done, math.nan if done == 1 else 2.0)
        shares.append(seen.look().share)
        if done < steps:
            seen.ready(1)
            now.at += 2
    assert shares == sorted(set(shares)) and shares[-1] == 1
    rate = (clips - run.loader.step_counts[0]) / (2 * (steps - 1))  # the first step is left out
    assert seen.pace.rate == pytest.approx(rate)
    epoch, whole = seen.left()
    evaluation = (
        2 / 3 * len(run.validation.clips) / rate
    )  # two networks forward, twice, and the end's twice as many
    assert epoch == 0 and whole == pytest.approx(3 * clips / rate + (2 + 2) * evaluation)
    assert seen.look().title == "epoch 1/4" and "loss 2.000" in seen.look().more


def test_what_evaluating_took_is_what_is_expected_of_the_next(run, now):
    seen, steps, clips = RunProgress(run), run.loader.steps_per_epoch, run.loader.num_clips
    drive(seen, now, 0, steps)
    drive(seen, now, 1, steps)
    with seen.evaluating():
        seen.evaluated(3, 4)
        assert seen.look().words[0] == "evaluating" and seen.look().share == 0.75
        now.at += 7
    seen.accuracy({"test_top1": 50.0, "test_top1-ema": 62.5, "test_missing": 3})
    seen.begin(2, 0)
    _, whole = seen.left()
    assert whole == pytest.approx(2 * clips / seen.pace.rate + 7 * (1 + 2))
    assert "test top-1 50.00, 62.50 ema" in seen.look().more


def test_micro_batches_move_it_within_a_step(run, now):
    seen = RunProgress(run)
    seen.begin(0, 0)
    seen.ready(4)
    for part in (1, 2, 3):
        now.at += 5
        seen.part()
        shown = seen.look()
        assert shown.words[0] == f"step 0/{run.loader.steps_per_epoch}, part {part}/4"
        assert shown.share == pytest.approx(part / run.loader.num_clips) and "left: " in shown.words[1]
    assert seen.pace.rate == pytest.approx(1 / 5)


def test_a_resumed_run_begins_where_it_is_and_knows_its_best(run, now):
    run.epoch, run.step, run.best = 2, 1, {"": 40.0, "-ema": 45.0}
    seen = RunProgress(run)
    seen.begin(2, 1)
    seen.ready(1)
    assert seen.look().words[0].startswith("step 1/") and 0 < seen.look().share < 1
    assert "best test top-1 40.00, 45.00 ema" in seen.look().more


def test_a_step_tells_of_each_micro_batch():
    model = make_model(SHAPE, CPU)
    step = TrainStep(
        model,
        build_optimizer(model, CONFIG, CPU),
        ModelEmaV3(model),
        CONFIG,
        SHAPE.classes,
        Process(0, 1, CPU),
    )
    told = []
    step.after_part = lambda: told.append(step.loss_sum.item())
    step(batches(sizes=(2, 2, 2)), lr=1e-3, size=6, position=0)
    assert len(told) == 3 and told == sorted(set(told))


def test_the_loss_is_read_at_each_step_only_where_that_waits_for_nobody(run):
    run.train_step.loss_sum += 12.0
    loss = EpochLoss(run)
    loss.clips = 4
    assert loss.glance() == 3
    for elsewhere in ({"device": torch.device("cuda")}, {"world": 2}):
        run.process = dataclasses.replace(run.process, **elsewhere)
        assert math.isnan(loss.glance())  # as it was last read: not yet
        run.process = Process(0, 1, CPU)
    loss.clips = 0
    assert math.isnan(loss.glance())
