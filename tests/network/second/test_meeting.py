"""Views that meet: silent at first, each looks at the others where bodies are; a gate weighs answers."""

from dataclasses import replace

import pytest
import torch
from made.steps import CPU, SHAPE
from made.views import M, N, T, V, clips, presence
from torch.export import Dim

from pipelines.skeleton import NW_UCLA_20
from tsgc.bench.inputs import make_batch, make_model, make_step
from tsgc.config import TrainConfig
from tsgc.network.build import build_network
from tsgc.network.cost import count_parts, totals
from tsgc.network.second.meeting import Gate, Meeting
from tsgc.network.second.model import TSGCNeXt2
from tsgc.step.loss import agreement, soft_targets, summed_loss

VIEWS, K = 3, 5
BOTH = {"meeting": [2, 3], "gated": True}
SETTINGS = pytest.mark.parametrize(
    "settings", [{"meeting": [2, 3]}, {"gated": True}, BOTH], ids=["met", "gated", "both"]
)


def network(trained=False, views=VIEWS, **settings):
    torch.manual_seed(0)
    shape = {"bodies": M, "channels": 3 * views, "views": views, "frames": T, "variant": "tiny"}
    model = TSGCNeXt2(NW_UCLA_20, K, **shape, **settings)
    if trained:
        with torch.no_grad():
            for value in model.parameters():
                value.add_(0.1 * torch.randn_like(value))
    return model


def meeting(width=8, bodies=M):
    """A layer that has learned something."""
    torch.manual_seed(0)
    layer = Meeting(width, VIEWS, bodies)
    for value in layer.parameters():
        torch.nn.init.normal_(value)
    return layer


@pytest.mark.parametrize("there", [None, presence()], ids=["all", "presence"])
@SETTINGS
def test_a_network_starts_as_one_of_the_same_seed_without_them(settings, there):
    plain, model = network(), network(**settings)
    learned = dict(model.named_parameters())
    assert all(torch.equal(value, learned[name]) for name, value in plain.named_parameters())
    answers, heads = [], []
    for one in (plain, model):
        answers.append(one.eval()(clips(VIEWS), there))
        torch.manual_seed(2)  # of drop path
        heads.append(one.train()(clips(VIEWS), there))
    torch.testing.assert_close(answers[1], answers[0], rtol=1e-6, atol=1e-6)
    assert torch.equal(heads[1][:, :VIEWS], heads[0])
    if "gated" in settings:
        torch.testing.assert_close(heads[1][:, VIEWS], heads[0].mean(1), rtol=1e-6, atol=1e-6)
    else:
        assert torch.equal(*answers) and heads[1].shape == heads[0].shape


def test_the_heads_learn_from_what_they_lose_and_the_gate_from_the_answer():
    """What starts at 0 has a gradient in the first step, and all the rest once it is not 0."""
    model, silent = network(**BOTH), ("which", "relate", "value", "norm")
    targets = torch.softmax(torch.randn(N, K), -1)
    summed_loss(model(clips(VIEWS)), targets).backward()
    for name, value in model.named_parameters():
        waits = name.startswith("meeting") and name.split(".")[2] in silent
        assert value.grad is not None and bool(value.grad.any()) != waits, name
    model = network(trained=True, **BOTH)
    summed_loss(model(clips(VIEWS), presence()), targets).backward()
    assert all(value.grad.isfinite().all() and value.grad.any() for value in model.parameters())
    model = network(trained=True, **BOTH)
    model(clips(VIEWS))[:, :VIEWS].square().sum().backward()
    assert not model.gate.weight.grad.any() and not model.gate.bias.grad.any()


