"""What is computed on the host and dealt to rows, against plain twins on tensors: the same to the bit."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made.batches import ALL_ON, CPU, NTU, UCLA, made_clips, pack, pipeline

from pipelines.skeleton import SKELETONS
from tsgc.config import TrainConfig
from tsgc.input.crop import crop_positions
from tsgc.input.mixing import lam_map, lam_map_from_parts, partner_parts
from tsgc.input.noise import hash32
from tsgc.input.pipeline import MOST_KEPT, MOST_ROWS, InputPipeline
from tsgc.input.resize import blend, neighbours, resample
from tsgc.input.tta import VIEWS
from tsgc.network.model import TSGCNeXt
from tsgc.training.feed import survival_factors


@pytest.mark.parametrize("absent", ["zeros", "copy"])
@pytest.mark.parametrize("bodies", [1, 2, 3])
def test_frames_blended_by_the_hosts_plan_are_those_resampled(absent, bodies):
    batch = pack(made_clips(bodies=(1, min(2, bodies), 1), frames=(7, 100, 1)))
    positions = crop_positions(np.array([0, 13, 0]), np.array([7, 80, 1]), 33)
    expected = resample(batch.joints, batch, torch.from_numpy(positions), bodies, absent)
    rows, weights = (torch.from_numpy(array) for array in neighbours(batch, positions, bodies, absent))
    assert torch.equal(blend(batch.joints, rows, weights), expected)


def sent(pipe, batch, numbers):
    return pipe.host_arrays(batch, pipe.test_positions(batch), numbers).send(CPU)


def test_rows_are_given_what_their_clips_are():
    batch = pack(made_clips(bodies=(1, 2, 1), joints=20))
    pipe = pipeline(UCLA, 2, **ALL_ON)
    names = ("mirror", "limbs", "scale", "joint_offset", "noise", "rotation", "occlusion")
    numbers = {name: pipe.draw(2, 7, 3, 3).arrays[name] for name in names}
    numbers["mirror"] = np.array([True, False, True])
    arrays = sent(pipe, batch, numbers)
    clip, given = arrays.clip, arrays.values
    assert clip.tolist() == [0] * 7 + [1] * 200 + [2]
    assert set(given) == set(names)
    dealt = {"mirror": "mirrored", "scale": "factors", "joint_offset": "offset", "occlusion": "drift"}
    for name, own in dealt.items():
        expected = torch.from_numpy(numbers[name])[clip]
        assert torch.equal(given[name][own].view_as(expected), expected)
    assert torch.equal(given["rotation"]["numbers"], torch.from_numpy(numbers["rotation"]))  # a clip's still
    signs = given["mirror"]["signs"]
    assert signs[:, 0].unique(dim=0).tolist() == [[-1, 1, 1], [1, 1, 1]]
    assert torch.equal(signs[:, 0, 0] < 0, given["mirror"]["mirrored"])
    roots = [joint == parent for joint, parent in enumerate(UCLA.parents)]
    limbs = torch.from_numpy(numbers["limbs"])[clip].masked_fill(torch.tensor(roots), 1)
    assert torch.equal(given["limbs"]["factors"][..., 0], limbs)
    two = torch.arange(100).repeat_interleave(2) + 1000 * torch.arange(2).repeat(100)
    assert given["occlusion"]["times"].flatten().tolist() == [*range(7), *two, 0]
    rows = given["occlusion"]["beside"].T.tolist()  # frames -2 to 2 of the same body, as far as the clip goes
    assert rows[0] == [0, 0, 0, 1, 2] and rows[5] == [3, 4, 5, 6, 6] and rows[207] == [207] * 5
    assert rows[7 + 1] == [8, 8, 8, 10, 12] and rows[7 + 100] == [103, 105, 107, 109, 111]
    place = torch.arange(len(clip)) - batch.offsets[clip]
    golden = 0x9E3779B9
    keys = hash32(torch.from_numpy(numbers["noise"])[clip]) ^ hash32(place * golden % 2**32)
    assert torch.equal(given["noise"]["keys"], hash32(keys))


def test_pictures_have_two_axes_and_nothing_asked_for_is_nothing_given():
    batch = pack(made_clips(joints=17))
    pipe = InputPipeline(TrainConfig(), SKELETONS["coco-17"], 2, "zeros", channels="xys")
    offset = np.ones((3, 17, 3), np.float32)
    given = sent(pipe, batch, {"joint_offset": offset, "scale": offset[:, 0], "drop_axis": 0 * offset[:, 0]})
    assert given.values["joint_offset"]["offset"].shape == (208, 17, 2)
    assert given.values["scale"]["factors"].shape == (208, 1, 2)
    assert given.values["drop_axis"]["keep"].tolist() == [[0, 0, 1]] * 3  # the score is no axis
    assert sent(pipe, batch, {}).values == {}


def test_drop_path_on_the_host_is_the_networks():
    model = TSGCNeXt(NTU, 10, variant="tiny", bodies=2, drop_path=0.4)
    rates = model.drop_path_rates
    uniform = np.random.default_rng(0).random((64, 2, len(rates)), dtype=np.float32)
    uniform[:4] = rates.numpy()  # just at the rate: kept
    factors = survival_factors(uniform, rates.numpy())
    plain = model.survival(torch.from_numpy(uniform.transpose(2, 0, 1).copy()).flatten(1))
    assert factors.dtype == np.float32 and np.array_equal(factors, plain.numpy())


def test_a_cut_clips_lambda_map_is_that_of_its_draws():
    draws = pipeline(UCLA, 1, **{**ALL_ON, "mix_group": 2}).draw(0, 2, 32, 3)
    cut = (draws.mixup_lam, draws.cut_frames, draws.cut_joints)
    assert 0 < (draws.mixup_lam == 0).sum() < 32
    expected = lam_map(*(torch.from_numpy(array) for array in cut))
    assert torch.equal(
        lam_map_from_parts(*(torch.from_numpy(part) for part in partner_parts(*cut))), expected
    )


@given(data=st.data())
def test_a_lone_clip_in_numpy_is_what_it_is_on_tensors(data):
    """Where gradients are asked for everything runs on tensors. The second time, arrays were kept."""
    frames, bodies = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 2))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    clip = rng.standard_normal((frames, bodies, 20, 3)).astype(np.float32)
    clip[rng.random((frames, bodies)) < data.draw(st.sampled_from([0, 0, 0.2]))] = 0  # absent bodies
    if data.draw(st.booleans()):  # flat, or in one place
        clip[..., : data.draw(st.integers(1, 3))] = data.draw(st.sampled_from([0, 1.5]))
    config = {
        "centre": data.draw(st.sampled_from(["prepared", "middle"])),
        "normalise": data.draw(st.sampled_from(["none", "min-max", "unit", "spine"])),
        "align": data.draw(st.sampled_from(["none", "none", "facing"])),
        "sampling": data.draw(st.sampled_from(["crop", "frames"])),
    }
    view = data.draw(st.sampled_from(VIEWS["mirror-turns"]))
    pipe = pipeline(UCLA, 2, data.draw(st.sampled_from(["zeros", "copy"])), frames=16, **config)
    pipe = dataclasses.replace(pipe, present_only=data.draw(st.booleans()))
    asked = dataclasses.replace(pack([clip]), joints=pack([clip]).joints.requires_grad_())
    with torch.inference_mode():
        once, again = (pipe.test(pack([clip]), CPU, view) for _ in range(2))
    for found, kept, expected in zip(once, again, pipe.test(asked, CPU, view), strict=True):
        if expected is None:
            assert found is None and kept is None
            continue
        assert torch.equal(found, expected.detach()) and torch.equal(kept, found)


def test_what_is_kept_of_lone_clips_has_a_bound():
    pipe = pipeline(UCLA, 1, frames=16)
    for frames in range(1, 2 * MOST_KEPT):
        pipe.test(pack(made_clips(bodies=(1,), frames=(frames,), joints=20)), CPU)
        assert len(pipe._kept) <= MOST_KEPT
    count = len(pipe._kept)
    pipe.test(pack(made_clips(bodies=(1,), frames=(MOST_ROWS + 1,), joints=20)), CPU)
    assert len(pipe._kept) == count > 0
