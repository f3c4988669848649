"""CTR-GCN against the published one's known answers."""

import json

import numpy as np
import pytest
import torch
from made.published_names import ctrgcn_from_published
from made.released import reference_state

from pipelines.errors import TsgcError
from pipelines.skeleton import SKELETONS
from tsgc.network.adjacency import adjacency
from tsgc.network.field.ctrgcn import CTRGCN

SHAPES = {"nw-ucla": ("nw-ucla-20", 1), "ntu": ("ntu-25", 2)}  # case -> skeleton, bodies


@pytest.fixture(scope="module", params=SHAPES)
def published(request, shared):
    """A recorded case, and our network of its shape."""
    case = json.loads((shared / "golden/ctrgcn_reference.json").read_text())[request.param]
    skeleton, bodies = SHAPES[request.param]
    return case, CTRGCN(SKELETONS[skeleton], case["arguments"]["num_class"], bodies=bodies).eval()


def test_parameters_and_adjacency_are_the_published_ones(published):
    case, model = published
    assert sum(p.numel() for p in model.parameters()) == case["parameters"]
    skeleton = SKELETONS["nw-ucla-20" if case["arguments"]["num_point"] == 20 else "ntu-25"]
    np.testing.assert_allclose(adjacency(skeleton), np.array(case["adjacency"]), atol=1e-6)


def test_logits_are_the_published_ones(published):
    case, model = published
    model.load_state_dict(ctrgcn_from_published(reference_state(case["state"], ones=(".weight",))))
    x = np.random.default_rng(case["input_seed"]).standard_normal(case["input_shape"]).astype(np.float32)
    with torch.no_grad():
        logits = model(torch.from_numpy(x))
    np.testing.assert_allclose(logits.numpy(), np.array(case["logits"]), atol=2e-5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"width": 6}, "multiple of 4"), ({"width": 0}, "multiple of 4"), ({"frames": 0}, "1 at least")],
)
def test_a_network_that_cannot_be_is_refused(settings, says):
    with pytest.raises(TsgcError, match=says):
        CTRGCN(SKELETONS["coco-17"], 3, **settings)


def test_an_input_of_another_shape_is_refused():
    with pytest.raises(TsgcError, match="expects"):
        CTRGCN(SKELETONS["coco-17"], 3, bodies=1, channels=2, width=8)(torch.zeros(1, 3, 8, 17, 1))
