"""Twins in the search: which clips are a pair, what they share, their loss; none of them judges."""

import copy
import dataclasses
from collections import defaultdict
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made import search
from made.search import COUNTS, SMALL
from nw_ucla.data import ResidentClips, ResidentLoader
from nw_ucla.folds import FOLDS, MSR, NW_UCLA, clip_fields, fold_clips
from nw_ucla.ideas.twins import TwinFeed, TwinLoader, disagreement, possible_twins
from nw_ucla.plan import read_plan
from nw_ucla.search import result

from pipelines.errors import TsgcError
from shards.load_manifest import load_manifest
from tsgc.config import build_config
from tsgc.input.mixing import mix
from tsgc.step.loss import soft_targets, summed_loss

CPU = torch.device("cpu")
CONFIG = {
    **SMALL, "repeats": 3, "last_batch": "spread", "mirror": 0.5, "noise": 0.01, "cutmix_span": 0.5,
    "cutmix_part": 0.3, "mixup_prob": 1.0, "drop_path": 0.3,
}  # fmt: skip
UCLA_FOLDS = [name for name, fold in FOLDS.items() if fold.dataset == NW_UCLA]


@pytest.fixture(scope="module")
def clips(trained):
    return ResidentClips(load_manifest(trained / "data/shards/nw-ucla/xview"), "train", CPU)


write_plan = partial(search.write_plan, base=CONFIG, clips=5000)


def one_trial(folder, clips, **trial):
    (spec,) = read_plan(write_plan(folder, {"name": "x", **trial}), COUNTS)
    return search.make_trial(spec, clips)


@pytest.mark.parametrize("batch", [3, 4, 8, 13])
def test_a_batch_is_pairs_and_an_odd_ones_middle_clip_is_alone(clips, batch):
    config = build_config({**CONFIG, "batch": batch, "mix_group": 3}, "test")
    chosen = np.arange(1, len(clips.clips))
    loader, plain = TwinLoader(clips, chosen, config, "same"), ResidentLoader(clips, chosen, config)
    visits = np.zeros(len(clips.clips))
    for epoch in range(2):
        for step, usual in zip(loader.epoch(epoch), plain.epoch(epoch), strict=True):
            (part,) = step.parts
            assert (step.step, step.size, len(part)) == (usual.step, usual.size, usual.size)
            pairs = step.size // 2
            which, partner = part.indices.numpy(), part.partner.numpy()
            assert np.array_equal(which[:pairs], which[pairs : 2 * pairs])
            assert np.array_equal(partner[pairs : 2 * pairs], partner[:pairs] + pairs)
            assert (partner[:pairs] < pairs).all() and (
                partner[2 * pairs :] == range(2 * pairs, len(part))
            ).all()
            assert np.array_equal(partner[partner], range(len(part)))
            np.add.at(visits, which, 1)
    assert visits[0] == 0 and set(visits[1:]) == {2 * 3}  # twice three repeats, as without twins


@pytest.mark.parametrize("kind", ["cameras", "takes"])
@pytest.mark.parametrize("fold", UCLA_FOLDS)
def test_a_twin_never_judges(clips, fold, kind):
    trains, judges = fold_clips(clips.fields, fold)
    names, own = np.array(clips.clips.names), [[place] for place in range(len(trains))]
    twins = possible_twins(kind, clips, trains)
    assert not {trains[one] for several in twins for one in several} & set(judges)
    one_camera = FOLDS[fold].witness == "views"
    if one_camera:  # the other camera's clips all judge, and made performers have one take
        assert twins == own
    for clip, several in zip(names[trains], twins, strict=True):
        for twin in () if one_camera else names[trains[several]]:
            assert clip[:-1] == twin[:-1] and clip[-1] + twin[-1] in ("12", "21")
    for step in TwinLoader(clips, trains, build_config({**CONFIG, "batch": 5}, "test"), kind).epoch(0):
        which = step.parts[0].indices.numpy()
        pairs = step.size // 2
        assert set(which) <= set(trains)
        assert one_camera == np.array_equal(which[:pairs], which[pairs : 2 * pairs])


