"""Operations on tall activations against their plain twins: values and gradients.

On CPUs by Triton's interpreter, as in test_kernels.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytest.importorskip("triton", reason="torch comes without Triton here")

from made.blocks import gradients
from made.kernels import DEVICE, assert_close

from tsgc.kernels import tall
from tsgc.kernels.patch import PatchNorm
from tsgc.kernels.tall import Pooled, TallLinear


def test_a_tall_linear_layer_is_the_plain_one():
    torch.manual_seed(0)
    layer = nn.Linear(24, 40).to(DEVICE)
    x, weights = torch.randn(3, 7, 24, device=DEVICE), torch.randn(3, 7, 40, device=DEVICE)
    twin = copy.deepcopy(layer).double()
    want = gradients(twin, x.double(), twin, weights)
    got = gradients(lambda x: TallLinear.apply(x, layer.weight, layer.bias), x, layer, weights)
    assert_close(got, want, 1e-6)


def test_pooling_gives_each_frame_and_joint_its_share():
    x = torch.randn(3, 4, 5, 6, device=DEVICE, requires_grad=True)
    weights = torch.randn(3, 6, device=DEVICE)
    out, plain = Pooled.apply(x), x.mean((1, 2))
    assert torch.equal(out, plain)
    for got, want in zip(*(torch.autograd.grad((y * weights).sum(), x) for y in (out, plain)), strict=True):
        assert torch.allclose(got, want, rtol=1e-6)


def test_a_tall_layers_gradient_may_be_a_part_of_a_wider_one():
    torch.manual_seed(0)
    layer, x = nn.Linear(24, 40).to(DEVICE), torch.randn(3, 7, 24, device=DEVICE)
    weights = torch.randn(3, 7, 50, device=DEVICE)
    twin = copy.deepcopy(layer).double()
    want = gradients(lambda x: F.pad(twin(x), (0, 10)), x.double(), twin, weights)
    got = gradients(
        lambda x: F.pad(TallLinear.apply(x, layer.weight, layer.bias), (0, 10)), x, layer, weights
    )
    assert_close(got, want, 1e-6)


def test_a_tall_layers_gradient_may_be_spread_from_one_number_a_channel():
    """Pooling's of a single row has the same memory for every frame and joint."""
    torch.manual_seed(0)
    layer, x = nn.Linear(24, 40).to(DEVICE), torch.randn(1, 4, 5, 24, device=DEVICE)
    weights = torch.randn(1, 40, device=DEVICE)
    twin = copy.deepcopy(layer).double()
    want = gradients(lambda x: twin(x).mean((1, 2)), x.double(), twin, weights)
    got = gradients(lambda x: Pooled.apply(TallLinear.apply(x, layer.weight, layer.bias)), x, layer, weights)
    assert_close(got, want, 1e-6)


@pytest.mark.parametrize("total", [1, 64, 1000])
def test_column_sums_take_more_blocks_than_programs(total, monkeypatch):
    monkeypatch.setattr(tall, "PROGRAMS", 3)
    torch.manual_seed(total)
    x = torch.randn(total, 40, device=DEVICE)
    torch.testing.assert_close(tall.column_sums(x).double(), x.double().sum(0), rtol=1e-5, atol=1e-5)


def test_gradients_of_gradients_are_refused():
    layer, norm = nn.Linear(24, 40).to(DEVICE), nn.LayerNorm(24).to(DEVICE)
    for run in (
        Pooled.apply,
        lambda x: TallLinear.apply(x, layer.weight, layer.bias),
        lambda x: PatchNorm.apply(x, norm.weight, norm.bias, 1, norm.eps),
    ):
        x = torch.randn(2, 2, 5, 24, device=DEVICE, requires_grad=True)
        (grad,) = torch.autograd.grad(run(x).square().sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            grad.sum().backward()