def test_each_view_looks_at_the_others_alone():
    """Against loops over clips, heads and tokens."""
    layer, share = meeting().double(), torch.rand(N, M, 4)
    share[0, 1] = 0
    share[1, 0, 2:] = 0
    share[2] = 0  # no body at all: as if all were there
    x = torch.randn(VIEWS * N * M, 4, V, 8, dtype=torch.float64)
    views = x.view(VIEWS, N, M, 4, V, 8)
    z = layer.norm(views.mean(4)) + layer.which[:, None, None, None]
    query, key = layer.relate(z).chunk(2, -1)
    value, mixed = layer.value(z), torch.zeros(VIEWS, N, M, 4, 8, dtype=torch.float64)
    places = [(view, body, step) for view in range(VIEWS) for body in range(M) for step in range(4)]
    for clip in range(N):
        for view, body, step in places:
            seen = [
                (w, clip, b, t) for w, b, t in places if w != view and (clip == 2 or share[clip, b, t] > 0)
            ]
            for group in torch.arange(8).split(2):
                own = query[view, clip, body, step, group]
                alike = torch.stack([own @ key[one][group] for one in seen]) / 2**0.5
                weights = torch.softmax(alike, 0)
                there = torch.stack([value[one][group] for one in seen])
                mixed[view, clip, body, step, group] = weights @ there
    expected = views + layer.project(mixed)[..., None, :]
    torch.testing.assert_close(layer(x, share.repeat(VIEWS, 1, 1)), expected.view_as(x))


def test_frames_of_absent_bodies_are_not_looked_at():
    layer, x = meeting(), torch.randn(VIEWS * N * M, 4, V, 8)
    share = torch.rand(N, M, 4) + 0.1
    share[0, 1] = 0
    share[1, 0, 2:] = 0
    share = share.repeat(VIEWS, 1, 1)
    here = share.view(-1, 4) > 0
    filled = torch.where(here[..., None, None], x, 100.0 * torch.randn_like(x))
    made, other = layer(x, share), layer(filled, share)
    torch.testing.assert_close(made[here], other[here])
    assert not torch.allclose(layer(filled)[here], other[here])


def test_where_a_body_is_absent_nothing_of_it_is_in_the_answer():
    model, x, there = network(trained=True, **BOTH).eval(), clips(VIEWS), presence()
    answer = model(x, there)
    absent = (there == 0)[:, None, :, None]
    assert answer.isfinite().all()
    assert torch.equal(model(torch.where(absent, 1e6, x), there), answer)
    assert not torch.allclose(model(torch.where(absent, x, x + 1), there)[:2], answer[:2])


def test_a_view_hears_of_the_others_where_they_meet():
    """A head's answer depends on its own view alone without it, and on each with it."""
    for settings, heard in (({}, {0}), ({"meeting": [3]}, {0, 1, 2})):
        model = network(trained=True, **settings)
        model.input_norm.eval()
        x = clips(VIEWS).requires_grad_()
        model(x)[:, 0].square().sum().backward()
        by_view = x.grad.unflatten(1, (VIEWS, 3)).abs().amax((0, 2, 3, 4, 5))
        assert set(by_view.nonzero().flatten().tolist()) == heard


def test_a_known_gate_gives_known_weights():
    gate = Gate(2, 2)
    features = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    logits = torch.tensor([[[4.0, 0.0], [0.0, 4.0]]])
    torch.testing.assert_close(gate(features, logits), torch.tensor([[2.0, 2.0]]))
    with torch.no_grad():
        gate.weight[1] = torch.tensor([5.0, 0.5])
        gate.bias[0] = 1 - torch.tensor(3.0).log()  # scores 1 - log 3 and 1
    torch.testing.assert_close(gate(features, logits), torch.tensor([[1.0, 3.0]]))


