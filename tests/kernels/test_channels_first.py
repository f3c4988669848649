"""The kernels of the field's networks against their plain twins in float64: values, gradients, statistics.

Without a GPU Triton's interpreter runs the kernels' own code.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from made.kernels import DEVICE, assert_close

pytest.importorskip("triton", reason="torch comes without Triton here")

import tsgc.kernels.add_up as add_up
import tsgc.kernels.batch_norm as batch_norm
import tsgc.kernels.branches as branches
import tsgc.kernels.pairs as pairs
import tsgc.kernels.subsets as subsets
from pipelines.skeleton import SKELETONS
from tsgc import kernels
from tsgc.kernels.plain_pairs import plain_pairs
from tsgc.network.field import product as products
from tsgc.network.field.ctrgcn import CTRGCN
from tsgc.network.field.gcn_layers import _leaves_bias_out
from tsgc.network.field.stgcnpp import STGCNPP


def found(apply, inputs, double=False):
    """The result of tensors, and the gradients of those that are not None, by name."""
    given = {name: value for name, value in inputs.items() if value is not None}
    given = {name: value.double() if double else value for name, value in given.items()}
    given = {name: value.to(DEVICE).requires_grad_() for name, value in copy.deepcopy(given).items()}
    out = apply(*(given.get(name) for name in inputs))
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(5))
    gradients = torch.autograd.grad(out, list(given.values()), weights.to(out))
    return {"out": out.detach(), **dict(zip(given, gradients, strict=True))}


@pytest.mark.parametrize("L", [231, 2, 1500])
@pytest.mark.parametrize("residual, relu", [(False, False), (False, True), (True, True)])
def test_batch_norm_is_torchs_then_sum_then_relu(residual, relu, L, monkeypatch):
    """Channels of one part and of several, parts of one block and of several; a mean far from 0."""
    monkeypatch.setattr(batch_norm, "BLOCK", 256)
    monkeypatch.setattr(batch_norm, "PARTS", 4)
    torch.manual_seed(L)
    C = 5
    inputs = {
        "x": 3 * torch.randn(C, L) + 7, "residual": torch.randn(C, L) if residual else None,
        "gamma": torch.randn(C), "beta": torch.randn(C),
    }  # fmt: skip
    left_out = torch.randn(C, device=DEVICE)
    ours, theirs = [torch.ones(2, C, device=DEVICE) for _ in range(2)]
    theirs = theirs.double()

    def fused(x, residual, gamma, beta):
        return batch_norm.BatchNorm.apply(x, residual, gamma, beta, left_out, *ours, 0.1, 1e-5, relu)

    def plain(x, residual, gamma, beta):
        y = F.batch_norm((x + left_out[:, None])[None], *theirs.clone(), gamma, beta, True, 0.1, 1e-5)[0]
        F.batch_norm((x + left_out[:, None]).detach()[None], *theirs, training=True, momentum=0.1)
        y = y if residual is None else y + residual
        return y.relu() if relu else y

    want, got = found(plain, inputs, double=True), found(fused, inputs)
    if L == 2:  # the gradient of x is rounding alone
        del want["x"]
    assert_close({**got, "running": ours}, {**want, "running": theirs}, 2e-6)


@pytest.mark.parametrize("residual, relu", [(False, False), (False, True), (True, True)])
def test_what_takes_the_place_of_batch_norms_kernels_gives_the_same(residual, relu):
    torch.manual_seed(0)
    x, dy, other = torch.randn(3, 4, 300, device=DEVICE)
    gamma, beta, left_out = torch.randn(3, 4, device=DEVICE)
    statistics = [torch.ones(2, 4, device=DEVICE) for _ in range(2)]
    rest = other if residual else None
    results = []
    for twin, running in zip((False, True), statistics, strict=True):
        forward, backward = batch_norm.forward, batch_norm.backward
        if twin:
            forward, backward = batch_norm.plain_forward, batch_norm.plain_backward
        y, saved = forward(x, rest, gamma, beta, left_out, *running, 0.1, 1e-5, relu)
        dx = torch.empty_like(x)
        gradients = backward(dy, x, y if residual else None, gamma, beta, saved, relu, dx)
        assert (gradients[0] is not None) == residual
        results.append([y, saved, dx, *gradients[not residual :]])
    torch.testing.assert_close(statistics[0], statistics[1])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("V, T, biased", [(20, 13, True), (17, 70, False), (5, 1, True)])
def test_joints_are_mixed_as_by_products_and_a_sum(V, T, biased, shared, monkeypatch):
    """Graphs of each clip and channel; such that all share, transposed; joints that fill no tile."""
    monkeypatch.setattr(subsets, "PROGRAMS", 3)
    torch.manual_seed(V)
    K, C, N = 3, 4, 2
    inputs = {
        "graphs": torch.randn(K, V, V) if shared else torch.randn(K, C, N, V, V),
        "z": torch.randn(K, C, N, V, T), "bias": torch.randn(K * C) if biased else None,
    }  # fmt: skip
    want = found(lambda *given: subsets.plain_mix(*given, shared), inputs, double=True)
    got = found(lambda *given: subsets.Mix.apply(*given, shared), inputs)
    assert_close(got, want, 2e-6)
    twin = subsets.plain_mix_backward(
        torch.ones(C, N, V, T), inputs["graphs"], inputs["z"], inputs["bias"], shared
    )
    assert [one is None for one in twin] == [False, False, not biased]


@pytest.mark.parametrize("V", [17, 4])
def test_features_of_pairs_are_the_plain_ones(V):
    torch.manual_seed(V)
    inputs = {
        "embedded": torch.randn(2, 3, 4, 2, V),
        "graphs": torch.randn(3, V, V),
        "alpha": torch.tensor([0.7]),
    }
    want = found(plain_pairs, inputs, double=True)
    assert_close(found(pairs.Pairs.apply, inputs), want, 2e-6)
    given = [value.to(DEVICE) for value in inputs.values()]
    dout = torch.randn(want["out"].shape, generator=torch.Generator().manual_seed(5)).to(DEVICE)
    twin = pairs.plain_backward(dout, *given)
    assert_close(dict(zip(inputs, twin, strict=True)), {name: want[name] for name in inputs}, 2e-6)


@pytest.mark.parametrize(
    "first, narrow, stride, dilations, kernel, frames",
    [
        (4, 4, 1, (1, 2), 5, 9),
        (5, 3, 2, (1, 2, 3, 4), 3, 9),
        (16, 16, 2, (1, 2), 5, 12),
        (6, 2, 2, (3,), 3, 1),
    ],
)
def test_branches_are_convolutions_pooling_and_the_rest(
    first, narrow, stride, dilations, kernel, frames, monkeypatch
):
    """Tiles that are not full; parts that are; an odd number of frames, and one."""
    monkeypatch.setattr(branches, "POSITIONS", 32)
    monkeypatch.setattr(branches, "PROGRAMS", 20)
    torch.manual_seed(first)
    h = torch.randn(first + narrow * len(dilations), 2, 3, frames).relu()
    inputs = {"h": h, "passed": torch.randn(narrow, 2, 3, frames)}
    for number, _ in enumerate(dilations):
        size = narrow if number else first
        inputs[f"w{number}"] = torch.randn(size, size, kernel, 1)
    cut = branches.Cut(first, narrow, stride, dilations)
    want = found(lambda h, passed, *rest: branches.plain_branches(h, passed, cut, *rest), inputs, double=True)
    given = [value.to(DEVICE) for value in inputs.values()]
    out = branches.branches(given[0], given[1], cut, *given[2:])
    dy = torch.randn(out.shape, generator=torch.Generator().manual_seed(5)).to(DEVICE)
    for backward in (branches.backward, branches.plain_backward):
        dpassed = torch.full_like(given[1], torch.nan)
        dh, weights = backward(dy, given[0], dpassed, cut, *given[2:])
        got = dict(zip(inputs, (dh, dpassed, *weights), strict=True))
        assert_close({"out": out, **got}, want, 2e-6)


@pytest.mark.parametrize("groups, clips, numbers", [(1, 6, 1 << 22), (3, 6, 50), (2, 7, 1)])
def test_a_products_gradients_are_those_of_the_plain_one(groups, clips, numbers, monkeypatch):
    monkeypatch.setattr(products, "MOST_NUMBERS", numbers)
    torch.manual_seed(clips)
    inputs = {"weight": torch.randn(groups, 4, 3), "x": torch.randn(groups, 3, clips * 10)}
    want = found(torch.bmm, inputs, double=True)
    assert_close(found(lambda *given: products.Product.apply(*given, clips), inputs), want, 2e-6)


def test_a_weights_gradient_is_summed_in_parts_that_are_alike_and_small():
    assert products.parts_of(128, 192 * 64) == 128
    assert products.parts_of(128, 768 * 256) == 16
    assert products.parts_of(7, 1 << 21) == 1
    assert products.parts_of(1, 1) == 1


def learned(unit, x, weights):
    """A unit's output and its gradients; biases that it leaves out have none."""
    names, parameters = zip(*unit.named_parameters(), strict=True)
    x = x.detach().requires_grad_()
    out = unit(x)
    gradients = torch.autograd.grad((out * weights).sum(), [x, *parameters], allow_unused=True)
    given = {name: value for name, value in zip(("x", *names), gradients, strict=True) if value is not None}
    missing = {f"{name}.bias" for name, module in unit.named_modules() if _leaves_bias_out(module)}
    assert missing == {*names} - {*given}
    return {"out": out.detach(), **given}


