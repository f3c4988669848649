"""Losses of a network that has several heads in training: labels, agreement, teachers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made.steps import CPU, SHAPE, same, tensors, train

from tsgc.bench.contenders import Contender, training_work
from tsgc.bench.inputs import make_batch, make_model, make_step
from tsgc.config import TrainConfig
from tsgc.step.cuda_graphs import clone
from tsgc.step.distil import Teacher, Teachers
from tsgc.step.loss import agreement, soft_targets, summed_loss
from tsgc.step.micro_batch import MicroBatch

N, HEADS, K, TEMPERATURE = 3, 4, 5, 2.5
VIEWS = "joint+bone"
SECOND = replace(SHAPE, network="tsgcnext2", modality=VIEWS)
CONFIG = TrainConfig(
    network="tsgcnext2", modality=VIEWS, variant="tiny", frames=16, epochs=4, warmup_epochs=1, lr=1e-2,
    mutual=0.25, distil_temperature=TEMPERATURE,
)  # fmt: skip


def logits(seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(N, HEADS, K, generator=random).requires_grad_()


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_the_loss_of_heads_is_their_mean_loss():
    given, targets = logits(), torch.softmax(torch.randn(N, K), -1)
    each = [summed_loss(head, targets) for head in given.unbind(1)]
    torch.testing.assert_close(summed_loss(given, targets), torch.stack(each).mean())


def test_agreement_is_each_heads_divergence_from_the_mean_answer():
    """And its gradient that of a target which does not move: T (q - p) / heads."""
    given = logits()
    found = agreement(given, TEMPERATURE)
    found.backward()
    q = softmax(given.detach().numpy().astype(np.float64) / TEMPERATURE)
    p = q.mean(1, keepdims=True)
    expected = TEMPERATURE**2 * (p * np.log(p / q)).sum() / HEADS
    assert found.item() == pytest.approx(expected, rel=1e-5) and found.dtype == torch.float32
    np.testing.assert_allclose(given.grad.numpy(), TEMPERATURE * (q - p) / HEADS, atol=1e-6)


def test_heads_that_agree_have_nothing_to_learn_from_each_other():
    given = logits()[:, :1].detach().expand(-1, HEADS, -1).clone().requires_grad_()
    found = agreement(given, 1.0)
    found.backward()
    assert found.item() == pytest.approx(0, abs=1e-6) and given.grad.abs().max() < 1e-6


def test_two_heads_of_known_answers():
    """Answers (3/4, 1/4) and (1/4, 3/4): the mean is (1/2, 1/2)."""
    given = torch.tensor([[[3.0, 1.0], [1.0, 3.0]]]).log()
    assert agreement(given, 1.0).item() == pytest.approx(0.5 * np.log(4 / 3), rel=1e-6)


def test_teachers_teach_every_head():
    given, answer = logits(), torch.softmax(torch.randn(N, K), -1)
    teachers = Teachers([Teacher(None, make_model(SHAPE, CPU), "joint", "")], "joint", TEMPERATURE)
    each = [teachers.divergence(head, answer) for head in given.unbind(1)]
    torch.testing.assert_close(teachers.divergence(given, answer), torch.stack(each).mean())


def batches(count=4):
    model = make_model(SECOND, CPU)
    return [make_batch(SECOND, model, CPU, seed) for seed in range(count)]


def test_a_steps_loss_is_its_parts_by_their_shares():
    """Labels, heads' agreement, teachers: (1 - distil) ((1 - mutual) L + mutual A) + distil D."""
    step = make_step(SECOND, replace(CONFIG, distil=0.4), CPU, cuda_graphs=False)
    teacher = make_model(SECOND, CPU, 7).eval()
    step.teachers = Teachers([Teacher(None, teacher, VIEWS, "")], VIEWS, TEMPERATURE)
    (batch,) = batches(1)
    lam = batch.lam.view(-1, 1, 1, 1, 1)
    x = batch.x * lam + batch.x[batch.partner] * (1 - lam)
    heads = make_model(SECOND, CPU).train()(x, batch.survival)
    assert heads.shape == (6, 2, 5)
    targets = soft_targets(batch.labels, batch.partner, batch.lam, 5, CONFIG.label_smoothing)
    own = 0.75 * summed_loss(heads, targets) + 0.25 * agreement(heads, TEMPERATURE)
    taught = step.teachers.divergence(heads, torch.softmax(teacher(x) / TEMPERATURE, -1))
    assert step.loss(batch).item() == pytest.approx((0.6 * own + 0.4 * taught).item(), rel=1e-5)


def test_mutual_learning_is_nothing_to_one_head():
    batch = make_batch(SHAPE, make_model(SHAPE, CPU), CPU, seed=0)
    one, other = (
        make_step(SHAPE, replace(CONFIG, network="tsgcnext", mutual=share), CPU, cuda_graphs=False)
        for share in (0.0, 0.5)
    )
    assert one.loss(batch).item() == other.loss(batch).item()


def test_the_plain_step_that_is_timed_takes_several_heads():
    work, _ = training_work(Contender("plain", "float32"), SECOND, CPU)
    work()


def halves(batch):
    """A batch as two micro-batches of half its clips, none of them mixed."""
    count, bodies = len(batch.x) // 2, SECOND.bodies
    for first in (0, count):
        whole = {name: value[first : first + count] for name, value in batch.tensors.items()}
        survival = batch.survival[:, first * bodies : (first + count) * bodies]
        yield MicroBatch(**{**whole, "survival": survival, "partner": torch.arange(count)})


def test_accumulated_steps_are_those_of_the_whole_batch_but_for_the_inputs_norm():
    """The norm takes each part's statistics in training, so it stands still here."""
    whole = replace(batches(1)[0], partner=torch.arange(6))
    steps = []
    for parts in ([whole], list(halves(whole))):
        steps.append(make_step(SECOND, CONFIG, CPU, cuda_graphs=False))
        steps[-1].model.network.input_norm.eval()
        steps[-1](parts, lr=1e-2, size=6, position=1)
    assert steps[0].loss_sum.item() == pytest.approx(steps[1].loss_sum.item(), rel=1e-6)
    norms = [step.optimizer.state[step.model.network.stems[0][0].weight]["exp_avg"] for step in steps]
    torch.testing.assert_close(*norms, rtol=1e-4, atol=1e-7)  # a tenth of the gradient


def test_steps_learn_and_do_the_same_again():
    runs = []
    for _ in range(2):
        step = make_step(SECOND, CONFIG, CPU, cuda_graphs=False)
        given = [clone(batch) for batch in batches(1) * 12]
        losses = train(step, given)
        runs.append((losses, tensors(step)))
    assert runs[0][0] == runs[1][0] and same(runs[0][1], runs[1][1])
    assert losses[-1] < 0.8 * losses[0]
