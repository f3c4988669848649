"""The optimisers and their schedules: SGD is torch's plain one, on any device, from any state."""

import copy
import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made.steps import CONFIG, CPU, SHAPE, Recorded, batches, same, tensors, train
from torch import nn

from tsgc.bench.inputs import make_batch, make_model, make_step
from tsgc.config import TrainConfig
from tsgc.step import loss_scale
from tsgc.step.optimizer import (
    MIN_LR,
    MOMENTUM,
    build_optimizer,
    last_rate,
    learning_rate,
    load_optimizer_state,
    optimizer_state,
)

SGD = dataclasses.replace(
    CONFIG, optimiser="sgd", schedule="steps", lr_steps=(2, 3), lr=0.05, decay_biases=True, weight_decay=1e-2
)


def published_rate(epoch: int, config: TrainConfig) -> float:
    """The rule of CTR-GCN's released configuration, written out."""
    if epoch < config.warmup_epochs:
        return config.lr * (epoch + 1) / config.warmup_epochs
    rate = config.lr
    for start in config.lr_steps:
        rate = rate * 0.1 if epoch >= start else rate
    return rate


@given(
    epochs=st.integers(1, 80),
    warmup=st.integers(0, 8),
    starts=st.sets(st.integers(1, 79), max_size=4),
    steps=st.integers(1, 7),
)
def test_the_rate_of_steps_changes_at_epochs_only(epochs, warmup, starts, steps):
    starts = tuple(sorted(start for start in starts if start < epochs))
    config = TrainConfig(
        epochs=epochs, warmup_epochs=min(warmup, epochs), schedule="steps", lr_steps=starts, lr=0.1
    )
    rates = [learning_rate(step, steps, config) for step in range(epochs * steps)]
    expected = [published_rate(epoch, config) for epoch in range(epochs) for _ in range(steps)]
    assert rates == pytest.approx(expected, rel=1e-12) and last_rate(config) == rates[-1]


def test_the_fields_schedule_in_numbers():
    config = TrainConfig(epochs=65, warmup_epochs=5, schedule="steps", lr_steps=(50,), lr=0.1)
    rates = [learning_rate(318 * epoch, 318, config) for epoch in (0, 1, 4, 5, 49, 50, 64)]
    assert rates == pytest.approx([0.02, 0.04, 0.1, 0.1, 0.1, 0.01, 0.01])
    assert last_rate(config) == pytest.approx(0.01) and last_rate(TrainConfig()) == MIN_LR


