"""CTR-GCN and ST-GCN++ against their plain twins: values, gradients, running statistics, kernels."""

import pytest
import torch
from made.plain_gcn import PlainCTRGCN, PlainSTGCNPP
from made.published_names import ctrgcn_from_published, stgcnpp_from_published
from torch.utils._python_dispatch import TorchDispatchMode

from pipelines.skeleton import SKELETONS
from tsgc.network.adjacency import adjacency
from tsgc.network.field.ctrgcn import CTRGCN
from tsgc.network.field.stgcnpp import STGCNPP

NETWORKS = {
    "ctrgcn": (CTRGCN, PlainCTRGCN, ctrgcn_from_published),
    "stgcn++": (STGCNPP, PlainSTGCNPP, stgcnpp_from_published),
}
# skeleton, bodies, channels, width, frames: an odd number of them, too; widths that six does not divide.
CASES = {
    "3d": ("nw-ucla-20", 1, 3, 16, 13),
    "2d": ("coco-17", 2, 2, 32, 8),
    "score": ("hand-21", 3, 3, 20, 1),
}


def twins(network, skeleton, bodies, channels, width):
    """Our network and the plain one, with the same weights, which are all of a size that matters."""
    ours, plain, names = NETWORKS[network]
    body = SKELETONS[skeleton]
    torch.manual_seed(0)
    twin = plain(torch.from_numpy(adjacency(body)), 5, bodies, channels, width).double()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model = ours(body, 5, bodies=bodies, channels=channels, width=width).double()
    model.load_state_dict(names(twin.state_dict()))
    return model, twin, names


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_cut_network_is_the_plain_one(network, case):
    """Logits and gradients of a training step, statistics after it, logits of recognition after that."""
    *shape, frames = CASES[case]
    skeleton, bodies, channels, _ = shape
    model, twin, names = twins(network, *shape)
    x = torch.randn(3, channels, frames, SKELETONS[skeleton].num_joints, bodies, dtype=torch.float64)
    weights = torch.randn(3, 5, dtype=torch.float64)
    for one in (model, twin):
        (one(x) * weights).sum().backward()
    torch.testing.assert_close(model(x), twin(x))
    expected = dict(twin.state_dict())
    expected |= {name: parameter.grad for name, parameter in twin.named_parameters()}
    expected = names(expected)
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(gradient.abs().max() > 0 for name, gradient in found.items() if "bias" not in name)
    found = dict(model.state_dict()) | found
    for name in (name for name in found if not name.endswith("num_batches_tracked")):
        torch.testing.assert_close(found[name], expected[name], msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(model.eval()(x), twin.eval()(x))


@pytest.mark.parametrize("network", NETWORKS)
def test_a_bias_that_a_norm_takes_away_has_no_gradient_and_counts_in_recognition(network):
    """The plain twin's gradients are what rounding leaves of 0."""
    model, twin, names = twins(network, "nw-ucla-20", 1, 3, 16)
    x = torch.randn(3, 3, 8, 20, 1, dtype=torch.float64)
    for one in (model, twin):
        one(x).square().sum().backward()
    gradients = dict(twin.state_dict())
    gradients |= {name: parameter.grad for name, parameter in twin.named_parameters()}
    gradients = names(gradients)
    left_out = {id(layer.bias) for layer in model.without_bias}
    found = {name: value for name, value in model.named_parameters() if id(value) in left_out}
    assert len(found) == len(left_out) >= 10 * 3
    for name, bias in found.items():
        assert not bias.grad.any() and gradients[name].abs().max() < 1e-10, name
    before = model.eval()(x)
    with torch.no_grad():
        for bias in found.values():
            bias.add_(1)
    assert not torch.allclose(model(x), before)


# Joints -> millions, with 60 classes: the table of MMAction2, which took ST-GCN++ over from PYSKL.
@pytest.mark.parametrize(("skeleton", "millions"), [("coco-17", 1.39), ("ntu-25", 1.40)])
def test_parameters_of_stgcnpp_are_the_published_ones(skeleton, millions):
    count = sum(parameter.numel() for parameter in STGCNPP(SKELETONS[skeleton], 60).parameters())
    assert round(count / 1e6, 2) == millions


@pytest.mark.parametrize("network", NETWORKS)
def test_the_cut_network_learns_as_many_numbers_as_the_plain_one(network):
    model, twin, _ = twins(network, "ntu-25", 2, 3, 64)
    counts = [sum(parameter.numel() for parameter in one.parameters()) for one in (model, twin)]
    assert counts[0] == counts[1]


class Operations(TorchDispatchMode):
    """Counts torch's operations that compute or copy."""

    VIEWS = ("detach", "empty", "empty_like", "new_empty", "new_empty_strided", "_unsafe_view")

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.is_view and function._overloadpacket.__name__ not in self.VIEWS
        return function(*args, **(kwargs or {}))


# At most so much of the plain count: on a CPU, with what are kernels on a GPU as several operations.
@pytest.mark.parametrize(("network", "most"), [("ctrgcn", 0.6), ("stgcn++", 0.9)])
def test_a_training_step_has_fewer_operations(network, most):
    counts = []
    for model in twins(network, "nw-ucla-20", 1, 3, 16)[:2]:
        with Operations() as found:
            model(torch.randn(2, 3, 8, 20, 1, dtype=torch.float64)).sum().backward()
        counts.append(found.count)
    ours, plain = counts
    print(f"{ours} operations, {plain} of the plain twin")
    assert ours < most * plain
