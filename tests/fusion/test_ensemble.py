"""`tsgc ensemble` as a user drives it: streams of every kind, recipes, tuning, and what it prints."""

import json
import os
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made.command import fails, quick, tsgc
from made.scores import clip_names, make_run, make_scores, shuffled, write_pickle

from tsgc.evaluation.scores import accuracy, read_scores, write_scores
from tsgc.evaluation.statistics import RESAMPLES
from tsgc.fusion.fuse import FUSIONS
from tsgc.fusion.recipes import RECIPES
from tsgc.modalities import MODALITIES

FOUR = ("joint", "bone", "joint_motion", "bone_motion")


def told(*words):
    """What --json prints."""
    return json.loads(tsgc("ensemble", *words, "--json"))


def line(found, kind, name, part="all"):
    return next(row for row in found["parts"][part]["rows"] if (row["kind"], row["name"]) == (kind, name))


def test_bare_fuses_the_newest_seed_of_each_stream_and_names_it(here):
    make_run(here / "runs", "joint", seed=0)
    old = make_run(here / "runs", "joint", seed=1) / "config.yaml"
    os.utime(old, (1, 1))
    make_run(here / "runs", "bone")
    make_run(here / "runs", "joint", benchmark="ntu60/xview")
    os.utime(here / "runs/ntu60/xview/252/joint/seed0/config.yaml", (2, 2))
    said = tsgc("ensemble")
    assert "joint 252 seed 0, last, weight 1: runs/ntu60/xsub/252/joint/seed0/scores/last.npz" in said
    assert "bone 252 seed 0" in said and "seed1" not in said and "xview" not in said
    assert f"{RESAMPLES:,} resamples of the clips, seed 0" in said


@pytest.mark.parametrize("method", FUSIONS)
def test_the_table_has_streams_leave_one_out_fusion_and_oracle(here, method):
    for modality in FOUR:
        make_run(here / "runs", modality, holdout=True, repeats=50)
    found = told("--fuse", method)
    names = [f"{modality} 252" for modality in FOUR]
    kinds = [(row["kind"], row["name"]) for row in found["parts"]["all"]["rows"]]
    assert kinds == [
        *(("stream", name) for name in names),
        *(("without", name) for name in names),
        ("fused", "fused, 4 streams"),
        ("oracle", "any stream right"),
    ]
    assert (found["parts"]["all"]["clips"], found["parts"]["clean"]["clips"]) == (200, 150)
    for part in found["parts"].values():
        assert part["classes"] == 10
        for row in part["rows"]:
            for figure in ("top1", "top5", "mean_class"):
                assert 0 <= row[figure]["low"] <= row[figure]["percent"] <= row[figure]["high"] <= 100


def test_each_row_is_what_it_says(here):
    streams = [make_scores(seed, skill=1 + seed / 4, modality=f"m{seed}", repeats=60) for seed in range(3)]
    files = [here / f"{seed}.npz" for seed in range(3)]
    for seed, (file, scores) in enumerate(zip(files, streams)):
        write_scores(file, shuffled(scores, seed))
    found = told(*files, "--weights", "1,0.5,2")
    labels = streams[0].labels
    for part, keep in (("all", slice(None)), ("clean", slice(60, None))):
        for seed, scores in enumerate(streams):
            figures = accuracy(scores.logits[keep], labels[keep])
            assert line(found, "stream", f"m{seed} 252", part)["top1"]["percent"] == pytest.approx(
                figures.top1
            )
            assert line(found, "stream", f"m{seed} 252", part)["top5"]["percent"] == pytest.approx(
                figures.top5
            )
        fused = streams[0].logits + 0.5 * streams[1].logits + 2 * streams[2].logits
        mean_class = accuracy(fused[keep], labels[keep]).mean_class
        assert line(found, "fused", "fused, 3 streams", part)["mean_class"]["percent"] == pytest.approx(
            mean_class
        )
        less = accuracy((fused - 0.5 * streams[1].logits)[keep], labels[keep]).top1
        assert line(found, "without", "m1 252", part)["top1"]["percent"] == pytest.approx(less)
        right = np.array([part.logits.argmax(1) == labels for part in streams])[:, keep]
        oracle = line(found, "oracle", "any stream right", part)
        assert oracle["top1"]["percent"] == pytest.approx(100 * right.any(0).mean())
        test = found["parts"][part]["mcnemar"]
        best = right[int(test["best_single"][1])]
        assert best.sum() == max(right.sum(1))
        fused_right = (fused.argmax(1) == labels)[keep]
        assert test["fused_only"] == (fused_right & ~best).sum()
        assert test["single_only"] == (best & ~fused_right).sum()