def test_sgd_is_torchs_plain_one():
    """Not fused, step by step: momenta that start at 0 are those that start as the first gradient."""
    model = make_model(SHAPE, CPU).train()
    step = make_step(SHAPE, SGD, CPU, cuda_graphs=False)
    plain = torch.optim.SGD(
        model.parameters(), lr=1.0, momentum=0.9, nesterov=True, weight_decay=1e-2, foreach=False
    )
    for position in range(8):
        plain.param_groups[0]["lr"] = learning_rate(position, 2, SGD)
        step.model.load_state_dict(model.state_dict())  # the same weights before each step
        for own, mine in zip(step.model.parameters(), model.parameters(), strict=True):
            own.grad = torch.full_like(own, 0.1 * position) + own.detach()
            mine.grad = own.grad.clone()
        step.optimizer.param_groups[0]["lr"] = step.optimizer.param_groups[1]["lr"] = learning_rate(
            position, 2, SGD
        )
        step.optimizer.step(), plain.step()
        for own, mine in zip(step.model.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(own, mine, rtol=1e-6, atol=1e-7)
    assert MOMENTUM == 0.9


def test_every_parameter_decays_where_the_config_says_so():
    model = make_model(SHAPE, CPU)
    for decay_graphs in (True, False):
        config = dataclasses.replace(SGD, decay_graphs=decay_graphs)
        for settings in (config, dataclasses.replace(config, optimiser="adamw")):
            optimizer = build_optimizer(model, settings, CPU)
            decay = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
            assert len(decay) == len(list(model.parameters()))
            for name, parameter in model.named_parameters():
                assert decay[parameter] == (1e-2 if decay_graphs or not name.endswith("graphs") else 0), name
    spared = build_optimizer(model, dataclasses.replace(SGD, decay_biases=False), CPU).param_groups[0]
    assert spared["weight_decay"] == 0 and {parameter.dim() for parameter in spared["params"]} == {1}


def test_parameters_that_are_frozen_are_left_out():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    optimizer = build_optimizer(model, SGD, CPU)
    assert [p for group in optimizer.param_groups for p in group["params"]] == list(model[1].parameters())


def test_sgd_goes_on_from_a_state_to_the_bit():
    step = make_step(SHAPE, SGD, CPU, cuda_graphs=False)
    train(step, batches())
    saved = copy.deepcopy(optimizer_state(step.optimizer))  # as from a file
    assert all(group["fused"] is None for group in saved["param_groups"])
    assert all(type(group["lr"]) is float for group in saved["param_groups"])
    other = make_step(SHAPE, SGD, CPU, cuda_graphs=False, seed=1)
    other.model.load_state_dict(step.model.state_dict())
    other.ema.module.load_state_dict(step.ema.module.state_dict())
    load_optimizer_state(other.optimizer, saved)
    assert all(group["fused"] and group["nesterov"] for group in other.optimizer.param_groups)
    assert train(step, batches()) == train(other, batches())
    assert same(tensors(step), tensors(other))


def test_replayed_steps_of_sgd_are_the_plain_ones():
    plain, replayed = (make_step(SHAPE, SGD, CPU, cuda_graphs=False) for _ in range(2))
    replayed._cuda_graphs = Recorded(CPU)
    assert train(plain, batches()) == train(replayed, batches())
    assert same(tensors(plain), tensors(replayed)) and len(replayed._cuda_graphs) == 1


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_an_overflow_in_the_first_step_leaves_nothing_behind(optimiser, monkeypatch):
    """In float16 the first steps overflow as a rule: no momentum may come of them."""
    monkeypatch.setattr(loss_scale, "FIRST", 1e30)
    config = dataclasses.replace(SGD, precision="float16", optimiser=optimiser)
    late, fresh = (make_step(SHAPE, config, CPU, cuda_graphs=False) for _ in range(2))
    before = [parameter.clone() for parameter in late.model.parameters()]
    first, second = batches()[:2]
    late([first], lr=0.1, size=6, position=0)
    assert late.loss_scale.overflow and same(late.model.parameters(), before)
    if optimiser == "sgd":
        assert all(not kept["momentum_buffer"].any() for kept in late.optimizer.state.values())
    for step in (late, fresh):
        step.loss_scale.factor.fill_(1.0)
        step.model.load_state_dict(late.model.state_dict())  # statistics of the input, which do not wait
    for position in (1, 2):
        for step in (late, fresh):
            step([second], lr=0.1, size=6, position=position)
            assert not step.loss_scale.overflow
    assert same(late.model.parameters(), fresh.model.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: there are no CUDA graphs to compare with")
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_captured_steps_of_sgd_are_the_plain_ones_at_each_rate(precision):
    device = torch.device("cuda", 0)
    config = dataclasses.replace(SGD, precision=precision)
    model = make_model(SHAPE, device)
    given_batches = [make_batch(SHAPE, model, device, seed) for seed in range(8)]
    plain, captured = (make_step(SHAPE, config, device, cuda_graphs=graphs) for graphs in (False, True))
    assert train(captured, given_batches) == pytest.approx(train(plain, given_batches), rel=2e-2)
    assert len(captured._cuda_graphs) == 1
    for one, other in zip(tensors(plain), tensors(captured), strict=True):
        torch.testing.assert_close(one, other, rtol=5e-2, atol=2e-2)
