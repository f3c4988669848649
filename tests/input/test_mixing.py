"""Mixup and CutMix: what a clip gives, and what its target says."""

import numpy as np
import torch
from made.batches import UCLA, drawn

from pipelines.skeleton import SKELETONS
from tsgc.input.mixing import body_parts, cut_spans, lam_map, mix, mix_presence
from tsgc.step.loss import soft_targets


def lam_map_of(draws):
    names = ("mixup_lam", "cut_frames", "cut_joints")
    return lam_map(*(torch.from_numpy(getattr(draws, name)) for name in names))


def test_a_cut_clip_has_each_frame_and_joint_of_one_clip_or_the_other():
    draws = drawn(count=64, mix_group=4, step=1)
    own_part = lam_map_of(draws)
    x = torch.randn(64, 3, 64, 20, 1)
    partner = torch.arange(64).flip(0)
    mixed = mix(x, partner, own_part)
    cut = draws.mixup_lam == 0
    assert 0 < cut.sum() < 64
    for n in range(64):
        given = draws.cut_frames[n][:, None] * draws.cut_joints[n]
        if cut[n]:
            expected = torch.where(torch.from_numpy(given > 0)[None, :, :, None], x[63 - n], x[n])
            torch.testing.assert_close(mixed[n], expected)
        else:
            lam = float(draws.lam[n])
            torch.testing.assert_close(mixed[n], lam * x[n] + (1 - lam) * x[63 - n])


def test_a_targets_lambda_is_the_mean_of_the_inputs():
    draws = drawn(count=64)
    own_part = lam_map_of(draws)
    np.testing.assert_allclose(own_part.mean((1, 2, 3, 4)), draws.lam, atol=1e-6)
    targets = soft_targets(
        torch.arange(64) % 10, torch.arange(64).flip(0), torch.from_numpy(draws.lam), 10, 0.0
    )
    same = torch.arange(64) % 10 == torch.arange(64).flip(0) % 10
    found = targets.gather(1, (torch.arange(64) % 10)[:, None])[:, 0]
    np.testing.assert_allclose(found[~same], draws.lam[~same.numpy()], atol=1e-6)


def test_without_cutmix_nothing_is_drawn_and_lambda_is_one_a_clip():
    draws = drawn(count=8, cutmix_span=0.0, cutmix_part=0.0)
    assert draws.mixup_lam.size == draws.cut_frames.size == draws.cut_joints.size == 0
    x, partner = torch.randn(8, 3, 64, 20, 1), torch.arange(8)
    torch.testing.assert_close(mix(x, partner, torch.from_numpy(draws.lam)), x)


def test_presence_is_mixed_frame_by_frame():
    draws = drawn(count=16)
    presence = torch.rand(16, 64, 1).round()
    mixed = mix_presence(presence, torch.arange(16).flip(0), lam_map_of(draws))
    lam = lam_map_of(draws)[:, 0, :, :, 0].mean(2)[..., None]
    torch.testing.assert_close(mixed, presence * lam + presence.flip(0) * (1 - lam))
    whole = mix_presence(presence, torch.arange(16).flip(0), torch.full((16,), 0.25))
    torch.testing.assert_close(whole, 0.25 * presence + 0.75 * presence.flip(0))


def test_spans_have_every_length_and_stay_inside():
    uniform = np.linspace(0, 1, 2001)[:-1]
    spans = cut_spans(uniform, uniform[::-1], 16)
    assert set(spans.sum(1).tolist()) == set(range(1, 16))
    assert cut_spans(uniform[:3], uniform[:3], 1).sum() == 0


def test_parts_are_limbs_with_all_beyond():
    parts = {tuple(np.flatnonzero(part).tolist()) for part in body_parts(UCLA)}
    assert (4, 5, 6, 7) in parts and (13, 14, 15) in parts and (18, 19) in parts
    assert all(2 <= len(part) <= 10 for part in parts)
    for skeleton in SKELETONS.values():
        assert body_parts(skeleton).sum(1).min() >= 2