def test_a_fusion_without_the_only_weighted_stream_has_no_row(here):
    for modality in FOUR[:2]:
        make_run(here / "runs", modality)
    said = tsgc("ensemble", "--weights", "1,0")
    assert "without bone 252" in said and "without joint 252" not in said


def test_the_words_say_what_mcnemar_and_clean_mean(here):
    for modality in FOUR[:2]:
        make_run(here / "runs", modality, repeats=30)
    said = tsgc("ensemble")
    assert re.search(
        r"McNemar's exact test, all clips: fused alone right \d+, (joint|bone) 252 alone right \d+, p =", said
    )
    assert "chosen on these same clips, which favours it" in said
    assert "clean: without the clips whose joints equal" in said
    assert "McNemar" not in tsgc("ensemble", "runs/ntu60/xsub/252/joint/seed0")


def test_json_alone_reaches_standard_output(here):
    make_run(here / "runs")
    found = told("--out", here / "fused.npz")
    assert found["bootstrap"] == {"percent": 95, "resamples": RESAMPLES, "seed": 0}
    assert found["streams"][0]["path"].endswith("joint/seed0/scores/last.npz")


@pytest.mark.parametrize("method", FUSIONS)
def test_fused_scores_are_written_once_and_fuse_again(here, method):
    for modality in FOUR[:2]:
        make_run(here / "runs", modality, holdout=True)
    words = ["--fuse", method, "--out", "fused.npz"]
    before = line(told(*words), "fused", "fused, 2 streams")
    written = read_scores(here / "fused.npz")
    assert (written.source.modality, written.source.variant, written.source.seed) == ("fused", "fused", None)
    assert accuracy(written.logits, written.labels).top1 == pytest.approx(before["top1"]["percent"])
    if method != "logits":
        np.testing.assert_allclose(np.exp(written.logits).sum(1), 1, rtol=1e-5)
    assert "exists already" in fails("ensemble", *words)
    tsgc("ensemble", *words, "--overwrite")
    assert "2 streams" in tsgc("ensemble", "fused.npz", "runs/ntu60/xsub/252/joint/seed0")


def test_streams_of_one_name_are_told_apart(here):
    for seed in (0, 1):
        make_run(here / "runs", seed=seed)
    make_run(here / "elsewhere", seed=1)
    runs = [f"{root}/ntu60/xsub/252/joint/seed{seed}" for root, seed in (
        ("runs", 0), ("runs", 1), ("elsewhere", 1),
    )]  # fmt: skip
    names = [stream["name"] for stream in told(*runs)["streams"]]
    assert names == ["joint 252 seed 0", "joint 252 seed 1 #1", "joint 252 seed 1 #2"]


@pytest.mark.parametrize(
    "again",
    [
        "runs/ntu60/xsub/252/joint/seed0",
        "./runs/../runs/ntu60/xsub/252/joint/seed0/",
        "runs/ntu60/xsub/252/joint/seed0/scores/last.npz",
        "a link",
        "linked.npz",
        "hard.npz",
    ],
)
def test_one_stream_given_twice_is_refused_however_it_is_spelled(here, again):
    run, other = (make_run(here / "runs", seed=seed).relative_to(here) for seed in (0, 1))
    (here / "a link").symlink_to(run)
    (here / "linked.npz").symlink_to(run / "scores/last.npz")
    os.link(run / "scores/last.npz", here / "hard.npz")
    said = fails("ensemble", run, other, again, code=2)
    assert f"{Path(again)}: the same scores as {run}, expected each stream once; leave one out" in said
    assert len(told(run, other)["streams"]) == 2


def test_a_pickle_given_twice_is_refused(here):
    write_scores(here / "ours.npz", make_scores(0))
    write_pickle(here / "a/scores.pkl", make_scores(1))
    said = fails("ensemble", "ours.npz", "a/scores.pkl", here / "a/scores.pkl", code=2)
    assert "the same scores as a/scores.pkl" in said


def test_the_averaged_and_the_last_weights_of_one_run_are_two_streams(here):
    run = make_run(here / "runs")
    assert "fused, 2 streams" in tsgc("ensemble", run, run / "scores/last-ema.npz")


# --- weights learned -----------------------------------------------------------------------------