@pytest.mark.parametrize("dataset", [NW_UCLA, MSR])
def test_any_other_take_of_class_and_performer_may_be_drawn(clips, dataset):
    many = {
        NW_UCLA: [f"a01_s{s:02}_e0{e}_v0{v}" for s in (1, 2) for e in (0, 1) for v in (1, 2)],
        MSR: [f"a01_s{s:02}_e0{e}" for s in (1, 3) for e in (1, 2, 3)],
    }[dataset]
    others = (len(many) // 2) - 1
    made = copy.copy(clips)
    made.manifest = dataclasses.replace(clips.manifest, dataset=dataset)
    made.clips = dataclasses.replace(
        clips.clips.select(np.arange(len(clips.clips)) < len(many)),
        names=tuple(many),
        labels=np.zeros(len(many), int),
    )
    made.fields = clip_fields(dataset, many)
    trains = np.arange(len(many))
    twins = possible_twins("takes", made, trains)
    for place, several in enumerate(twins):
        assert len(several) == others and place not in several
        assert {made.fields["performers"][one] for one in several} == {made.fields["performers"][place]}
    made.reader = lambda: clips.resident.reader(clips.clips)
    loader = TwinLoader(made, trains, build_config({**CONFIG, "batch": 4}, "test"), "takes")
    met = defaultdict(set)
    for epoch in range(40):
        for step in loader.epoch(epoch):
            which = step.parts[0].indices.tolist()
            pairs = step.size // 2
            for one, two in zip(which[:pairs], which[pairs : 2 * pairs]):
                met[one].add(two)
    assert met == {place: set(several) for place, several in enumerate(twins)}
    one, two = ([step.parts[0].indices.tolist() for step in loader.epoch(7)] for _ in range(2))
    assert one == two


def test_a_clip_whose_twin_was_moved_to_another_class_is_its_own(clips):
    name = "a01_s02_e00_v02"
    place = clips.clips.names.index(name)
    moved = {clips.manifest.class_names[1]: {name: int(clips.clips.crc32[place])}}
    config = build_config({**CONFIG, "relabel": moved}, "test")
    trains, _ = fold_clips(clips.fields, "without-1-7")
    names = np.array(clips.clips.names)[trains]
    for kind, left in (("cameras", name), ("takes", None)):  # there it meets those of its new class
        before, after = (possible_twins(kind, one, trains) for one in (clips, clips.relabelled(config)))
        alone = {names[place] for place, twins in enumerate(after) if twins == [place]}
        assert all(twins != [place] for place, twins in enumerate(before))
        assert alone == {"a01_s02_e00_v01", left} - {None}


@pytest.mark.parametrize("kind", ["same", "cameras", "takes"])
def test_a_pair_has_equal_targets_and_cuts_and_augmentations_of_its_own(tmp_path, clips, kind):
    trial = one_trial(tmp_path, clips, twins={"kind": kind, "weight": 0.5})
    assert isinstance(trial.feed, TwinFeed)
    cut = False
    for epoch in range(3):
        for ready in trial.feed.epoch(epoch):
            (batch,), pairs = list(ready.parts), ready.step.size // 2
            first, second = slice(pairs), slice(pairs, 2 * pairs)
            targets = soft_targets(batch.labels, batch.partner, batch.lam, 10, 0.1)
            assert torch.equal(targets[first], targets[second])
            assert torch.equal(batch.lam_map[first], batch.lam_map[second])
            cut |= bool(
                (batch.lam_map[first].amin((1, 2, 3, 4)) < batch.lam_map[first].amax((1, 2, 3, 4))).any()
            )
            assert not torch.equal(batch.survival[:, first], batch.survival[:, second])
            mixed = mix(batch.x, batch.partner, batch.lam_map)
            assert (mixed[first] != mixed[second]).flatten(1).any(1).all()
    assert cut


def test_steps_made_together_are_those_made_alone(tmp_path, clips):
    trial = one_trial(tmp_path, clips, twins={"kind": "cameras", "weight": 1})
    steps = list(trial.loader.epoch(1))
    for one, ready in zip(steps, trial.feed.make(1, steps), strict=True):
        (alone,), (together,) = trial.feed.make(1, [one])[0].parts, ready.parts
        for name, tensor in alone.tensors.items():
            assert torch.equal(tensor, together.tensors[name]), name


@pytest.mark.parametrize("shape", [(6, 4), (7, 4), (6, 3, 4)])
def test_the_divergence_is_rdrops(shape):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    pairs = shape[0] // 2
    one, two = (F.log_softmax(part, -1) for part in (logits[:pairs], logits[pairs : 2 * pairs]))
    both = [F.kl_div(a, b, reduction="sum", log_target=True) for a, b in ((one, two), (two, one))]
    mean = sum(both) / 2 / (pairs * (shape[1] if len(shape) == 3 else 1))
    found = disagreement(logits, 0.5)
    torch.testing.assert_close(found, (0.5 * shape[0] * mean).float())
    assert found > 0 and disagreement(torch.cat([logits[:pairs]] * 2), 0.5) == 0


def test_the_steps_loss_has_it_added_to_the_labels(tmp_path, clips):
    trial = one_trial(tmp_path, clips, twins={"kind": "same", "weight": 0.7}, set={"drop_path": 0.0})
    (batch,) = next(iter(trial.feed.epoch(0))).parts
    trial.model.train()
    logits = trial.model(mix(batch.x, batch.partner, batch.lam_map), batch.survival)
    targets = soft_targets(batch.labels, batch.partner, batch.lam, 10, trial.config.label_smoothing)
    found, plain = trial.step.loss(batch), summed_loss(logits, targets)
    torch.testing.assert_close(found, plain + disagreement(logits, 0.7))
    assert found > plain


def test_trials_with_twins_are_known_and_say_so(tmp_path, clips):
    twins = [
        None,
        {"kind": "same", "weight": 0.5},
        {"kind": "same", "weight": 1},
        {"kind": "cameras", "weight": 1},
    ]
    trials = [{"name": str(n), **({"twins": one} if one else {})} for n, one in enumerate(twins)]
    specs = read_plan(write_plan(tmp_path, *trials), COUNTS)
    assert len({spec.key for spec in specs}) == 4
    assert [spec.settings for spec in specs] == [
        {}, {"twins": "same x 0.5"}, {"twins": "same x 1"}, {"twins": "cameras x 1"}
    ]  # fmt: skip
    (bare,) = read_plan(write_plan(tmp_path, {"name": "bare"}), COUNTS)
    assert specs[0].key == bare.key == dataclasses.replace(specs[1], twins=None).key
    assert len({(spec.clips, spec.work) for spec in specs}) == 1


@pytest.mark.parametrize(
    ("twins", "said"),
    [
        ({"kind": "sister", "weight": 1}, r"x: twins.kind is 'sister', expected same, cameras, takes"),
        ({"kind": "same"}, "x: twins.weight is None, expected a number above 0"),
        ({"kind": "same", "weight": 0}, "x: twins.weight is 0, expected a number above 0"),
        ({"kind": "same", "weight": 1, "of": 2}, "x: twins is 'key of', expected only kind, weight"),
        ("same", "x: twins is 'same', expected a mapping of kind, weight"),
    ],
)
def test_wrong_twins_are_told(tmp_path, twins, said):
    with pytest.raises(TsgcError, match=said):
        read_plan(write_plan(tmp_path, {"name": "x", "twins": twins}), COUNTS)


@pytest.mark.parametrize("more", [{}, {"set": {"network": "tsgcnext2", "modality": "joint+bone"}}])
def test_a_trial_of_twins_trains_the_same_each_time(tmp_path, clips, more):
    make = partial(one_trial, tmp_path, clips, twins={"kind": "cameras", "weight": 0.5}, **more)
    lines = []
    for trial in (make(), make()):
        assert sum(1 for _ in trial.steps()) > trial.loader.steps_per_epoch
        lines.append(result(trial, 1, CPU))
    assert lines[0]["marks"] == lines[1]["marks"]
    assert lines[0]["twins"] == "cameras x 0.5, 12 of 12 clips have another one as twin"
    assert lines[0]["clips"] == lines[0]["epochs"] * 3 * 12 and lines[0]["epochs"] == 2
