"""Learning without labels in the search: what is hidden and predicted, which clips are seen, what is left."""

import copy
import dataclasses
import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from made import search
from made.search import COUNTS, SMALL
from made.steps import Recorded
from nw_ucla.data import ResidentClips
from nw_ucla.folds import MSR, NW_UCLA, fold_clips
from nw_ucla.ideas.pretrain import JoinedClips, Pretrainer, same_joints
from nw_ucla.ideas.settings import Pretraining
from nw_ucla.plan import read_plan
from nw_ucla.search import result
from nw_ucla.tables import cost_table
from nw_ucla.trial import Trial

from pipelines.errors import TsgcError
from pipelines.skeleton import KINECT1_20
from shards.load_manifest import load_manifest

CPU = torch.device("cpu")
CONFIG = {**SMALL, "frames": 35, "repeats": 2, "last_batch": "spread", "noise": 0.01, "bodies": 2}
SECOND = {
    "network": "tsgcnext2",
    "modality": "joint+bone",
    "network_settings": {"clip_attention": [3], "meeting": [3]},
}


@pytest.fixture(scope="module")
def clips(trained):
    return ResidentClips(load_manifest(trained / "data/shards/nw-ucla/xview"), "train", CPU)


write_plan = partial(search.write_plan, base=CONFIG, clips=100)


def one_trial(folder, clips, others=(), device=CPU, **trial):
    (spec,) = read_plan(write_plan(folder, {"name": "x", **trial}), COUNTS)
    return search.make_trial(spec, clips, others, device)


def pretrainer(trial, **settings):
    chosen = Pretraining(**{"clips": 400, **settings})
    return Pretrainer(
        trial.model, chosen, trial.config, trial.pipeline, trial.train, trial.others, cuda_graphs=False
    )


def elsewhere(clips, names):
    """The clips as those of another data set, their joints in the order of `names`."""
    other = copy.copy(clips)
    place = [KINECT1_20.joints.index(name) for name in names]
    body = type("Body", (), {"joints": tuple(names)})()
    told = {**vars(clips.manifest), "dataset": MSR, "benchmark": f"{MSR}/xsub", "body": body}
    other.manifest, other.joints = type("Manifest", (), told)(), clips.joints[:, place] + 100
    return other


