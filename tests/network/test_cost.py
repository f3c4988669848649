"""What any network costs: its products are counted, whatever kernels they would run in."""

import json

import pytest
import torch
from made.command import tsgc
from made.own_networks import FAULTY, write_network
from torch import nn

from tsgc.network.cost import counted_parts, totals
from tsgc.network.own.wrapped import wrap

T, C, V, K = 50, 3, 4, 5
WIDTH = C * V


class Scaled(nn.Module):
    """A layer that is given a parameter of another module."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x, factor):
        return self.linear(x) * factor


class OneLayer(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.steps = nn.Sequential(layer, nn.Identity())
        self.factor = nn.Parameter(torch.ones(1))
        self.scaled = Scaled()
        self.head = nn.Linear(WIDTH, K)

    def forward(self, x):  # (N, C, T, V, 1)
        x = self.steps[0](x.permute(0, 2, 1, 3, 4).flatten(2))
        x = x[0] if isinstance(x, tuple) else x
        return self.head(self.scaled(x, self.factor).mean(1))


LAYERS = {
    "linear": (nn.Linear(WIDTH, WIDTH), T * WIDTH**2),
    "gru": (nn.GRU(WIDTH, WIDTH, batch_first=True), T * 3 * 2 * WIDTH**2),
    "lstm": (nn.LSTM(WIDTH, WIDTH, batch_first=True), T * 4 * 2 * WIDTH**2),
    # Four projections and two layers of 8, then queries by keys, and weights by values.
    "transformer": (
        nn.TransformerEncoderLayer(WIDTH, 2, 8, batch_first=True),
        T * (4 * WIDTH**2 + 2 * 8 * WIDTH) + 2 * T * T * WIDTH,
    ),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_all_products_are_counted(layer):
    module, macs = LAYERS[layer]
    model = wrap(OneLayer(module), "my.py:Net", K, input_shape=(C, V, 1), frames=T).train()
    parts = {part.name: part for part in counted_parts(model)}
    assert parts["steps.0"].macs == macs and parts["scaled"].macs == T * WIDTH**2
    assert parts["head"].macs == WIDTH * K and parts["head"].output == str(K)
    whole = totals(list(parts.values()))
    assert whole["parameters"] == sum(value.numel() for value in model.parameters())
    assert whole["macs"] == macs + T * WIDTH**2 + WIDTH * K
    assert model.training and all(value.grad is None for value in model.parameters())


class Tied(nn.Module):
    """Two layers that have one weight, and a bias each."""

    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Linear(V * C, V * C), nn.Linear(V * C, V * C)
        self.again.weight = self.first.weight
        self.head = nn.Linear(V * C, K)

    def forward(self, x):
        x = x.permute(0, 2, 4, 3, 1).flatten(2).mean(1)
        return self.head(self.again(self.first(x)))


def test_a_weight_of_two_layers_is_counted_once_and_multiplied_twice():
    model = wrap(Tied(), "my.py:Net", K, input_shape=(C, V, 1), frames=T)
    parts = counted_parts(model)
    wide = (V * C) ** 2
    assert [part.name for part in parts] == ["first", "again", "head"]
    assert [part.parameters for part in parts][:2] == [wide + V * C, V * C]
    assert [part.macs for part in parts] == [wide, wide, V * C * K]


def test_info_of_the_fields_networks_has_a_row_for_each_unit():
    shape = ("--skeleton", "nw-ucla-20", "--frames", 52, "--bodies", 1, "--classes", 10)
    words = ("info", "--network", "ctrgcn", *shape)
    said = tsgc(*words)
    assert "1.43 M parameters" in said and "all products together" in said and "acts" not in said
    found = json.loads(tsgc(*words, "--json"))
    units = [part for part in found["parts"] if part["name"].startswith("units.")]
    assert len(units) == 10 and all(part["macs"] > 0 for part in units)
    assert found["totals"]["parameters"] == 1_426_892
    # Without what pads the features of pairs for the kernels: 572.8 M.
    assert found["totals"]["macs"] == pytest.approx(573e6, rel=0.02)


def test_a_network_that_fails_is_one_line_to_info_and_bench(tmp_path):
    given = write_network(tmp_path, FAULTY).removesuffix("Net")
    shape = ["--skeleton", "nw-ucla-20", "--bodies", 1, "--frames", 8, "--classes", 4]
    for command in (["info"], ["bench", "train", "--device", "cpu"]):
        said = tsgc(*command, "--network", f"{given}Raises", *shape, expect=1)
        assert "error: network my.py:Raises: its forward pass failed on x" in said
    said = tsgc("bench", "train", "--device", "cpu", "--network", f"{given}Stopped", *shape, expect=1)
    assert "network my.py:Stopped: no gradient reaches its parameters" in said
