"""The augmentations and normalisations against plain, clip-by-clip twins and known answers."""

import dataclasses
from math import erf

import numpy as np
import pytest
import torch
from made.batches import (
    ALL_ON,
    CPU,
    NTU,
    UCLA,
    bodies_of,
    made_clips,
    pack,
    pipeline,
    placed_rows,
    still_draws,
    train_input,
)

from pipelines.errors import TsgcError
from pipelines.skeleton import SKELETONS, Skeleton
from tsgc.config import TrainConfig
from tsgc.input import geometry
from tsgc.input.noise import hash32, normal, row_keys, uniform
from tsgc.input.pipeline import InputPipeline
from tsgc.modalities import derive_modality


def test_limbs_change_their_length_and_keep_their_direction():
    clips = bodies_of()
    plain, _ = train_input(clips)
    x, draws = train_input(clips, limbs=0.3)
    parents = list(UCLA.parents)
    bones, changed = plain - plain[..., parents, :], x - x[..., parents, :]
    np.testing.assert_allclose(changed, bones * draws.arrays["limbs"][:, None, None, :, None], atol=1e-5)
    root = next(joint for joint, parent in enumerate(parents) if joint == parent)
    np.testing.assert_allclose(x[..., root, :], plain[..., root, :], atol=1e-6)


def test_a_mirrored_clip_has_x_negated_and_its_sides_swapped():
    clips = bodies_of()
    plain, _ = train_input(clips)
    x, _ = train_input(clips, mirror=0.5, given={"mirror": np.array([True, False, True])})
    order = list(range(20))
    for left, right in UCLA.left_right:
        order[left], order[right] = right, left
    np.testing.assert_allclose(x[[0, 2]], plain[[0, 2]][..., order, :] * [-1, 1, 1], atol=1e-6)
    assert np.array_equal(x[1], plain[1])


def test_mirroring_a_bone_stream_is_the_bone_stream_of_the_mirrored_clip():
    clips = bodies_of()
    given = {"mirror": np.array([True, True, True])}
    joints, _ = train_input(clips, mirror=0.5, given=given)
    bones, _ = train_input(clips, mirror=0.5, given=given, modality="bone")
    np.testing.assert_allclose(
        bones, derive_modality("bone", torch.from_numpy(joints), UCLA, "xyz").numpy(), atol=1e-6
    )


def test_a_turn_about_the_vertical_keeps_heights_and_a_quarter_turn_is_known():
    clips = bodies_of()
    plain, _ = train_input(clips)
    angles = np.zeros((3, 3), np.float32)
    angles[:, 1] = np.pi / 2
    x, _ = train_input(clips, rotation="vertical", rotation_max=90.0, given={"rotation": angles})
    np.testing.assert_allclose(x[..., 1], plain[..., 1], atol=1e-5)
    np.testing.assert_allclose(x[..., 0], -plain[..., 2], atol=1e-5)
    np.testing.assert_allclose(x[..., 2], plain[..., 0], atol=1e-5)


@pytest.mark.parametrize(("degrees", "swapped"), [(60, False), (120, True), (-120, True), (180, True)])
def test_a_body_turned_away_has_its_sides_named_as_the_sensor_would(degrees, swapped):
    clips = bodies_of()
    angles = np.zeros((3, 3), np.float32)
    angles[:, 1] = np.deg2rad(degrees)
    options = {"rotation": "vertical", "rotation_max": 180.0, "given": {"rotation": angles}}
    plain, _ = train_input(clips, **options)
    x, _ = train_input(clips, face_camera=True, **options)
    order = list(range(20))
    for left, right in UCLA.left_right if swapped else ():
        order[left], order[right] = right, left
    np.testing.assert_allclose(x, plain[..., order, :], atol=1e-6)
    side = x[..., 8, 0] - x[..., 4, 0]
    assert (side > 0).all()  # the right shoulder is where it was, as seen from the camera


