"""The plain twin is the network: logits, gradients, running statistics."""

import dataclasses

import pytest
import torch

from tsgc.bench.inputs import Shape, make_batch, make_model
from tsgc.bench.reference import plain_layout, plain_twin

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "shape",
    [
        Shape(variant="tiny", skeleton="ntu-25", frames=19, bodies=2, classes=7, batch=3),
        Shape(variant="252", skeleton="nw-ucla-20", frames=16, bodies=1, classes=10, batch=2),
        Shape(variant="432", skeleton="coco-17", frames=16, bodies=2, classes=4, batch=2),
    ],
    ids=["tiny", "252", "432"],
)
def test_the_plain_twin_has_the_networks_logits_and_gradients(shape):
    model = make_model(shape, CPU)
    with torch.no_grad():
        for parameter in model.parameters():  # no tensor at zero or one, so that none can be in a wrong place
            parameter.add_(0.05 * torch.randn(parameter.shape))
    batch = make_batch(shape, model, CPU, seed=1)
    for training in (False, True):
        model.train(training)
        twin = plain_twin(model)
        survival = batch.survival if training else None
        ours, theirs = model(batch.x, survival), twin(batch.x, survival)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    weight = torch.randn(ours.shape)
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    gradients = plain_layout({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, parameter in twin.named_parameters():
        scale = gradients[name].abs().max().item()
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=1e-4 * scale, msg=name)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(twin.input_norm, name), getattr(model.input_norm, name))


def test_the_twins_layout_is_no_copy_of_ours():
    """Tensors that are laid out otherwise are moved, not only reshaped."""
    shape = Shape(variant="tiny", skeleton="nw-ucla-20", classes=3)
    model = make_model(dataclasses.replace(shape), CPU)
    ours, plain = model.state_dict(), plain_layout(model.state_dict())
    for name in ("stages.0.0.expand.weight", "stages.0.0.project.weight"):
        assert plain[name].shape == ours[name].shape and not torch.equal(plain[name], ours[name])
    assert plain["stem.0.weight"].shape == (24, 3, 4, 1)
