"""Absent bodies are left out of recognition: the same logits from fewer rows."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made.steps import CPU

from tsgc.bench.inputs import Shape, make_batch, make_model
from tsgc.network.present_rows import plan_rows
from tsgc.step.forward_graphs import ForwardGraphs

THERE = st.integers(1, 4).flatmap(
    lambda M: st.lists(st.lists(st.booleans(), min_size=M, max_size=M), min_size=1, max_size=6)
)


def made(there, told):
    """A network, and clips whose bodies are `there` (N, M): input, presence, `there`."""
    there = torch.tensor(there)
    N, M = there.shape
    shape = Shape(variant="tiny", skeleton="nw-ucla-20", frames=16, bodies=M, classes=5, batch=N)
    model = make_model(shape, CPU).eval()
    with torch.no_grad():  # so that what an absent body becomes depends on its place
        model.input_norm.weight.uniform_(0.5, 2)
        model.input_norm.bias.normal_()
    batch = make_batch(shape, model, CPU, seed=1, presence=True)
    here = batch.presence * there[:, None]
    x = batch.x * there[:, None, None, None]
    return model, *((x * here[:, None, :, None], here) if told else (x, None)), there.numpy()


def rows_of(forward, model, *given):
    """Logits, and how many rows each call of the stem had."""
    seen = []
    hook = model.stem.register_forward_pre_hook(lambda stem, x: seen.append(len(x[0])))
    logits = forward(model, *given)
    hook.remove()
    return logits, seen


@pytest.mark.parametrize("told", [False, True])
@given(there=THERE)
def test_logits_are_those_of_all_rows(told, there):
    """Clips of one to four bodies, some without any."""
    model, *clips = made(there, told)
    forward = ForwardGraphs("float32", CPU, ())
    got, seen = rows_of(forward, model, *clips)
    torch.testing.assert_close(got, forward.plain(model, *clips[:2]), rtol=1e-5, atol=1e-5)
    count, most = int(np.sum(there)), np.size(there)
    assert sum(seen) == (most if max(count, 1) == most else max(count, 1) + np.shape(there)[1])


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_in_the_precisions_of_a_cpu(precision):
    model, *clips = made([[True, False], [True, True], [False, True], [True, False]], False)
    forward = ForwardGraphs(precision, CPU, ())
    near = 1e-5 if precision == "float32" else 5e-2
    got, want = forward(model, *clips), forward.plain(model, *clips[:2])
    torch.testing.assert_close(got, want, rtol=near, atol=near)
    assert torch.equal(got, forward(model, *clips))


def test_what_is_absent_is_computed_once_until_weights_change():
    model, *clips = made([[True, False]] * 3, False)
    forward = ForwardGraphs("float32", CPU, ())
    assert [rows_of(forward, model, *clips)[1] for _ in range(2)] == [[2, 3], [3]]
    with torch.no_grad():
        model.stem[0].weight.mul_(-2)
    forward.renew()
    got, seen = rows_of(forward, model, *clips)
    assert seen == [2, 3]
    torch.testing.assert_close(got, forward.plain(model, *clips[:2]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("told", [False, True])
def test_what_is_absent_has_the_arithmetic_of_the_rest(told):
    model, *clips = made([[True, False]] * 3, told)
    types = []
    with model.stem[0].register_forward_hook(lambda layer, x, made: types.append(made.dtype)):
        ForwardGraphs("bf16", CPU, ())(model, *clips)
    assert types == [torch.bfloat16] * 2


@given(there=THERE, step=st.integers(1, 9), most=st.integers(1, 30))
def test_plans(there, step, most):
    there = np.array(there)
    N, M = there.shape
    planned = plan_rows(there, step, most)
    rows = max(-(-there.sum() // step), 1) * step
    assert (planned is None) == (rows >= most)
    if planned is None:
        return
    index, place = planned
    assert len(index) == rows < most and len(place) == N * M
    for row, (body, at) in enumerate(zip(there.ravel(), place, strict=True)):
        assert index[at] == row if body else at == rows + row % M