@pytest.mark.parametrize("target", ["joints", "motion"])
@pytest.mark.parametrize("change", [{}, SECOND])
@pytest.mark.parametrize("told", [False, True])
def test_the_loss_is_that_of_the_hidden_numbers_one_by_one(tmp_path, clips, target, change, told):
    trial = one_trial(tmp_path, clips, set=change)
    before = pretrainer(trial, target=target)
    (batch,) = next(iter(before.feed.epoch(0))).parts
    N, C, T, V, M = batch.x.shape
    x = torch.randn(batch.x.shape, generator=torch.Generator().manual_seed(0))
    presence = (
        (torch.rand(N, T, M, generator=torch.Generator().manual_seed(1)) < 0.7).float() if told else None
    )
    batch = replace(batch, x=x, presence=presence)
    with before.masked as masked:
        found = masked.loss(batch).item()
        made = masked(x, batch.lam_map, torch.ones_like(batch.survival), presence)
    views, token = masked.views, masked.token
    assert made.shape == (views, N, M, 2, V, 16, C // views) and (token, T) == (16, 35)
    each, total, count = C // views, 0.0, 0
    for n, m, t, v in itertools.product(range(N), range(M), range(32), range(V)):
        following = t + 1 if target == "motion" else t
        there = not told or bool(presence[n, t, m] * presence[n, following, m])
        if batch.lam_map[n, 0, t // 16, v, m] or not there:
            continue
        goal = x[n, :, following, v, m] - x[n, :, t, v, m] if target == "motion" else x[n, :, t, v, m]
        guess = made[:, n, m, t // 16, v, t % 16].reshape(views * each)
        total, count = total + (guess - goal).square().sum().item(), count + C
    assert count and found == pytest.approx(total / count, rel=1e-4)


@pytest.mark.parametrize("change", [{}, SECOND])
def test_what_is_hidden_is_not_seen_and_the_rest_is(tmp_path, clips, change):
    trial = one_trial(tmp_path, clips, set=change)
    before = pretrainer(trial, mask=0.3)
    (batch,) = next(iter(before.feed.epoch(0))).parts
    kept = batch.lam_map
    assert set(kept.unique().tolist()) == {0, 1} and 0.6 < kept.mean() < 0.8
    frames = torch.cat([kept.repeat_interleave(16, 2), torch.ones_like(batch.x[:, :1, 32:])], 2)
    survival = torch.ones_like(batch.survival)
    with before.masked.eval() as masked:
        whole, without, other = (
            masked(x, kept, survival, None) for x in (batch.x, batch.x * frames, batch.x.where(frames > 0, 7))
        )
        assert torch.equal(whole, without) and torch.equal(whole, other)
        assert not torch.equal(whole, masked(batch.x + frames, kept, survival, None))
        assert not torch.equal(whole, masked(batch.x, torch.ones_like(kept), survival, None))


@pytest.mark.parametrize("change", [{}, SECOND])
def test_the_trunk_learns_and_the_heads_stay(tmp_path, clips, change):
    trial = one_trial(tmp_path, clips, set=change)
    start = copy.deepcopy(trial.model.state_dict())
    before = pretrainer(trial, clips=240)
    assert sum(1 for _ in before.steps()) * 12 == before.done == 240
    after = trial.model.state_dict()
    same = {name.split(".")[0] for name, tensor in after.items() if torch.equal(tensor, start[name])}
    assert same == ({"heads", "norms"} if change else {"head", "norm"})
    assert len(before.errors) == 4 and before.errors[-1] < before.errors[0]
    assert not any(hook for module in trial.model.modules() for hook in module._forward_hooks)


@pytest.mark.parametrize("change", [{}, SECOND])
def test_captured_steps_are_the_plain_ones(tmp_path, clips, change):
    found = []
    for captured in (False, True):
        trial = one_trial(tmp_path, clips, set=change)
        before = pretrainer(trial, clips=96)
        graphs = before._graphs = Recorded(CPU) if captured else None
        for _ in before.steps():
            shapes = len(graphs) if captured else 1
        assert shapes == 1 and (graphs is None or len(graphs) == 0)
        found.append((before.errors, trial.model.state_dict()))
    (plain, one), (recorded, two) = found
    assert plain == recorded and all(torch.equal(tensor, two[name]) for name, tensor in one.items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: there are no CUDA graphs to compare with")
@pytest.mark.parametrize("change", [{}, SECOND])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_on_a_gpu_captured_steps_are_the_plain_ones(tmp_path, trained, change, precision):
    found = []
    for device, clips, settings in search.plain_and_captured(trained, precision, change):
        trial = one_trial(
            tmp_path, clips, [elsewhere(clips, KINECT1_20.joints)], device=device, set=settings,
            pretrain={"clips": 600, "with": [MSR]}, twins={"kind": "cameras", "weight": 0.5},
        )  # fmt: skip
        for _ in trial.steps():
            pass
        found.append(trial.said["pretrain_error"] + [mark["loss"] for mark in trial.marks])
    assert found[0] == pytest.approx(found[1], rel=2e-2)


def test_the_steps_made_together_are_those_made_alone(tmp_path, clips):
    feed = pretrainer(one_trial(tmp_path, clips)).feed
    steps = list(feed.loader.epoch(0))
    for one, ready in zip(steps, feed.make(0, steps), strict=True):
        (alone,), (together,) = feed.make(0, [one])[0].parts, ready.parts
        for name, tensor in alone.tensors.items():
            assert torch.equal(tensor, together.tensors[name]), name


@pytest.mark.parametrize("fold", ["1to2", "2to1", "without-1-7", "without-2-3"])
@pytest.mark.parametrize("joined", [False, True])
def test_no_judging_clip_is_seen(tmp_path, clips, fold, joined):
    (spec,) = read_plan(write_plan(tmp_path, {"name": "x", "folds": [fold]}), COUNTS)
    trains, judges = fold_clips(clips.fields, fold)
    others = [elsewhere(clips, KINECT1_20.joints)] if joined else []
    trial = Trial(spec, (clips, trains), (clips, judges), CPU, others)
    before = pretrainer(trial)
    count, seen = len(clips.clips), set()
    for step in before.loader.epoch(0):
        seen |= set(step.parts[0].indices.tolist())
    assert seen == set(trains) | (set(range(count, 2 * count)) if joined else set())
    assert not seen & set(judges)


def test_further_clips_have_their_joints_in_our_order(clips):
    names = KINECT1_20.joints[::-1]
    both = JoinedClips([clips, elsewhere(clips, names)])
    count = len(clips.clips)
    batch = both.reader().read(np.array([count + 5, 3]))
    there, here = clips.batch(np.array([5])), clips.batch(np.array([3]))
    assert torch.equal(batch.joints, torch.cat([there.joints + 100, here.joints]))
    assert both.said == f"{count} clips of {MSR}, 20 joints by name"
    assert len(both.clips) == 2 * count and batch.frames.tolist() == [there.frames.item(), here.frames.item()]


def test_joints_that_are_not_there_are_told(clips):
    with pytest.raises(
        TsgcError, match=r"msr-action3d/xsub are xyz at 30 frames/s without .*, expected xyz at 30"
    ):
        same_joints(elsewhere(clips, KINECT1_20.joints[2:]), clips)
    faster = elsewhere(clips, KINECT1_20.joints)
    faster.manifest.fps = 60
    with pytest.raises(TsgcError, match="at 60 frames/s, expected xyz at 30 frames/s of all joints"):
        same_joints(faster, clips)


def test_networks_of_the_field_are_refused(tmp_path, clips):
    trial = one_trial(tmp_path, clips, set={"network": "stgcn++"}, pretrain={"clips": 100})
    with pytest.raises(TsgcError, match=r"the network is .*, expected tsgcnext or tsgcnext2"):
        next(trial.steps())


def test_trials_are_known_by_it_cost_more_and_say_so(tmp_path):
    asked = [
        None, {"clips": 300_000}, {"clips": 300_000, "target": "motion"}, {"clips": 300_000, "mask": 0.7},
        {"clips": 100_000}, {"clips": 300_000, "with": [NW_UCLA, MSR]},
    ]  # fmt: skip
    trials = [{"name": str(n), **({"pretrain": one} if one else {})} for n, one in enumerate(asked)]
    folds = ["without-1-7", "msr-without-3"]
    specs = read_plan(write_plan(tmp_path, *trials, folds=folds, clips=300_000), COUNTS)
    assert len({spec.key for spec in specs}) == 12
    assert specs[0].key == dataclasses.replace(specs[2], pretrain=None).key
    assert {spec.settings.get("pretrain", "") for spec in specs} == {
        "", "300,000 clips, joints, mask 0.5", "300,000 clips, motion, mask 0.5",
        "300,000 clips, joints, mask 0.7",
        "100,000 clips, joints, mask 0.5", "300,000 clips, joints, mask 0.5, with msr-action3d",
        "300,000 clips, joints, mask 0.5, with nw-ucla",
    }  # fmt: skip
    assert [spec.work - spec.clips for spec in specs[::2]] == [0, 300_000, 300_000, 300_000, 100_000, 300_000]
    rows = [line.split(" | ") for line in cost_table(specs, specs).splitlines()[2:]]
    assert [row[2] for row in rows] == ["0.60", "1.20", "1.20", "1.20", "0.80", "1.20", "6.20"]


@pytest.mark.parametrize(
    ("pretrain", "said"),
    [
        ({}, "x: pretrain.clips is None, expected a whole number above 0"),
        ({"clips": 9, "mask": 1}, "x: pretrain.mask is 1, expected a number between 0 and 1"),
        ({"clips": 9, "target": "bones"}, "x: pretrain.target is 'bones', expected joints or motion"),
        ({"clips": 9, "with": MSR}, "x: pretrain.with is 'msr-action3d', expected a list of data sets"),
        ({"clips": 9, "with": [MSR]}, "x: pretrain.with is 'msr-action3d', expected one of nw-ucla, or the"),
        ({"clip": 9}, "x: pretrain is 'key clip', expected only clips, mask, target, with"),
    ],
)
def test_a_wrong_pretraining_is_told(tmp_path, pretrain, said):
    counts = {fold: count for fold, count in COUNTS.items() if not fold.startswith("msr")}
    with pytest.raises(TsgcError, match=said):
        read_plan(write_plan(tmp_path, {"name": "x", "pretrain": pretrain}), counts)


@pytest.mark.parametrize("change", [{}, SECOND])
def test_a_pretrained_trial_trains_the_same_each_time_and_otherwise_than_without(tmp_path, clips, change):
    others = [elsewhere(clips, KINECT1_20.joints[::-1])]
    asked = {"pretrain": {"clips": 100, "with": [MSR]}, "twins": {"kind": "cameras", "weight": 0.5}}
    lines = []
    for more in (asked, asked, {"twins": asked["twins"]}):
        trial = one_trial(tmp_path, clips, others if "pretrain" in more else (), set=change, **more)
        for _ in trial.steps():
            assert trial.worked == trial.done + trial.pretrained
        lines.append(result(trial, 1, CPU))
    one, two, without = lines
    assert one["marks"] == two["marks"] != without["marks"]
    assert one["pretrain_clips"] == 2 * 2 * (12 + 18) and one["clips"] == without["clips"]
    assert one["pretrain_error"] == two["pretrain_error"] and "pretrain_clips" not in without
    assert one["pretrain_with"] == "18 clips of msr-action3d, 20 joints by name"


def test_average_and_optimiser_start_anew(tmp_path, clips):
    trial = one_trial(tmp_path, clips, pretrain={"clips": 100})
    start = copy.deepcopy(trial.model.state_dict())
    assert len(list(trial.pretrain(trial.spec.pretrain))) == 8
    there, average = trial.model.state_dict(), trial.step.ema.module.state_dict()
    assert all(torch.equal(tensor, average[name]) for name, tensor in there.items())
    assert not torch.equal(there["stem.0.weight"], start["stem.0.weight"])
    assert not trial.step.optimizer.state and all(one.grad is None for one in trial.model.parameters())