def test_tuning_learns_on_held_out_clips_alone(here):
    for modality, skill in (("joint", 2.5), ("bone", 0.2)):
        folder = make_run(here / "runs", modality, holdout=True, skill=skill)
    found = told("--tune")
    joint, bone = (stream["weight"] for stream in found["streams"])
    assert joint > 1.5 > bone and "learned on 120 held-out clips" in found["weights_from"]
    test = read_scores(folder / "scores/last.npz")
    write_scores(folder / "scores/last.npz", make_scores(77, skill=9, modality="bone"))
    assert [stream["weight"] for stream in told("--tune")["streams"]] == [joint, bone]
    assert test.source.selected_on == "none" and not any("test split" in note for note in found["notes"])


def test_tuning_refuses_what_was_not_held_out(here):
    make_run(here / "runs", "joint", holdout=True)
    other = make_run(here / "runs", "bone")
    shutil.copy(here / "runs/ntu60/xsub/252/joint/seed0/scores/holdout-last.npz", other / "scores")
    for words in (["--tune"], ["--fuse", "calibrated"]):
        said = fails("ensemble", *words)
        assert "bone 252 (trained without --holdout)" in said and "joint 252 (" not in said
        assert "train these with --holdout" in said
    (here / "runs/ntu60/xsub/252/joint/seed0/scores/holdout-last.npz").unlink()
    joint = "runs/ntu60/xsub/252/joint/seed0"
    assert "`tsgc evaluate --split holdout` writes it" in fails("ensemble", joint, "--tune")
    write_scores(here / "alone.npz", make_scores())
    assert "no test scores in a run's folder" in fails("ensemble", "alone.npz", "--tune")


def test_tuning_on_the_test_split_says_so_wherever_it_shows(here):
    for modality in FOUR:
        make_run(here / "runs", modality)
    said = tsgc("ensemble", "--tune-on-test", "--out", "fused.npz")
    assert "weights tuned on the test split: for comparison with papers only" in said
    assert "learned on 200 test clips" in said
    assert read_scores(here / "fused.npz").source.selected_on == "test"
    assert "selected on the test split" in tsgc("ensemble", "fused.npz")


def test_calibrated_fusion_states_each_temperature(here):
    for modality in FOUR[:2]:
        make_run(here / "runs", modality, holdout=True)
    found = told("--fuse", "calibrated", "--tune")
    assert all(0.01 <= stream["temperature"] <= 100 for stream in found["streams"])
    assert len(re.findall(r"temperature \d\.\d\d\d: runs/", tsgc("ensemble", "--fuse", "calibrated"))) == 2


def test_wrong_words_are_one_clear_line(here):
    run = make_run(here / "runs")
    assert f"not a run (no config.yaml and environment.json); give one of its runs, such as {run}" in fails(
        "ensemble", here / "runs"
    )
    assert "expected one of logits, softmax, calibrated" in fails("ensemble", "--fuse", "max", code=2)
    assert "expected one of 2s, 3s, 4s, new4s, reference" in fails("ensemble", "--recipe", "5s", code=2)
    assert "chooses the streams itself" in fails(
        "ensemble", "--recipe", "2s", "runs/ntu60/xsub/252/joint/seed0", code=2
    )
    assert "has weights of its own" in fails("ensemble", "--recipe", "reference", "--tune", code=2)
    tsgc("ensemble", "--tune", "--weights", "1", expect=2)
    tsgc("ensemble", "--tune", "--tune-on-test", expect=2)


# --- recipes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("2s", ["joint 432", "bone 432"]),  # both variants have both: the one that was trained last
        ("3s", ["joint 432", "bone 432", "joint_motion 432"]),
        ("4s", ["joint 432", "bone 432", "joint_motion 432", "bone_motion 432"]),
        ("new4s", ["joint 252", "bone 252", "joint 432", "bone 432"]),
    ],
)
def test_a_recipe_is_its_streams_with_equal_weights(here, recipe, expected):
    for variant in ("252", "432"):
        for modality in (*FOUR, "angle") if variant == "432" else FOUR[:2]:
            make_run(here / "runs", modality, variant)
    found = told("--recipe", recipe)
    assert [stream["name"] for stream in found["streams"]] == expected
    assert {stream["weight"] for stream in found["streams"]} == {1.0}
    assert {stream["checkpoint"] for stream in found["streams"]} == {"last"}


