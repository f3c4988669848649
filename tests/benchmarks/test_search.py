"""The search on NW-UCLA: the batches of `tsgc train`, folds, resuming, time limits, failures."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from made.command import tsgc
from made.search import COUNTS, ROOT, SMALL, same_logits, search, train_on_all
from nw_ucla import search as searching
from nw_ucla.data import ResidentClips, ResidentLoader
from nw_ucla.folds import fold_clips
from nw_ucla.plan import read_plan, startable
from nw_ucla.search import read_results, to_do
from nw_ucla.tables import trial_table
from nw_ucla.weights import check_unseen

from pipelines.errors import TsgcError
from shards.load_manifest import load_manifest
from shards.loader import TrainLoader
from tsgc.checkpoint import Description, save_weights
from tsgc.config import build_config

CPU = torch.device("cpu")


@pytest.fixture
def shards(trained):
    return trained / "data/shards/nw-ucla/xview"


@pytest.fixture
def plan(tmp_path):
    """Writes a plan of trials by name, and gives its path."""

    def write(trials, **changes):
        path = tmp_path / "plan.yaml"
        content = {"base": SMALL, "clips": 200, "seeds": [0], "folds": ["1to2"], **changes}
        content["trials"] = [{"name": name, "set": changed} for name, changed in trials.items()]
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.mark.parametrize("holdout", [False, True])
def test_batches_are_those_that_training_reads(shards, holdout):
    manifest = load_manifest(shards)
    config = build_config({**SMALL, "repeats": 3, "last_batch": "spread", "seed": 5}, "test")
    read = TrainLoader(
        manifest, batch=16, seed=5, mix_group=16, last_batch="spread", repeats=3, holdout=holdout
    )
    resident = ResidentClips(manifest, "train", CPU)
    trains = fold_clips(resident.fields, "1to2")[0] if holdout else np.arange(len(resident.clips))
    loader = ResidentLoader(resident, trains, config)
    assert loader.steps_per_epoch == read.steps_per_epoch
    for one, two in zip(loader.epoch(2), read.epoch(2), strict=True):
        assert (one.step, one.size) == (two.step, two.size)
        for name, tensor in vars(two.parts[0]).items():
            if name == "indices":  # into all clips here, into those that train there
                tensor = torch.from_numpy(trains)[tensor]
            assert torch.equal(getattr(one.parts[0], name), tensor), name
    assert [step.step for step in loader.epoch(2, 3)] == list(range(3, loader.steps_per_epoch))


def test_folds_never_see_the_test_view(shards):
    manifest = load_manifest(shards)
    clips = ResidentClips(manifest, "train", CPU)
    views = clips.fields["views"]
    assert set(views.tolist()) == {1, 2}
    for fold, (trains, validates) in {"1to2": (1, 2), "2to1": (2, 1)}.items():
        one, two = fold_clips(clips.fields, fold)
        assert set(views[one]) == {trains} and set(views[two]) == {validates}
        assert len(one) + len(two) == len(views)


def test_a_plan_sets_epochs_by_visits_and_keys_by_the_whole_configuration(plan):
    path = plan({"a": {}, "b": {"lr": 0.01}}, seeds=[0, 1], folds=["1to2", "2to1"], clips=51600)
    specs = read_plan(path, COUNTS)
    assert [(s.name, s.config.seed, s.fold) for s in specs[:4]] == [
        ("a", 0, "1to2"), ("a", 0, "2to1"), ("a", 1, "1to2"), ("a", 1, "2to1"),
    ]  # fmt: skip
    assert specs[0].config.epochs == 100 and specs[0].config.warmup_epochs == 5 and specs[0].clips == 51600
    assert specs[1].config.epochs == 102
    assert len({spec.key for spec in specs}) == 8
    assert [s.key for s in read_plan(path, COUNTS)] == [s.key for s in specs]


def test_in_rounds_every_trials_first_seed_comes_before_any_second_one(plan):
    trials = {"a": {}, "b": {"lr": 0.01}}
    usual = read_plan(plan(trials, seeds=[3, 1], folds=["1to2", "2to1"]), COUNTS)
    rounds = read_plan(plan(trials, seeds=[3, 1], folds=["1to2", "2to1"], rounds=True), COUNTS)
    assert [(s.config.seed, s.name, s.fold) for s in rounds] == [
        (seed, name, fold) for seed in (3, 1) for name in "ab" for fold in ("1to2", "2to1")
    ]
    assert {spec.key for spec in rounds} == {spec.key for spec in usual}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"trials": [{"name": "x", "set": {"learning_rate": 1}}]}, "unknown key 'learning_rate'"),
        ({"trials": [{"name": "x", "sett": {}}]}, "unknown key 'sett'"),
        ({"trials": [{"name": "x"}], "folds": ["3to1"]}, "fold '3to1'"),
    ],
)
def test_a_wrong_plan_is_told(tmp_path, content, said):
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump({"clips": 100, **content}))
    with pytest.raises(TsgcError, match=said):
        read_plan(path, COUNTS)


def test_the_plans_that_are_shipped_are_right(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # recipes lie below it
    for path in (ROOT / "benchmarks/nw_ucla").glob("*stage*.yaml"):
        specs = read_plan(path, COUNTS)
        for init in {spec.init for spec in specs} - {None}:
            file = tmp_path / init.with_suffix(".safetensors")  # made where the plan is worked through
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(str(init).encode())
            specs = [dataclasses.replace(spec, init=file) if spec.init == init else spec for spec in specs]
        assert len({spec.key for spec in specs}) == len(specs), f"{path}: a trial twice"


STAGES = (
    *("stage1", "stage2", "stage3", "stage3c", "stage4", "stage5", "stage6", "stage7", "stage8"),
    "v2_stage0",
)


@pytest.mark.parametrize("stage", STAGES)
def test_what_was_recorded_is_not_done_again(stage):
    """Whatever settings training has learned since, they are off in the trials that were done before."""
    folder = ROOT / "benchmarks/nw_ucla"
    planned = {spec.key for spec in read_plan(folder / f"{stage}.yaml", COUNTS)}
    recorded = [line["key"] for line in read_results(folder / f"results/{stage}.jsonl")]
    assert recorded and set(recorded) <= planned


def test_a_trial_is_known_by_its_weights_not_by_where_they_lie(plan, tmp_path):
    for name, content in (("one", b"a"), ("same", b"a"), ("other", b"b")):
        (tmp_path / f"{name}.safetensors").write_bytes(content)
    path = plan({name: {} for name in ("none", "one", "same", "other", "gone")})
    content = yaml.safe_load(path.read_text())
    for trial in content["trials"][1:]:
        trial["init"] = str(tmp_path / f"{trial['name']}.safetensors")
    path.write_text(yaml.safe_dump(content))
    specs, waiting = startable(read_plan(path, COUNTS))
    keys = {spec.name: spec.key for spec in specs}
    assert set(keys) == {"none", "one", "same", "other"}
    assert keys["one"] == keys["same"] and len(set(keys.values())) == 3
    assert len(waiting) == 1 and waiting[0].startswith("gone 1to2 seed 0 is left out: ")
    assert "gone.safetensors: no such file" in waiting[0]


@pytest.mark.parametrize(
    ("dataset", "holdout", "refused"),
    [("nw-ucla", False, {"1to2", "2to1"}), ("nw-ucla", True, {"2to1"}), ("made", False, set())],
)
def test_weights_that_know_the_judging_clips_are_refused(tmp_path, dataset, holdout, refused):
    config = build_config({"variant": "tiny", "holdout": holdout}, "test")
    description = Description(
        skeleton="nw-ucla-20", num_classes=10, bodies=1, channels=3, benchmark=f"{dataset}/x",
        preset="reference", epoch=1, ema=True, selected_on="none", config=config, dataset=dataset,
    )  # fmt: skip
    path = tmp_path / "there.safetensors"
    save_weights(path, description.build_network().state_dict(), description)
    for fold in ("1to2", "2to1"):
        if fold in refused:
            with pytest.raises(TsgcError, match=f"none of the clips that judge {fold}"):
                check_unseen(path, fold)
        else:
            check_unseen(path, fold)


@pytest.mark.slow
def test_trials_that_start_from_weights_say_so_and_failures_are_told(plan, shards, trained, tmp_path):
    path = plan({"fresh": {}, "from NTU": {}, "from NW-UCLA": {}, "later": {}})
    content = yaml.safe_load(path.read_text())
    for trial, init in zip(content["trials"][1:], ("ntu60/xsub", "nw-ucla/xview", "nowhere"), strict=True):
        trial["init"] = str(trained / "runs" / init / "tiny/joint/seed0")
    path.write_text(yaml.safe_dump(content))
    out = tmp_path / "found.jsonl"
    said = search("--plan", path, "--shards", shards, "--out", out)
    assert "later 1to2 seed 0 is left out" in said and "3 trainings, 3 of them" in said
    lines = {line["name"]: line for line in read_results(out)}
    assert "20 of 20 joints, by name from ntu-25" in lines["from NTU"]["loaded"]
    assert lines["from NTU"]["marks"][0]["loss"] != lines["fresh"]["marks"][0]["loss"]
    assert (
        lines["from NW-UCLA"]["status"] == "failed" and "none of the clips" in lines["from NW-UCLA"]["error"]
    )
    assert "init=" in trial_table([lines["from NTU"]]) and "init=" not in trial_table([lines["fresh"]])


def test_shares_split_a_plan_whatever_is_done(plan):
    specs = read_plan(plan({str(n): {"lr": 0.01 * (n + 1)} for n in range(7)}), COUNTS)
    done = [{"key": specs[0].key, "status": "ok"}, {"key": specs[1].key, "status": "failed"}]
    parts = [to_do(specs, done, (part, 2)) for part in (0, 1)]
    assert sorted(s.name for part in parts for s in part) == ["2", "3", "4", "5", "6"]
    assert [s.name for s in to_do(specs, done, (1, 2), retry=True)] == ["1", "3", "5"]


@pytest.mark.slow
def test_a_search_records_resumes_and_goes_on_after_failures(plan, shards, tmp_path):
    path = plan({"good": {}, "diverges": {"lr": 1e30}, "other": {"normalise": "unit"}})
    out = tmp_path / "found.jsonl"
    words = ["--plan", path, "--shards", shards, "--out", out, "--concurrent", 2]
    assert "1 done, 0 left" in search(*words, "--only", "good")
    said = search(*words)
    assert "2 of them for this process" in said and "training has diverged" in said
    lines = {line["name"]: line for line in read_results(out)}
    assert lines["diverges"]["status"] == "failed" and "the loss is" in lines["diverges"]["error"]
    assert lines["other"]["set"] == {"normalise": "unit"}
    marks = lines["good"]["marks"]
    assert marks[-1]["epoch"] == lines["good"]["epochs"] and 0 <= marks[-1]["top1_ema"] <= 100
    assert {"loss", "top1", "nll", "nll_ema", "mean_class"} <= marks[0].keys()
    resident = ResidentClips(load_manifest(shards), "train", CPU)
    labels = resident.clips.labels[fold_clips(resident.fields, "1to2")[1]]
    right = np.array(list(map(int, lines["good"]["answers"]))) == labels
    assert 100 * right.mean() == pytest.approx(marks[-1]["top1_ema"], abs=1e-3)
    assert set(lines["good"]["tta"]) == {"mirror", "turns", "spans", "mirror-turns"}
    assert "0 of them for this process" in search(*words)
    with out.open("a") as file:
        file.write('{"key": "cut')  # killed while writing
    assert len(read_results(out)) == 3


@pytest.mark.slow
def test_trainings_side_by_side_are_those_one_after_another(plan, shards, tmp_path):
    path = plan({"a": {}, "b": {"lr": 2e-3}, "c": {"mirror": 0.5}})
    for concurrent in (1, 3):
        words = ["--out", tmp_path / f"{concurrent}.jsonl", "--concurrent", concurrent]
        search("--plan", path, "--shards", shards, *words)
    one, three = (
        {line["name"]: line["marks"] for line in read_results(tmp_path / f"{n}.jsonl")} for n in (1, 3)
    )
    assert one == three and len(one) == 3


def test_a_long_look_at_the_end_of_one_training_is_not_taken_for_the_speed_of_the_next(
    plan, tmp_path, monkeypatch
):
    clock = [0.0]
    monkeypatch.setattr(searching, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(searching, "result", lambda trial, running, device: {})
    monkeypatch.setattr(searching, "told", str)

    class Training:
        worked = 0.0

        def __init__(self, spec):
            self.spec = spec

        def steps(self):
            for _ in range(102):
                clock[0] += 0.05
                self.worked += self.spec.work / 102
                yield SimpleNamespace(ready=True)

        def last_look(self):
            clock[0] += 6
            return {}

        def save(self):
            pass

        close = save

    specs = read_plan(plan({"a": {}, "b": {"lr": 2e-3}, "c": {"mirror": 0.5}}), COUNTS)
    search = searching.Search(Training, CPU, 1, lambda line: None)
    assert search.run(specs, tmp_path / "out.jsonl", 40) == 0
    assert clock[0] == pytest.approx(3 * (5.1 + 6))


@pytest.mark.slow
def test_time_that_is_up_leaves_the_rest_for_another_call(plan, shards, tmp_path):
    path = plan({str(n): {"lr": 0.001 * (n + 1)} for n in range(4)}, clips=2_000_000)
    words = ["--plan", path, "--shards", shards, "--out", tmp_path / "out.jsonl"]
    assert "0 done, 4 left" in search(*words, "--seconds", 2, "--concurrent", 2)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.slow
@pytest.mark.parametrize("pretrained", [False, True])
def test_a_training_is_that_of_tsgc_train(trained, shards, tmp_path, pretrained):
    values = {**SMALL, "epochs": 3, "warmup_epochs": 1, "mirror": 0.5, "cutmix_span": 0.3, "noise": 0.01}
    init = trained / "runs/ntu60/xsub/tiny/joint/seed0" if pretrained else None
    trial = train_on_all(shards, values, init)
    words = ["train", "nw-ucla/xview", "--data-root", trained / "data", "--run-dir", tmp_path / "run"]
    words += ["--init", init] if init else []
    tsgc(*words, "--device", "cpu", *(f"--set={key}={value}" for key, value in values.items()))
    same_logits(trial, tmp_path / "run")
