"""Pictures with a detector's score (`xys`): what turns, what is differenced, and what the score does."""

import dataclasses

import numpy as np
import pytest
import torch

from pipelines.skeleton import SKELETONS
from shards.batch import PackedBatch
from tsgc.config import TrainConfig
from tsgc.input.pipeline import InputPipeline
from tsgc.modalities import MODALITIES, derive_modality

COCO = SKELETONS["coco-17"]
PARENTS = list(COCO.parents)


@pytest.fixture
def x() -> torch.Tensor:
    """(N, M, T, V, C) with scores between 0 and 1."""
    x = torch.randn(2, 1, 9, 17, 3, generator=torch.Generator().manual_seed(0))
    x[..., 2] = x[..., 2].sigmoid()
    return x


@pytest.mark.parametrize("name", MODALITIES)
def test_every_stream_of_xyz_is_its_modality(name: str, x: torch.Tensor) -> None:
    assert torch.equal(derive_modality(name, x, COCO, "xyz"), MODALITIES[name](x, COCO))


@pytest.mark.parametrize("name", MODALITIES)
def test_x_and_y_of_every_stream_do_not_depend_on_the_score(name: str, x: torch.Tensor) -> None:
    seen = derive_modality(name, x, COCO, "xys")
    assert seen.shape == x.shape
    other = x.clone()
    other[..., 2] = 0.25
    assert torch.equal(seen[..., :2], derive_modality(name, other, COCO, "xys")[..., :2])


def test_a_bone_has_the_mean_score_of_its_two_joints(x: torch.Tensor) -> None:
    bone = derive_modality("bone", x, COCO, "xys")
    assert torch.equal(bone[..., 2], (x[..., 2] + x[..., PARENTS, 2]) / 2)
    assert torch.equal(bone[..., :2], x[..., :2] - x[..., PARENTS, :2])


def test_a_motion_has_the_mean_score_of_its_two_frames(x: torch.Tensor) -> None:
    motion = derive_modality("joint_motion", x, COCO, "xys")
    assert torch.equal(motion[:, :, :-1, :, 2], (x[:, :, 1:, :, 2] + x[:, :, :-1, :, 2]) / 2)
    assert (motion[:, :, -1] == 0).all()


@pytest.mark.parametrize("name", [name for name in MODALITIES if name != "angle"])
def test_scores_all_equal_stay_that_score(name: str, x: torch.Tensor) -> None:
    x[..., 2] = 0.5
    score = derive_modality(name, x, COCO, "xys")[..., 2]
    assert set(score.unique().tolist()) <= {0.0, 0.5}
    assert (score[:, :, :5] == 0.5).all()


def batch_of(joints: np.ndarray) -> PackedBatch:
    """One clip of T frames and one body: joints (T, V, C)."""
    one = torch.tensor([1])
    zero = torch.tensor([0])
    frames = torch.tensor([len(joints)])
    return PackedBatch(torch.from_numpy(joints), frames, one, zero, zero, zero, zero, zero)


@pytest.mark.parametrize(
    ("rotation", "turns"), [("radians-xyz", True), ("degrees-yx", False), ("none", False)]
)
def test_pictures_turn_about_the_viewing_axis_alone(rotation: str, turns: bool) -> None:
    clip = np.random.default_rng(0).random((16, 17, 3), dtype=np.float32)
    config = dataclasses.replace(
        TrainConfig(), rotation=rotation, rotation_max=1.0 if rotation == "radians-xyz" else 60,
        frames=16, crop_min=1.0, variant="tiny", bodies=1,
    )  # fmt: skip
    pipeline = InputPipeline(config, COCO, 1, "zeros", channels="xys")
    draws = pipeline.draw(epoch=0, step=0, count=1, blocks=3)
    seen, _ = pipeline.train(batch_of(clip), draws, torch.device("cpu"))
    found = seen[0, :, :, :, 0].permute(1, 2, 0).numpy()  # (C, T, V) -> (T, V, C)
    np.testing.assert_array_equal(found[..., 2], clip[..., 2])
    lengths = np.linalg.norm(clip[..., :2], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(found[..., :2], axis=-1), lengths, rtol=1e-5)
    assert np.allclose(found, clip, atol=1e-4) != turns


def test_min_max_leaves_the_score_as_it_is() -> None:
    clip = np.random.default_rng(0).random((16, 17, 3), dtype=np.float32)
    config = dataclasses.replace(
        TrainConfig(), normalise="min-max", frames=16, crop_min=1.0, variant="tiny", bodies=1
    )
    pipeline = InputPipeline(config, COCO, 1, "zeros", channels="xys")
    seen, _ = pipeline.test(batch_of(clip), torch.device("cpu"))
    np.testing.assert_array_equal(seen[0, 2, :, :, 0], clip[..., 2])
    assert (seen[0, :2].amin((1, 2, 3)) == -1).all() and (seen[0, :2].amax((1, 2, 3)) == 1).all()


# Space with a score ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODALITIES)
def test_a_score_in_space_is_a_fourth_channel_beside_the_same_three(name: str, x: torch.Tensor) -> None:
    score = x[..., 2:].clone()
    seen = derive_modality(name, torch.cat([x, score], -1), COCO, "xyzs")
    assert torch.equal(seen[..., :3], MODALITIES[name](x, COCO))
    alone = "joint" if name == "angle" else name
    expected = derive_modality(alone, torch.cat([x[..., :2], score], -1), COCO, "xys")[..., 2]
    assert torch.equal(seen[..., 3], expected)


@pytest.mark.parametrize("present_only", [False, True])
@pytest.mark.parametrize("normalise", ["none", "min-max", "unit", "spine"])
def test_whatever_training_does_to_places_in_space_the_score_is_left_alone(
    normalise: str, present_only: bool
) -> None:
    """Turned, mirrored, scaled, displaced, dropped as xyz to the bit; scores trade sides and do no more."""
    rng = np.random.default_rng(0)
    clip = rng.normal(0, 1, (16, 17, 3)).astype(np.float32)
    score = rng.integers(1, 5, (16, 17, 1)).astype(np.float32) / 4
    config = dataclasses.replace(
        TrainConfig(), rotation="radians-xyz", rotation_max=1.0, mirror=0.5, scale=0.2, joint_offset=0.05,
        noise=0.05, drop_axis=0.5, normalise=normalise, frames=16, crop_min=1.0, variant="tiny", bodies=1,
    )  # fmt: skip
    cpu = torch.device("cpu")
    swapped = 0
    for step in range(12):
        seen = []
        for channels, joints in (("xyz", clip), ("xyzs", np.concatenate([clip, score], 2))):
            pipeline = InputPipeline(config, COCO, 1, "zeros", present_only, channels)
            draws = pipeline.draw(epoch=0, step=step, count=1, blocks=3)
            seen.append(pipeline.train(batch_of(joints), draws, cpu)[0])
        plain, scored = seen
        assert scored.shape[1] == 4 and torch.equal(scored[:, :3], plain)
        found = scored[0, 3, :, :, 0].numpy()
        mirrored = not np.array_equal(found, score[..., 0])
        swapped += mirrored
        if mirrored:
            sides = np.arange(17)
            for left, right in COCO.left_right:
                sides[[left, right]] = right, left
            np.testing.assert_array_equal(found, score[:, sides, 0])
    assert 0 < swapped < 12
