"""Finer targets in the search: whose numbers a step learns, what augmentation makes of them, what is left."""

import copy
import dataclasses
from dataclasses import replace
from functools import partial
from itertools import zip_longest

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made import search
from made.search import COUNTS, SMALL
from made.steps import Recorded
from nw_ucla.data import ResidentClips
from nw_ucla.folds import fold_clips
from nw_ucla.ideas.describe import Describer, mirrored
from nw_ucla.ideas.parts import NAMES, describe, places
from nw_ucla.ideas.settings import Describe
from nw_ucla.plan import read_plan
from nw_ucla.search import result

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from shards.load_manifest import load_manifest
from tsgc.input.mixing import mix
from tsgc.step.loss import soft_targets, summed_loss

CPU = torch.device("cpu")
QUIET = {
    **SMALL, "frames": 35, "repeats": 2, "last_batch": "spread", "mixup_prob": 0.0, "drop_path": 0.0,
    "sampling": "crop", "crop_min": 0.8, "rotation": "none", "normalise": "spine", "centre": "middle",
    "epochs": 4, "warmup_epochs": 1, "lr": 3e-3,
}  # fmt: skip
CONFIG = {
    **QUIET, "mirror": 0.5, "noise": 0.01, "joint_offset": 0.02, "scale": 0.15, "cutmix_span": 0.5,
    "drop_path": 0.3, "mixup_prob": 1.0, "rotation": "vertical", "rotation_max": 90, "face_camera": True,
}  # fmt: skip
SECOND = {"network": "tsgcnext2", "modality": "joint_motion+bone"}


@pytest.fixture(scope="module")
def clips(trained):
    return ResidentClips(load_manifest(trained / "data/shards/nw-ucla/xview"), "train", CPU)


def one_trial(folder, clips, weight=0.5, base=CONFIG, device=CPU, **trial):
    """A trial of described clips, of any weight; None: without."""
    plan = search.write_plan(folder, {"name": "x", **trial}, base=base, clips=100)
    (spec,) = read_plan(plan, COUNTS)
    described = None if weight is None else Describe(weight)
    return search.make_trial(replace(spec, describe=described), clips, device=device)


def trained_by(trial):
    """Marks without the descriptions', and the weights, raw and averaged."""
    for _ in trial.steps():
        pass
    marks = [
        {name: value for name, value in mark.items() if name != "description_error"} for mark in trial.marks
    ]
    return marks, [*trial.model.state_dict().values(), *trial.step.ema.module.state_dict().values()]


@pytest.mark.parametrize("change", [{}, SECOND])
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_of_weight_zero_the_training_is_the_one_without(tmp_path, clips, change, optimiser):
    found = [
        trained_by(one_trial(tmp_path, clips, weight, set={**change, "optimiser": optimiser}))
        for weight in (None, 0.0, 0.5)
    ]
    (plain, one), (none, two), (other, three) = found
    assert plain == none != other
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


@pytest.mark.parametrize("change", [{}, SECOND])
def test_the_loss_is_that_of_each_head_beside_the_labels(tmp_path, clips, change):
    trial = one_trial(tmp_path, clips, 0.7, set={**change, "drop_path": 0.0})
    (batch,) = next(iter(trial.feed.epoch(0))).parts
    assert (batch.lam < 1).any() and batch.numbers.shape == (12, len(NAMES))
    goal = batch.lam[:, None] * batch.numbers + (1 - batch.lam)[:, None] * batch.numbers[batch.partner]
    found = trial.step.loss(batch)
    network = getattr(trial.model, "network", trial.model)
    heads = network.heads if change else [network.head]
    features = []
    hooks = [head.register_forward_hook(lambda _, given, made: features.append(given[0])) for head in heads]
    logits = trial.model(mix(batch.x, batch.partner, batch.lam_map), batch.survival)
    for hook in hooks:
        hook.remove()
    made = [layer(x) for layer, x in zip(trial.describing.layers, features, strict=True)]
    assert len(made) == (2 if change else 1)
    own = sum(F.smooth_l1_loss(one, goal) for one in made) / len(made) * len(batch.x)
    targets = soft_targets(batch.labels, batch.partner, batch.lam, 10, trial.config.label_smoothing)
    torch.testing.assert_close(found, summed_loss(logits, targets) + 0.7 * own)
    assert trial.describing.take_error(12) == pytest.approx(own.item() / 12, rel=1e-5)


def plain_numbers(trial, clips, which, mirror=False):
    """Standardised numbers of clips as they are, one by one."""
    describer = trial.feed.describer
    order = list(places(trial.pipeline.skeleton))
    found = []
    for clip in which:
        x, _ = describer.pipeline.test(clips.batch(np.array([clip])), CPU)
        x = mirrored(x, trial.pipeline) if mirror else x
        body = x[..., 0].permute(0, 2, 3, 1)
        found.append(describe(body[:, :, order], (body != 0).any(3).any(2)))
    return torch.cat(found)


