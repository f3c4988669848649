"""Real ranks: two gloo processes train and evaluate exactly as one does."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from made.once import once
from made.ranks import lines, train_words, tsgc, weights

from shards.load_manifest import load_manifest
from tsgc.evaluation.scores import read_scores

pytestmark = pytest.mark.slow  # each starts ranks


def losses(run: Path):
    return [line["loss"] for line in lines(run / "metrics.jsonl")]


@pytest.fixture(scope="session")
def runs(shards, two_ranks, tmp_path_factory):
    """The same training of 21 steps by one process, by --gpus 2 and 3, and by torchrun itself."""
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")

    def train(folder):
        tsgc(*train_words(shards, folder / "one"))
        tsgc(*train_words(shards, folder / "three", "--gpus", "3"))
        tsgc(*torchrun, *train_words(shards, folder / "torchrun"))
        (folder / "two").symlink_to(two_ranks)

    return once(tmp_path_factory, "runs-of-ranks", train)


@pytest.mark.parametrize("ranks", ["two", "three"])
def test_any_number_of_ranks_loses_what_one_loses_in_every_step(runs, ranks):
    """Same schedule, clips, augmentation, partners, drop path and input statistics: the same 21 losses."""
    one, several = (lines(runs / run / "steps.jsonl") for run in ("one", ranks))
    assert [line["step"] for line in one] == [line["step"] for line in several] == list(range(1, 22))
    assert [line["lr"] for line in one] == [line["lr"] for line in several]
    ours, theirs = ([line["loss"] for line in found] for found in (several, one))
    assert len(set(theirs)) == 21
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    np.testing.assert_allclose(losses(runs / ranks), losses(runs / "one"), rtol=0, atol=1e-4)


@pytest.mark.parametrize("ranks", ["two", "three"])
def test_the_synchronised_input_statistics_are_those_of_one_rank(runs, ranks):
    """Each rank normalises by all ranks' clips: mean, variance, and their unbiased running forms."""
    one, several = weights(runs / "one"), weights(runs / ranks)
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(
            several[f"input_norm.{name}"], one[f"input_norm.{name}"], rtol=1e-5, atol=1e-6
        )
    assert not np.allclose(one["input_norm.running_mean"], 0, atol=1e-3)


def test_the_first_rank_alone_tells_trackers(runs):
    assert [len(list((runs / run / "tensorboard").iterdir())) for run in ("one", "two", "three")] == [1, 1, 1]


def test_torchrun_itself_is_the_same_as_gpus(runs):
    assert lines(runs / "torchrun/steps.jsonl") == lines(runs / "two/steps.jsonl")
    for name in ("last", "last-ema"):
        paths = [runs / run / f"checkpoints/{name}.safetensors" for run in ("torchrun", "two")]
        assert paths[0].read_bytes() == paths[1].read_bytes()


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
    words = train_words(shards, tmp_path / "run", "--gpus", "2", "--set", "batch=3", "--quiet")
    said = tsgc(*words, expect=1)
    assert said.startswith("error: process ") and said.count("\n") == 1
    assert "cannot feed 2 micro-batches" in said


def damaged_copy(shards, folder, *damaged):
    """The shard set with a wrong byte in each of these training clips."""
    shutil.copytree(shards, folder)
    manifest = load_manifest(folder)
    clips = manifest.clips["train"]
    for clip in damaged:
        path = folder / manifest.shards["train"][clips.shards[clip]].file
        data = bytearray(path.read_bytes())
        data[clips.offsets[clip]] ^= 1
        path.write_bytes(data)
    return folder


@pytest.mark.parametrize("clip", [5, 33])
def test_what_one_rank_finds_is_all_that_is_said(shards, tmp_path, clip):
    """The other rank, whichever it is, loses it within an exchange; its own words would tell nothing."""
    own = damaged_copy(shards, tmp_path / "set", clip)
    said = tsgc(*train_words(own, tmp_path / "run", "--gpus", "2", "--quiet"), expect=1)
    assert re.fullmatch(r"error: process [01] of 2: .*: damaged: clip .* --on-error skip\n", said)


def test_two_ranks_skip_what_one_rank_skips(shards, tmp_path):
    """A damaged clip is on one rank alone; both go on in step, and lose what one process loses."""
    own = damaged_copy(shards, tmp_path / "set", 5, 33)
    said = [
        tsgc(*train_words(own, tmp_path / f"by{n}", "--on-error", "skip", *more))
        for n, more in ((1, ()), (2, ("--gpus", "2")))
    ]
    assert [text.count("2 of 76 clips skipped, as damaged") for text in said] == [3, 3]  # once an epoch
    np.testing.assert_allclose(losses(tmp_path / "by2"), losses(tmp_path / "by1"), rtol=1e-4)


def test_two_ranks_are_taught_as_one_is(runs, shards, tmp_path):
    """Teachers' answers hang on the clip alone; gradients are exchanged of the student's weights only."""
    more = ["--modality", "bone", "--teacher", str(runs / "one"), "--set", "epochs=1", "--set", "distil=0.9"]
    for ranks in ("1", "2"):
        tsgc(*train_words(shards, tmp_path / ranks, *more, "--gpus", ranks))
    one, two = ([line["loss"] for line in lines(tmp_path / ranks / "steps.jsonl")] for ranks in "12")
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-4)
    assert len(one) == 7 and weights(tmp_path / "2").keys() == weights(runs / "one").keys()
