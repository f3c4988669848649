"""What is computed on the host and dealt to rows, against plain twins on tensors: the same to the bit."""

import numpy as np
import pytest
import torch
from made.batches import ALL_ON, CPU, NTU, UCLA, made_clips, pack, pipeline

from tsgc.input.crop import crop_positions
from tsgc.input.mixing import given_parts, own_share, own_weight
from tsgc.input.noise import normal, normal_hashed, row_keys
from tsgc.input.resize import blend, neighbours, resample
from tsgc.input.row_values import row_values
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


def test_rows_are_given_what_their_clips_are():
    batch = pack(made_clips(bodies=(1, 2, 1), joints=20))
    pipe = pipeline(UCLA, 2, **ALL_ON)
    draws = pipe.draw(2, 7, 3, 3)
    names = ("mirror", "limbs", "scale", "joint_offset", "noise", "angles", "occlusion")
    augmentations = {name: getattr(draws, name) for name in names}
    augmentations["mirror"] = np.array([True, False, True])
    clip, given = row_values(batch, augmentations, UCLA, 3, CPU)
    assert clip.tolist() == [0] * 7 + [1] * 200 + [2]
    assert set(given) == {*names, "signs", "times", "beside"}
    for name in ("mirror", "scale", "joint_offset", "occlusion"):
        expected = torch.from_numpy(augmentations[name])[clip]
        assert torch.equal(given[name].view_as(expected), expected)
    assert torch.equal(given["angles"], torch.from_numpy(draws.angles))  # a clip's still
    assert given["signs"][:, 0].unique(dim=0).tolist() == [[-1, 1, 1], [1, 1, 1]]
    assert torch.equal(given["signs"][:, 0, 0] < 0, given["mirror"])
    roots = [joint == parent for joint, parent in enumerate(UCLA.parents)]
    limbs = torch.from_numpy(draws.limbs)[clip].masked_fill(torch.tensor(roots), 1)
    assert torch.equal(given["limbs"][..., 0], limbs)
    two = torch.arange(100).repeat_interleave(2) + 1000 * torch.arange(2).repeat(100)
    assert given["times"].flatten().tolist() == [*range(7), *two, 0]
    rows = given["beside"].T.tolist()  # frames -2 to 2 of the same body, as far as the clip goes
    assert rows[0] == [0, 0, 0, 1, 2] and rows[5] == [3, 4, 5, 6, 6] and rows[207] == [207] * 5
    assert rows[7 + 1] == [8, 8, 8, 10, 12] and rows[7 + 100] == [103, 105, 107, 109, 111]
    place = torch.arange(len(clip)) - batch.offsets[clip]
    keys = row_keys(torch.from_numpy(draws.noise)[clip], place)
    assert torch.equal(normal_hashed(given["noise"], 61), normal(keys, 61))


def test_pictures_have_two_axes_and_nothing_asked_for_is_nothing_given():
    batch = pack(made_clips(joints=20))
    offset = np.ones((3, 20, 3), np.float32)
    _, given = row_values(batch, {"joint_offset": offset, "scale": offset[:, 0]}, UCLA, 2, CPU)
    assert given["joint_offset"].shape == (208, 20, 2) and given["scale"].shape == (208, 1, 2)
    assert row_values(batch, {}, UCLA, 2, CPU)[1] == {}


def test_drop_path_on_the_host_is_the_networks():
    model = TSGCNeXt(NTU, 10, variant="tiny", bodies=2, drop_path=0.4)
    rates = model.drop_path_rates
    uniform = np.random.default_rng(0).random((64, 2, len(rates)), dtype=np.float32)
    uniform[:4] = rates.numpy()  # just at the rate: kept
    factors = survival_factors(uniform, rates.numpy())
    plain = model.survival(torch.from_numpy(uniform.transpose(2, 0, 1).copy()).flatten(1))
    assert factors.dtype == np.float32 and np.array_equal(factors, plain.numpy())


def test_a_cut_clips_own_share_is_that_of_its_draws():
    draws = pipeline(UCLA, 1, **{**ALL_ON, "mix_group": 2}).draw(0, 2, 32, 3)
    cut = (draws.blend, draws.cut_frames, draws.cut_joints)
    assert 0 < (draws.blend == 0).sum() < 32
    expected = own_weight(*(torch.from_numpy(array) for array in cut))
    assert torch.equal(own_share(*(torch.from_numpy(part) for part in given_parts(*cut))), expected)