def test_numbers_are_standardised_by_the_clips_that_train_as_they_are_and_mirrored(tmp_path, clips):
    trial = one_trial(tmp_path, clips)
    trains, _ = fold_clips(clips.fields, "without-1-7")
    both = torch.cat([plain_numbers(trial, clips, trains, mirror) for mirror in (False, True)])
    mean, deviation = both.mean(0), both.std(0, correction=0)
    (batch,) = next(iter(one_trial(tmp_path, clips, base=QUIET).feed.epoch(0))).parts
    assert batch.numbers.isfinite().all() and (deviation > 0.01).sum() > 40
    torch.testing.assert_close(trial.feed.describer._mean, mean, rtol=1e-4, atol=1e-5)
    moving = deviation > 1e-4
    torch.testing.assert_close(
        1 / trial.feed.describer._factor[moving], deviation[moving], rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("fold", ["1to2", "2to1", "without-1-7", "without-2-3"])
def test_no_judging_clip_is_described(tmp_path, clips, fold):
    (spec,) = read_plan(
        search.write_plan(tmp_path, {"name": "x", "folds": [fold]}, base=CONFIG, clips=100), COUNTS
    )
    spec = replace(spec, describe=Describe(0.5))
    trains, judges = fold_clips(clips.fields, fold)
    read, spoilt = [], copy.copy(clips)
    spoilt.batch = lambda which, *more: read.extend(which.tolist()) or clips.batch(which, *more)
    pipeline = search.make_trial(spec, clips).pipeline
    one = Describer(pipeline, spoilt, trains)
    assert read == trains.tolist() and not set(read) & set(judges)
    two = search.make_trial(spec, clips).feed.describer
    assert torch.equal(one._mean, two._mean) and torch.equal(one._factor, two._factor)


@pytest.mark.parametrize("setting", ["scale", "joint_offset", "noise", "drop_joints", "drop_axis"])
def test_noise_and_size_change_no_number(tmp_path, clips, setting):
    change = {**QUIET, setting: 0.5}
    (one,), (two,) = (
        next(iter(one_trial(tmp_path, clips, base=base).feed.epoch(0))).parts for base in (QUIET, change)
    )
    assert torch.equal(one.numbers, two.numbers) and not torch.equal(one.x, two.x)


def test_turns_change_hardly_a_number_and_mirrors_swap_sides(tmp_path, clips):
    def batch(**change):
        (made,) = next(iter(one_trial(tmp_path, clips, base={**QUIET, **change}).feed.epoch(0))).parts
        return made

    still = batch()
    turned = batch(rotation="vertical", rotation_max=90, rotation_tilt=0)
    assert not torch.equal(turned.x, still.x)
    torch.testing.assert_close(turned.numbers, still.numbers, rtol=1e-3, atol=2e-3)
    trial = one_trial(tmp_path, clips, base={**QUIET, "mirror": 1.0})
    (mirror,) = next(iter(trial.feed.epoch(0))).parts
    mean, factor = trial.feed.describer._mean, trial.feed.describer._factor
    found = mirror.numbers / factor + mean
    before = still.numbers / factor + mean
    for side, other in (("left", "right"), ("right", "left")):
        for limb in ("arm", "leg"):
            for what in ("path", "outward", "up", "ahead", "highest", "shortest", "when"):
                one = found[:, NAMES.index(f"{side} {limb}: {what}")]
                two = before[:, NAMES.index(f"{other} {limb}: {what}")]
                torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3, equal_nan=True)


def test_steps_made_together_are_those_made_alone(tmp_path, clips):
    for twins in ({}, {"twins": {"kind": "cameras", "weight": 1}}):
        trial = one_trial(tmp_path, clips, **twins)
        steps = list(trial.loader.epoch(1))
        for one, ready in zip(steps, trial.feed.make(1, steps), strict=True):
            (alone,), (together,) = trial.feed.make(1, [one])[0].parts, ready.parts
            assert alone.tensors.keys() == together.tensors.keys() >= {"numbers", "x", "lam_map"}
            for name, tensor in alone.tensors.items():
                torch.testing.assert_close(tensor, together.tensors[name], rtol=1e-5, atol=1e-5)


def taken_twice(step, graph, plain):
    """The check of a first captured step, whose stand-in computes gradients anew."""
    return step._same_step(torch.enable_grad()(graph), plain)


