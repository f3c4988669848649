"""One training step as an object: it is the plain loop's, whole or replayed, in one piece or in several."""

import copy
import dataclasses
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from made.steps import CONFIG, CPU, SHAPE, STEPS, Recorded, batches, same, tensors, train
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3
from torch import nn

from pipelines.errors import TsgcError
from shards.options import LoaderOptions
from tsgc.bench.inputs import make_batch, make_model, make_step
from tsgc.config import TrainConfig
from tsgc.distributed.process import Process
from tsgc.step import cuda_graphs
from tsgc.step.cuda_graphs import captures_steps
from tsgc.step.ema import WeightAverage
from tsgc.step.loss import soft_targets
from tsgc.step.optimizer import build_optimizer, learning_rate, load_optimizer_state, optimizer_state


def plain_loop(config, given):
    """The same training, written out."""
    model = make_model(SHAPE, CPU).train()
    ema = ModelEmaV3(model, decay=config.ema_decay, use_warmup=config.ema_warmup)
    groups = param_groups_weight_decay(model, config.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=config.lr, fused=True)
    losses = []
    for position, batch in enumerate(given):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(position, 2, config)
        lam = batch.lam.view(-1, 1, 1, 1, 1)
        x = batch.x * lam + batch.x[batch.partner] * (1 - lam)
        targets = F.one_hot(batch.labels, SHAPE.classes).float()
        targets = targets * (1 - config.label_smoothing) + config.label_smoothing / SHAPE.classes
        targets = batch.lam[:, None] * targets + (1 - batch.lam[:, None]) * targets[batch.partner]
        loss = -(targets * F.log_softmax(model(x, batch.survival), dim=-1)).sum()
        (loss * (1 / len(x))).backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_grad)
        optimizer.step()
        optimizer.zero_grad()
        ema.update(model, step=position + 1)
        losses.append(loss.item() / len(x))
    return losses, [*model.state_dict().values(), *ema.module.state_dict().values()]


def test_a_step_is_the_plain_loops_to_the_bit():
    step = make_step(SHAPE, CONFIG, CPU, cuda_graphs=False)
    losses, state = plain_loop(CONFIG, batches())
    assert train(step, batches()) == losses
    assert same(tensors(step), state)
    assert len(set(losses)) == STEPS and step.norm > 0


def test_micro_batches_accumulate_to_the_whole_step():
    whole, parts = (make_step(SHAPE, CONFIG, CPU, cuda_graphs=False) for _ in range(2))
    for position, batch in enumerate(batches()):
        halves = []
        for rows in (slice(0, 2), slice(2, 6)):
            count = len(batch.x[rows])
            halves.append(
                dataclasses.replace(
                    batch,
                    x=batch.x[rows],
                    labels=batch.labels[rows],
                    lam=batch.lam[rows],
                    partner=torch.arange(count),
                    survival=batch.survival.unflatten(1, (6, 2))[:, rows].flatten(1),
                    alive=batch.alive.reshape(-1, 6, 2)[:, rows].reshape(-1, 2 * count),
                )
            )
        alone = dataclasses.replace(batch, partner=torch.arange(6))
        whole.clear(), parts.clear()
        # Statistics of the input are a micro-batch's own: those that are stored make the two alike.
        for step in (whole, parts):
            step.model.eval()
        whole([alone], lr=1e-3, size=6, position=position)
        parts(halves, lr=1e-3, size=6, position=position)
        assert parts.loss_sum.item() == pytest.approx(whole.loss_sum.item(), rel=1e-5)
    for one, other in zip(tensors(whole), tensors(parts), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-4)


def test_soft_targets_are_mixed_and_not_smoothed():
    labels, partner, weight = torch.tensor([0, 2]), torch.tensor([1, 0]), torch.tensor([0.75, 0.5])
    smoothed = soft_targets(labels, partner, weight, 3, 0.3)
    own = soft_targets(labels, torch.arange(2), torch.ones(2), 3, 0.3)
    torch.testing.assert_close(soft_targets(own, partner, weight, 3, 0.9), smoothed)


@pytest.mark.parametrize("warm_up", [False, True])
def test_the_average_is_timms(warm_up):
    """On CPUs to the bit; with the decay in a tensor, as on GPUs, to a last place."""
    torch.manual_seed(0)
    model = make_model(SHAPE, CPU)
    averaged = [ModelEmaV3(model, decay=0.9, use_warmup=warm_up) for _ in range(3)]
    ours = [
        WeightAverage(averaged[1], model, on_device=False),
        WeightAverage(averaged[2], model, on_device=True),
    ]
    for number in range(1, 6):
        with torch.no_grad():
            for value in model.state_dict().values():
                value.add_(torch.randn(value.shape) if value.is_floating_point() else 1)
        averaged[0].update(model, step=number)
        for average in ours:
            average.set_decay(averaged[0].get_decay(number))
            average.update()
    timms, exact, close = (ema.module.state_dict() for ema in averaged)
    assert same(timms.values(), exact.values())
    for name in timms:
        torch.testing.assert_close(close[name], timms[name], rtol=1e-5, atol=1e-6)
    assert close["input_norm.num_batches_tracked"] == 5