@pytest.mark.parametrize("number", [4, 5])
@pytest.mark.parametrize("network", [CTRGCN, STGCNPP])
def test_a_unit_on_kernels_is_the_plain_one(network, number, monkeypatch):
    """One that widens and one that does not: a training step, and the statistics after it."""
    torch.manual_seed(0)
    unit = network(SKELETONS["coco-17"], 3, bodies=1, width=8).units[number].to(DEVICE)
    with torch.no_grad():
        for parameter in unit.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    twin = copy.deepcopy(unit).double()
    x = torch.randn(8 if number == 4 else 16, 2, 17, 6, device=DEVICE, requires_grad=True)
    weights = torch.randn(16, 2, 17, 3 if number == 4 else 6, device=DEVICE)
    with kernels.plain():
        want = learned(twin, x.double(), weights)
    used = []
    if DEVICE == "cpu":
        monkeypatch.setattr(kernels, "fuses", lambda x: used.append(x) or True)
    got = learned(unit, x, weights)
    assert used or DEVICE != "cpu"
    assert_close(got, want, 1e-4)
    for (name, one), other in zip(unit.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(one, other, check_dtype=False, msg=name, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("frames", [1, 13, 70])
def test_the_mean_over_frames_is_torchs(frames, dtype, monkeypatch):
    monkeypatch.setattr(add_up, "BLOCK", 256)
    x = torch.randn(3, 2, 17, frames, device=DEVICE).to(dtype)
    torch.testing.assert_close(add_up.mean(x), x.float().mean(3).to(dtype))


@pytest.mark.parametrize("used", [(1, 1, 1), (1, 1, 0), (0, 0, 1), (0, 0, 0)])
def test_the_gradients_of_all_uses_of_an_input_are_added_up(used):
    """Of the mean and of x itself, once and again; some are not used."""
    torch.manual_seed(0)
    inputs = {"weight": torch.randn(4, 3), "x": torch.randn(3, 2, 5, 7)}
    factors = [torch.randn(4, 2, 5, 7), torch.randn(3, 2, 5), *torch.randn(2, 3, 2, 5, 7)]

    def added(*parts):
        return sum(
            (part * factor.to(part)).sum(list(range(1, part.dim()))).sum()
            for part, factor, counts in zip(parts, factors, (1, *used), strict=True)
            if counts
        )[None]

    def plain(weight, x):
        return added((weight @ x.flatten(1)).view(4, 2, 5, 7), x.mean(3), x, x)

    def fused(weight, x):
        return added(*products.FanOut.apply(weight, x, True))

    assert_close(found(fused, inputs), found(plain, inputs, double=True), 2e-6)


def test_what_takes_the_place_of_adding_up_gives_the_same():
    one, other = torch.randn(2, 3, 2, 5, 7, device=DEVICE)
    joints = torch.randn(3, 2, 5, device=DEVICE)
    for given in ((one, other, joints), (one, None, joints), (one, other, None), (one, None, None)):
        result = add_up.add_up(*given)
        torch.testing.assert_close(result, add_up.plain_add_up(*given))
        assert result.data_ptr() != one.data_ptr()
