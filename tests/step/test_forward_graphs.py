"""Recognition by graphs: padded to few sizes, read anew at each replay, plain where there are none."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from made.steps import CONFIG, CPU, SHAPE, train

from tsgc.bench.inputs import make_batch, make_model, make_step
from tsgc.step import forward_graphs
from tsgc.step.cuda_graphs import GraphPool
from tsgc.step.forward_graphs import MOST_GRAPHS, ForwardGraphs, powers_of_two


class MadePool(GraphPool):
    """Graphs that a CPU replays: the function again, into the same result."""

    captures = 0

    def warm_up(self, run, *used):
        return run()

    def capture(self, run):
        self.captures += 1
        result = torch.full_like(run(), torch.nan)  # capturing runs nothing
        return lambda: result.copy_(run()), result


def graphs(*sizes, device=CPU, precision="float32"):
    forward = ForwardGraphs(precision, device, sizes, MadePool(device) if device == CPU else None)
    forward._captures = True
    return forward


def clips(count, seed=0, device=CPU, presence=False):
    shape = replace(SHAPE, batch=count)
    batch = make_batch(shape, make_model(shape, device), device, seed, presence)
    return batch.x, batch.presence


@pytest.fixture
def model():
    return make_model(SHAPE, CPU).eval()


@pytest.mark.parametrize("presence", [False, True])
def test_batches_of_all_sizes_get_the_plain_logits_by_few_graphs(model, presence):
    forward = graphs(4, 8)
    for seed, count in enumerate([8, 8, 3, 8, 5, 1, 2, 4, 6]):
        x, there = clips(count, seed, presence=presence)
        torch.testing.assert_close(
            forward(model, x, there), forward.plain(model, x, there), rtol=1e-4, atol=1e-5
        )
    assert len(forward) == 2 and forward.pool.captures == 2


def test_a_larger_batch_runs_as_it_is(model):
    forward = graphs(2)
    for _ in range(3):
        assert torch.equal(forward(model, clips(5)[0]), forward.plain(model, clips(5)[0]))
    assert not len(forward)


def test_a_replay_reads_new_weights_and_leaves_earlier_answers_alone(model):
    forward = graphs(4)
    x, _ = clips(4)
    for _ in range(3):
        before = forward(model, x)
    kept = before.clone()
    with torch.no_grad():
        model.head.weight.mul_(-2)
    after = forward(model, x)
    assert torch.equal(after, forward.plain(model, x))
    assert torch.equal(before, kept) and not torch.equal(after, kept)


def test_what_an_earlier_batch_held_does_not_reach_a_smaller_one(model):
    forward = graphs(4)
    for _ in range(2):
        forward(model, clips(4)[0])
    forward(model, clips(4)[0] * torch.nan)
    x, _ = clips(2)
    assert torch.isfinite(forward(model, x)).all()


def test_networks_and_lengths_have_graphs_of_their_own(model):
    forward = graphs(2)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.head.bias.add_(1)
    x, _ = clips(2)
    for given in (x, torch.cat([x, x], 2)):
        for network in (model, other):
            for _ in range(3):
                answer = forward(network, given)
            assert torch.equal(answer, forward.plain(network, given))
    assert len(forward) == 4
    forward.clear()
    assert not len(forward)


@pytest.mark.parametrize("presence", [False, True])
def test_absent_bodies_are_left_out_by_few_sizes_of_graphs(model, presence, monkeypatch):
    monkeypatch.setattr(forward_graphs, "ROW_STEPS", 8)
    monkeypatch.setattr(forward_graphs, "FEWEST_ROWS", 1)
    forward = graphs(8)
    for seed in range(24):
        x, there = clips(8 - seed % 3, seed, presence=presence)
        bodies = np.ones((len(x), 2), bool)
        bodies[:, 1] = np.random.default_rng(seed).random(len(x)) > seed / 24
        x = x * torch.tensor(bodies)[:, None, None, None]
        there = there * torch.tensor(bodies)[:, None] if presence else None
        torch.testing.assert_close(
            forward(model, x, there, bodies), forward.plain(model, x, there), rtol=1e-4, atol=1e-5
        )
    assert {key[-1] for key in forward._captured} == {0, 6, 8, 10, 12, 14}


@pytest.mark.parametrize(("captures", "size", "left_out"), [(True, 4, 0), (True, 8, 6), (False, 4, 6)])
def test_rows_are_left_out_where_they_are_many_or_nothing_is_captured(
    model, captures, size, left_out, monkeypatch
):
    monkeypatch.setattr(forward_graphs, "FEWEST_ROWS", 16)
    forward = graphs(size)
    forward._captures = captures
    bodies = np.array([[True, False], [True, True], [True, False], [True, True]])
    x = clips(4)[0] * torch.tensor(bodies)[:, None, None, None]
    rows = forward._present_rows(model, x, None, bodies, size if captures else None)
    assert (0 if rows is None else len(rows.index)) == left_out


@pytest.mark.parametrize("captures", [False, True])
def test_absent_bodies_are_those_of_each_network_length_and_weights(model, captures, monkeypatch):
    """One object for all of them, with presence and without; and new weights once it is told of them."""
    monkeypatch.setattr(forward_graphs, "FEWEST_ROWS", 1)
    forward = graphs(4)
    forward._captures = captures
    other = make_model(SHAPE, CPU, seed=1).eval()
    x, there = clips(4, presence=True)
    bodies = np.array([[True, False], [True, True], [True, False], [True, False]])
    here = torch.tensor(bodies)
    x, there = x * here[:, None, None, None], there * here[:, None]
    given = [(x, None), (x, there), (torch.cat([x, x], 2), None)]
    for _ in range(2):
        with torch.no_grad():
            for network in (model, other):
                network.input_norm.bias.normal_(generator=torch.Generator().manual_seed(2))
                network.stem[0].weight.mul_(-2)
        forward.renew()
        for _ in range(3):
            for network in (model, other):
                for one, presence in given:
                    torch.testing.assert_close(
                        forward(network, one, presence, bodies),
                        forward.plain(network, one, presence),
                        rtol=1e-4,
                        atol=1e-5,
                    )
    assert len(forward) == (6 if captures else 0) and len(forward._absent) == 6
    forward.clear()
    assert not forward._absent


def test_batches_of_all_sizes_and_any_rows_are_replayed_in_the_end(model, monkeypatch):
    """There are more sizes of rows than graphs: graphs of all rows serve the rest."""
    monkeypatch.setattr(forward_graphs, "MOST_GRAPHS", 16)
    forward = graphs(*powers_of_two(32))
    random, passes, plain = np.random.default_rng(0), 30, []
    x, _ = clips(32)
    for seen in range(passes):
        if seen == passes - 1:
            forward.pool.warm_up = lambda run, *used: plain.append(run()) or plain[-1]
        for size in forward.sizes:
            bodies = np.ones((random.integers(size // 2 + 1, size + 1), 2), bool)
            bodies[:, 1] = random.random(len(bodies)) < 0.3
            given = x[: len(bodies)] * torch.tensor(bodies)[:, None, None, None]
            answer = forward(model, given, None, bodies)
            if seen == passes - 1:
                torch.testing.assert_close(answer, forward.plain(model, given), rtol=1e-4, atol=1e-5)
    assert not plain and 16 // 2 < len(forward) <= 16


def test_there_are_only_so_many_graphs(model):
    forward = graphs(2)
    x, _ = clips(2)
    for frames in range(model.min_frames, model.min_frames + MOST_GRAPHS + 3):
        given = torch.cat([x] * 3, 2)[:, :, :frames]
        for _ in range(3):
            assert torch.equal(forward(model, given), forward.plain(model, given))
    assert len(forward) == MOST_GRAPHS


def test_a_network_that_cannot_be_captured_runs_plain_and_says_so_once(model, monkeypatch, recwarn):
    forward = graphs(2)

    def capture(run):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(forward.pool, "capture", capture)
    x, _ = clips(2)
    for _ in range(4):
        assert torch.equal(forward(model, x), forward.plain(model, x))
    (said,) = recwarn
    assert "runs without (operation not permitted when stream is capturing)" in str(said.message)


def test_sizes():
    assert powers_of_two(1) == (1,)
    assert powers_of_two(32) == (1, 2, 4, 8, 16, 32)
    assert powers_of_two(20) == (1, 2, 4, 8, 16, 20)


needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU: there are no CUDA graphs to compare with"
)


@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("presence", [False, True])
def test_captured_recognition_is_the_plain_one(precision, presence):
    device = torch.device("cuda", 0)
    model = make_model(SHAPE, device).eval()
    forward = graphs(4, 8, device=device, precision=precision)
    for seed, count in enumerate([8, 8, 3, 3, 8, 5, 1, 4]):
        x, there = clips(count, seed, device, presence)
        # Products of another size add in another order.
        near = 1e-4 if precision == "float32" else 5e-2
        torch.testing.assert_close(
            forward(model, x, there), forward.plain(model, x, there), rtol=near, atol=near
        )
    assert len(forward) == 2


@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("presence", [False, True])
def test_captured_recognition_without_absent_bodies_is_the_plain_one(precision, presence, monkeypatch):
    monkeypatch.setattr(forward_graphs, "ROW_STEPS", 8)
    monkeypatch.setattr(forward_graphs, "FEWEST_ROWS", 1)
    device = torch.device("cuda", 0)
    model = make_model(SHAPE, device).eval()
    forward = graphs(8, device=device, precision=precision)
    near = 1e-4 if precision == "float32" else 5e-2
    for seed, count in enumerate([8, 8, 8, 5, 5, 5, 8, 8]):
        x, there = clips(count, seed, device, presence)
        bodies = np.ones((count, 2), bool)
        bodies[seed % 3 :: 2, 1] = False
        here = torch.tensor(bodies, device=device)
        x, there = x * here[:, None, None, None], there * here[:, None] if presence else None
        torch.testing.assert_close(
            forward(model, x, there, bodies), forward.plain(model, x, there), rtol=near, atol=near
        )
    assert {key[-1] for key in forward._captured} == {8, 12}


@needs_gpu
def test_recognition_between_steps_shares_their_memory_and_changes_no_step():
    device = torch.device("cuda", 0)
    alone, between = (make_step(SHAPE, CONFIG, device, cuda_graphs=True) for _ in range(2))
    forward = ForwardGraphs("float32", device, (SHAPE.batch,), between.graph_pool)
    x, _ = clips(SHAPE.batch, device=device)
    given = [make_batch(SHAPE, alone.model, device, seed) for seed in range(8)]
    for batch in given:
        losses = [train(step, [batch]) for step in (alone, between)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        between.model.eval()
        for _ in range(2):
            answer = forward(between.model, x)
        torch.testing.assert_close(answer, forward.plain(between.model, x), rtol=1e-4, atol=1e-5)
        between.model.train()
    assert len(forward) == 1 and len(between._cuda_graphs) == 1
