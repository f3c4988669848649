"""Steps of networks other than ours: random numbers by position, ranks that agree, checked graphs."""

from dataclasses import replace

import pytest
import torch
from made.own_networks import PLAIN, write_network
from torch import nn

from tsgc.bench.inputs import Shape, make_batch, make_model, make_step
from tsgc.distributed.process import Process
from tsgc.network.own import code as own_code
from tsgc.network.own.code import admit
from tsgc.network.timm_parts import ModelEmaV3
from tsgc.step.graph_check import StepState, same_step
from tsgc.step.other_networks import average_buffers, seed_step, share_weights
from tsgc.train_config import TrainConfig

CPU = torch.device("cpu")
GPU = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU: there are no CUDA graphs to compare with"
)
SHAPE = Shape(skeleton="nw-ucla-20", frames=16, bodies=1, classes=5, batch=6, network="my.py:Net")
BRANCHES = PLAIN.replace("x = self.norm(", "x = x if x.sum() > 0 else -x\n        x = self.norm(")
COUNTED = PLAIN.replace("self.dropout(x))", "self.dropout(x)).roll(next(self.calls), 1)").replace(
    "        self.embed", "        self.calls = iter(range(99))\n        self.embed", 1
)
"""Python that each call moves on: a graph keeps the number that it was captured with."""


class PretendedRanks(Process):
    """Two ranks of which the other has `theirs`, in the order in which sums are taken."""

    theirs: list[torch.Tensor]

    def sum(self, x):
        return x.add_(self.theirs.pop(0))


def two_ranks(rank, *theirs):
    process = PretendedRanks(rank, 2, CPU)
    object.__setattr__(process, "theirs", list(theirs))
    return process


@pytest.fixture
def named(tmp_path, monkeypatch):
    """Admits a source as my.py:Net."""
    monkeypatch.setattr(own_code, "_admitted", [])
    return lambda source=PLAIN: admit(write_network(tmp_path, source))


def config(**more):
    return TrainConfig(network="my.py:Net", frames=16, bodies=1, epochs=4, warmup_epochs=0, **more)


def test_a_step_draws_by_seed_position_and_rank_alone():
    drawn = {}
    for key in ((0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0)):
        for _ in range(2):
            torch.rand(7)  # whatever was drawn before
            seed_step(*key)
            drawn.setdefault(key, []).append(torch.rand(20))
    assert all(torch.equal(*pair) for pair in drawn.values())
    assert len({tuple(pair[0].tolist()) for pair in drawn.values()}) == 4


def test_statistics_are_the_mean_over_ranks():
    model = nn.BatchNorm1d(3)
    model.running_mean.fill_(2.0)
    theirs = torch.tensor([4.0, 4, 4, 3, 3, 3])
    average_buffers(model, two_ranks(0, theirs))
    assert model.running_mean.tolist() == [3.0] * 3 and model.running_var.tolist() == [2.0] * 3


@pytest.mark.parametrize("rank", [0, 1])
def test_all_ranks_start_from_the_first_ones_weights(rank):
    model = nn.Linear(2, 1)
    ours = [parameter.detach().clone() for parameter in model.parameters()]
    theirs = (
        [torch.zeros(1, 2), torch.zeros(1)] if rank == 0 else [torch.full((1, 2), 5.0), torch.full((1,), 6.0)]
    )
    share_weights(model, two_ranks(rank, *theirs))
    expected = ours if rank == 0 else theirs
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), expected))


@pytest.mark.parametrize(("scale", "same"), [(1.0, True), (1.0 + 1e-4, True), (1.5, False), (0.0, False)])
def test_a_graph_is_taken_where_it_steps_as_the_plain_step_does(scale, same):
    """Either way the state is that of the plain step."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = torch.randn(5, 3)

    def step(factor=1.0):
        optimizer.zero_grad()
        (factor * model(x).square().sum()).backward()
        optimizer.step()

    step()
    twin = [parameter.detach().clone() for parameter in model.parameters()]
    momenta = [state["momentum_buffer"].clone() for state in optimizer.state.values()]
    state = StepState(model, ModelEmaV3(model), optimizer, [torch.zeros(())])
    assert same_step(state, torch.enable_grad()(lambda: step(scale)), step) is same
    for parameter, before, momentum in zip(model.parameters(), twin, momenta):
        expected = 0.9 * momentum + parameter.grad
        torch.testing.assert_close(parameter.detach(), before - 0.1 * expected)


def test_a_run_of_steps_does_not_depend_on_what_else_draws(named):
    named()
    results = []
    for others in (0, 5):
        step = make_step(SHAPE, config(), CPU, cuda_graphs=False)
        batch = make_batch(SHAPE, step.model, CPU, seed=0)
        for position in range(3):
            torch.rand(others)
            step([batch], lr=1e-2, size=6, position=position)
        results.append([tensor.clone() for tensor in step.model.state_dict().values()])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def steps_on_gpu(graphs):
    device = torch.device("cuda", 0)
    step = make_step(SHAPE, config(graphs=graphs), device, cuda_graphs=graphs is not False)
    model = make_model(SHAPE, device)
    for position in range(8):
        batch = make_batch(SHAPE, model, device, seed=position)
        step([batch], lr=1e-2, size=6, position=position)
    return step, [tensor.float().cpu() for tensor in step.model.state_dict().values()]


@GPU
def test_captured_steps_are_the_plain_ones_dropout_included(named):
    named()
    (captured, ours), (_, plain) = steps_on_gpu(None), steps_on_gpu(False)
    assert len(captured._cuda_graphs) == 1
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@GPU
@pytest.mark.parametrize(
    ("source", "reason"), [(BRANCHES, "cannot be CUDA graphs"), (COUNTED, "is not its plain one")]
)
def test_a_network_that_no_graph_can_hold_trains_plainly_and_says_so_once(named, source, reason):
    named(source)
    with pytest.warns(RuntimeWarning, match=reason) as said:
        step, _ = steps_on_gpu(None)
    assert len(step._cuda_graphs) == 0 and len([one for one in said if reason in str(one.message)]) == 1


def test_a_shape_says_what_it_is_of(named):
    named()
    assert SHAPE.title == "my.Net" and SHAPE.of_ours.title == "252"
    assert make_model(replace(SHAPE, network_settings={"width": 3}), CPU).network.embed.out_features == 3


def test_steps_of_a_network_that_is_not_ours_are_checked_before_graphs_take_over(named):
    """On a CPU nothing is captured: the check itself is there, unless graphs are insisted on."""
    named()
    for graphs, checked in ((None, True), (True, False)):
        step = make_step(SHAPE, config(graphs=graphs), CPU, cuda_graphs=True)
        assert (step._cuda_graphs.check is not None) is checked
    ours = make_step(SHAPE.of_ours, TrainConfig(frames=16, bodies=1), CPU, cuda_graphs=True)
    assert ours._cuda_graphs.check is None
