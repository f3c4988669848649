"""The witnesses of the search: folds by performer and of MSR-Action3D, plans and runs of both data sets."""

import shutil
import zipfile
from pathlib import PurePath

import numpy as np
import pytest
import torch
import yaml
from made.command import tsgc
from made.once import once, only_read
from made.recordings import msr_text, walking, write
from made.search import COUNTS, ROOT, SMALL, same_logits, search, train_on_all
from nw_ucla.data import ResidentClips
from nw_ucla.folds import (
    FOLDS,
    MSR,
    NW_UCLA,
    WITNESSES,
    clip_fields,
    fold_clips,
    folds_of,
    training_counts,
)
from nw_ucla.plan import read_plan
from nw_ucla.search import read_results
from nw_ucla.trial import Trial
from nw_ucla.weights import check_unseen

from pipelines.errors import TsgcError
from shards.load_manifest import load_manifest
from tsgc.checkpoint import Description, save_weights
from tsgc.config import build_config

NAMES = {
    NW_UCLA: [f"a0{a}_s{s:02}_e00_v0{v}" for a in (1, 2) for s in range(1, 11) for v in (1, 2)],
    MSR: [f"Real3D-a{a:02}_s{s:02}_e01" for a in (1, 2) for s in (1, 3, 5, 7, 9)],
}
MADE = """
format: msr-action3d
classes: [wave, clap]
labels: {"a01_*": wave, "a02_*": clap}
splits:
  xsub: {train: ["*_s01_*", "*_s03_*", "*_s05_*"], test: ["*_s02_*"]}
"""


def make_msr(root):
    """A data root with shards of made clips, some of which lack the body for longer than is bridged."""
    for action in (1, 2):
        for performer in (1, 2, 3, 5):
            joints = walking(20, frames=30 + 3 * action + performer, seed=10 * action + performer)
            joints[3:24] *= performer not in (2, 3)
            name = f"a0{action}_s0{performer}_e01_skeleton3D.txt"
            write(root / "msr-action3d/clips" / name, msr_text(joints))
    write(root / "msr-action3d/dataset.yaml", MADE.encode())
    tsgc("prepare", "custom", "--raw", root / "msr-action3d", "--data-root", root, "--jobs", 1)
    tsgc("shard", "msr-action3d", "--data-root", root)


@pytest.fixture(scope="module")
def msr(tmp_path_factory):
    """A data root with MSR-Action3D's made clips, to be read."""
    yield from only_read(once(tmp_path_factory, "msr", make_msr))


@pytest.fixture
def places(msr, trained):
    """Words that name the shards of both data sets."""
    shards = [msr / "shards/msr-action3d/xsub", trained / "data/shards/nw-ucla/xview"]
    return [word for folder in shards for word in ("--shards", folder)]


BOTH = {
    "base": SMALL, "clips": 200, "folds": ["2to1", "without-1-7", "msr-without-3"],
    "datasets": {MSR: {"recipe": str(ROOT / "configs/custom.yaml"), "clips": 60, "base": {"frames": 24}}},
    "trials": [{"name": "v1"}, {"name": "mirrored", "datasets": {MSR: {"set": {"mirror": 0.5}}}}],
}  # fmt: skip


def write_plan(folder, **changes):
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump({**BOTH, **changes}))
    return path


@pytest.mark.parametrize("witness", WITNESSES)
def test_the_folds_of_a_witness_are_judged_by_each_clip_once(witness):
    (dataset,) = {FOLDS[fold].dataset for fold in folds_of(witness)}
    fields = clip_fields(dataset, NAMES[dataset])
    halves = [fold_clips(fields, fold) for fold in folds_of(witness)]
    for trains, judges in halves:
        field = fields[FOLDS[folds_of(witness)[0]].field]
        assert not set(field[trains]) & set(field[judges])
        assert sorted([*trains, *judges]) == list(range(len(NAMES[dataset])))
    assert sorted(np.concatenate([judges for _, judges in halves])) == list(range(len(NAMES[dataset])))


def test_performers_are_left_out_in_both_views():
    fields = clip_fields(NW_UCLA, NAMES[NW_UCLA])
    for fold in folds_of("performers"):
        for part in fold_clips(fields, fold):
            assert set(fields["views"][part]) == {1, 2}
        assert len(set(fields["performers"][fold_clips(fields, fold)[1]])) == 2


