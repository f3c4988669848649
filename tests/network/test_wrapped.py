"""Any network in TSGCNeXt's place; one that fails is one clear line before the first step."""

from copy import deepcopy

import pytest
import torch
from made.own_networks import FAULTY, PLAIN, PRESENCE, write_network

from pipelines.errors import TsgcError
from pipelines.skeleton import NW_UCLA_20
from tsgc.kernels.launching import KernelError
from tsgc.network.build import build_network
from tsgc.network.cost import count_parts, totals
from tsgc.network.own import code as own_code
from tsgc.network.own.code import admit
from tsgc.network.own.wrapped import told_of, try_out
from tsgc.train_config import TrainConfig

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_admitted(monkeypatch):
    monkeypatch.setattr(own_code, "_admitted", [])


def build(folder, source=PLAIN, name="Net", **settings):
    admit(write_network(folder, source).replace(":Net", f":{name}"))
    config = TrainConfig(network=f"my.py:{name}", frames=6, network_settings=settings)
    return build_network(config, NW_UCLA_20, 5, bodies=2, channels=3)


def is_one_line(model, expected, every_gradient):
    with pytest.raises(TsgcError, match=f"^network {model.source}: .*{expected}") as found:
        try_out(model, CPU, every_gradient, presence=True)
    assert "\n" not in str(found.value)


def test_it_is_called_as_ours_and_its_weights_have_their_own_names(tmp_path):
    model = build(tmp_path, width=4).eval()
    assert list(model.state_dict())[:2] == ["embed.weight", "embed.bias"]
    assert model.input_shape == (3, 20, 2) and model.num_classes == 5 and not len(model.drop_path_rates)
    x = torch.randn(3, 2, 6, 20, 3).permute(0, 4, 2, 3, 1)  # as our input is: a view
    answer = model(x, torch.ones(0, 6), None, None)
    assert torch.equal(answer, model.network(x.contiguous())) and answer.shape == (3, 5)
    other = build(tmp_path, width=4).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), answer)


def test_a_network_that_holds_what_it_has_computed_is_copied(tmp_path):
    normed = PLAIN.replace("nn.Linear(width, num", "nn.utils.weight_norm(nn.Linear(width, num").replace(
        ", num_classes)\n", ", num_classes))\n", 1
    )
    model = build(tmp_path, normed)
    assert not model.network.out.weight.is_leaf
    copied, x = deepcopy(model).eval(), torch.randn(3, 3, 6, 20, 2)
    assert torch.equal(copied(x), model.eval()(x)) and copied.network is not model.network
    assert copied.network.out.weight_g is not model.network.out.weight_g


def test_a_network_that_cannot_be_copied_is_one_line(tmp_path):
    locked = PLAIN.replace("import torch\n", "import threading\nimport torch\n", 1).replace(
        "        self.embed", "        self.lock = threading.Lock()\n        self.embed", 1
    )
    with pytest.raises(TsgcError, match=r"it cannot be copied, .* '_thread.lock' object; make that"):
        deepcopy(build(tmp_path, locked))


def test_presence_is_given_where_it_is_asked_for(tmp_path):
    model = build(tmp_path, PRESENCE).eval()
    x, presence = torch.randn(2, 3, 6, 20, 2), torch.ones(2, 6, 2)
    presence[:, :, 1] = 0
    answer = model(x, presence=presence)
    assert torch.equal(answer, model(x * torch.tensor([1.0, 0.0]), presence=presence))
    assert not torch.allclose(answer, model(x))


def test_trying_it_out_changes_nothing(tmp_path):
    torch.manual_seed(0)
    model = build(tmp_path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    try_out(model, CPU, every_gradient=True, presence=True)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "Shape",
            r"gives \(2, 4\) for x of \(N, C, T, V, M\) = \(2, 3, 6, 20, 2\), expected logits .* \(2, 5\)",
        ),
        ("Pair", r"gives a tuple for x .*, expected logits \(N, K\) = \(2, 5\)"),
        ("NotANumber", r"logits are not finite for standard normal x"),
        ("Raises", r"forward pass failed on x .*: RuntimeError: .*\(my.py, line 33\)"),
        ("Stopped", r"no gradient reaches its parameters"),
        ("Base", r"parameter idle.weight and 1 more gets no gradient"),
    ],
)
def test_a_network_that_would_fail_is_one_line(tmp_path, name, expected):
    is_one_line(build(tmp_path, FAULTY, name), expected, every_gradient=True)


LATER = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, skeleton, num_classes, **shape):
        super().__init__()
        self.out = nn.Linear(3, num_classes)

    def forward(self, x):
        return self.out(x.mean((2, 3, 4)))


