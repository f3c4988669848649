"""The search's scripts in the tests' own process."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import search_nw_ucla
import torch
import yaml
from nw_ucla.data import ResidentClips
from nw_ucla.folds import fold_clips
from nw_ucla.plan import Spec
from nw_ucla.trial import Trial

import cli
from shards.load_manifest import load_manifest
from tsgc.config import resolve_config
from tsgc.evaluation.scores import read_scores

ROOT = Path(cli.__file__).parent
CPU = torch.device("cpu")


COUNTS = {
    "1to2": 516, "2to1": 504, "without-4-9": 817, "without-5-6": 819, "without-1-7": 818, "without-8-10": 814,
    "without-2-3": 812, "msr-without-1": 224, "msr-without-3": 231, "msr-without-5": 227,
    "msr-without-7": 227, "msr-without-9": 227,
}  # fmt: skip
"""Clips that train in each fold."""


SMALL = {
    "variant": "tiny", "frames": 16, "precision": "float32", "batch": 16, "mix_group": 16, "repeats": 1,
}  # fmt: skip


def write_plan(folder, *trials, **content):
    """A plan of trials in one performers' fold, but for what `content` says; its path."""
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump({"folds": ["without-1-7"], "trials": list(trials), **content}))
    return path


def make_trial(spec, clips, others=(), device=CPU):
    """A trial of its fold's clips."""
    trains, judges = fold_clips(clips.fields, spec.fold)
    return Trial(spec, (clips, trains), (clips, judges), device, others)


def train_on_all(shards, values, init=None):
    """A trial of all training clips, over, that the test clips judge: as `tsgc train` has them."""
    manifest = load_manifest(shards)
    config = resolve_config(manifest.benchmark, settings=[f"{key}={value}" for key, value in values.items()])
    spec = Spec("all", {}, config, "1to2", 0, init, dataset=manifest.dataset)
    train, test = (
        (clips, np.arange(len(clips.clips)))
        for clips in (ResidentClips(manifest, split, CPU) for split in ("train", "test"))
    )
    trial = Trial(spec, train, test, CPU)
    for _ in trial.steps():
        pass
    trial.close()
    return trial


def same_logits(trial, run):
    """Check that a trial has answered the clips that judge as the run's scores say, to the bit."""
    names = trial.judge[0].clips.names
    for suffix, logits in trial.logits(trial.plain).items():
        scores = read_scores(run / f"scores/last{suffix.replace('_', '-')}.npz")
        assert scores.names.tolist() == list(names) and np.array_equal(scores.logits, logits)


def plain_and_captured(trained, precision, change):
    """On a GPU: its device and resident clips, and the settings of plain steps, then of captured ones."""
    device = torch.device("cuda", 0)
    clips = ResidentClips(load_manifest(trained / "data/shards/nw-ucla/xview"), "train", device)
    for graphs in (False, True):
        yield device, clips, {**change, "precision": precision, "graphs": graphs}


def search(*words, expect=0):
    return script(search_nw_ucla, *words, expect=expect)


def script(module, *words, expect=0):
    """A script's `main`, in this process, which has torch loaded; returns what it printed, errors too."""
    said, code = io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.setattr(sys, "argv", [module.__file__, *map(str, words)])
        try:
            module.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1  # a message: as the interpreter ends with it
            print(end.code)
    assert code == expect, said.getvalue()
    return said.getvalue()