def test_the_real_clips_have_the_folds_that_are_written_down(shared):
    with zipfile.ZipFile(shared / "data/nw-ucla/all_sqe.zip") as file:
        names = {PurePath(name).stem for name in file.namelist() if name.endswith(".json")}
    used = (shared / "data/msr-action3d/files_used.txt").read_text().split()
    train = {
        NW_UCLA: [name for name in sorted(names) if not name.endswith("v03")],
        MSR: [name for name in used if int(name[5:7]) % 2],
    }
    found = {}
    for dataset, clips in train.items():
        found |= training_counts(dataset, clips)
    assert found == COUNTS
    judged = [len(train[FOLDS[fold].dataset]) - count for fold, count in COUNTS.items()]
    assert judged == [504, 516, 203, 201, 202, 206, 208, 60, 53, 57, 57, 57]


def test_clips_of_other_data_are_refused():
    with pytest.raises(TsgcError, match=r"unknown name 'wave-1' of msr-action3d, expected aAA_sSS_eEE"):
        clip_fields(MSR, ["wave-1"])
    with pytest.raises(TsgcError, match="shards of ntu60, expected those of nw-ucla or msr-action3d"):
        clip_fields("ntu60", ["S001"])


def test_a_plan_gives_each_data_set_its_own_recipe_visits_and_settings(tmp_path):
    specs = {(spec.name, spec.fold): spec for spec in read_plan(write_plan(tmp_path), COUNTS)}
    ours, theirs = specs["v1", "2to1"], specs["v1", "msr-without-3"]
    assert (ours.dataset, theirs.dataset) == (NW_UCLA, MSR)
    assert (ours.config.frames, theirs.config.frames) == (16, 24)
    assert (ours.config.cutmix_span, theirs.config.cutmix_span) == (0.0, 0.5)  # before.yaml, custom.yaml
    assert (ours.config.epochs, theirs.config.epochs) == (1, 1)
    other = specs["mirrored", "msr-without-3"]
    assert other.config.mirror == 0.5 and other.settings == {"mirror": 0.5} and other.key != theirs.key
    same = specs["mirrored", "2to1"]
    assert same.settings == {} and same.key == ours.key


def test_what_a_data_set_has_of_its_own_changes_no_key_of_the_other(tmp_path):
    alone = read_plan(write_plan(tmp_path, folds=["views"], datasets={}), COUNTS)
    beside = read_plan(write_plan(tmp_path, folds=["views", "msr"]), COUNTS)
    ours = [spec.key for spec in beside if spec.dataset == NW_UCLA]
    assert [spec.key for spec in alone] == ours


@pytest.mark.parametrize(
    ("changes", "counts", "said"),
    [
        ({"datasets": {"ntu60": {}}}, COUNTS, "unknown key 'ntu60'; known: msr-action3d, nw-ucla"),
        ({"datasets": {MSR: {"seeds": [1]}}}, COUNTS, "unknown key 'seeds'; known: base, clips, recipe"),
        ({"trials": [{"name": "x", "datasets": {MSR: {"sett": {}}}}]}, COUNTS, "unknown key 'sett'"),
        ({"trials": [{"name": "x", "datasets": {MSR: {"set": {"l": 1}}}}]}, COUNTS, "x: unknown key 'l'"),
        ({"folds": ["people"]}, COUNTS, "plan.yaml: fold 'people', expected one of views, performers, msr"),
        (
            {},
            {"2to1": 9, "without-1-7": 9},
            "no clips for fold msr-without-3; give the shards of msr-",
        ),
    ],
)
def test_a_plan_that_is_wrong_for_a_data_set_is_told(tmp_path, changes, counts, said):
    with pytest.raises(TsgcError, match=said):
        read_plan(write_plan(tmp_path, **changes), counts)


def test_the_cost_of_a_plan_is_listed_and_nothing_is_trained(tmp_path, places):
    out = tmp_path / "found.jsonl"
    said = search("--plan", write_plan(tmp_path, clips=30_000), *places, "--out", out, "--list")
    rows = [line.strip("| ").split(" | ") for line in said.splitlines()]
    # Twice 30,000 visits of NW-UCLA and 60 of MSR-Action3D; the second trial's first two are the first one's.
    assert rows[2:] == [["v1", "3", "0.06", "3", "0.06", "2"], ["mirrored", "3", "0.06", "1", "0.00", "0"],
                        ["all", "6", "0.12", "4", "0.06", "2"], [""]]  # fmt: skip
    assert not out.exists()


