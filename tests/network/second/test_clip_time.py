"""Layers in time are silent at first; frames lie in their order, where densities ask for them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

from pipelines.skeleton import NW_UCLA_20
from tsgc.config import TrainConfig
from tsgc.network.build import build_network
from tsgc.network.cost import count_parts
from tsgc.network.second.clip_time import (
    DENSEST,
    DILATIONS,
    HIDDEN,
    SEEN,
    ClipSampling,
    DilatedConvs,
    resampling,
)
from tsgc.network.second.model import TSGCNeXt2

N, T, V, M, VIEWS = 3, 24, NW_UCLA_20.num_joints, 2, 2
IN_TIME = {"dilated_convs": [1, 2, 3], "clip_sampling": True}


def network(**settings):
    torch.manual_seed(0)
    shape = {"bodies": M, "channels": 3 * VIEWS, "views": VIEWS, "frames": T, "variant": "tiny"}
    return TSGCNeXt2(NW_UCLA_20, 5, **shape, **settings)


def clips(seed=1, dtype=torch.float32):
    """Features of clips, (N, T, M, V, C)."""
    return torch.randn(
        N, T, M, V, 3 * VIEWS, generator=torch.Generator().manual_seed(seed), dtype=dtype
    ).cumsum(1)


def presence():
    """Clips of two bodies, of one that comes while the other goes, and of none."""
    there = torch.ones(N, T, M)
    there[1, :8, 1] = 0
    there[1, 13:, 0] = 0
    there[2] = 0
    return there


def sampling(views=VIEWS, seed=0):
    """Layers that have learned something."""
    torch.manual_seed(seed)
    layer = ClipSampling(views)
    torch.nn.init.normal_(layer.decide.weight, std=0.3)
    return layer


@pytest.mark.parametrize("there", [None, presence()], ids=["all", "presence"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_a_network_starts_as_one_of_the_same_seed_without_them_and_changes_as_they_learn(training, there):
    plain, model = network().train(training), network(**IN_TIME).train(training)
    x = clips().permute(0, 4, 1, 3, 2)
    answers = []
    for one in (plain, model):
        torch.manual_seed(2)  # of drop path
        answers.append(one(x, there))
        answers[-1].square().sum().backward()
    assert torch.equal(*answers)
    learned = dict(model.named_parameters())
    for name, value in plain.named_parameters():
        assert torch.equal(value, learned[name]) and torch.equal(value.grad, learned[name].grad), name
    for name in ("dilated.1.scale", "dilated.2.scale", "dilated.3.scale", "sampling.decide.weight"):
        assert learned[name].grad.any(), name
        before = learned[name].detach().clone()
        with torch.no_grad():
            learned[name].sub_(0.1 * learned[name].grad.sign())
            torch.manual_seed(2)
            assert not torch.allclose(model(x, there)[:2], answers[0][:2]), name
            learned[name].copy_(before)


@pytest.mark.parametrize("frames", [2, 3, 16, 52, 64, 100, 256])
def test_equal_densities_give_the_frames_themselves_to_the_bit(frames):
    assert torch.equal(resampling(torch.ones(2, frames - 1)), torch.eye(frames).expand(2, -1, -1))


@given(
    st.lists(
        st.lists(st.floats(1 / DENSEST, DENSEST, width=32), min_size=15, max_size=15), min_size=1, max_size=3
    )
)
def test_frames_stay_in_order_between_the_ends_and_lie_where_numpy_finds_them(density):
    weights = resampling(torch.tensor(density))
    frames = np.arange(16)
    for found, given_density in zip(weights.double().numpy(), density, strict=True):
        assert (found >= 0).all() and ((found > 0).sum(1) <= 2).all()
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
        places = found @ frames
        assert places[0] == 0 and places[-1] == 15 and (np.diff(places) > 0).all()
        ends = np.concatenate([[0], np.cumsum(given_density)])
        np.testing.assert_allclose(places, np.interp(frames, ends * 15 / ends[-1], frames), atol=1e-4)


def test_a_known_density_gives_known_frames():
    """Three times as dense in the clip's second half: of seven frames two steps are long, four short."""
    weights = resampling(torch.tensor([[1.0, 1, 1, 3, 3, 3]]))
    torch.testing.assert_close(
        weights[0] @ torch.arange(7.0), torch.tensor([0, 2, 10 / 3, 4, 14 / 3, 16 / 3, 6])
    )


def test_densities_are_taught():
    """Against finite differences, and where it starts: there a frame's place has a gradient, too."""
    random = torch.Generator().manual_seed(0)
    density = (torch.rand(2, 9, generator=random, dtype=torch.float64) + 0.3).requires_grad_()
    assert torch.autograd.gradcheck(resampling, density)
    layer, x, there = sampling().double(), clips(dtype=torch.float64), presence().double()
    names, values = zip(*layer.named_parameters(), strict=True)

    def warped(*weights):
        return functional_call(layer, dict(zip(names, weights, strict=True)), (x, there))

    assert torch.autograd.gradcheck(warped, values, fast_mode=True)
    equal = torch.ones(1, 5, requires_grad=True)
    (resampling(equal) @ torch.arange(6.0) ** 2).sum().backward()
    torch.testing.assert_close(equal.grad, torch.tensor([[-10.0, -7, -2, 5, 14]]))


