"""Saliency: its gradient goes through the whole input, its values add up, and it finds the right limb."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made.batches import CPU, NTU, UCLA, made_clips, pipeline
from made.limbs import LIMBS, limb_clips, limb_network

from pipelines.errors import TsgcError
from tsgc.explain.saliency import explain, held_still, logits_and_gradients
from tsgc.explain.summary import shares
from tsgc.network.model import TSGCNeXt


def recogniser(*streams, weights=None, channels="xyz"):
    """What `explain` needs of a `Recogniser`, of (network, pipeline) pairs."""
    return SimpleNamespace(
        streams=[SimpleNamespace(model=model.eval(), pipeline=pipe) for model, pipe in streams],
        weights=weights or [1.0] * len(streams),
        device=CPU,
        channels=channels,
    )


def made_stream(seed=0, skeleton=NTU, bodies=2, present_only=False, channels="xyz", **changes):
    """A network with random weights and the pipeline of its input."""
    torch.manual_seed(seed)
    pipe = pipeline(skeleton, bodies, **{"variant": "tiny", "frames": 16, **changes})
    pipe = replace(pipe, present_only=present_only, channels=channels)
    model = TSGCNeXt(skeleton, 5, variant="tiny", bodies=bodies, channels=3, drop_path=0.0)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)  # nothing 0, no joint like another
    return model, pipe


INPUTS = {
    "joint": {},
    "bone": {"modality": "bone"},
    "joint_motion": {"modality": "joint_motion"},
    "angle": {"modality": "angle"},
    "min-max": {"normalise": "min-max", "sampling": "frames"},
    "unit": {"normalise": "unit"},
    "spine": {"normalise": "spine"},
    "facing": {"align": "facing"},
    "middle": {"centre": "middle"},
    "corrected": {"present_only": True, "modality": "bone_motion"},
    "copy": {"absent": "copy"},
}


@pytest.mark.parametrize("name", INPUTS)
def test_the_gradient_is_that_of_moving_joints_of_the_clip_itself(name):
    """Through resizing, normalisation and modality: against a difference of two clips."""
    by = recogniser(made_stream(**INPUTS[name]))
    (clip,) = made_clips(seed=3, bodies=(2 if name == "corrected" else 1,), frames=(23,))
    if name == "corrected":
        clip[5:, 1] = 0  # the second body leaves
    _, (gradient,) = logits_and_gradients(by, [clip], 2)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
    direction = np.random.default_rng(0).standard_normal(clip.shape).astype(np.float32) * clip.any(
        (2, 3), keepdims=True
    )
    step = np.float32(2e-3)
    logits, _ = logits_and_gradients(by, [clip - step * direction, clip + step * direction])
    scores = logits[:, 2] - logits.mean(1)
    assert (gradient * direction).sum() == pytest.approx((scores[1] - scores[0]) / (2 * step), rel=0.03)


def test_values_add_up_to_what_the_movement_adds():
    by = recogniser(made_stream(modality="bone"))
    (clip,) = made_clips(seed=1, bodies=(2,), frames=(40,))
    found = explain(by, clip, 1)
    ends, _ = logits_and_gradients(by, [held_still(clip, "xyz"), clip])
    assert [found.still, found.score] == pytest.approx((ends[:, 1] - ends.mean(1)).tolist(), abs=1e-5)
    assert found.values.sum() == pytest.approx(found.score - found.still, abs=0.05)
    assert found.joints.shape == (2, 25) and found.label == 1
    assert explain(by, clip).label == ends[1].argmax()


def test_who_is_absent_what_is_not_looked_at_and_what_rests_has_no_saliency():
    by = recogniser(made_stream(present_only=True))
    (clip,) = made_clips(seed=2, bodies=(2,), frames=(200,))  # 16 of its frames and their neighbours are seen
    clip[50:, 1] = 0
    clip[:, 0, 7] = (0.3, 0.2, 0.1)
    values = explain(by, clip).values
    assert np.abs(values).max() > 0 and values.shape == clip.shape[:3]
    assert not values[50:, 1].any() and not values[:, 0, 7].any()
    seen = np.flatnonzero(values.any((1, 2)))
    assert len(seen) <= 2 * 16
    still = np.repeat(clip[:1], 30, axis=0)
    assert not explain(by, still).values.any()
    assert not explain(by, clip[:1]).values.any()


def test_a_joint_that_a_detector_did_not_see_keeps_its_place_when_the_clip_is_held_still():
    clip = np.random.default_rng(0).normal(0, 1, (6, 1, 25, 3)).astype(np.float32)
    clip[..., 2] = 0.5
    clip[2, 0, 4] = (9, 9, 0)
    still = held_still(clip, "xys")
    assert np.array_equal(still[..., 2], clip[..., 2]) and np.array_equal(still[2, 0, 4], clip[2, 0, 4])
    assert np.allclose(still[0, 0, 4, :2], np.delete(clip[:, 0, 4, :2], 2, axis=0).mean(0))
    values = explain(recogniser(made_stream(channels="xys"), channels="xys"), clip).values
    assert values[2, 0, 4] == 0 and values[3, 0, 4] != 0


def test_a_fusions_saliency_is_the_weighted_sum_of_its_streams():
    one, two = made_stream(0), made_stream(1, modality="bone")
    (clip,) = made_clips(seed=4, bodies=(1,), frames=(30,))
    parts = [explain(recogniser(stream), clip, 3).values for stream in (one, two)]
    fused = explain(recogniser(one, two, weights=[0.5, 2.0]), clip, 3)
    assert np.allclose(fused.values, 0.5 * parts[0] + 2 * parts[1], atol=1e-3)


def test_a_network_that_diverged_is_told():
    model, pipe = made_stream()
    model.head.bias.data[0] = torch.nan
    with pytest.raises(TsgcError, match="not finite; did the training diverge"):
        explain(recogniser((model, pipe)), made_clips()[0])


def limb_shares(by, clips, labels):
    """The shares (clips, limbs) of what speaks for each clip's class."""
    found = [shares(explain(by, clip, int(label)).joints)[0] for clip, label in zip(clips, labels)]
    return np.array([[one[list(limb)].sum() for limb in LIMBS] for one in found])


@pytest.mark.slow  # a training
def test_the_limb_that_a_class_depends_on_is_found():
    """Of two limbs that swing as far one tells the class, so that chance is a half at most.

    A network with random weights says nothing: it is the network that is explained, not the movement.
    """
    clips, labels = limb_clips(24, seed=2)
    network = limb_network()
    by = recogniser(network)
    right = logits_and_gradients(by, clips)[0].argmax(1) == labels
    assert right.mean() > 0.7
    found = limb_shares(by, clips, labels)[right]
    assert found[np.arange(right.sum()), labels[right]].mean() > 0.6
    assert (found.argmax(1) == labels[right]).mean() > 0.8
    torch.manual_seed(1)
    untrained = TSGCNeXt(UCLA, 4, variant="tiny", bodies=1, drop_path=0.0)
    found = limb_shares(recogniser((untrained, network[1])), clips, labels)
    assert found[np.arange(24), labels].mean() < 0.4