class Recognises(Net):
    def forward(self, x):
        if not self.training:
            raise ValueError("not today")
        return super().forward(x)


class Narrow(Net):
    def forward(self, x):
        return super().forward(x) if self.training else super().forward(x)[:, 1:]


class Endless(Net):
    def forward(self, x):
        return super().forward(x) if self.training else super().forward(x) / 0


class InPlace(Net):
    def forward(self, x):
        x = super().forward(x).exp()
        return x + x.mul_(2)


class Refusing(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        raise KeyError("no gradient of mine")


class Backwards(Net):
    def forward(self, x):
        return Refusing.apply(super().forward(x))


class Squeezed(Net):
    def forward(self, x):
        return super().forward(x).squeeze()


class Counting(Net):
    def __init__(self, *given, **shape):
        super().__init__(*given, **shape)
        self.register_buffer("calls", torch.zeros(3))

    def forward(self, x):
        self.calls.add_(1)
        return super().forward(x) * self.calls.sum()


class Kernels(Net):
    def forward(self, x):
        from tsgc.kernels.launching import KernelError

        raise KernelError("mixer", "no room")
"""
"""Networks whose fault shows later than in a forward pass of two clips in training mode."""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Recognises", r"its forward pass failed on x .*: ValueError: not today \(my.py, line 18\)$"),
        ("Narrow", r"gives \(2, 4\) for x .* in eval mode, expected logits .*\(2, 5\)$"),
        ("Endless", r"not finite for standard normal x .* in eval mode"),
        ("InPlace", r"its backward pass failed on x .*: RuntimeError: .* inplace operation"),
        ("Backwards", r"its backward pass failed on x .*: KeyError: .*mine'? \(my.py, line \d+\)$"),
    ],
)
def test_what_fails_backwards_or_in_eval_mode_is_one_line_before_the_first_step(tmp_path, name, expected):
    is_one_line(build(tmp_path, LATER, name), expected, every_gradient=False)


def test_a_buffer_that_changes_in_every_pass_is_tried_and_put_back(tmp_path):
    model = build(tmp_path, LATER, "Counting")
    try_out(model, CPU, every_gradient=True, presence=True)
    assert not model.network.calls.any()


def test_an_answer_of_another_shape_is_one_line_for_a_single_clip_too(tmp_path):
    model = build(tmp_path, LATER, "Squeezed")
    try_out(model, CPU, every_gradient=True, presence=True)
    with pytest.raises(TsgcError, match=r"Squeezed: its forward pass gives \(5,\) for x .*\(1, 5\)$"):
        model(torch.zeros(1, 3, 6, 20, 2))


def test_errors_of_kernels_memory_and_other_processes_are_not_the_networks(tmp_path):
    with pytest.raises(KernelError, match=r"^mixer: no room$"):
        build(tmp_path, LATER, "Kernels")(torch.zeros(1, 3, 6, 20, 2))
    ranks = RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer")
    for error in (torch.OutOfMemoryError("full"), ranks, KernelError("mixer", "no room")):
        with pytest.raises(type(error)) as found, told_of("my.py:Net", "backward pass"):
            raise error
        assert found.value is error


def test_a_parameter_without_a_gradient_matters_to_several_processes_alone(tmp_path):
    try_out(build(tmp_path, FAULTY, "Base"), CPU, every_gradient=False, presence=True)


def test_no_gradient_at_all_is_one_line_for_one_process_too(tmp_path):
    with pytest.raises(TsgcError, match=r"^network my.py:Stopped: no gradient reaches its parameters"):
        try_out(build(tmp_path, FAULTY, "Stopped"), CPU, every_gradient=False, presence=True)


LAZY = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, skeleton, num_classes, **shape):
        super().__init__(nn.Flatten(), nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.LazyLinear(num_classes))


class Idle(Net):
    def __init__(self, skeleton, num_classes, **shape):
        super().__init__(skeleton, num_classes)
        self.more = nn.ModuleList([nn.LazyLinear(3)])

    def forward(self, x):
        for layer in list(self)[:4]:
            x = layer(x)
        return x
"""


def test_lazy_layers_take_their_shapes_when_it_is_made(tmp_path):
    torch.manual_seed(1)
    model = build(tmp_path, LAZY)
    weights = model.state_dict()
    assert weights["1.weight"].shape == (4, 3 * 6 * 20 * 2) and weights["3.weight"].shape == (5, 4)
    assert weights["2.num_batches_tracked"] == 0 and model.training
    try_out(model, CPU, every_gradient=True, presence=True)
    torch.manual_seed(1)
    again = build(tmp_path, LAZY).state_dict()
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    with pytest.raises(TsgcError, match=r"^network my.py:Idle: .* lazy layers without shape: more.0$"):
        build(tmp_path, LAZY, "Idle")


HEADED = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, skeleton, num_classes, *, bodies, channels, frames, rates=(0.0, 0.5)):
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(bodies * channels * frames * 20, num_classes) for _ in "ab")
        self.drop_path_rates = torch.tensor(rates)
        self.given = []

    def forward(self, x, survival=None):
        self.given.append(survival)
        heads = torch.stack([head(x.flatten(1)) for head in self.heads], 1)
        return heads if self.training else heads.mean(1)


