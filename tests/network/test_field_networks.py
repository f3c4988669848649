"""What the networks of the field promise to whoever trains, exports or copies them."""

from copy import deepcopy

import numpy as np
import onnxruntime
import pytest
import torch
from torch.export import Dim

from pipelines.errors import TsgcError
from pipelines.skeleton import SKELETONS
from tsgc.config import TrainConfig
from tsgc.network.field.ctrgcn import CTRGCN
from tsgc.network.field.stgcnpp import STGCNPP
from tsgc.step.optimizer import parameter_groups

NETWORKS = {"ctrgcn": CTRGCN, "stgcn++": STGCNPP}


@pytest.fixture(params=NETWORKS)
def network(request):
    return NETWORKS[request.param]


def small(network, dropout=0.0):
    """A small network as after some training: refined graphs and norms count, statistics fit."""
    torch.manual_seed(0)
    model = network(SKELETONS["coco-17"], 5, width=16, dropout=dropout)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        norms = [
            module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
        ]
        for norm in norms:
            norm.momentum = 1
        model(clips(8))
        for norm in norms:
            norm.momentum = 0.1
    return model


def clips(count=4, frames=12):
    return torch.randn(count, 3, frames, 17, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_every_skeleton_is_taken_and_every_parameter_learns(network, skeleton):
    """DDP waits for the gradient of every parameter."""
    body = SKELETONS[skeleton]
    model = network(body, 7, bodies=1, channels=2, frames=1, width=8)
    logits = model(torch.randn(2, 2, 4, body.num_joints, 1))
    logits.sum().backward()
    assert logits.shape == (2, 7) and logits.isfinite().all()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_absent_bodies_give_finite_logits(network):
    x = clips()
    x[..., 1] = 0
    x[0] = 0
    model = small(network)
    loss = model(x).square().sum()
    loss.backward()
    assert loss.isfinite() and model.eval()(x).isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_clip_does_not_depend_on_the_others_of_its_batch(network):
    model, x = small(network).eval(), clips()
    torch.testing.assert_close(model(x[1:2]), model(x)[1:2])


def test_bfloat16_is_near_float32(network):
    model, x = small(network), clips(frames=16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(x).float().square().mean()
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    model.eval()
    exact = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(x).float()
    assert (rounded - exact).abs().max() < 0.05 * exact.abs().max()


def test_a_copy_is_a_network_of_its_own(network):
    model, x = small(network).eval(), clips()
    copy = deepcopy(model)
    before = model(x)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.zero_()
    assert torch.equal(model(x), before) and not torch.equal(copy(x), before)


@pytest.mark.slow
def test_it_is_one_graph_for_compilers(network):
    model, x = small(network), clips()
    expected = model(x)
    compiled = torch.compile(model, backend="eager", fullgraph=True)  # torch's own takes a minute here
    torch.testing.assert_close(compiled(x), expected)


@pytest.mark.slow
def test_files_give_the_logits_for_any_number_of_clips(network, tmp_path):
    model, x = small(network).eval(), clips(count=2)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: Dim("clips", min=1)},))
    torch.onnx.export(program, dynamo=True, verbose=False).save(tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    (name,) = (node.name for node in session.get_inputs())
    for count in (1, 5):
        x = clips(count)
        expected = model(x).detach().numpy()
        np.testing.assert_allclose(program.module()(x).detach().numpy(), expected, atol=1e-5)
        np.testing.assert_allclose(session.run(None, {name: x.numpy()})[0], expected, atol=1e-4)


@pytest.mark.parametrize("settings", [{"width": 5}, {"width": 0}, {"frames": 0}])
def test_a_network_that_cannot_be_is_refused_in_one_line(network, settings):
    with pytest.raises(TsgcError) as told:
        network(SKELETONS["coco-17"], 3, **settings)
    assert "\n" not in str(told.value) and str(next(iter(settings.values()))) in str(told.value)


def test_an_input_of_another_shape_is_refused(network):
    with pytest.raises(TsgcError, match=r"\(2, 17, 1\).*expects \(3, 17, 2\)"):
        small(network)(torch.zeros(1, 2, 8, 17, 1))


def test_graphs_do_not_decay_where_settings_say_so(network):
    model = small(network)
    still, decaying = parameter_groups(model, TrainConfig(decay_graphs=False))
    assert all(unit.graph.graphs in set(still["params"]) for unit in model.units)
    biases = {value for name, value in model.named_parameters() if name.endswith("bias")}
    assert biases <= set(still["params"]) and len(decaying["params"]) > 50


def test_dropout_is_off_unless_asked_for(network):
    x = clips()
    model = small(network)
    assert torch.equal(model(x), model(x))
    model = small(network, dropout=0.5)
    assert not torch.equal(model(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


def test_a_new_network_starts_as_published(network):
    """The graphs are the skeleton's own; classifiers start small, by the number of classes or not."""
    torch.manual_seed(0)
    model = network(SKELETONS["ntu-25"], 60)
    deviation = {"CTRGCN": (2 / 60) ** 0.5, "STGCNPP": 0.01}[network.__name__]
    assert model.head.weight.std().item() == pytest.approx(deviation, rel=0.03)
    graphs = [parameter for name, parameter in model.named_parameters() if name.endswith("graphs")]
    assert len(graphs) == 10 and all(torch.equal(graph, graphs[0]) for graph in graphs)
    assert torch.equal(graphs[0][0], torch.eye(25))
    last = model.units[9].temporal[0].convolutions[0].weight
    expected = {"CTRGCN": (2 / (64 * 5)) ** 0.5, "STGCNPP": (46 * 3) ** -0.5 / 3**0.5}[network.__name__]
    assert last.std().item() == pytest.approx(expected, rel=0.05)
    if network is CTRGCN:
        graph = model.units[9].graph
        assert graph.alpha.item() == 0 and (graph.norm.weight == 1e-6).all()
        assert graph.transform.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.03)
        assert graph.embed.weight.std().item() == pytest.approx((2 / 32) ** 0.5, rel=0.03)
        assert graph.refine.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.03)
        assert not any(layer.bias.any() for layer in (graph.embed, graph.refine, graph.transform))