@pytest.mark.parametrize("on_device", [False, True])
def test_weights_of_two_names_are_averaged_once(on_device):
    model = torch.nn.Sequential(layer := torch.nn.Linear(2, 2), layer)
    ema = ModelEmaV3(model, decay=0.9)
    average = WeightAverage(ema, model, on_device)
    average.set_decay(0.9)
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.add_(1)
    average.update()
    torch.testing.assert_close(ema.module[1].weight.detach(), before + 0.1)


def test_optimiser_states_are_for_any_device():
    step = make_step(SHAPE, CONFIG, CPU, cuda_graphs=False)
    train(step, batches())
    saved = copy.deepcopy(optimizer_state(step.optimizer))  # as from a file
    assert all(group["lr"] == pytest.approx(learning_rate(7, 2, CONFIG)) for group in saved["param_groups"])
    assert all(group["capturable"] is False for group in saved["param_groups"])
    for group in saved["param_groups"]:  # as a GPU's optimiser says in checkpoints of before
        group["fused"] = group["capturable"] = True
    other = make_step(SHAPE, CONFIG, CPU, cuda_graphs=False, seed=1)
    other.model.load_state_dict(step.model.state_dict())
    other.ema.module.load_state_dict(step.ema.module.state_dict())
    load_optimizer_state(other.optimizer, saved)
    assert not any(group["capturable"] for group in other.optimizer.param_groups)
    assert train(step, batches()) == train(other, batches())
    assert same(tensors(step), tensors(other))


def test_a_tensor_of_the_learning_rate_stays_when_a_state_is_loaded():
    """Captured steps read the tensor: a copy in its place would never change again."""
    model = nn.Linear(2, 2)
    rate = torch.tensor(0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, foreach=False)
    load_optimizer_state(optimizer, optimizer_state(optimizer))
    assert optimizer.param_groups[0]["lr"] is rate


@pytest.mark.parametrize("presence", [False, True])
def test_replayed_steps_see_each_calls_input(presence):
    """Sizes that take turns have an input of their own each; what is given is never kept."""
    sizes = (6, 5) * 10
    given = batches(presence, sizes)
    plain, replayed = (make_step(SHAPE, CONFIG, CPU, cuda_graphs=False) for _ in range(2))
    replayed._cuda_graphs = Recorded(CPU)
    assert train(plain, given) == train(replayed, [cuda_graphs.clone(batch) for batch in given])
    assert same(tensors(plain), tensors(replayed))
    assert len(replayed._cuda_graphs) == 2
    replayed.reset()
    assert len(replayed._cuda_graphs) == 0


def test_captured_steps_are_not_told_how_many_rows_are_kept(monkeypatch):
    step = make_step(SHAPE, CONFIG, CPU, cuda_graphs=False)
    told, loss = [], step.loss
    monkeypatch.setattr(step, "loss", lambda batch: told.append(batch.kept) or loss(batch))
    given = batches()
    train(step, given)
    assert told == [tuple((batch.survival > 0).sum(1).tolist()) for batch in given]
    told.clear()
    step._cuda_graphs = Recorded(CPU)
    train(step, given)
    assert told == [None] * STEPS


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU, on which compiled networks train")
@pytest.mark.parametrize("captured", [False, True])
def test_a_compiled_network_trains_as_one_that_is_not(captured):
    """`compile: true`, and the same in a CUDA graph: losses and weights of some steps are close."""
    assert compiled_and_not(torch.device("cuda", 0), captured) < 0.1


def compiled_and_not(device, captured):
    """How far the weights of both are apart after some steps, over how far they have gone."""
    found = []
    for compiled in (False, True):
        config = dataclasses.replace(CONFIG, compile=compiled)
        step = make_step(SHAPE, config, device, cuda_graphs=captured)
        assert isinstance(step.network, torch._dynamo.OptimizedModule) == compiled
        start = torch.cat([weights.detach().clone().flatten() for weights in step.model.parameters()])
        given = [make_batch(SHAPE, step.model, device, seed) for seed in range(STEPS if captured else 2)]
        losses = train(step, given)
        end = torch.cat([weights.detach().flatten() for weights in step.model.parameters()])
        found.append((losses, start, end))
    (losses, start, plain), (others, _, other) = found
    assert others == pytest.approx(losses, rel=1e-2)
    return ((other - plain).norm() / (plain - start).norm()).item()


