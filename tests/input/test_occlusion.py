"""Joints that the new camera cannot see drift: a plain computation joint by joint, and known bodies."""

import dataclasses

import numpy as np
import pytest
import torch
from made.batches import CPU, NTU, UCLA, made_clips, pack, pipeline, placed_rows, still_draws, train_input

from pipelines.errors import TsgcError
from pipelines.skeleton import SKELETONS
from tsgc.config import TrainConfig
from tsgc.input.occlusion import COSINES, NEARER, hidden
from tsgc.input.pipeline import InputPipeline

LEFT_ARM, RIGHT_ARM = [4, 5, 6, 7], [8, 9, 10, 11]
TURNS = {"rotation": "vertical", "rotation_max": 180.0}


def from_the_side(frames=60):
    """A body that shows its left side: all at x = 0, left limbs 0.2 before the spine, right ones behind."""
    place = np.zeros((20, 3), np.float32)
    place[:4, 1] = [0, 0.25, 0.5, 0.8]
    for side, depth in ((0, -0.2), (4, 0.2)):
        place[4 + side : 8 + side] = [[0, 0.5, depth], [0, 0.2, depth], [0, -0.05, depth], [0, -0.15, depth]]
        place[12 + side : 16 + side, 2] = depth
        place[12 + side : 16 + side, 1] = [0, -0.4, -0.8, -0.85]
    return np.broadcast_to(place, (frames, 1, 20, 3)).copy()


def turned(count, degrees):
    angles = np.zeros((count, 3), np.float32)
    angles[:, 1] = np.deg2rad(degrees)
    return {"rotation": angles}


def placed(clips, skeleton=UCLA, bodies=1, draws=None, present=None, **changes):
    """Packed rows as the network is to see them, and the draws."""
    pipe = pipeline(skeleton, bodies, **{"rotation": "none", "occlusion": 0.05, **changes})
    batch = pack(clips)
    draws = draws or still_draws(pipe, len(clips))
    return placed_rows(pipe, batch, {"occlusion": draws.arrays["occlusion"]}, present), draws


@pytest.mark.parametrize(("degrees", "far", "near"), [(0, RIGHT_ARM, LEFT_ARM), (180, LEFT_ARM, RIGHT_ARM)])
def test_the_far_arm_is_hidden_and_drifts_and_the_near_one_stays(degrees, far, near):
    clips = [from_the_side()]
    options = {**TURNS, "frames": 60, "given": turned(1, degrees)}
    plain, _ = train_input(clips, **options)
    x, _ = train_input(clips, occlusion=0.05, **options)
    moved = np.abs(x - plain)[0, 0]
    assert (moved[:, far].max((0, 2)) > 0.02).all()
    assert np.array_equal(x[:, :, :, near], plain[:, :, :, near])
    assert np.array_equal(x[..., 3, :], plain[..., 3, :])  # nothing is before the head


def test_seen_from_the_front_both_arms_stay():
    clips = [from_the_side()]
    options = {**TURNS, "frames": 60, "given": turned(1, 90)}
    plain, _ = train_input(clips, **options)
    x, _ = train_input(clips, occlusion=0.05, **options)
    assert np.array_equal(x, plain)


def test_what_hides_a_joint_is_nearer_and_close_across_the_picture():
    body = from_the_side(1)[0]
    body[0, 4:] += [10, 0, 0]  # the limbs are elsewhere
    body[0, 0] = [0, -9, 0]
    cases = {
        (0.0, 0.06): True,
        (0.07, 0.06): True,
        (0.09, 0.06): False,
        (0.0, 0.04): False,
        (0.0, -0.06): False,
    }
    for (x, nearer), expected in cases.items():
        body[0, 3] = body[0, 1] + [x, 0, -nearer]  # the head before the spine
        found = hidden(torch.from_numpy(body), UCLA, 0.08)[0]
        assert found[1].item() is expected
    body[0, 3] = [5, 5, 5]
    body[0, 2] = body[0, 1] + [0.3, 0, -0.2]
    body[0, 8] = body[0, 1] + [-0.3, 0, -0.2]  # the middle of the bone between them is before the spine
    assert hidden(torch.from_numpy(body), UCLA, 0.08)[0, 1]
    body[0, 8, 0] -= 0.2  # and now 0.1 beside it
    assert not hidden(torch.from_numpy(body), UCLA, 0.08)[0, 1]
    assert hidden(torch.from_numpy(body), UCLA, 0.12)[0, 1]


