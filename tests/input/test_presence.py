"""The corrected preset's input: interpolation over present frames only, and absent bodies left out."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made.batches import CPU, NTU, made_clips, pack, pipeline

from tsgc.config import TrainConfig
from tsgc.input.crop import centre_crop, crop_positions
from tsgc.input.geometry import min_max
from tsgc.input.mixing import mix
from tsgc.input.pipeline import InputPipeline
from tsgc.input.resize import BRIDGE, present_rows, resample_present
from tsgc.input.tta import View
from tsgc.modalities import MODALITIES
from tsgc.network.model import TSGCNeXt, pool_present


def corrected(bodies=2, skeleton=NTU, **changes):
    config = dataclasses.replace(TrainConfig(), **changes)
    return InputPipeline(config, skeleton, bodies, "zeros", present_only=True)


def holes(clip, frames, body=0):
    clip[list(frames), body] = 0
    return clip


def one_clip(frames, bodies=1, seed=0):
    (clip,) = made_clips(seed, bodies=(bodies,), frames=(frames,))
    return clip


def plain_resample(clip, positions, bodies):
    """One clip (T, M, V, C), one position and body at a time: x (bodies, P, V, C), presence (bodies, P)."""
    x = np.zeros((bodies, len(positions), *clip.shape[2:]), np.float32)
    presence = np.zeros((bodies, len(positions)), bool)
    for m in range(clip.shape[1]):
        there = [t for t in range(len(clip)) if clip[t, m].any()]
        for p, at in enumerate(positions):
            left = max((t for t in there if t <= at), default=None)
            right = min((t for t in there if t >= at), default=None)
            if left is not None and right is not None and right - left <= BRIDGE + 1:
                share = 0.0 if left == right else (at - left) / (right - left)
                value = (1 - share) * clip[left, m] + share * clip[right, m]
            elif left is not None and at - left < 1:
                value = clip[left, m]
            elif right is not None and right - at < 1:
                value = clip[right, m]
            else:
                continue
            x[m, p], presence[m, p] = value, True
    return x, presence


@st.composite
def gappy_clips(draw_):
    """Clips with any frames of any bodies taken away, and positions in them."""
    clips, positions = [], []
    for seed in range(draw_(st.integers(1, 3))):
        frames, bodies = draw_(st.integers(1, 60)), draw_(st.integers(1, 2))
        clip = one_clip(frames, bodies, seed)[:, :, :4]
        for body in range(bodies):
            for start, length in draw_(
                st.lists(st.tuples(st.integers(0, 59), st.integers(1, 40)), max_size=3)
            ):
                clip[start : start + length, body] = 0
        clips.append(clip)
        places = st.floats(0, frames - 1) | st.integers(0, frames - 1).map(float)
        positions.append(draw_(st.lists(places, min_size=7, max_size=7)))
    return clips, np.array(positions)


@given(gappy_clips())
def test_the_batched_resampling_is_the_plain_one(made):
    clips, positions = made
    batch = pack(clips)
    most = int(batch.frames.max())
    x, presence = resample_present(
        batch.joints, present_rows(batch.joints), batch, torch.from_numpy(positions), 2, most
    )
    for n, clip in enumerate(clips):
        expected, there = plain_resample(clip, positions[n], 2)
        assert (presence[n].numpy() == there).all()
        np.testing.assert_allclose(x[n].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("modality", MODALITIES)
def test_clips_without_absence_are_the_reference_presets_but_for_the_missing_body(modality):
    clips = made_clips()
    x, presence = corrected(modality=modality, frames=64).test(pack(clips), CPU)
    expected, nothing = pipeline(modality=modality, frames=64).test(pack(clips), CPU)
    assert nothing is None
    torch.testing.assert_close(x, expected)
    assert presence.shape == (3, 64, 2)
    assert presence.mean(1).tolist() == [[1, 0], [1, 1], [1, 0]]


def test_a_real_body_is_never_blended_with_an_absent_one():
    clip = holes(np.ones((40, 1, 25, 3), np.float32), [10, 11, 25])
    x, presence = corrected(frames=256).test(pack([clip]), CPU)
    torch.testing.assert_close(x[..., 0], torch.ones_like(x[..., 0]))
    assert (presence[..., 0] == 1).all()


@pytest.mark.parametrize(("missed", "bridged"), [(BRIDGE, True), (BRIDGE + 1, False)])
def test_short_gaps_are_bridged_and_in_longer_ones_the_body_is_absent(missed, bridged):
    clip = holes(one_clip(60), range(20, 20 + missed))
    x, presence = corrected(sampling="frames", frames=60).test(pack([clip]), CPU)
    assert bool(presence[0, 20 : 20 + missed, 0].all()) == bridged
    assert bool((x[0, :, 20 : 20 + missed, :, 0] == 0).all()) != bridged


def test_a_late_partner_is_absent_until_it_comes():
    clip = holes(one_clip(40, bodies=2), range(30), body=1)
    _, presence = corrected(sampling="frames", frames=40).test(pack([clip]), CPU)
    assert presence[0, :, 0].all()
    assert presence[0, :, 1].tolist() == [0] * 30 + [1] * 10


@pytest.mark.parametrize("modality", MODALITIES)
def test_nothing_is_computed_across_an_absent_frame(modality):
    """Frames away from the gap are those of the whole clip; those at it are 0, never a jump to 0."""
    clip = one_clip(60)
    setting = {"sampling": "frames", "frames": 60, "modality": modality}
    whole, _ = corrected(**setting).test(pack([clip.copy()]), CPU)
    x, _ = corrected(**setting).test(pack([holes(clip, range(20, 40))]), CPU)
    moving = "motion" in modality or "velocity" in modality
    reach = int(modality[-1]) if moving and modality[-1] in "24" else int(moving)
    touched = slice(20 - reach, 40)
    assert (x[0, :, touched, :, 0] == 0).all()
    kept = [t for t in range(60) if not 20 - reach <= t < 40]
    torch.testing.assert_close(x[0, :, kept, :, 0], whole[0, :, kept, :, 0])


def test_min_max_looks_at_present_rows_only():
    clip = one_clip(30, bodies=2) + 10
    batch = pack([holes(clip, range(12), body=1)])
    x = min_max(batch.joints, torch.zeros(60, dtype=torch.long), 1, present_rows(batch.joints))
    there = present_rows(batch.joints)
    assert (x[~there] == 0).all()
    assert x[there].amin((0, 1)).tolist() == pytest.approx([-1, -1, -1], abs=1e-5)
    assert x[there].amax((0, 1)).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_training_gives_presence_too_and_mixing_mixes_it():
    clips = made_clips(bodies=(1, 2), frames=(30, 30))
    pipe = corrected(frames=32)
    x, presence = pipe.train(pack(clips), pipe.draw(0, 0, 2, 3), CPU)
    assert x.shape == (2, 3, 32, 25, 2) and torch.isfinite(x).all()
    mixed = mix(presence, torch.tensor([1, 0]), torch.tensor([0.75, 0.25]))
    assert mixed[0, 0].tolist() == [1, 0.25] and mixed[1, 0].tolist() == [1, 0.25]


def plain_pool(x, presence):
    """One clip at a time. x (N*M, T', V, C), presence (N, T, M) -> (N, C)."""
    N, T, M = presence.shape
    steps = x.shape[1]
    stride = T // steps
    pooled = []
    for n in range(N):
        total, weights = torch.zeros(x.shape[-1]), 0.0
        for m in range(M):
            for step in range(steps):
                weight = float(presence[n, step * stride : (step + 1) * stride, m].mean())
                total += weight * x[n * M + m, step].mean(0)
                weights += weight
        pooled.append(total / weights if weights else x[n * M : (n + 1) * M].mean((0, 1, 2)))
    return torch.stack(pooled)


def test_pooling_weighs_frames_and_bodies_by_their_presence():
    presence = torch.rand(4, 52, 2).round()
    presence[1, :, 1] = 0
    presence[2] = 0
    x = torch.randn(8, 3, 5, 7)
    torch.testing.assert_close(pool_present(x.mean(2), presence), plain_pool(x, presence))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return TSGCNeXt(NTU, 10, variant="tiny", bodies=2, drop_path=0)


def test_with_everybody_present_the_network_is_the_reference_presets(network):
    x = torch.randn(3, 3, 32, 25, 2)
    network.eval()
    torch.testing.assert_close(network(x, presence=torch.ones(3, 32, 2)), network(x))


def test_what_stands_in_the_place_of_an_absent_body_changes_nothing(network):
    x, presence = torch.randn(2, 3, 32, 25, 2), torch.ones(2, 32, 2)
    presence[0, :, 1] = 0
    other = x.clone()
    other[0, ..., 1] = torch.randn(3, 32, 25)
    network.eval()
    assert torch.equal(network(x, presence=presence), network(other, presence=presence))
    assert not torch.equal(network(x), network(other))


def test_gradients_are_finite_with_absent_bodies_frames_and_clips(network):
    clips = [one_clip(30), holes(one_clip(40, 2), range(5, 35), 1), holes(one_clip(150), range(20, 140))]
    pipe = corrected(frames=32)
    x, presence = pipe.test(pack(clips), CPU)
    presence[2] = 0
    network.train()
    network(x, presence=presence).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    assert sum(p.grad.abs().sum() for p in network.parameters() if p.grad is not None) > 0
    network.zero_grad()


def test_positions_between_frames_reach_over_the_crops_edge():
    clip = holes(one_clip(80), [2])
    start, length = centre_crop(np.array([80]))
    assert start[0] == 2
    x, presence = corrected(frames=64).test(pack([clip]), CPU)
    expected, there = plain_resample(clip, crop_positions(start, length, 64)[0], 1)
    np.testing.assert_allclose(x[0, ..., 0].permute(1, 2, 0).numpy(), expected[0], atol=1e-5)
    assert presence[0, :, 0].all() and there.all()


@pytest.mark.parametrize("normalise", ["none", "min-max", "unit", "spine"])
@pytest.mark.parametrize("preset", ["zeros", "copy", "corrected"])
def test_bodies_that_clips_do_not_have_are_zeros_in_every_stream(preset, normalise):
    """Recognition leaves them out (`network.present_rows`), and looks at nothing but their number."""
    clips = [one_clip(30), one_clip(40, 2), one_clip(9)]
    for modality in MODALITIES:
        changes = {"normalise": normalise, "modality": modality, "align": "facing", "frames": 32}
        pipe = corrected(**changes) if preset == "corrected" else pipeline(absent=preset, **changes)
        x, presence = pipe.test(pack(clips), CPU, View(degrees=20.0, span=None))
        there = torch.from_numpy(pipe.bodies_there(pack(clips)))
        assert there.tolist() == [[True, preset == "copy"], [True, True], [True, preset == "copy"]]
        assert not x.permute(0, 4, 1, 2, 3)[~there].any() and x.permute(0, 4, 1, 2, 3)[there].any()
        assert presence is None or not presence.transpose(1, 2)[~there].any()


@pytest.mark.parametrize("channels", ["xyzs", "xys"])
@pytest.mark.parametrize("told", [False, True])
def test_bodies_that_clips_do_not_have_are_zeros_beside_their_scores(channels, told):
    random = np.random.default_rng(0)
    clips = [
        np.concatenate([clip[..., : len(channels) - 1], random.random((*clip.shape[:3], 1), np.float32)], -1)
        for clip in (one_clip(30), one_clip(40, 2))
    ]
    for modality in MODALITIES:
        config = dataclasses.replace(TrainConfig(), modality=modality, frames=32)
        pipe = InputPipeline(config, NTU, 3, "zeros", present_only=told, channels=channels)
        x, presence = pipe.test(pack(clips), CPU, View(mirrored=True))
        bodies = x.permute(0, 4, 1, 2, 3)
        there = torch.from_numpy(pipe.bodies_there(pack(clips)))
        assert there.tolist() == [[True, False, False], [True, True, False]]
        assert not bodies[~there].any() and bodies[there].flatten(1).any(1).all()
        assert presence is None or not presence.transpose(1, 2)[~there].any()
