"""Runs as a whole: resuming, divergence, held-out clips, checkpoints of ours and of the published code."""

import argparse
import errno
import json
import os
import pickle
import signal

import pytest
import torch
from made.command import fails, lose_machine, quick, tsgc
from made.released import reference_state

from tsgc.evaluation.scores import read_scores
from tsgc.training import epoch, loop, save_restore


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(here, made, monkeypatch):
    words = ["train", "ntu60/xsub", "--data-root", made, *quick("epochs=4")]
    tsgc(*words, "--run-dir", here / "whole")

    lose_machine(monkeypatch, 2)
    tsgc(*words, "--run-dir", here / "cut", expect=1)
    monkeypatch.undo()
    assert "after epoch 2 of 4" in tsgc(*words, "--run-dir", here / "cut", "--resume")
    for name in ("last", "last-ema"):
        weights = [(here / run / f"checkpoints/{name}.safetensors").read_bytes() for run in ("whole", "cut")]
        assert weights[0] == weights[1]
    epochs = [json.loads(line)["epoch"] for line in (here / "cut/metrics.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3, 4]
    assert "started with batch=8" in fails(*words, "--set", "batch=9", "--run-dir", here / "cut", "--resume")


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(here, made):
    words = ["train", "ntu60/xsub", "--data-root", made, "--run-dir", here / "run"]
    said = tsgc(*words, *quick("lr=1e30", "warmup_epochs=0", "log_every=1"), expect=1)
    assert (
        "error: the loss is" in said and "training has diverged; no checkpoint was saved before; try" in said
    )
    assert not (here / "run/checkpoints/state.pt").exists()
    listed = ["runs", "--runs", here, "--json"]
    (run,) = json.loads(tsgc(*listed))["runs"]
    assert run["state"] == "failed" and "training has diverged" in run["error"]
    tsgc(*words, *quick("epochs=1"))  # nothing was kept, so nothing is in the way
    assert json.loads(tsgc(*listed))["runs"][0]["state"] == "short"


def test_a_second_command_in_a_folder_is_refused_before_it_empties_it(here, made, monkeypatch):
    """It comes as the first has opened the folder, and has not begun to train."""
    words = ["train", "ntu60/xsub", "--data-root", made, *quick("epochs=1"), "--run-dir", here / "run"]
    summary, said = loop.summary, []

    def meanwhile(run):
        if not said:
            said.append("")
            said.append(fails(*words, "--overwrite"))
        return summary(run)

    monkeypatch.setattr(loop, "summary", meanwhile)
    tsgc(*words)
    assert "another process trains here" in said[1]


def test_divergence_keeps_the_last_good_checkpoint(here, made, monkeypatch):
    words = ["train", "ntu60/xsub", "--data-root", made, "--run-dir", here / "run", *quick("log_every=1")]
    rate = epoch.learning_rate
    monkeypatch.setattr(
        epoch, "learning_rate", lambda step, steps, c: 1e30 if step >= steps else rate(step, steps, c)
    )
    assert "in epoch 2" in tsgc(*words, expect=1)
    state = torch.load(here / "run/checkpoints/state.pt", weights_only=True)
    assert state["epoch"] == 1 and all(w.isfinite().all() for w in state["model"].values())
    monkeypatch.undo()
    assert "resuming" in tsgc(*words, "--resume")


def test_holdout_trains_on_the_rest_and_scores_the_held_out_clips(here, made):
    said = tsgc(
        "train",
        "ntu60/xsub",
        "--data-root",
        made,
        "--holdout",
        "--run-dir",
        here / "run",
        *quick("eval_every=1"),
    )
    held = read_scores(here / "run/scores/holdout-best.npz")
    assert held.source.selected_on == "holdout" and "test split; for comparison" not in said
    manifest = json.loads((made / "shards/ntu60/xsub/manifest.json").read_text())
    clips = manifest["splits"]["train"]["clips"]
    assert sorted(held.names) == sorted(n for n, h in zip(clips["names"], clips["holdout"]) if h)
    assert f"{len(clips['names']) - len(held.names)} clips" in said


def test_best_on_the_test_split_says_so(here, made):
    said = tsgc("train", "ntu60/xsub", "--data-root", made, "--run-dir", here / "run", *quick("eval_every=1"))
    assert "best, best-ema: epoch selected on the test split" in said


def test_a_full_disk_is_one_line(here, made, monkeypatch):
    def full(path, state):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(save_restore.checkpoint, "save_state", full)
    said = tsgc("train", "ntu60/xsub", "--data-root", made, "--run-dir", here / "run", *quick(), expect=1)
    assert said.splitlines()[-1].startswith("error:") and "no space left" in said
    assert not (here / "run/checkpoints/state.pt").exists()


def test_a_checkpoint_of_another_skeleton_is_refused(here, made):
    tsgc("train", "ntu60/xsub", "--data-root", made, "--run-dir", here / "run", *quick())
    beside = here / "run/checkpoints/last.json"
    said = json.loads(beside.read_text())
    beside.write_text(json.dumps({**said, "num_classes": 10}))
    assert "tensor head.weight" in fails("evaluate", here / "run", "--data-root", made)
    beside.write_text(json.dumps({**said, "preset": "corrected"}))
    assert "trained for preset corrected" in fails("evaluate", here / "run", "--data-root", made)
    beside.write_text(json.dumps({**said, "skeleton": "octopus"}))
    assert "unknown; known: ntu-25" in fails("evaluate", here / "run", "--data-root", made)
    beside.write_text("{}")
    assert "does not describe a checkpoint" in fails("evaluate", here / "run", "--data-root", made)
    (here / "run/checkpoints/last.safetensors").write_bytes(b"cut")
    beside.write_text(json.dumps(said))
    assert "not a whole safetensors file" in fails("evaluate", here / "run", "--data-root", made)


def test_a_description_of_another_stream_than_the_weights_is_refused(made, here):
    run = here / "run"
    tsgc("train", "ntu60/xsub", "--data-root", made, *quick(), "--modality", "joint+bone", "--run-dir", run)
    for file in (run / "config.yaml", run / "checkpoints/last.json"):
        file.write_text(file.read_text().replace("joint+bone", "joint"))
    said = fails("evaluate", run, "--data-root", made)
    assert "last.json: 6 channels, joint of xyz has 3; was it edited?" in said


@pytest.fixture
def released(shared, tmp_path):
    """A checkpoint as the published code saves it, of known weights."""
    shapes = json.loads((shared / "golden/model_reference.json").read_text())["ntu25_252"]["state"]
    state = reference_state({**shapes, "fc.weight": [60, 384], "fc.bias": [60]})
    content = {"model": state, "model_ema": state, "optimizer": {}, "epoch": "best", "scaler": {},
               "args": argparse.Namespace(lr=4e-3)}  # fmt: skip
    torch.save(content, tmp_path / "released.pth")
    return tmp_path / "released.pth"


def test_a_released_checkpoint_is_scored(here, made, released):
    words = ["evaluate", "--checkpoint", released, "--shards", made / "shards/ntu60/xsub"]
    assert "give --variant and --modality" in fails(*words, code=2)
    said = tsgc(*words, "--variant", "252", "--modality", "joint", "--run-dir", here / "their")
    assert "selected on the test split" in said
    assert (here / "their/scores/released.npz").is_file()
    said = fails(*words, "--variant", "432", "--modality", "joint")
    assert "the network has" in said and "another skeleton, variant or data set" in said


def test_a_checkpoint_that_holds_code_is_refused(here, made):
    class Code:
        def __reduce__(self):
            return (os.system, ("touch owned",))

    (here / "bad.pth").write_bytes(pickle.dumps({"model": Code()}))
    words = ["--shards", made / "shards/ntu60/xsub", "--variant", "252", "--modality", "joint"]
    assert "not a released checkpoint" in fails("evaluate", "--checkpoint", here / "bad.pth", *words)
    assert not (here / "owned").exists()


def test_a_run_stopped_five_times_ends_with_the_weights_of_an_unbroken_one(here, made, monkeypatch):
    """SIGTERM within or between epochs: the run saves, exits with 75, and goes on at that step.

    All that a step remembers or draws is in play: averaging that warms up, mixing of both kinds, clipping,
    drop path, augmentation, batches that span two passes over the clips.
    """
    settings = (
        "epochs=3", "log_every=2", "repeats=2", "last_batch=spread", "batch=16", "ema_warmup=true",
        "clip_grad=0.5", "mixup_prob=1.0", "cutmix_span=0.5", "drop_path=0.3", "noise=0.01", "mirror=0.5",
    )  # fmt: skip
    words = ["train", "ntu60/xsub", "--data-root", made, *quick(*settings)]
    tsgc(*words, "--run-dir", here / "whole")

    rate = epoch.learning_rate
    for stop_at in (1, 4, 5, 9, 13):

        def kills_itself(step, steps, config, stop_at=stop_at):
            if step == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return rate(step, steps, config)

        monkeypatch.setattr(epoch, "learning_rate", kills_itself)
        resume = [] if stop_at == 1 else ["--resume"]
        said = tsgc(*words, "--run-dir", here / "cut", *resume, expect=75)
        assert said.splitlines()[-1].startswith("error: asked to stop: saved after"), said
    monkeypatch.undo()
    tsgc(*words, "--run-dir", here / "cut", "--resume")
    for name in ("last", "last-ema"):
        weights = [(here / run / f"checkpoints/{name}.safetensors").read_bytes() for run in ("whole", "cut")]
        assert weights[0] == weights[1]
    figures = [
        [json.loads(line) for line in (here / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "cut")
    ]
    assert [line["epoch"] for line in figures[1]] == [1, 2, 3]
    assert all(line["grad_norm"] > 0.5 for line in figures[0])  # so it was clipped
    assert [line["loss"] for line in figures[1]] == pytest.approx([line["loss"] for line in figures[0]])


def test_every_augmentation_trains_through_the_command_line(here, made):
    """The whole of it at once, on two-body clips, in epochs that resume as ever."""
    settings = (
        "rotation=vertical", "rotation_max=90", "rotation_tilt=10", "face_camera=true", "align=facing",
        "normalise=unit", "mirror=0.5", "limbs=0.1", "scale=0.2", "scale_axes=0.1", "joint_offset=0.01",
        "noise=0.01", "occlusion=0.05", "drop_joints=0.5", "drop_axis=0.2", "time_jitter=1", "speed=0.2",
        "cutmix_span=0.3", "cutmix_part=0.3", "mixup_prob=1", "mix_group=4", "decay_graphs=false",
        "beta2=0.99", "epochs=2",
    )  # fmt: skip
    words = ["train", "ntu60/xsub", "--data-root", made, *quick(*settings)]
    assert "last" in tsgc(*words, "--run-dir", here / "run")
    losses = [json.loads(line)["loss"] for line in (here / "run/metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 2 and all(loss == pytest.approx(4.2, abs=1.5) for loss in losses)