@pytest.mark.parametrize("unit", [0.25, 1024.0])
def test_what_is_hidden_depends_on_no_unit(unit):
    """By powers of 2, which change no digit."""
    noise = np.random.default_rng(0).normal(0, 0.05, (60, 20, 3))
    body = torch.from_numpy((from_the_side(60)[:, 0] + noise).astype(np.float32))
    found = hidden(body, UCLA, 0.08)
    assert 0.3 < found.float().mean() < 0.7
    assert torch.equal(hidden(body * unit, UCLA, 0.08 * unit), found)


@pytest.mark.parametrize("unit", [0.25, 1024.0])
@pytest.mark.parametrize("normalise", ["min-max", "unit", "spine"])
def test_scaling_afterwards_does_not_change_what_is_hidden(unit, normalise):
    """Clips in another unit, with both settings in it, are the same to the network."""
    clips = [clip.astype(np.float32) for clip in made_clips(bodies=(1, 1), frames=(7, 20), joints=20)]
    one, draws = placed(clips, normalise=normalise, occlusion_radius=0.5)
    changes = {"occlusion": 0.05 * unit, "occlusion_radius": 0.5 * unit}
    other, _ = placed([clip * unit for clip in clips], draws=draws, normalise=normalise, **changes)
    nothing_hidden, _ = placed(clips, draws=draws, normalise=normalise, occlusion_radius=1e-6)
    assert not torch.equal(one, nothing_hidden)
    torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)


def test_the_default_radius_takes_5_cm_to_the_bit():
    assert NEARER * TrainConfig().occlusion_radius == 0.05


def plain_occlusion(clip, numbers, parents, deviation, radius):
    """One clip (T, M, V, 3), one body and frame and joint after another."""
    frames, bodies, joints, _ = clip.shape
    moved = clip.astype(np.float64)
    unseen = np.zeros((frames, bodies, joints))
    for t, m, v in np.ndindex(frames, bodies, joints):
        body = clip[t, m].astype(np.float64)
        points = [*body, *((body[child] + body[parent]) / 2 for child, parent in enumerate(parents))]
        gaps = [(np.hypot(*(point - body[v])[:2]), body[v][2] - point[2]) for point in points]
        unseen[t, m, v] = any(across < radius and nearer > 0.625 * radius for across, nearer in gaps)
    rate, phase = numbers.astype(np.float64)
    for t, m, v in np.ndindex(frames, bodies, joints):
        if not clip[t, m].any():
            continue
        around = [unseen[min(max(t + step, 0), frames - 1), m, v] for step in range(-2, 3)]
        curve = sum(np.cos(rate[k, v] * (t + 1000 * m) + phase[k, v]) for k in range(COSINES))
        moved[t, m, v] += deviation * np.mean(around) * (2 / COSINES) ** 0.5 * curve
    return moved


@pytest.mark.parametrize("skeleton", [UCLA, NTU])
def test_packed_rows_drift_as_a_plain_computation_says(skeleton):
    clips = [
        0.3 * clip for clip in made_clips(bodies=(1, 2, 1), frames=(7, 20, 1), joints=skeleton.num_joints)
    ]
    clips[1][5:9, 1] = 0  # the second body is away for a while
    x, draws = placed(clips, skeleton, 2, occlusion_radius=0.1)
    start = 0
    for clip, numbers in zip(clips, draws.arrays["occlusion"]):
        expected = plain_occlusion(clip, numbers, skeleton.parents, 0.05, 0.1)
        rows = clip.shape[0] * clip.shape[1]
        got = x[start : start + rows].numpy().reshape(clip.shape)
        np.testing.assert_allclose(got, expected, atol=2e-5)
        share = (got != clip).any(-1).mean()
        assert 0.2 < share < 0.98
        start += rows
    away = x[7 : 7 + 40].view(20, 2, -1)[5:9, 1]
    assert (away == 0).all()


