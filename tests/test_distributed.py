"""Real ranks: two gloo processes train and evaluate exactly as one does."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from shards_made import make_shards

from shards.manifest import load_manifest
from tsgc.scores import read_scores

SETTINGS = [
    "variant=tiny", "frames=16", "crop_min_frames=4", "batch=12", "mix_group=12", "last_batch=spread",
    "epochs=2", "warmup_epochs=1", "precision=float32", "lr=1e-3", "eval_batch=7", "eval_every=1",
]  # fmt: skip


def tsgc(*words, expect=0):
    """Run the command as a user would, one thread a process; returns its output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def train_words(shards: Path, run: Path, *more: str):
    words = ["tsgc", "train", "--shards", str(shards), "--run-dir", str(run), "--device", "cpu"]
    return [*words, *(word for setting in SETTINGS for word in ("--set", setting)), *more]


def losses(run: Path):
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("made"), clips=101).folder


@pytest.fixture(scope="module")
def runs(shards, tmp_path_factory):
    """The same training by one process, by --gpus 2, and by torchrun itself."""
    folder = tmp_path_factory.mktemp("runs")
    tsgc(*train_words(shards, folder / "one"))
    tsgc(*train_words(shards, folder / "two", "--gpus", "2"))
    tsgc(
        "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m",
        *train_words(shards, folder / "torchrun"),
    )  # fmt: skip
    return folder


def test_two_ranks_lose_what_one_rank_loses(runs):
    """Same clips, augmentation, partners, drop path and input statistics, whatever the number of ranks."""
    assert len(losses(runs / "one")) == 2
    np.testing.assert_allclose(losses(runs / "two"), losses(runs / "one"), rtol=1e-4)
    assert losses(runs / "torchrun") == losses(runs / "two")


def test_two_ranks_score_every_test_clip_once(runs):
    one, two = (read_scores(runs / run / "scores/last.npz") for run in ("one", "two"))
    assert one.names.tolist() == two.names.tolist() and len(set(one.names)) == len(one.names) == 25
    assert one.labels.tolist() == two.labels.tolist()
    assert one.repeats.tolist() == two.repeats.tolist() and one.repeats.sum() == 1
    np.testing.assert_allclose(two.logits, one.logits, atol=1e-3)


def test_evaluation_by_two_ranks_is_that_of_one_to_the_bit(runs, shards):
    words = ["tsgc", "evaluate", str(runs / "one"), "--shards", str(shards), "--device", "cpu", "--ema"]
    said = [
        tsgc(*words, "--run-dir", str(runs / f"by{n}"), *more) for n, more in ((1, ()), (2, ("--gpus", "2")))
    ]
    one, two = (read_scores(runs / f"by{n}/scores/last-ema.npz") for n in (1, 2))
    assert np.array_equal(one.logits, two.logits) and one.names.tolist() == two.names.tolist()
    assert said[0].replace("by1", "by2") == said[1]
    trained = read_scores(runs / "one/scores/last-ema.npz")
    assert np.array_equal(one.logits, trained.logits)


def test_a_failed_rank_is_reported_in_one_line(shards, tmp_path):
    words = train_words(shards, tmp_path / "run", "--gpus", "2", "--set", "batch=3")
    said = tsgc(*words, expect=1)
    assert said.startswith("error: process ") and said.count("\n") == 1
    assert "cannot feed 2 micro-batches" in said


def test_two_ranks_skip_what_one_rank_skips(shards, tmp_path):
    """A damaged clip is on one rank alone; both go on in step, and lose what one process loses."""
    own = tmp_path / "set"
    shutil.copytree(shards, own)
    manifest = load_manifest(own)
    clips = manifest.clips["train"]
    for clip in (5, 33):
        path = own / manifest.shards["train"][clips.shards[clip]].file
        data = bytearray(path.read_bytes())
        data[clips.offsets[clip]] ^= 1
        path.write_bytes(data)
    said = [
        tsgc(*train_words(own, tmp_path / f"by{n}", "--on-error", "skip", *more))
        for n, more in ((1, ()), (2, ("--gpus", "2")))
    ]
    assert [text.count("2 of 76 clips skipped, as damaged") for text in said] == [2, 2]
    np.testing.assert_allclose(losses(tmp_path / "by2"), losses(tmp_path / "by1"), rtol=1e-4)