def test_aligned_clips_face_the_camera_however_they_were_turned():
    clips = bodies_of()
    inputs = []
    for degrees in (0, 40, -75):
        a = np.deg2rad(degrees)
        matrix = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]], np.float32)
        pipe = pipeline(UCLA, 1, align="facing", frames=32, rotation="none")
        x, _ = pipe.test(pack([clip @ matrix for clip in clips]), CPU)
        inputs.append(x)
        side = (x[:, :, :, [8, 16], 0] - x[:, :, :, [4, 12], 0]).sum((2, 3))
        assert (side[:, 0] > 0).all()
    for other in inputs[1:]:
        torch.testing.assert_close(other, inputs[0], atol=1e-4, rtol=0)


def test_alignment_by_the_mean_side_axis_is_exact():
    """Against a plain computation clip by clip."""
    clips = bodies_of()
    for clip in clips:
        clip += np.random.default_rng(0).standard_normal(clip.shape).astype(np.float32)
    batch = pack(clips)
    rows = torch.repeat_interleave(torch.arange(3), batch.frames * batch.bodies)
    turned = geometry.turn(batch.joints, geometry.facing_matrices(batch.joints, rows, 3, UCLA), rows)
    for n in range(3):
        side = geometry.side_axis(turned[rows == n], UCLA).mean(0)
        assert side[2].abs() < 1e-5 and side[0] > 0
        lengths = [part[rows == n].norm(dim=-1) for part in (turned, batch.joints)]
        torch.testing.assert_close(*lengths)


def test_unit_scale_keeps_proportions_and_fills_one_axis():
    clips = bodies_of()
    clips.append(np.ones((4, 1, 20, 3), np.float32))  # one point
    pipe = pipeline(UCLA, 1, normalise="unit", rotation="none", crop_min=1.0, frames=32)
    batch = pack(clips)
    x = placed_rows(pipe, batch)
    rows = torch.repeat_interleave(torch.arange(4), batch.frames)
    for n, clip in enumerate(clips[:3]):
        low, high = clip.min((0, 1, 2)), clip.max((0, 1, 2))
        expected = (clip[:, 0] - (low + high) / 2) * 2 / (high - low).max()
        np.testing.assert_allclose(x[rows == n].numpy(), expected, atol=1e-5)
    assert (x[rows == 3] == 0).all()


@pytest.mark.parametrize("normalise", ["none", "spine"])
def test_centring_puts_the_middle_of_the_extents_at_zero(normalise):
    clips = bodies_of()
    pipe = pipeline(UCLA, 1, normalise=normalise, centre="middle", rotation="none", frames=32)
    plain = pipeline(UCLA, 1, normalise=normalise, rotation="none", frames=32)
    batch = pack(clips)
    rows = torch.repeat_interleave(torch.arange(3), batch.frames)
    x, was = (placed_rows(p, batch) for p in (pipe, plain))
    for n in range(3):
        low, high = x[rows == n].amin((0, 1)), x[rows == n].amax((0, 1))
        torch.testing.assert_close(low, -high, atol=1e-5, rtol=1e-4)
        moved = (x - was)[rows == n]
        torch.testing.assert_close(moved, moved[:1, :1].expand_as(moved), atol=1e-5, rtol=0)


def test_spine_scale_makes_the_mean_trunk_one():
    clips = bodies_of()
    clips.append(np.ones((4, 1, 20, 3), np.float32))  # no trunk
    pipe = pipeline(UCLA, 1, normalise="spine", rotation="none", frames=32)
    batch = pack(clips)
    x = placed_rows(pipe, batch)
    rows = torch.repeat_interleave(torch.arange(4), batch.frames)
    for n, clip in enumerate(clips[:3]):
        trunk = (clip[:, 0, [4, 8]].mean(1) - clip[:, 0, [12, 16]].mean(1)).astype(np.float64)
        scale = np.linalg.norm(trunk, axis=1).mean()
        np.testing.assert_allclose(x[rows == n].numpy(), clip[:, 0] / scale, rtol=1e-4)
    assert (x[rows == 3] == 0).all()


