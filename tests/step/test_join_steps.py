"""Several steps' input made as one batch is each step's own, to the bit; errors come when they are due."""

import dataclasses
import math
from itertools import chain

import numpy as np
import pytest
import torch
from made.batches import ALL_ON

from pipelines.errors import TsgcError
from shards.batch import Step
from tsgc.config import TrainConfig
from tsgc.distributed.process import Process
from tsgc.training.feed import Feed, group_steps
from tsgc.training.run import build_training

RECIPES = {
    "published": {},
    "all": {**ALL_ON, "frames": 16, "normalise": "unit"},
    "frames": {"sampling": "frames", "normalise": "min-max", "modality": "bone_motion"},
}


def run_of(made, folder, **changes):
    base = TrainConfig(
        variant="tiny", frames=16, crop_min_frames=2, batch=8, mix_group=4, epochs=3, warmup_epochs=1,
        last_batch="spread",
    )  # fmt: skip
    config = dataclasses.replace(base, **{**changes, "mix_group": 4})
    return build_training(
        config, "ntu60/xsub", made / "shards/ntu60/xsub", folder, Process(0, 1, torch.device("cpu"))
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_input_made_together_on_a_gpu_is_input_made_alone(made, tmp_path):
    run = run_of(made, tmp_path, **RECIPES["all"])
    device = torch.device("cuda", 0)
    feed = Feed(run.loader, run.pipeline, run.model.to(device), device)
    steps = list(run.loader.epoch(1))[:3]
    for together, step in zip(feed.make(1, steps), steps, strict=True):
        ((one,), (other,)) = together.parts, feed.make(1, [step])[0].parts
        for (
            name,
            tensor,
        ) in one.tensors.items():  # a library may multiply other counts of matrices its own way
            torch.testing.assert_close(tensor, other.tensors[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("present_only", [False, True])
@pytest.mark.parametrize("micro_batch", [8, 4])
def test_input_made_together_is_input_made_alone(made, tmp_path, recipe, present_only, micro_batch):
    run = run_of(made, tmp_path, **RECIPES[recipe], micro_batch=micro_batch)
    pipeline = dataclasses.replace(run.pipeline, present_only=present_only)
    feed = Feed(run.loader, pipeline, run.model, torch.device("cpu"), ("bone", "joint_motion"))
    steps = list(run.loader.epoch(1))[:3]
    assert len(steps) == 3 and len(steps[0].parts) == math.ceil(8 / micro_batch)
    for together, step in zip(feed.make(1, steps), steps, strict=True):
        (alone,) = feed.make(1, [step])
        assert together.step is step
        for one, other in zip(together.parts, alone.parts, strict=True):
            assert set(one.tensors) == set(other.tensors) >= {"x", "others"}
            for name, tensor in one.tensors.items():
                assert torch.equal(tensor, other.tensors[name]), name
            assert np.array_equal(one.alive, other.alive) and np.array_equal(one.alive, one.survival > 0)


def numbered(count, fail_at=None, start=0):
    for number in range(start, count):
        if number == fail_at:
            raise TsgcError("damaged")
        yield Step(number, 1, [])


def grouped(steps, most=4, each=10, limit=35):
    return [[step.step for step in group] for group in group_steps(steps, most, lambda step: each, limit)]


def test_small_steps_are_made_in_groups_and_large_ones_alone():
    assert grouped(numbered(7)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert grouped(numbered(6), limit=100) == [[0, 1, 2, 3], [4, 5]]
    assert grouped(numbered(2), limit=5) == [[0], [1]]
    assert grouped(numbered(3), most=1, limit=100) == [[0], [1], [2]]
    assert grouped(numbered(0)) == []
    assert grouped(numbered(9, start=2)) == [[2], [3, 4, 5], [6, 7, 8]]  # as in a run that was not resumed


def test_no_group_of_steps_of_various_sizes_is_too_large():
    sizes = [8, 8, 8, 9, 8, 9, 8, 8, 8, 9, 8, 8]
    found = [
        [step.step for step in group]
        for group in group_steps(numbered(len(sizes)), 4, lambda step: sizes[step.step], 35)
    ]
    assert list(chain.from_iterable(found)) == list(range(len(sizes)))
    assert all(len(group) <= 4 and sum(sizes[step] for step in group) <= 35 for group in found)


def test_the_steps_before_an_error_are_made():
    found = group_steps(numbered(9, fail_at=5), 4, lambda step: 1, 100)
    assert [len(next(found)), len(next(found))] == [4, 1]
    with pytest.raises(TsgcError, match="damaged"):
        next(found)
