"""The network against the published one's known answers, and what it promises on its own."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from made.released import reference_state
from made.slowly import slowly
from timm.layers import trunc_normal_

from pipelines.errors import TsgcError
from pipelines.skeleton import SKELETONS
from tsgc.config import TrainConfig
from tsgc.network.adjacency import adjacency
from tsgc.network.layers import DEVIATION, draw_weights
from tsgc.network.model import VARIANTS, TSGCNeXt
from tsgc.network.released import from_reference
from tsgc.step.loss import soft_targets, summed_loss
from tsgc.step.optimizer import build_optimizer, learning_rate

LARGER = tuple(variant for variant in VARIANTS if variant != "tiny")


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads((shared / "golden/model_reference.json").read_text())


def test_adjacency_is_the_published_one(shared):
    for name, graphs in json.loads((shared / "golden/adjacency.json").read_text()).items():
        np.testing.assert_allclose(adjacency(SKELETONS[name]), np.array(graphs), atol=1e-6)


def test_logits_are_the_published_ones(golden):
    case = golden["ntu25_252"]
    model = TSGCNeXt(SKELETONS["ntu-25"], case["num_class"], variant="252").eval()
    model.load_state_dict(from_reference(reference_state(case["state"])))
    x = np.random.default_rng(case["input_seed"]).standard_normal(case["input_shape"]).astype(np.float32)
    with torch.no_grad():
        logits = model(torch.from_numpy(x))
    np.testing.assert_allclose(logits.numpy(), np.array(case["logits"]), atol=2e-5)


def test_parameters_are_the_published_ones_but_for_the_two_unused(golden):
    case = golden["ntu25_252"]
    model = TSGCNeXt(SKELETONS["ntu-25"], 120, variant="252")
    unused = sum(int(np.prod(s)) for n, s in case["state"].items() if n.endswith((".gamma", ".alpha")))
    assert sum(p.numel() for p in model.parameters()) + unused == case["params"]


def test_training_losses_are_the_published_ones(golden):
    case, shapes = golden["train_steps"], dict(golden["ntu25_252"]["state"])
    shapes |= {"fc.weight": [60, 384], "fc.bias": [60]}
    model = TSGCNeXt(SKELETONS["ntu-25"], 60, variant="252", drop_path=0)
    model.load_state_dict(from_reference(reference_state(shapes)))
    optimizer = build_optimizer(model, TrainConfig(lr=1e-3), torch.device("cpu"))
    x = np.random.default_rng(case["input_seed"]).standard_normal(case["input_shape"]).astype(np.float32)
    x, labels = torch.from_numpy(x), torch.tensor(case["labels"])
    targets = soft_targets(labels, torch.arange(4), torch.ones(4), 60, smoothing=0)
    losses = []
    for _ in case["losses"]:
        loss = summed_loss(model.train()(x), targets) / len(x)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # The published losses are rounded to 5 decimals, which adds half a unit to the 2e-5.
    np.testing.assert_allclose(losses, case["losses"], atol=2.5e-5)


def test_schedule_is_the_published_one(shared):
    case = json.loads((shared / "golden/schedule.json").read_text())
    rates = [
        learning_rate(step, case["steps_per_epoch"], TrainConfig(epochs=case["epochs"]))
        for step in range(case["steps_per_epoch"] * case["epochs"])
    ]
    np.testing.assert_allclose(rates, case["lr"], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(
    "variant, skeleton",
    [
        *(("tiny", skeleton) for skeleton in SKELETONS),
        *((variant, "ntu-25") for variant in LARGER),
        *slowly(
            *((variant, skeleton) for variant, skeleton in product(LARGER, SKELETONS) if skeleton != "ntu-25")
        ),
    ],
)
def test_every_variant_takes_every_skeleton(variant, skeleton):
    body = SKELETONS[skeleton]
    model = TSGCNeXt(body, 7, variant=variant, bodies=1)
    logits = model(torch.randn(2, 3, 52, body.num_joints, 1))
    logits.sum().backward()
    assert logits.shape == (2, 7)
    assert all(p.grad is not None for p in model.parameters())


def test_weights_are_drawn_as_by_timm_to_the_bit():
    drawn = []
    for draw in (draw_weights, lambda weight: trunc_normal_(weight, std=DEVIATION)):
        torch.manual_seed(0)
        drawn.append(torch.empty(384, 96))
        draw(drawn[-1])
    assert torch.equal(*drawn) and drawn[0].std().item() == pytest.approx(DEVIATION, rel=0.02)


def test_a_clip_too_short_for_the_network_is_refused():
    with pytest.raises(TsgcError, match="T >= 16"):
        TSGCNeXt(SKELETONS["coco-17"], 3, variant="tiny")(torch.randn(1, 3, 15, 17, 2))


def test_bodies_are_interchangeable_after_the_input_norm():
    torch.manual_seed(0)
    model = TSGCNeXt(SKELETONS["ntu-25"], 5, variant="tiny").eval()
    x = torch.randn(2, 3, 16, 25, 2)
    torch.testing.assert_close(model(x), model(x.flip(-1)))


def test_drop_path_drops_whole_rows_and_scales_the_rest():
    model = TSGCNeXt(SKELETONS["ntu-25"], 5, variant="tiny", drop_path=0.5)
    uniform = torch.tensor([[0.0, 0.9], [0.2, 0.3], [0.49, 0.5]])
    torch.testing.assert_close(model.survival(uniform), torch.tensor([[1, 1], [0, 4 / 3], [0, 2.0]]))


def test_numbers_of_kept_rows_come_with_the_rows_factors():
    """Without them drop path would be drawn anew, and kernels would count on other rows."""
    model = TSGCNeXt(SKELETONS["ntu-25"], 5, variant="tiny")
    with pytest.raises(AssertionError, match="`kept` counts rows of a `survival`"):
        model(torch.randn(1, 3, 16, 25, 2), kept=(2, 1, 1))


def test_dropped_rows_pass_through_every_block_unchanged():
    model = TSGCNeXt(SKELETONS["ntu-25"], 5, variant="tiny").eval()
    block = model.stages[0][0]
    x = torch.randn(2, 4, 25, 24)
    y = block(x, torch.tensor([0.0, 2.0]))
    assert torch.equal(y[0], x[0]) and not torch.equal(y[1], x[1])


def test_mixed_targets_sum_to_one_and_smooth():
    targets = soft_targets(torch.tensor([0, 2]), torch.tensor([1, 0]), torch.tensor([0.7, 1.0]), 4, 0.1)
    torch.testing.assert_close(targets.sum(1), torch.ones(2))
    torch.testing.assert_close(targets[0], torch.tensor([0.7 * 0.9, 0, 0.3 * 0.9, 0]) + 0.025)
    torch.testing.assert_close(targets[1], torch.tensor([0.025, 0.025, 0.925, 0.025]))


def test_summed_loss_is_torchs_cross_entropy():
    logits, labels = torch.randn(6, 9), torch.randint(9, (6,))
    ours = summed_loss(logits, soft_targets(labels, torch.arange(6), torch.ones(6), 9, 0.1)) / 6
    torch.testing.assert_close(ours, torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1))