@pytest.mark.parametrize("normalise", ["unit", "spine", "none"])
@pytest.mark.parametrize("present_only", [False, True])
def test_absent_bodies_neither_count_nor_move(normalise, present_only):
    whole, empty = made_clips(bodies=(2, 2), frames=(30, 6))
    cut = whole.copy()
    cut[:, 1] = 0  # the second body is absent throughout
    empty[:] = 0  # nobody at all
    pipe = InputPipeline(
        dataclasses.replace(
            TrainConfig(), normalise=normalise, centre="middle", noise=0.1, joint_offset=0.1, frames=32
        ),
        NTU, 2, "zeros", present_only,
    )  # fmt: skip
    draws = still_draws(pipe, 2)
    x, _ = pipe.train(pack([cut, empty]), draws, CPU)
    assert x[0, ..., 0].abs().min() > 0 and x.isfinite().all()
    assert (x[0, ..., 1] == 0).all() and (x[1] == 0).all()
    quiet = dataclasses.replace(pipe, config=dataclasses.replace(pipe.config, noise=0.0))
    (beside, _), (alone, _) = (quiet.train(pack(clips), draws, CPU) for clips in ([cut], [whole[:, :1]]))
    torch.testing.assert_close(alone[0, ..., 0], beside[0, ..., 0])


def test_scale_multiplies_after_normalising():
    clips = bodies_of()
    plain, _ = train_input(clips, normalise="min-max")
    x, draws = train_input(clips, normalise="min-max", scale=0.2, scale_axes=0.1)
    np.testing.assert_allclose(x, plain * draws.arrays["scale"][:, None, None, None, :], rtol=1e-5)


def test_an_offset_is_the_same_throughout_and_noise_is_not():
    clips = bodies_of((40, 40, 40))
    plain, _ = train_input(clips, frames=40)
    moved, draws = train_input(clips, frames=40, joint_offset=0.1)
    expected = np.broadcast_to(draws.arrays["joint_offset"][:, None, None], moved.shape)
    np.testing.assert_allclose(moved - plain, expected, atol=1e-5)
    noisy, _ = train_input(clips, frames=40, noise=0.1)
    noise = noisy - plain
    assert noise.std() == pytest.approx(0.1, rel=0.03) and abs(noise.mean()) < 0.005
    assert np.abs(noise.mean(2)).max() < 0.1  # over 40 frames it averages out
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.05


def test_dropped_joints_and_axes_are_zero_in_every_stream():
    clips = bodies_of()
    for modality in ("joint", "bone", "joint_motion"):
        plain, _ = train_input(clips, modality=modality)
        x, draws = train_input(clips, modality=modality, drop_joints=1.0, drop_axis=1.0)
        keep = draws.arrays["drop_joints"][:, :, None] * draws.arrays["drop_axis"][:, None, :]
        assert 0 < keep.mean() < 0.8
        np.testing.assert_allclose(x, plain * keep[:, None, None], atol=1e-6)


def test_every_augmentation_depends_on_the_position_alone():
    """A clip in another micro-batch, with other neighbours, is the same to the bit."""
    clips = bodies_of((9, 40, 1, 25))
    pipe = pipeline(UCLA, 1, normalise="unit", align="facing", **{**ALL_ON, "modality": "bone_motion"})
    draws = pipe.draw(3, 1, 4, 9)
    whole, _ = pipe.train(pack(clips), draws, CPU)
    few = dataclasses.replace(pack([clips[3], clips[1]]), positions=torch.tensor([3, 1]))
    part, _ = pipe.train(few, draws, CPU)
    assert torch.equal(part, whole[[3, 1]])
    assert not torch.equal(pipe.train(pack(clips), pipe.draw(3, 2, 4, 9), CPU)[0], whole)


def test_joints_that_lie_on_the_device_already_give_the_same():
    clips = bodies_of()
    pipe = pipeline(UCLA, 1, normalise="unit", **ALL_ON)
    draws = pipe.draw(0, 0, 3, 9)
    x, _ = pipe.train(pack(clips), draws, CPU)
    assert x.isfinite().all() and x.shape == (3, 3, 64, 20, 1)