class Always(Net):
    def forward(self, x):
        return super().forward(x) if self.training else torch.zeros(len(x), 2, 5)


class Listed(Net):
    def __init__(self, *given, **shape):
        super().__init__(*given, **shape)
        self.drop_path_rates = [0.0, 0.5]


class Without(Net):
    def __init__(self, *given, **shape):
        super().__init__(*given, **shape)
        del self.drop_path_rates
"""


def test_several_heads_and_drop_paths_factors_are_a_networks_business(tmp_path):
    model = build(tmp_path, HEADED)
    try_out(model, CPU, every_gradient=True, presence=True)
    assert model.drop_path_rates.tolist() == [0.0, 0.5] and "drop_path_rates" not in model.state_dict()
    x, survival = torch.randn(3, 3, 6, 20, 2), torch.ones(2, 6)
    assert model(x, survival).shape == (3, 2, 5) and model.network.given[-1] is survival
    assert model.eval()(x).shape == (3, 5) and model.network.given[-1] is None
    still = build(tmp_path, HEADED, "Without")  # no rates: nothing to be given
    still(x, torch.ones(0, 6))
    assert still.network.given[-1] is None and not len(still.drop_path_rates)


def test_an_answer_that_is_of_heads_even_when_it_recognises_is_one_line(tmp_path):
    with pytest.raises(TsgcError, match=r"Always: .*gives \(2, 2, 5\) for x .* expected logits .*\(2, 5\)$"):
        try_out(build(tmp_path, HEADED, "Always"), CPU, every_gradient=False, presence=True)


GATED = (
    PLAIN
    + """

class Needs(Net):
    def forward(self, x, presence):
        return super().forward(x * presence.mean())


class Gated(Net):
    def __init__(self, *given, **shape):
        super().__init__(*given, **shape)
        self.gates = nn.ParameterList([nn.Parameter(torch.ones(())) for _ in range(2)])

    def forward(self, x, presence):
        return super().forward(x * self.gates[0 if presence is None else 1])
"""
)


def test_it_is_tried_with_presence_where_its_clips_have_it_alone(tmp_path):
    needs = build(tmp_path, GATED, "Needs")
    try_out(needs, CPU, every_gradient=True, presence=True)
    with pytest.raises(TsgcError, match=r"Needs: its forward pass without presence failed on x .*NoneType"):
        try_out(needs, CPU, every_gradient=True, presence=False)
    gated = build(tmp_path, GATED, "Gated")
    for presence in (False, True):
        gated.network.gates[0].requires_grad_(not presence)
        gated.network.gates[1].requires_grad_(presence)
        try_out(gated, CPU, every_gradient=True, presence=presence)


@pytest.mark.parametrize("rates", [(0.0, 1.0), (-0.1, 0.2), (0, 1)])
def test_rates_that_are_none_are_one_line(tmp_path, rates):
    with pytest.raises(TsgcError, match=r"drop_path_rates are tensor.*expected a tensor"):
        build(tmp_path, HEADED, rates=rates)
    with pytest.raises(TsgcError, match=r"drop_path_rates are \[0.0, 0.5\], expected a tensor"):
        build(tmp_path, HEADED, "Listed")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("number", "made a int, expected a torch.nn.Module"),
        ("refuses", r"bodies=2, channels=3, frames=6: ValueError: no such shape for me \(my.py, line \d+\)"),
        ("without_frames", "unexpected keyword argument 'frames'"),
    ],
)
def test_what_makes_no_network_is_one_line(tmp_path, name, expected):
    with pytest.raises(TsgcError, match=expected):
        build(tmp_path, FAULTY, name)


def test_an_argument_that_it_does_not_have_is_named(tmp_path):
    with pytest.raises(TsgcError, match=r"depth=3: TypeError: .*unexpected keyword argument 'depth'"):
        build(tmp_path, depth=3)


def test_its_cost_is_counted_module_by_module(tmp_path):
    model = build(tmp_path, width=4)
    parts = count_parts(model, 6)
    assert [part.name for part in parts] == ["embed", "norm", "dropout", "out"]
    assert totals(parts)["macs"] == 6 * 120 * 4 + 4 * 5
    assert totals(parts)["parameters"] == sum(tensor.numel() for tensor in model.parameters())