@pytest.mark.parametrize(
    ("benchmark", "refused"),
    [
        ("msr-action3d/xsub", folds_of("msr")),
        ("msr-action3d/msr-without-3", ["msr-without-1", "msr-without-5"]),
        ("nw-ucla/without-1-7", ["1to2", "2to1", "without-2-3"]),
        ("nw-ucla/1to2", ["2to1", "without-1-7"]),
    ],
)
def test_weights_that_know_a_folds_judging_clips_are_refused(tmp_path, benchmark, refused):
    description = Description(
        skeleton="nw-ucla-20", num_classes=10, bodies=1, channels=3, benchmark=benchmark, preset="reference",
        epoch=1, ema=True, selected_on="none", dataset=benchmark.split("/")[0],
        config=build_config({"variant": "tiny", "holdout": True}, "test"),
    )  # fmt: skip
    path = tmp_path / "there.safetensors"
    save_weights(path, description.build_network().state_dict(), description)
    for fold in refused:
        with pytest.raises(TsgcError, match=f"none of the clips that judge {fold}"):
            check_unseen(path, fold)
    for fold in FOLDS:
        if FOLDS[fold].dataset != description.dataset or fold == benchmark.split("/")[1]:
            check_unseen(path, fold)


def test_a_trial_trains_in_what_auto_is_for_its_network(tmp_path, msr):
    base = {**SMALL, "precision": "auto", "network": "ctrgcn", "network_settings": {"width": 8}}
    (spec,) = read_plan(
        write_plan(tmp_path, base=base, folds=["msr-without-3"], trials=[{"name": "x"}]), COUNTS
    )
    clips = ResidentClips(load_manifest(msr / "shards/msr-action3d/xsub"), "train", torch.device("cpu"))
    trains, judges = fold_clips(clips.fields, spec.fold)
    trial = Trial(spec, (clips, trains), (clips, judges), torch.device("cpu"))
    assert spec.config.arithmetic == "auto" and trial.config.arithmetic == "float32"  # another network, a CPU
    trial.close()


@pytest.mark.slow
def test_both_data_sets_are_trained_side_by_side_and_no_test_clip_is_read(tmp_path, places):
    copies = []
    for number, folder in enumerate(places[1::2]):
        copies += ["--shards", shutil.copytree(folder, tmp_path / str(number))]
        for file in copies[-1].glob("*test*.tar"):
            file.write_bytes(b"")
    assert len(list(tmp_path.glob("*/*test*.tar"))) == 2
    out = tmp_path / "found.jsonl"
    words = ["--plan", write_plan(tmp_path), *copies, "--out", out, "--concurrent", 4]
    assert "4 done, 0 left" in search(*words)
    lines = {(line["name"], line["fold"]): line for line in read_results(out)}
    assert len(lines) == 6 and {line["status"] for line in lines.values()} == {"ok"}
    judged = {fold: len(lines["v1", fold]["answers"]) for fold in BOTH["folds"]}
    assert judged == {"2to1": 9, "without-1-7": 6, "msr-without-3": 2}
    for fold in ("2to1", "without-1-7"):  # trained once, a line of each trial
        one, two = lines["v1", fold], lines["mirrored", fold]
        assert one == {**two, "name": "v1"}
    size = out.stat().st_size
    assert "0 of them for this process" in search(*words) and out.stat().st_size == size


def test_a_trial_learns_from_the_other_data_sets_clips_first(tmp_path, places):
    pretrain = {"clips": 60, "target": "motion", "with": [MSR, NW_UCLA]}
    asked = {"name": "x", "pretrain": pretrain, "twins": {"kind": "takes", "weight": 0.5}}
    plan, out = write_plan(tmp_path, trials=[asked], clips=60), tmp_path / "found.jsonl"
    assert "3 done, 0 left" in search("--plan", plan, *places, "--out", out)
    lines = {line["fold"]: line for line in read_results(out)}
    assert {line["status"] for line in lines.values()} == {"ok"}
    assert lines["2to1"]["pretrain_with"] == "6 clips of msr-action3d, 20 joints by name"
    assert lines["without-1-7"]["twins"] == "takes x 0.5, 12 of 12 clips have another one as twin"
    said = {"pretrain": "60 clips, motion, mask 0.5, with nw-ucla", "twins": "takes x 0.5"}
    told = lines["msr-without-3"]
    assert told["set"] == said and told["pretrain_with"] == "18 clips of nw-ucla, 20 joints by name"
    assert told["pretrain_clips"] == 3 * (4 + 18) and len(told["pretrain_error"]) == 3


@pytest.mark.slow
def test_a_training_of_msr_action3d_is_that_of_tsgc_train(tmp_path, msr):
    values = {**SMALL, "epochs": 2, "warmup_epochs": 1}
    places = ["--data-root", msr, "--run-dir", tmp_path / "run", "--device", "cpu"]
    tsgc("train", "msr-action3d/xsub", *places, *(f"--set={key}={value}" for key, value in values.items()))
    same_logits(train_on_all(msr / "shards/msr-action3d/xsub", values), tmp_path / "run")
