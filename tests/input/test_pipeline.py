"""The batched transforms against plain, clip-by-clip twins and the published inputs."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from made.batches import CPU, NTU, UCLA, made_clips, pack, pipeline

from tsgc.config import TrainConfig
from tsgc.input.crop import centre_crop, crop_positions, even_frames, random_frames, train_crop
from tsgc.input.geometry import min_max, rotation_matrices
from tsgc.input.mixing import mix
from tsgc.input.packed_rows import to_device
from tsgc.input.random_numbers import draw
from tsgc.modalities import MODALITIES


def plain_resize(clip, start, length, count):
    """torch's own linear resize of one clip's crop: (T, M, V, C) -> (M, count, V, C)."""
    part = torch.as_tensor(clip[start : start + length]).permute(1, 2, 3, 0)  # (M, V, C, T)
    resized = F.interpolate(part.flatten(1, 2), size=count, mode="linear", align_corners=False)
    return resized.unflatten(1, part.shape[1:3]).permute(0, 3, 1, 2)


@pytest.mark.parametrize("modality", ["joint", "bone", "joint_motion", "bone_motion"])
def test_inputs_are_the_published_ones(shared, modality):
    name = "S001C003P008R002A058"
    clip = np.load(shared / "golden/ntu_reference_centred.npz")[name].reshape(-1, 2, 25, 3)
    expected = np.load(shared / f"golden/modalities_{name}.npz")[modality]
    x, _ = pipeline(modality=modality).test(pack([clip]), CPU)
    np.testing.assert_allclose(x[0].numpy(), expected, atol=1e-5)


def test_the_batched_resize_is_torchs_for_every_clip():
    clips = made_clips()
    x, _ = pipeline(frames=64).test(pack(clips), CPU)  # (N, C, T, V, M)
    for got, clip in zip(x, clips):
        margin = len(clip) // 40
        expected = plain_resize(clip, margin, len(clip) - 2 * margin, 64)
        torch.testing.assert_close(got.permute(3, 1, 2, 0)[: clip.shape[1]], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("absent", "filled"), [("zeros", False), ("copy", True)])
def test_an_absent_body_is_what_the_data_set_says(absent, filled):
    (clip,) = made_clips(bodies=(1,), frames=(30,))
    x, _ = pipeline(absent=absent).test(pack([clip]), CPU)
    assert torch.equal(x[..., 1], x[..., 0] if filled else torch.zeros_like(x[..., 1]))


def test_training_crops_and_turns_each_clip_by_its_own_numbers():
    clips = made_clips()
    pipe = pipeline(frames=64)
    draws = draw(pipe.config, epoch=3, step=5, count=3, bodies=2, blocks=9, skeleton=NTU)
    x, _ = pipe.train(pack(clips), draws, CPU)
    starts, lengths = train_crop(np.array([7, 100, 1]), draws.crop, pipe.config)
    for n, clip in enumerate(clips):
        turned = clip
        for axis in range(3):  # about x, then y, then z, each clockwise
            a = draws.arrays["rotation"][n, axis]
            one, two = (axis + 1) % 3, (axis + 2) % 3
            matrix = np.eye(3)
            matrix[one, one] = matrix[two, two] = np.cos(a)
            matrix[one, two], matrix[two, one] = np.sin(a), -np.sin(a)
            turned = turned @ matrix.T
        expected = plain_resize(turned.astype(np.float32), starts[n], lengths[n], 64)
        torch.testing.assert_close(x[n].permute(3, 1, 2, 0)[: clip.shape[1]], expected, atol=1e-5, rtol=0)


def test_a_clip_gets_the_same_augmentation_in_any_micro_batch():
    clips = made_clips()
    pipe = pipeline(frames=32, modality="bone_motion")
    draws = draw(pipe.config, 0, 0, 3, 2, 9, NTU)
    whole, _ = pipe.train(pack(clips), draws, CPU)
    last = dataclasses.replace(pack(clips[2:]), positions=torch.tensor([2]))
    torch.testing.assert_close(pipe.train(last, draws, CPU)[0][0], whole[2])


def test_draws_repeat_for_a_step_and_differ_between_steps():
    one, again, other = (draw(TrainConfig(), 1, step, 64, 2, 9, NTU).arrays for step in (4, 4, 5))
    for name in ("crop", "rotation", "lam", "survival"):
        assert np.array_equal(one[name], again[name])
        assert not np.array_equal(one[name], other[name])


@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), st.integers(0, 2**32))
def test_training_crops_keep_half_or_64_frames_and_stay_inside(frames, seed):
    frames = np.array(frames)
    start, length = train_crop(frames, np.random.default_rng(seed).random((len(frames), 2)), TrainConfig())
    assert (length >= np.minimum(frames, np.maximum(frames // 2, 64))).all()
    assert (start >= 0).all() and (start + length <= frames).all()


def test_the_centre_crop_is_the_published_bias():
    frames = np.arange(1, 301)
    start, length = centre_crop(frames)
    bias = [int((1 - 0.95) * n / 2) for n in frames]
    assert start.tolist() == bias and length.tolist() == [n - 2 * b for n, b in zip(frames, bias)]


@given(st.integers(1, 300), st.integers(1, 300))
def test_positions_stay_inside_the_crop(length, count):
    places = crop_positions(np.array([5]), np.array([length]), count)
    assert places.min() >= 5 and places.max() <= 5 + length - 1 and (np.diff(places) >= 0).all()


def test_even_frames_are_numpys():
    lengths = np.array([1, 2, 31, 52, 201])
    for length, frames in zip(lengths, even_frames(lengths, 52)):
        assert frames.tolist() == np.linspace(0, length - 1, 52).astype(int).tolist()


def test_min_max_takes_each_clip_to_its_own_box():
    clips = [10 * clip + 3 for clip in made_clips(joints=20)]
    clips[2] = np.ones_like(clips[2])
    batch = pack(clips)
    rows = torch.repeat_interleave(torch.arange(3), batch.frames * batch.bodies)
    x = min_max(batch.joints, rows, 3)
    for n, clip in enumerate(clips[:2]):
        low, high = clip.min((0, 1, 2)), clip.max((0, 1, 2))
        expected = (clip - low) / (high - low) * 2 - 1
        np.testing.assert_allclose(x[rows == n].numpy(), expected.reshape(-1, 20, 3), atol=1e-5)
    assert (x[rows == 2] == 0).all()


def test_the_fields_nw_ucla_input_is_reproduced():
    """Row vectors times Ry, then Rx by whole degrees; min-max; sorted random frames; then the modality."""
    clips = made_clips(bodies=(1, 1), frames=(31, 3), joints=20)
    pipe = pipeline(UCLA, 1, sampling="frames", frames=52, rotation="degrees-yx", rotation_max=60,
                    normalise="min-max", modality="joint_motion")  # fmt: skip
    draws = draw(pipe.config, 0, 0, 2, 1, 9, UCLA)
    x, _ = pipe.train(pack(clips), draws, CPU)
    picked = random_frames(np.array([31, 3]), draws.frames, 52)
    for n, clip in enumerate(clips):
        a, b = draws.arrays["rotation"][n, 1], draws.arrays["rotation"][n, 0]
        assert np.rad2deg([a, b]) == pytest.approx(np.round(np.rad2deg([a, b])), abs=1e-4)
        ry = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        rx = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
        turned = clip[:, 0] @ ry @ rx
        low, high = turned.min((0, 1)), turned.max((0, 1))
        frames = ((turned - low) / (high - low) * 2 - 1)[picked[n]]
        motion = np.zeros_like(frames)
        motion[:-1] = np.diff(frames, axis=0)
        np.testing.assert_allclose(x[n, ..., 0].permute(1, 2, 0).numpy(), motion, atol=1e-5)


def test_no_rotation_leaves_the_clip_as_it_is():
    matrices = rotation_matrices(torch.zeros(2, 3), (0, 1, 2))
    torch.testing.assert_close(matrices, torch.eye(3).expand(2, 3, 3))


def test_motion_of_a_still_body_is_zero():
    still = np.broadcast_to(made_clips(frames=(1,), bodies=(1,))[0], (40, 1, 25, 3)).copy()
    assert pipeline(modality="joint_motion", frames=64).test(pack([still]), CPU)[0].abs().max() < 1e-6


def test_a_bone_is_the_joint_from_its_parent_and_the_roots_is_zero():
    x = torch.randn(1, 1, 2, 25, 3)
    bones = MODALITIES["bone"](x, NTU)
    torch.testing.assert_close(bones[..., 3, :], x[..., 3, :] - x[..., 2, :])
    assert (bones[..., 20, :] == 0).all()


def test_mixing_half_the_groups_leaves_the_others_unmixed():
    lam = draw(dataclasses.replace(TrainConfig(), mix_group=2), 0, 0, 4000, 1, 1, NTU).lam.reshape(-1, 2)
    assert (lam[:, 0] == lam[:, 1]).all()
    assert (lam[:, 0] == 1).mean() == pytest.approx(0.5, abs=0.03)
    assert lam[lam < 1].mean() == pytest.approx(0.5, abs=0.03)


def test_mixup_blends_partners():
    x = torch.tensor([1.0, 3.0])[:, None, None, None, None]
    mixed = mix(x, torch.tensor([1, 0]), torch.tensor([0.75, 1.0]))
    assert mixed.flatten().tolist() == [1.5, 3.0]


def test_arrays_travel_together_and_arrive_as_they_were():
    rng = np.random.default_rng(0)
    arrays = [
        rng.random((5, 3)), rng.random((2, 7), dtype=np.float32).T, np.arange(3), rng.random(7) < 0.5,
        np.zeros((0, 4), np.float32), np.arange(5, dtype=np.int32)[::2],
    ]  # fmt: skip
    for array, tensor in zip(arrays, to_device(arrays, CPU), strict=True):
        assert tensor.numpy().dtype == array.dtype and np.array_equal(tensor.numpy(), array)
