"""Training in float16: the factor on the loss is torch's own, and a step that overflows changes nothing."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from made.steps import CONFIG, CPU, SHAPE, Recorded, batches, same, tensors
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3
from torch import nn

from tsgc.bench.inputs import make_batch, make_model, make_step
from tsgc.network.precision import arithmetic
from tsgc.step import loss_scale
from tsgc.step.ema import WeightAverage
from tsgc.step.loss_scale import LossScale

HALF = dataclasses.replace(CONFIG, precision="float16", lr=1e-3)
GIVEN = batches(sizes=(6,) * 7)


@pytest.fixture(autouse=True)
def _first(monkeypatch):
    """The factor that training starts with, which overflows in the first two steps of these here."""
    monkeypatch.setattr(loss_scale, "FIRST", 1024.0)


def half_step(**more):
    return make_step(SHAPE, HALF, CPU, cuda_graphs=False, **more)


def run(step, given, start=0):
    """Trains; whether each step's gradients overflowed."""
    overflows = []
    for position, batch in enumerate(given, start):
        step([batch], lr=HALF.lr, size=len(batch.x), position=position)
        overflows.append(bool(step.loss_scale.overflow))
    return overflows


def by_torchs_scaler(given):
    """The same training, written out with torch's GradScaler: state, overflows, factor."""
    model = make_model(SHAPE, CPU).train()
    ema = ModelEmaV3(model, decay=HALF.ema_decay, use_warmup=HALF.ema_warmup)
    optimizer = torch.optim.AdamW(param_groups_weight_decay(model, HALF.weight_decay), lr=HALF.lr, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=loss_scale.FIRST)
    overflows = []
    for position, batch in enumerate(given):
        lam = batch.lam.view(-1, 1, 1, 1, 1)
        x = batch.x * lam + batch.x[batch.partner] * (1 - lam)
        targets = F.one_hot(batch.labels, SHAPE.classes).float()
        targets = targets * (1 - HALF.label_smoothing) + HALF.label_smoothing / SHAPE.classes
        targets = batch.lam[:, None] * targets + (1 - batch.lam[:, None]) * targets[batch.partner]
        with arithmetic("float16", CPU):
            logits = model(x, batch.survival)
        loss = -(targets * F.log_softmax(logits.float(), dim=-1)).sum()
        scaler.scale(loss * (1 / len(x))).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), HALF.clip_grad)
        before = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        overflows.append(scaler.get_scale() < before)
        if not overflows[-1]:
            ema.update(model, step=position + 1)
    return [*model.state_dict().values(), *ema.module.state_dict().values()], overflows, scaler.get_scale()


def test_a_step_in_float16_is_that_of_torchs_scaler_to_the_bit():
    step = half_step()
    state, overflows, factor = by_torchs_scaler(GIVEN)
    assert run(step, GIVEN) == overflows and {True, False} == set(overflows)
    assert same(tensors(step), state) and step.loss_scale.factor == factor
    assert step.norm > 0 and step.norm.isfinite()


def test_a_step_that_overflows_changes_neither_weights_nor_average_nor_the_optimiser():
    step = half_step()
    run(step, GIVEN)
    names = [name for name, _ in step.model.named_parameters()]
    state = lambda model: [model.state_dict()[name].clone() for name in names]  # noqa: E731
    moments = lambda: [value.clone() for kept in step.optimizer.state.values() for value in kept.values()]  # noqa: E731
    before, average, kept, norm = state(step.model), state(step.ema.module), moments(), step.norm.clone()
    step.loss_scale.factor.fill_(1e30)
    assert run(step, GIVEN[:1], 7) == [True]
    assert same(state(step.model), before) and same(state(step.ema.module), average) and same(moments(), kept)
    assert step.norm == norm and step.loss_scale.factor == 0.5 * torch.tensor(1e30)


def test_an_average_on_a_device_stays_where_a_step_is_skipped():
    model = make_model(SHAPE, CPU)
    ema = ModelEmaV3(model, decay=0.5)
    average = WeightAverage(ema, model, on_device=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    average.set_decay(0.5)
    before = [value.clone() for value in ema.module.parameters()]
    average.update(torch.ones(()))
    assert same(ema.module.parameters(), before)
    average.update(torch.zeros(()))
    for now, was in zip(ema.module.parameters(), before, strict=True):
        torch.testing.assert_close(now, was + 0.5)


def test_micro_batches_are_scaled_alike_and_one_that_overflows_skips_the_step():
    step = half_step()
    step.loss_scale.factor.fill_(64.0)
    halves = [dataclasses.replace(GIVEN[0], x=GIVEN[0].x * size) for size in (1.0, 1.0)]
    step(halves, lr=HALF.lr, size=12, position=0)
    assert not step.loss_scale.overflow
    before = [parameter.clone() for parameter in step.model.parameters()]
    broken = dataclasses.replace(halves[0], x=halves[0].x.clone())
    broken.x[0] = float("inf")
    step([broken, halves[1]], lr=HALF.lr, size=12, position=1)
    assert step.loss_scale.overflow and same(step.model.parameters(), before)


def test_it_goes_on_from_a_state_to_the_bit():
    whole, first, second = half_step(), half_step(), half_step(seed=3)
    run(whole, GIVEN)
    run(first, GIVEN[:4])
    second.model.load_state_dict(first.model.state_dict())
    second.ema.module.load_state_dict(first.ema.module.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.loss_scale.load(first.loss_scale.state())
    run(second, GIVEN[4:], 4)
    assert same(tensors(second), tensors(whole)) and second.loss_scale.state() == whole.loss_scale.state()


def test_replayed_steps_scale_as_they_would_without():
    plain, replayed = half_step(), half_step()
    replayed._cuda_graphs = Recorded(CPU)
    assert run(plain, GIVEN) == run(replayed, GIVEN)
    assert same(tensors(plain), tensors(replayed)) and len(replayed._cuda_graphs) == 1


def test_the_factor_doubles_after_many_steps_without_an_overflow(monkeypatch):
    monkeypatch.setattr(loss_scale, "GROWTH_STEPS", 3)
    weight = nn.Parameter(torch.ones(2))
    scale = LossScale(SimpleNamespace(), CPU)
    factors = []
    for gradient in (1.0, 1.0, 1.0, float("nan"), 1.0):
        weight.grad = torch.full((2,), gradient)
        scale.unscale([weight])
        scale.update()
        factors.append(scale.factor.item() / loss_scale.FIRST)
    assert factors == [1, 1, 2, 1, 1] and scale.state() == {"factor": loss_scale.FIRST, "steps": 1}
    assert not scale.vanished
    scale.load({"factor": 1e-5, "steps": 0})
    assert scale.vanished


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: there are no CUDA graphs to compare with")
def test_captured_steps_in_float16_are_the_plain_ones():
    device = torch.device("cuda", 0)
    model = make_model(SHAPE, device)
    given = [make_batch(SHAPE, model, device, seed) for seed in range(16)]
    plain, captured = (make_step(SHAPE, HALF, device, cuda_graphs=graphs) for graphs in (False, True))
    assert run(plain, given) == run(captured, given) and len(captured._cuda_graphs) == 1
    for one, other in zip(tensors(plain), tensors(captured), strict=True):
        torch.testing.assert_close(one, other, rtol=5e-2, atol=2e-2)