def test_all_views_and_bodies_are_sampled_alike_from_the_speeds_of_all():
    layer, x = sampling(), clips()
    found, _ = layer(x)
    weights = resampling(layer.density(x))
    for body in range(M):
        torch.testing.assert_close(found[:, :, body], torch.einsum("nut,ntvc->nuvc", weights, x[:, :, body]))
    speeds = layer.speeds(x)
    views = x.split(3, -1)
    for view, one in enumerate(views):
        expected = (one[:, 1:] - one[:, :-1]).square().sum(-1).sqrt().mean((2, 3))
        torch.testing.assert_close(speeds[..., view], expected)
    swapped = torch.cat(views[::-1], -1)
    torch.testing.assert_close(layer.density(swapped), layer.density(x))  # views have the same weights
    torch.testing.assert_close(layer.density(3 * x), layer.density(x))  # only relative speeds count
    assert not torch.allclose(weights, torch.eye(T), atol=0.1)


def test_a_body_that_comes_or_goes_stays_as_it_is_there_and_its_absence_is_no_speed():
    layer, there = sampling(), presence()
    x = torch.full((N, T, M, V, 3 * VIEWS), 5.0) + torch.arange(T)[None, :, None, None, None] % 2
    x = x * (there > 0)[..., None, None]
    speeds = layer.speeds(x, there)
    torch.testing.assert_close(speeds[:2], torch.full((2, T - 1, VIEWS), 3**0.5))
    assert not speeds[2].any()
    found, told = layer(x, there)
    weights = resampling(layer.density(x, there))
    torch.testing.assert_close(told, weights @ there)
    assert ((told > 0) & (told < 1)).any()
    seen = told > 0
    assert (found[seen] >= 5 - 1e-4).all() and (found[seen] <= 6 + 1e-4).all()
    assert not found[~seen].any() and not found[2].any()


def test_a_clip_that_does_not_move_is_sampled_evenly_as_far_as_its_ends_allow():
    layer = sampling()
    density = layer.density(torch.ones(1, T, M, V, 3 * VIEWS))
    assert density.isfinite().all() and density[0, SEEN:-SEEN].std() < 1e-6


def test_frames_are_sampled_in_float32_under_autocast():
    layer, x, there = sampling(), clips(), presence()
    exact = layer(x, there)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(x, there)
    assert all(torch.equal(*pair) for pair in zip(exact, rounded, strict=True))


def dilated(width=8):
    torch.manual_seed(0)
    layer = DilatedConvs(width)
    torch.nn.init.normal_(layer.scale)
    return layer


def test_dilated_convolutions_are_torchs():
    layer = dilated()
    x = torch.randn(N * M, 13, V, 8)
    z = layer.norm(x).permute(0, 2, 3, 1).flatten(0, 1)  # (R V, C, T)
    mixed = sum(
        F.conv1d(z, taps.T[:, None], dilation=gap, padding=gap, groups=8)
        for gap, taps in zip(DILATIONS, layer.weight, strict=True)
    )
    expected = x + layer.scale * mixed.view(N * M, V, 8, 13).permute(0, 3, 1, 2)
    torch.testing.assert_close(layer(x), expected)


def test_dilated_convolutions_do_not_see_frames_of_absent_bodies():
    layer = dilated()
    x = torch.randn(N * M, 6, V, 8)
    share = torch.ones(N, M, 6)
    share[0, 1] = 0
    share[1, 0, 2:] = 0
    here = share.view(N * M, 6) > 0
    filled = torch.where(here[..., None, None], x, 100.0 * torch.randn_like(x))
    assert torch.equal(layer(x, share)[here], layer(filled, share)[here])
    assert not torch.allclose(layer(x)[here], layer(filled)[here])


def test_info_counts_what_they_cost():
    settings = {"dilated_convs": [1, 3], "clip_sampling": True}
    config = TrainConfig(
        network="tsgcnext2", variant="tiny", modality="joint+bone", frames=32, network_settings=settings
    )
    model = build_network(config, NW_UCLA_20, 4, bodies=M, channels=6)
    parts = {part.name: part for part in count_parts(model, 32)}
    layers = SEEN * HIDDEN * (VIEWS * 31 + 31)
    assert parts["sampling"].macs == layers + 32 * 32 * (M * V * 6 + 2 * M)
    assert parts["sampling"].output == f"32 x {M} x {V} x 6"
    assert parts["sampling"].parameters == (SEEN + 1) * HIDDEN + SEEN * HIDDEN
    assert [parts[f"dilated.{stage}"].parameters for stage in (1, 3)] == [9 * 16, 9 * 64]
    assert "the rest" not in parts


def test_no_shape_depends_on_the_data_and_no_number_is_read():
    """As CUDA graphs want it: tensors on the meta device have shapes alone."""
    model = network(**IN_TIME).to("meta")
    x = torch.empty(N, 3 * VIEWS, T, V, M, device="meta")
    logits = model(x, torch.empty(N, T, M, device="meta"))
    logits.sum().backward()
    assert logits.shape == (N, VIEWS, 5)
    assert all(value.grad is not None for value in model.parameters())