@pytest.mark.parametrize("change", [{}, SECOND])
def test_captured_steps_are_the_plain_ones(tmp_path, clips, change):
    found = []
    for captured in (False, True):
        trial = one_trial(tmp_path, clips, set=change)
        if captured:
            graphs = trial.step._cuda_graphs = Recorded(CPU)
            if change:  # as on GPUs: the first captured step is taken twice from one state
                graphs.check = partial(taken_twice, trial.step)
        found.append((*trained_by(trial), [mark["description_error"] for mark in trial.marks]))
        assert trial.loader.steps_per_epoch * trial.config.epochs == 8
        assert not captured or len(graphs) == 1
    (plain, one, errors), (recorded, two, others) = found
    assert (
        plain == recorded
        and errors == others
        and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: there are no CUDA graphs to compare with")
@pytest.mark.parametrize("change", [{}, SECOND])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_on_a_gpu_captured_steps_are_the_plain_ones(tmp_path, trained, change, precision):
    found = []
    for device, clips, settings in search.plain_and_captured(trained, precision, change):
        trial = one_trial(
            tmp_path, clips, device=device, set=settings, pretrain={"clips": 100},
            twins={"kind": "cameras", "weight": 0.5},
        )  # fmt: skip
        for _ in trial.steps():
            pass
        found.append([mark[name] for mark in trial.marks for name in ("loss", "description_error")])
    assert found[0] == pytest.approx(found[1], rel=2e-2)


@pytest.mark.parametrize("change", [{}, SECOND])
def test_descriptions_are_learned_and_nothing_of_them_is_kept(tmp_path, clips, change):
    trial = one_trial(tmp_path, clips, set=change, base={**QUIET, "epochs": 12})
    for _ in trial.steps():
        pass
    errors = [mark["description_error"] for mark in trial.marks]
    assert errors[-1] < 0.95 * errors[0]
    (bare,) = read_plan(
        search.write_plan(tmp_path, {"name": "x", "set": change}, base=QUIET, clips=100), COUNTS
    )
    names = search.make_trial(bare, clips).model.state_dict().keys()
    assert trial.step.ema.module.state_dict().keys() == trial.model.state_dict().keys() == names
    line = result(trial, 1, CPU)
    assert line["clips"] == trial.done and line["marks"][-1]["description_error"] == errors[-1]


def test_trials_that_describe_are_known_and_say_so(tmp_path):
    asked = [None, {"weight": 0.3}, {"weight": 1}]
    trials = [{"name": str(n), **({"describe": one} if one else {})} for n, one in enumerate(asked)]
    specs = read_plan(search.write_plan(tmp_path, *trials, clips=5000), COUNTS)
    assert len({spec.key for spec in specs}) == 3
    assert [spec.settings for spec in specs] == [{}, {"describe": "parts x 0.3"}, {"describe": "parts x 1"}]
    assert specs[0].key == dataclasses.replace(specs[1], describe=None).key
    assert len({(spec.clips, spec.work) for spec in specs}) == 1


@pytest.mark.parametrize(
    ("describe", "said"),
    [
        ({}, "x: describe.weight is None, expected a number above 0"),
        ({"weight": 0}, "x: describe.weight is 0, expected a number above 0"),
        ({"weight": "much"}, "x: describe.weight is 'much', expected a number above 0"),
        ({"weight": 1, "parts": 4}, "x: describe is 'key parts', expected only weight"),
        (0.3, "x: describe is 0.3, expected a mapping of weight"),
    ],
)
def test_a_wrong_description_is_told(tmp_path, describe, said):
    with pytest.raises(TsgcError, match=said):
        read_plan(search.write_plan(tmp_path, {"name": "x", "describe": describe}, clips=5000), COUNTS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": "stgcn++"}, r"describe: the network is .*, expected tsgcnext or tsgcnext2"),
        ({"precision": "float16"}, "describe: precision is float16, expected auto, bf16, tf32 or float32"),
    ],
)
def test_networks_and_precisions_that_cannot_describe_are_told(tmp_path, clips, change, said):
    with pytest.raises(TsgcError, match=said):
        one_trial(tmp_path, clips, set=change)


def test_a_skeleton_without_hands_is_told(tmp_path, clips):
    trial = one_trial(tmp_path, clips, None)
    body = trial.pipeline.skeleton
    names = tuple(name.replace("hand", "paw") for name in body.joints)
    other = Skeleton("cat", names, body.parents, body.left_right, body.centre)
    with pytest.raises(TsgcError, match="describe: skeleton cat is without left hand, right hand, expected"):
        Describer(dataclasses.replace(trial.pipeline, skeleton=other), clips, np.arange(3))


def test_trials_that_describe_train_side_by_side_as_alone(tmp_path, clips):
    twins = {"set": SECOND, "twins": {"kind": "cameras", "weight": 0.5}}
    makes = [partial(one_trial, tmp_path, clips, **more) for more in ({}, twins, {"pretrain": {"clips": 50}})]
    alone = [make() for make in makes]
    for trial in alone:
        for _ in trial.steps():
            pass
    beside = [make() for make in makes]
    for _ in zip_longest(*(trial.steps() for trial in beside)):
        pass
    assert [trial.marks for trial in alone] == [trial.marks for trial in beside]