def test_the_gated_answer_is_the_one_that_evaluation_gives():
    model, x, there = network(trained=True, drop_path=0.0, **BOTH), clips(VIEWS), presence()
    model.input_norm.momentum = 1
    heads = model(x, there)
    count = N * T  # the running variance is that of a sample
    model.input_norm.running_var.mul_((count - 1) / count)
    assert heads.shape == (N, VIEWS + 1, K)
    torch.testing.assert_close(model.eval()(x, there), heads[:, VIEWS], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(heads[:, VIEWS], heads[:, :VIEWS].mean(1), atol=1e-3)


def test_no_shape_depends_on_the_data_and_no_number_is_read():
    """As CUDA graphs want it: tensors on the meta device have shapes alone."""
    model = network(**BOTH).to("meta")
    x, there = (value.to("meta") for value in (clips(VIEWS), presence()))
    for given in ((x,), (x, there)):
        model(*given).sum().backward()
    assert all(value.grad is not None for value in model.parameters())


def test_under_autocast_it_is_near_float32_and_its_answer_is_not_rounded():
    model = network(trained=True, **BOTH).eval()
    exact = model(clips(VIEWS), presence())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(clips(VIEWS), presence())
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().max() < 0.05 * exact.abs().max()


def test_info_counts_what_they_cost_which_is_a_few_percent():
    views = "joint+bone+joint_motion+bone_motion"
    costs = []
    for settings in ({}, BOTH):
        config = TrainConfig(
            network="tsgcnext2", variant="small", modality=views, frames=52, network_settings=settings
        )
        model = build_network(config, NW_UCLA_20, 10, bodies=1, channels=12)
        parts = {part.name: part for part in count_parts(model, 52)}
        costs.append(totals(list(parts.values())))
    tokens, width = 4 * 3, 128
    assert parts["meeting.3"].macs == tokens * (4 * width**2 + 2 * tokens * width)
    assert parts["meeting.3"].parameters == 4 * width**2 + 4 * width + 2 * width + 4 * width
    assert parts["gate"].parameters == 4 * (width + 1) and "the rest" not in parts
    assert 1 < costs[1]["macs"] / costs[0]["macs"] < 1.02


def steps(**more):
    views = "joint+bone"
    shape = replace(SHAPE, network="tsgcnext2", modality=views, network_settings=BOTH)
    config = TrainConfig(
        network="tsgcnext2", modality=views, variant="tiny", frames=16, **more,
    )  # fmt: skip
    step = make_step(shape, config, CPU, cuda_graphs=False)
    return step, make_batch(shape, make_model(shape, CPU), CPU, seed=0)


def test_the_answer_counts_as_one_head_more():
    """In the labels' loss and in what heads teach each other."""
    step, batch = steps(mutual=0.25)
    model = step.model.network
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
    lam = batch.lam.view(-1, 1, 1, 1, 1)
    x = batch.x * lam + batch.x[batch.partner] * (1 - lam)
    heads = model(x, survival=batch.survival)
    assert heads.shape == (6, 3, 5)
    targets = soft_targets(batch.labels, batch.partner, batch.lam, 5, step.config.label_smoothing)
    expected = 0.75 * torch.stack([summed_loss(head, targets) for head in heads.unbind(1)]).mean()
    expected = expected + 0.25 * agreement(heads, step.config.distil_temperature)
    assert step.loss(batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_steps_lower_the_loss_and_all_of_it_learns():
    step, batch = steps(mutual=0.3)
    before = {name: value.clone() for name, value in step.model.network.named_parameters()}
    unmixed = replace(batch, partner=torch.arange(len(batch.x)))
    losses = []
    for position in range(20):
        step.clear()
        step([unmixed], lr=5e-4, size=len(batch.x), position=position)
        losses.append(step.loss_sum.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(not torch.equal(value, before[name]) for name, value in step.model.network.named_parameters())


@pytest.mark.slow
@SETTINGS
@pytest.mark.parametrize("told", [False, True], ids=["all", "presence"])
def test_a_traced_program_takes_any_number_of_clips(settings, told):
    model = network(trained=True, **settings).eval()
    given = (clips(VIEWS), presence()) if told else (clips(VIEWS),)
    program = torch.export.export(
        model, given, dynamic_shapes=({0: Dim("clips", min=1)},) * len(given)
    ).module()
    for one in (given, tuple(value[:1] for value in given)):
        torch.testing.assert_close(program(*one), model(*one))