def test_the_reference_recipe_is_the_released_scripts(here):
    for variant in ("252", "432"):
        for modality in ("joint", "bone"):
            make_run(here / "runs", modality, variant)
    found = told("--recipe", "reference")
    assert [(stream["name"], stream["weight"]) for stream in found["streams"]] == [
        ("joint 252", 0.95), ("bone 252", 0), ("joint 432", 0), ("bone 432", 1),
    ]  # fmt: skip
    assert {stream["checkpoint"] for stream in found["streams"]} == {"last-ema"}


def test_missing_streams_are_named_with_the_command_that_trains_each(here):
    make_run(here / "runs", "joint", "432")
    said = fails("ensemble", "--recipe", "new4s")
    assert "lacks joint 252, bone 252, bone 432 of ntu60/xsub" in said
    assert "`tsgc train ntu60/xsub --variant 252 --modality bone`" in said and said.count("`tsgc train") == 3
    assert "`tsgc train ntu60/xsub --variant 432 --modality bone`" in fails("ensemble", "--recipe", "2s")
    for name in RECIPES:
        assert "no run with" in fails("ensemble", "--recipe", name, "--runs", "nowhere")


# --- other programs' pickles ----------------------------------------------------------------------


def published_numbers(names, part):
    """`test_<number>` of each clip, by the published order: by a part of the name, then by name."""
    order = sorted(names, key=lambda name: (re.search(part, name)[0] if part else "", name))
    return [f"test_{order.index(name)}" for name in names]


@pytest.mark.parametrize(
    ("benchmark", "part"), [("ntu60/xsub", r"P\d+"), ("ntu120/xset", r"S\d+"), ("ntu60/xview", None)]
)
def test_a_pickle_by_clip_or_by_number_is_the_same_stream(here, benchmark, part):
    ours = make_scores(0, benchmark=benchmark)
    write_scores(here / "ours.npz", ours)
    theirs = shuffled(make_scores(1), 3)
    names = theirs.names.tolist()
    numbered = published_numbers(names, part)
    files = [
        write_pickle(here / "a/scores.pkl", theirs),
        write_pickle(here / "b/scores.pkl", theirs, [f"{name}.skeleton" for name in names]),
        write_pickle(here / "c/scores.pickle", theirs, numbered),
    ]
    expected = accuracy(theirs.logits, theirs.labels).top1
    for file in files:
        found = told("ours.npz", file)
        stream = line(found, "stream", f"{file.parent.name}/scores pickle")
        assert stream["top1"]["percent"] == pytest.approx(expected)
        assert "whether its epoch was chosen on the test split is not known" in found["notes"][0]
        assert found["preset"] == "reference+unknown"


def test_pickles_alone_take_their_labels_from_a_shard_set(here, made):
    shards = made / "shards/ntu60/xsub"
    clips = json.loads((shards / "manifest.json").read_text())["splits"]["test"]["clips"]
    rng = np.random.default_rng(0)
    scores = make_scores(clips=len(clips["names"]), classes=60)
    order = rng.permutation(len(clips["names"]))
    names = np.array(clips["names"])[order]
    logits = np.eye(60, dtype=np.float32)[np.array(clips["labels"])[order]]
    for name in ("joint", "bone"):
        (here / name).mkdir()
        (here / name / "best.pkl").write_bytes(pickle.dumps(dict(zip(names.tolist(), logits))))
    said = fails("ensemble", "joint/best.pkl", code=2)
    assert "a pickle has no labels; give --shards" in said
    found = told("joint/best.pkl", "bone/best.pkl", "--shards", shards)
    assert line(found, "fused", "fused, 2 streams")["top1"]["percent"] == 100
    assert found["benchmark"] == "ntu60/xsub" and "clean" in found["parts"]
    write_scores(here / "other.npz", scores)
    assert "lacking" in fails("ensemble", "other.npz", "--shards", shards)
    write_scores(here / "ten.npz", make_scores())
    assert "10 classes, the shards have 60" in fails("ensemble", "ten.npz", "--shards", shards)


def test_pickles_that_do_not_match_are_listed(here):
    write_scores(here / "ours.npz", make_scores(0))
    part = make_scores(1)
    names = part.names.tolist()
    write_pickle(here / "x/a.pkl", part, [*names[:-2], "S001C001P001R009A001", "S001C001P001R009A002"])
    said = fails("ensemble", "ours.npz", "x/a.pkl")
    assert "x/a.pkl: 200 clips, ntu60/xsub has 200" in said
    assert f"2 lacking ({names[-2]}, {names[-1]}), 2 surplus (S001C001P001R009A001," in said
    write_pickle(here / "x/b.pkl", part, [f"test_{index + 1}" for index in range(200)])
    assert "200 clips, test_1 to test_200; ntu60/xsub has 200 test clips" in fails(
        "ensemble", "ours.npz", "x/b.pkl"
    )
    views = replace(
        make_scores(0, benchmark="nw-ucla/xview"), names=np.array([f"a{i:03}" for i in range(200)])
    )
    write_scores(here / "ucla.npz", views)
    assert "known for the test splits of NTU alone" in fails("ensemble", "ucla.npz", "x/b.pkl")


