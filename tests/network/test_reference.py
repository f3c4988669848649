"""`--recipe reference` is the published training, to the step (recorded figures: `test_model.py`)."""

import math

import numpy as np
import pytest
import torch

from pipelines.skeleton import SKELETONS
from shards.plan import batch_sizes, mixing_partners
from tsgc.config import TrainConfig, resolve_config
from tsgc.input.random_numbers import draw
from tsgc.step.loss import soft_targets
from tsgc.step.optimizer import learning_rate

# Training clips of each benchmark that the paper reports (docs/datasets.md).
CLIPS = {"ntu60/xsub": 40_091, "ntu60/xview": 37_646, "ntu120/xsub": 63_026, "ntu120/xset": 54_468}


@pytest.mark.parametrize("benchmark", CLIPS)
def test_the_schedule_is_the_published_one_in_every_step_of_its_300_epochs(benchmark):
    config = resolve_config(benchmark, recipe="reference")
    steps = len(batch_sizes(CLIPS[benchmark], config.batch, config.last_batch, config.repeats))
    assert steps == CLIPS[benchmark] // 128 and config.epochs == 300
    warm, cosine = 20 * steps, 280 * steps
    i, j = np.arange(warm), np.arange(cosine)
    published = np.concatenate([
        4e-3 * i / (warm - 1),
        1e-6 + (4e-3 - 1e-6) * (1 + np.cos(math.pi * j / cosine)) / 2,
    ])  # fmt: skip
    ours = [learning_rate(step, steps, config) for step in range(300 * steps)]
    np.testing.assert_allclose(ours, published, rtol=1e-12, atol=1e-15)
    by_epoch = np.array(ours).reshape(300, steps)
    assert by_epoch[19, -1] == by_epoch[20, 0] == 4e-3 and by_epoch[0, 0] == 0
    assert (np.diff(by_epoch[20:], axis=0) < 0).all() and by_epoch[-1, -1] > 1e-6


def test_nothing_of_later_recipes_is_on():
    """Every augmentation that the published code does not have draws nothing and changes nothing."""
    config = resolve_config("ntu120/xsub", recipe="reference")
    assert config == TrainConfig()
    draws = draw(config, 0, 0, 128, 2, 9, SKELETONS["ntu-25"])
    published = {"crop", "rotation", "lam", "survival"}
    for name, array in draws.arrays.items():
        assert (array.size > 0) == (name in published), name
    assert (config.normalise, config.align, config.centre, config.sampling) == (
        "none", "none", "prepared", "crop",
    )  # fmt: skip


def test_augmentation_and_mixing_have_the_published_laws():
    """p uniform in [0.5, 1], angles in +-0.3 rad, lambda ~ Beta(0.8, 0.8) for half of the groups of 32."""
    config = TrainConfig()
    draws = [draw(config, 0, step, 128, 2, 9, SKELETONS["ntu-25"]) for step in range(400)]
    angles = np.concatenate([d.arrays["rotation"] for d in draws])
    assert np.abs(angles).max() <= 0.3 and angles.std() == pytest.approx(0.6 / 12**0.5, rel=0.02)
    part = config.crop_min + (1 - config.crop_min) * np.concatenate([d.crop[:, 0] for d in draws])
    assert 0.5 <= part.min() < 0.51 and 0.99 < part.max() < 1
    shares = np.concatenate([d.lam.reshape(4, 32) for d in draws])
    assert (shares == shares[:, :1]).all()
    mixed = shares[shares[:, 0] < 1, 0]
    assert len(mixed) / len(shares) == pytest.approx(0.5, abs=0.04)
    # Variance of Beta(a, a): 1 / (4 (2 a + 1)).
    assert mixed.var() == pytest.approx(1 / (4 * 2.6), rel=0.08)
    partner = mixing_partners(128, config.mix_group)
    assert partner[:32].tolist() == list(range(31, -1, -1)) and partner[32] == 63


def test_targets_are_smoothed_then_mixed():
    """0.1/K off and 0.9 + 0.1/K on."""
    targets = soft_targets(torch.tensor([0, 2]), torch.tensor([1, 0]), torch.tensor([0.75, 0.75]), 4, 0.1)
    off, on = 0.1 / 4, 0.9 + 0.1 / 4
    expected = [
        [0.75 * on + 0.25 * off, off, 0.25 * on + 0.75 * off, off],
        [0.25 * on + 0.75 * off, off, 0.75 * on + 0.25 * off, off],
    ]
    torch.testing.assert_close(targets, torch.tensor(expected))