def test_a_guess_drifts_and_does_not_jitter():
    clips = [from_the_side(80)] * 64
    x, _ = placed(clips)
    moved = (x - pack(clips).joints).view(64, 80, 20, 3)[:, :, RIGHT_ARM]
    assert moved.std().item() == pytest.approx(0.05, rel=0.2)
    assert abs(moved.mean().item()) < 0.005
    change = moved.diff(dim=1)
    assert change.std().item() < 0.4 * 0.05  # noise anew in each frame: 1.4
    assert moved.flatten(2).std(1).min() > 0  # nothing stands still
    flat = moved.flatten(2).transpose(0, 2).flatten(1)
    assert (torch.corrcoef(flat) - torch.eye(12)).abs().max() < 0.25  # joints and axes by themselves


def test_the_drift_rises_and_falls_around_the_hidden_span():
    """The right hand is behind the body in frames 20 to 29 only."""
    clip = from_the_side(50)
    clip[..., 11, 0] += 1
    clip[20:30, :, 11, 0] = 0
    x, _ = placed([clip] * 200)
    moved = (x - pack([clip] * 200).joints).view(200, 50, 20, 3)[:, :, 11]
    found = moved.std((0, 2)) / 0.05
    expected = np.convolve(np.arange(50) // 10 == 2, np.full(5, 0.2), "same")
    np.testing.assert_allclose(found.numpy(), expected, atol=0.1)
    assert (moved[:, :18] == 0).all() and (moved[:, 32:] == 0).all()


def test_a_clip_drifts_by_its_position_alone():
    """In another micro-batch, with other neighbours, it is the same to the bit, and it is not what it was."""
    clips = [from_the_side(frames) for frames in (9, 40, 1, 25)]
    pipe = pipeline(UCLA, 1, occlusion=0.05, frames=32, **TURNS)
    draws = still_draws(pipe, 4)
    whole, _ = pipe.train(pack(clips), draws, CPU)
    few = dataclasses.replace(pack([clips[3], clips[1]]), positions=torch.tensor([3, 1]))
    assert torch.equal(pipe.train(few, draws, CPU)[0], whole[[3, 1]])
    still = dataclasses.replace(pipe, config=dataclasses.replace(pipe.config, occlusion=0.0))
    off = still.draw(0, 0, 4, 3)
    assert {*off.arrays, "occlusion"} == set(draws.arrays) and "occlusion" not in off.arrays
    assert not torch.equal(pipe.train(pack(clips), off, CPU)[0], whole)


def test_switched_on_it_leaves_all_other_numbers_as_they_were():
    on = {"limbs": 0.1, "noise": 0.01, "drop_axis": 0.5, "drop_joints": 0.5, "joint_offset": 0.1}
    one, two = (pipeline(UCLA, 1, occlusion=value, **on).draw(1, 2, 8, 3).arrays for value in (0.0, 0.1))
    for name, array in two.items():
        assert (name in one and np.array_equal(one[name], array)) == (name != "occlusion"), name


def test_tests_do_not_drift():
    clips = [from_the_side()]
    one, two = (pipeline(UCLA, 1, occlusion=value, frames=32) for value in (0.0, 0.1))
    assert torch.equal(one.test(pack(clips), CPU)[0], two.test(pack(clips), CPU)[0])


def test_pictures_have_no_depth_to_hide_behind():
    config = dataclasses.replace(TrainConfig(), occlusion=0.05)
    with pytest.raises(TsgcError, match=r"occlusion=0.05 needs depth; these clips are pictures \(xys\)"):
        InputPipeline(config, SKELETONS["coco-17"], 1, "zeros", channels="xys")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"occlusion": -0.1}, "occlusion is -0.1, expected 0 or more"),
        ({"occlusion_radius": 0.0}, "occlusion_radius is 0.0, expected over 0"),
    ],
)
def test_wrong_settings_are_told(change, said):
    with pytest.raises(TsgcError, match=said):
        TrainConfig(**change)