def test_tests_are_not_augmented():
    clips = bodies_of()
    one, two = (pipeline(UCLA, 1, frames=32, normalise="unit"), pipeline(UCLA, 1, **{**ALL_ON, "frames": 32,
                "normalise": "unit"}))  # fmt: skip
    assert torch.equal(one.test(pack(clips), CPU)[0], two.test(pack(clips), CPU)[0])


def test_pictures_scale_and_drop_in_x_and_y_and_keep_their_scores():
    coco = SKELETONS["coco-17"]
    (clip,) = made_clips(bodies=(1,), frames=(20,), joints=17)
    config = dataclasses.replace(
        TrainConfig(), frames=20, crop_min=1.0, scale=0.2, noise=0.05, joint_offset=0.05, limbs=0.1,
        mirror=1.0, drop_axis=1.0, normalise="unit",
    )  # fmt: skip
    pipe = InputPipeline(config, coco, 1, "zeros", channels="xys")
    draws = pipe.draw(0, 0, 1, 9)
    x, _ = pipe.train(pack([clip]), draws, CPU)
    order = list(range(17))
    for left, right in coco.left_right:
        order[left], order[right] = right, left
    np.testing.assert_allclose(x[0, 2, ..., 0].numpy(), clip[:, 0, order, 2], atol=1e-6)
    lost = draws.arrays["drop_axis"][0] == 0
    assert [(x[0, axis] == 0).all().item() for axis in (0, 1)] == lost[:2].tolist()


@pytest.mark.parametrize("change", [{"rotation": "vertical"}, {"align": "facing"}])
def test_pictures_are_not_turned_in_space(change):
    config = dataclasses.replace(TrainConfig(), **change)
    with pytest.raises(TsgcError, match=r"turns joints in space; these clips are pictures"):
        InputPipeline(config, SKELETONS["coco-17"], 1, "zeros", channels="xys")


def test_a_skeleton_without_shoulders_is_told():
    worm = Skeleton("worm", ("head", "middle", "tail"), (0, 0, 1), (), 0)
    with pytest.raises(TsgcError, match=r"worm: no joint is named 'left shoulder'"):
        pipeline(worm, 1, normalise="spine")
    assert pipeline(worm, 1, normalise="unit", limbs=0.1, mirror=0.5)


def test_noise_is_standard_normal_and_depends_on_its_key_alone():
    clip, place = np.zeros(2000, int), np.arange(2000)
    keys = torch.from_numpy(row_keys(np.array([123456]), clip, place))
    x = normal(keys, 61)
    assert x.shape == (2000, 61) and x.dtype == torch.float32 and x.isfinite().all()
    assert torch.equal(normal(keys[500:600], 61), x[500:600])
    values = np.sort(x.numpy().ravel().astype(np.float64))
    law = 0.5 * (1 + np.array([erf(value / 2**0.5) for value in values[::50]]))
    assert np.abs(law - np.linspace(0, 1, len(values))[::50]).max() < 1.63 / len(values) ** 0.5  # 1 %
    assert np.abs(np.corrcoef(x.numpy().T) - np.eye(61)).max() < 0.12
    other = normal(torch.from_numpy(row_keys(np.array([123457]), clip, place)), 61)
    assert abs(np.corrcoef(x.numpy().ravel(), other.numpy().ravel())[0, 1]) < 0.01


def test_the_hash_is_the_published_one_and_one_to_one():
    known = {0: 0, 1: 1753845952, 2: 3507691905}  # by C's unsigned 32-bit arithmetic
    for value, expected in known.items():
        x = value
        x = (x ^ (x >> 16)) * 0x7FEB352D % 2**32
        x = (x ^ (x >> 15)) * 0x846CA68B % 2**32
        x ^= x >> 16
        assert x == expected == hash32(torch.tensor([value])).item()
    many = hash32(torch.arange(2**16) * 65_537)
    assert len(many.unique()) == 2**16 and many.min() >= 0 and many.max() < 2**32
    assert uniform(many[:1000], 50).mean().item() == pytest.approx(0.5, abs=0.01)