def test_large_steps_in_float32_are_not_captured():
    ntu = TrainConfig(batch=128, micro_batch=128)
    for changes, bodies, joints, world, worth in (
        ({"precision": "float32"}, 2, 25, 1, False),
        ({"precision": "tf32"}, 2, 25, 1, False),
        ({"precision": "bf16"}, 2, 25, 1, True),
        ({"precision": "tf32", "compile": True}, 2, 25, 1, True),
        ({"precision": "tf32", "drop_path": 0.0}, 2, 25, 1, True),  # nothing to leave out
        ({"precision": "tf32"}, 2, 33, 1, True),  # no kernels for so many joints
        ({"precision": "tf32", "frames": 64}, 1, 20, 1, True),  # NW-UCLA's
        ({"precision": "tf32", "micro_batch": 32}, 2, 25, 1, True),  # four pieces, each launched by itself
        ({"precision": "tf32"}, 2, 25, 4, True),  # four ranks of 32 clips each
        ({"precision": "tf32", "batch": 512}, 2, 25, 4, False),
    ):
        config = dataclasses.replace(ntu, **changes)
        assert cuda_graphs.worth_capturing(config, joints, bodies, world) == worth, changes
    gpu, whole = Process(0, 1, torch.device("cuda")), LoaderOptions()
    assert not captures_steps(ntu, gpu, whole, worth=False)
    assert captures_steps(dataclasses.replace(ntu, graphs=True), gpu, whole, worth=False)


def test_no_more_graphs_than_their_share_of_memory():
    step = make_step(SHAPE, CONFIG, CPU, cuda_graphs=False)
    graphs = step._cuda_graphs = Recorded(CPU)
    for size in range(2, 2 + cuda_graphs.MOST_GRAPHS + 2):
        train(step, batches(sizes=(size,) * (cuda_graphs.WARM_UP + 1)))
    assert len(graphs) == cuda_graphs.MOST_GRAPHS


def test_a_failed_capture_names_its_first_error():
    try:
        try:
            raise RuntimeError("operation not permitted when stream is capturing")
        finally:
            raise RuntimeError("capture is invalid")
    except RuntimeError as error:
        assert "not permitted" in str(cuda_graphs.first_error(error))


def test_graphs_are_for_gpus_and_for_batches_whose_size_says_their_shape():
    gpu = torch.device("cuda")
    skip, whole = LoaderOptions(on_error="skip"), LoaderOptions()
    assert captures_steps(CONFIG, Process(0, 1, gpu), skip) and captures_steps(
        CONFIG, Process(0, 2, gpu), whole
    )
    assert not captures_steps(CONFIG, Process(0, 1, CPU), whole)
    assert not captures_steps(CONFIG, Process(0, 2, gpu), skip)
    off, on = (dataclasses.replace(CONFIG, graphs=graphs) for graphs in (False, True))
    assert not captures_steps(off, Process(0, 1, gpu), whole)
    with pytest.raises(TsgcError, match=r"the device is cpu: .*; --set graphs=null"):
        captures_steps(on, Process(0, 1, CPU), whole)
    with pytest.raises(TsgcError, match="several ranks skip damaged clips"):
        captures_steps(on, Process(0, 2, gpu), skip)


def test_gradients_are_summed_in_one_exchange():
    from tsgc.step.optimizer import sum_gradients

    sent = []
    pretended = SimpleNamespace(world=2, sum=lambda flat: sent.append(flat) or flat.mul_(2))
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4, bias=False))
    model(torch.randn(5, 3)).sum().backward()
    before = [parameter.grad.clone() for parameter in model.parameters()]
    sum_gradients(model.parameters(), pretended)
    assert len(sent) == 1
    for parameter, was in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter.grad, 2 * was)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: there are no CUDA graphs to compare with")
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("presence", [False, True])
def test_captured_steps_are_the_plain_ones(precision, presence):
    device = torch.device("cuda", 0)
    config = dataclasses.replace(CONFIG, precision=precision)
    model = make_model(SHAPE, device)
    given = [
        make_batch(dataclasses.replace(SHAPE, batch=size), model, device, seed, presence)
        for seed, size in enumerate((6, 5) * 10)
    ]
    plain, captured = (make_step(SHAPE, config, device, cuda_graphs=graphs) for graphs in (False, True))
    assert train(captured, given) == pytest.approx(train(plain, given), rel=2e-2)
    assert len(captured._cuda_graphs) == 2
    for one, other in zip(tensors(plain), tensors(captured), strict=True):
        torch.testing.assert_close(one, other, rtol=5e-2, atol=2e-2)


def test_graphs_do_not_decay_where_the_config_says_so():
    model = make_model(SHAPE, CPU)
    for decays in (True, False):
        config = TrainConfig(variant="tiny", decay_graphs=decays, weight_decay=0.3, beta2=0.95)
        optimizer = build_optimizer(model, config, CPU)
        decay = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        for name, parameter in model.named_parameters():
            graph = name.endswith("graphs")
            expected = 0.3 if parameter.dim() > 1 and (decays or not graph) else 0.0
            assert decay[parameter] == expected, name
        assert optimizer.param_groups[0]["betas"] == (0.9, 0.95)
