"""The table of augmentations: adding one takes an entry alone, and leaves others as they are."""

import dataclasses

import numpy as np
import pytest
import torch
from made.batches import ALL_ON, CPU, UCLA, bodies_of, pack, pipeline

from pipelines.errors import TsgcError
from pipelines.skeleton import SKELETONS
from tsgc.config import TrainConfig
from tsgc.input import augmentations, random_numbers
from tsgc.input.augmentations import AUGMENTATIONS, Augmentation
from tsgc.input.packed_rows import Values
from tsgc.input.pipeline import InputPipeline
from tsgc.step.join_steps import join_draws


def uniform(rng, count, config, skeleton):
    return rng.random((count, 1), dtype=np.float32)


def only_deep(config, skeleton, channels):
    if channels == "xys":
        raise TsgcError("lift needs depth")


# A clip is lifted by a number of its own: on its packed rows, in its input, or by showing it later.
LIFT = Augmentation(
    "lift",
    on=lambda config: True,
    draw=uniform,
    values=lambda numbers, host: Values(dealt={"height": numbers[:, None]}),
    rows=lambda joints, values, rows: joints + values["height"],
    check=only_deep,
)
LATE_LIFT = Augmentation(
    "late_lift",
    on=lambda config: True,
    draw=uniform,
    input=lambda x, values: x + values["numbers"][:, None, None, None],
)
DELAY = Augmentation(
    "delay",
    on=lambda config: True,
    draw=uniform,
    times=lambda times, numbers, config: times + 4 * numbers,
)


def registered(monkeypatch, *entries):
    monkeypatch.setattr(augmentations, "AUGMENTATIONS", (*AUGMENTATIONS, *entries))


@pytest.mark.parametrize("present_only", [False, True])
def test_a_made_up_augmentation_is_drawn_and_applied(monkeypatch, present_only):
    clips = bodies_of((9, 40, 12))
    pipe = dataclasses.replace(pipeline(UCLA, 1, frames=32), present_only=present_only)
    plain, presence = pipe.train(pack(clips), pipe.draw(1, 2, 3, 3), CPU)
    for entry in (LIFT, LATE_LIFT):
        registered(monkeypatch, entry)
        draws = pipe.draw(1, 2, 3, 3)
        lifted, there = pipe.train(pack(clips), draws, CPU)
        expected = plain + torch.from_numpy(draws.augmentations[entry.name])[:, :, None, None, None]
        torch.testing.assert_close(lifted, expected, atol=1e-5, rtol=0)
        assert presence is None or torch.equal(there, presence)


def test_a_made_up_augmentation_of_time_is_applied(monkeypatch):
    clips = bodies_of((64, 64))
    pipe = pipeline(UCLA, 1, frames=32, crop_min=1.0)
    before = pipe.train_positions(pack(clips), pipe.draw(0, 0, 2, 3))
    registered(monkeypatch, DELAY)
    draws = pipe.draw(0, 0, 2, 3)
    later = np.minimum(before + 8 * draws.augmentations["delay"], 63)  # 4 steps of 2 frames at most
    np.testing.assert_allclose(pipe.train_positions(pack(clips), draws), later)


def test_no_other_numbers_change_when_one_is_added(monkeypatch):
    pipe = pipeline(UCLA, 1, **ALL_ON)
    before = pipe.draw(3, 4, 16, 3).arrays
    registered(monkeypatch, LIFT, LATE_LIFT)
    after = pipe.draw(3, 4, 16, 3).arrays
    assert set(after) == {*before, "lift", "late_lift"}
    assert all(np.array_equal(after[name], array) for name, array in before.items())
    assert not np.array_equal(after["lift"], after["late_lift"])  # each by its own generator
    assert np.array_equal(pipe.draw(3, 4, 16, 3).arrays["lift"], after["lift"])
    assert not np.array_equal(pipe.draw(3, 5, 16, 3).arrays["lift"], after["lift"])


def test_several_steps_numbers_are_joined(monkeypatch):
    registered(monkeypatch, LIFT)
    pipe = pipeline(UCLA, 1, **ALL_ON)
    one, two = pipe.draw(0, 0, 8, 3), pipe.draw(0, 1, 5, 3)
    joined = join_draws([one, two])
    for name, array in joined.arrays.items():
        assert np.array_equal(array, np.concatenate([one.arrays[name], two.arrays[name]])), name


def test_it_may_refuse_clips_that_cannot_have_it(monkeypatch):
    registered(monkeypatch, LIFT)
    with pytest.raises(TsgcError, match="lift needs depth"):
        InputPipeline(TrainConfig(), SKELETONS["coco-17"], 1, "zeros", channels="xys")


def test_tests_have_none_of_it(monkeypatch):
    clips, pipe = bodies_of(), pipeline(UCLA, 1, frames=32)
    plain, _ = pipe.test(pack(clips), CPU)
    registered(monkeypatch, LIFT, LATE_LIFT)
    assert torch.equal(pipe.test(pack(clips), CPU)[0], plain)


def test_names_are_those_of_settings_and_seeds_in_use_keep_their_generators():
    names = [entry.name for entry in AUGMENTATIONS]
    assert len(set(names)) == len(names)
    settings = {field.name for field in dataclasses.fields(TrainConfig)}
    assert set(names) - settings == {"view_turn"}  # a view's, which no setting switches on
    drawing = {entry.name for entry in AUGMENTATIONS if entry.draw}
    assert {*random_numbers.PUBLISHED, *random_numbers.LATER} <= drawing