def test_a_list_of_logits_is_in_the_order_of_the_annotations(here):
    ours = make_scores(0)
    write_scores(here / "ours.npz", ours)
    theirs = shuffled(make_scores(1), 3)  # PYSKL writes the logits of a split in the order of annotations
    listed = [
        {"frame_dir": str(name), "label": int(label)} for name, label in zip(theirs.names, theirs.labels)
    ]
    train = {"frame_dir": "S001C001P001R009A001", "label": 0}
    for name, content in (
        ("anno.pkl", {"split": {}, "annotations": [train, *listed, train | {"frame_dir": "other"}]}),
        ("list.pkl", listed),
        ("less.pkl", listed[1:]),
        ("wrong.pkl", [*listed[:-1], listed[-1] | {"label": 11}]),
        ("theirs.pkl", list(theirs.logits)),
    ):
        (here / name).write_bytes(pickle.dumps(content, protocol=4))
    expected = accuracy(theirs.logits, theirs.labels).top1
    for order in ("anno.pkl", "list.pkl"):
        found = told("ours.npz", "theirs.pkl", "--annotations", order)
        stream = line(found, "stream", f"{here.name}/theirs pickle")
        assert stream["top1"]["percent"] == pytest.approx(expected)
    assert "a list of logits, which says nothing of its clips" in fails("ensemble", "ours.npz", "theirs.pkl")
    give = ("ensemble", "ours.npz", "theirs.pkl", "--annotations")
    assert "logits of 200 clips, the annotations have 199" in fails(*give, "less.pkl")
    assert "the annotations say class 11" in fails(*give, "wrong.pkl")
    assert "none is given" in fails("ensemble", "ours.npz", "--annotations", "anno.pkl", code=2)


class Code:
    def __reduce__(self):
        return (os.system, ("touch owned",))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "holds a list, expected {clip name: logits}"),
        ({}, "expected {clip name: logits}"),
        ({"a": np.zeros(3), "b": np.zeros(4)}, "a row of logits for each clip, all of one length"),
        ({"a": np.zeros((2, 3))}, "a row of logits for each clip"),
        ({"a": np.full(10, np.nan)}, "not finite"),
        ({"a": Code()}, "only NumPy arrays and plain containers"),
    ],
)
def test_a_pickle_of_something_else_is_refused_and_never_run(here, content, said):
    write_scores(here / "ours.npz", make_scores(0))
    (here / "bad.pkl").write_bytes(pickle.dumps(content))
    assert said in fails("ensemble", "ours.npz", "bad.pkl")
    assert not (here / "owned").exists()


# --- many streams ---------------------------------------------------------------------------------


def test_eight_streams_from_the_modality_option_alone(here, made):
    others = ("bone3", "joint_motion2", "joint_motion4", "bone_motion2", "bone_motion4")
    eight = [name for name in MODALITIES if name not in others]
    assert len(eight) == 8
    for modality in eight:
        words = ["--data-root", made, "--modality", modality, "--holdout"]
        tsgc("train", "ntu60/xsub", *words, *quick("epochs=1"))
    found = told("--tune", "--fuse", "calibrated")
    assert {stream["modality"] for stream in found["streams"]} == set(eight)
    assert len(found["parts"]["clean"]["rows"]) >= 8 + 2
    assert "fused, 6 streams" in tsgc(
        "ensemble", *(f"runs/ntu60/xsub/tiny/{name}/seed0" for name in eight[:6])
    )


def test_score_files_of_clips_in_any_order_give_the_same_verdict(here):
    first = make_scores(0)
    write_scores(here / "a.npz", first)
    write_scores(here / "b.npz", shuffled(first, 1))
    write_scores(here / "c.npz", make_scores(1, modality="bone"))
    one, two = told("a.npz", "c.npz")["parts"], told("b.npz", "c.npz")["parts"]
    assert one == two
    assert sorted(first.names) == sorted(clip_names(200))
