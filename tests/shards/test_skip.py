"""Damage: found wherever it is; with --on-error skip left out, counted, and equal on every rank."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made.command import fails, quick, tsgc
from made.loading import all_ranks, global_batches
from made.shard_sets import make_shards

from pipelines.errors import TsgcError
from shards.load_manifest import load_manifest
from shards.loader import EvalLoader, TrainLoader
from shards.options import LoaderOptions
from shards.plan import mixing_partners, partners_left
from shards.verify import verify_shards
from tsgc.evaluation.scores import read_scores

# Each example puts back what it changed.
FLIPS = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], database=None
)
SKIP = LoaderOptions(on_error="skip")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("skip"))


@pytest.fixture
def own(whole, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(whole.folder, tmp_path / "set")
    return load_manifest(tmp_path / "set")


def damage(manifest, split, *clips):
    """Flip a bit in the numbers of these clips."""
    columns = manifest.clips[split]
    for clip in clips:
        path = manifest.folder / manifest.shards[split][columns.shards[clip]].file
        data = bytearray(path.read_bytes())
        data[columns.offsets[clip] + 7] ^= 16
        path.write_bytes(data)


@given(size=st.integers(1, 60), group=st.integers(1, 12), data=st.data())
def test_partners_of_what_is_left_out_stay_unmixed_and_all_others_keep_theirs(size, group, data):
    partner = mixing_partners(size, group)
    kept = np.array(sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1))))
    left = partners_left(partner, kept)
    for place, clip in enumerate(kept):
        expected = partner[clip] if partner[clip] in kept else clip
        assert kept[left[place]] == expected


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_a_damaged_clip_is_left_out_of_its_batch_and_nothing_else_changes(own, world):
    expected = global_batches(all_ranks(own, world, epoch=2))
    numbers = {
        int(clip): part.joints[start : start + rows].clone()
        for steps in all_ranks(own, world, epoch=2)
        for step in steps
        for part in step.parts
        for clip, start, rows in zip(part.indices, part.offsets, (part.frames * part.bodies).tolist())
    }
    damaged = {3, 40, 41, 75}
    damage(own, "train", *damaged)
    ranks = all_ranks(own, world, epoch=2, options=SKIP)
    assert {len(steps) for steps in ranks} == {4}
    seen = []
    for steps, batch in zip(zip(*ranks, strict=True), expected, strict=True):
        missing = sum(step.missing for step in steps)
        left = {place: row for place, row in batch.items() if row[0] not in damaged}
        assert missing == len(batch) - len(left)
        unseen = dict(left)
        assert all(step.size == len(batch) for step in steps)
        for part in (part for step in steps for part in step.parts):
            partners = part.positions[part.partner].tolist()
            for b, (position, clip) in enumerate(zip(part.positions.tolist(), part.indices.tolist())):
                partner = batch[position][1]
                assert partners[b] == (partner if partner in left else position)
                assert unseen.pop(position)[0] == clip
                rows = int(part.frames[b] * part.bodies[b])
                assert torch.equal(part.joints[part.offsets[b] :][:rows], numbers[clip])
                seen.append(clip)
        assert not unseen
    assert sorted(seen) == sorted(set(range(76)) - damaged)


def test_a_missing_shard_s_clips_are_skipped_too(own):
    shard = own.shards["train"][1]
    (own.folder / shard.file).unlink()
    steps = list(TrainLoader(own, batch=38, seed=0, last_batch="spread", options=SKIP).epoch(0))
    assert sum(step.missing for step in steps) == shard.count
    with pytest.raises(TsgcError, match=shard.file):
        TrainLoader(own, batch=38, seed=0)


def test_a_micro_batch_of_which_nothing_can_be_read_raises_whatever_was_asked_for(own):
    for shard in own.shards["train"]:
        (own.folder / shard.file).unlink()
    loader = TrainLoader(own, batch=8, seed=0, options=SKIP)
    with pytest.raises(TsgcError, match=r"step 0: all 8 clips of a micro-batch are damaged \(S001\w+, ...\)"):
        list(loader.epoch(0))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_leaves_out_damaged_clips_and_batches_of_nothing_else(own, world):
    damage(own, "test", 4, 5, 6, 7, 9)
    loaders = [EvalLoader(own, batch=4, rank=rank, world=world, options=SKIP) for rank in range(world)]
    batches = [batch for loader in loaders for batch in loader]
    assert all(len(batch) for batch in batches)
    seen = sorted(index for batch in batches for index in batch.indices.tolist())
    assert seen == sorted(set(range(25)) - {4, 5, 6, 7, 9})


def test_an_unknown_way_is_refused(whole, here):
    with pytest.raises(TsgcError, match="on_error is 'ignore', expected one of raise, skip"):
        EvalLoader(whole, options=LoaderOptions(on_error="ignore"))
    assert "--on-error ignore: expected raise or skip" in tsgc("train", "--on-error", "ignore", expect=2)


def test_training_raises_unless_told_to_skip_and_then_counts_exactly(own, here):
    damage(own, "train", 3, 40, 75)
    damage(own, "test", 2, 9)
    words = ["train", "--shards", own.folder, *quick("last_batch=spread", "eval_every=1", "shuffle_window=0")]
    said = tsgc(*words, "--run-dir", here / "raises", expect=1)
    assert re.search(r"error: \S+train-\d+.tar: damaged: clip S001\w+ has bytes", said)

    said = tsgc(*words, "--run-dir", here / "run", "--on-error", "skip")
    assert said.count("3 of 76 clips skipped, as damaged; `tsgc verify` names them") == 2
    assert "2 clips of it missing" in said  # beside the accuracies of an epoch
    assert said.count("(2 missing)") >= 2
    assert "clips of test missing, skipped as damaged: 2; these are no figures of the whole split" in said
    lines = [json.loads(line) for line in (here / "run/metrics.jsonl").read_text().splitlines()]
    assert [(line["skipped"], line["test_missing"]) for line in lines] == [(3, 2)] * 2
    scores = read_scores(here / "run/scores/last.npz")
    assert scores.source.missing == 2 and len(scores.names) == len(scores.logits) == 23
    assert set(scores.names) == set(own.clips["test"].names) - {own.clips["test"].names[i] for i in (2, 9)}

    again = ["evaluate", here / "run", "--shards", own.folder]
    assert "damaged: clip" in fails(*again)
    said = tsgc(*again, "--on-error", "skip")
    assert "last (2 missing)" in said and "no figures of the whole split" in said
    result = json.loads(tsgc(*again, "--on-error", "skip", "--json"))
    assert result["missing"] == 2 and result["accuracy"]["all"]["clips"] == 23


def test_skipping_nothing_trains_as_raising_does(whole, here):
    words = ["train", "--shards", whole.folder, *quick()]
    tsgc(*words, "--run-dir", here / "one")
    said = tsgc(*words, "--run-dir", here / "two", "--on-error", "skip")
    assert "skipped" not in said and "missing" not in said
    weights = [(here / run / "checkpoints/last.safetensors").read_bytes() for run in ("one", "two")]
    assert weights[0] == weights[1]


def test_the_loss_is_divided_by_what_was_read(own, here):
    """The epoch's loss and step are those of the clips that are left, not of a full batch."""
    still = quick(
        "epochs=1", "warmup_epochs=0", "lr=0", "mixup_prob=0", "drop_path=0", "label_smoothing=0",
        "rotation=none", "crop_min=1", "last_batch=spread", "batch=76", "micro_batch=76", "mix_group=76",
    )  # fmt: skip
    words = ["train", "--shards", own.folder, *still, "--on-error", "skip"]
    tsgc(*words, "--run-dir", here / "whole")
    damage(own, "train", *range(0, 76, 2))
    tsgc(*words, "--run-dir", here / "half")
    one, two = (json.loads((here / run / "metrics.jsonl").read_text()) for run in ("whole", "half"))
    assert two["skipped"] == 38
    assert two["loss"] == pytest.approx(one["loss"], rel=0.1)  # divided by 76 it would be half


def test_a_run_of_changed_shards_is_not_resumed(whole, here):
    folder = here / "set"
    shutil.copytree(whole.folder, folder)
    words = ["train", "--shards", folder, "--run-dir", here / "run", *quick()]
    tsgc(*words)
    shutil.rmtree(folder)
    make_shards(here / "other", seed=1).folder.rename(folder)
    assert "the shards have changed since; resuming needs the same ones" in fails(*words, "--resume")


@FLIPS
@given(data=st.data())
def test_a_flipped_bit_of_any_byte_of_a_shard_is_found_by_verify_and_named(own, data):
    split = data.draw(st.sampled_from(["train", "test"]))
    shard = data.draw(st.sampled_from(own.shards[split]))
    at, bit = data.draw(st.integers(0, shard.bytes - 1)), data.draw(st.integers(0, 7))
    path = own.folder / shard.file
    original = path.read_bytes()
    changed = bytearray(original)
    changed[at] ^= 1 << bit
    path.write_bytes(changed)
    try:
        problems = verify_shards(own.folder)
        assert problems and all(shard.file in problem and "\n" not in problem for problem in problems)
        columns = own.clips[split]
        hit = (columns.offsets <= at) & (at < columns.offsets + columns.lengths)
        hit &= columns.shards == own.shards[split].index(shard)
        if hit.any():  # a payload: loading it raises, and names the clip
            name = columns.names[int(np.flatnonzero(hit)[0])]
            with pytest.raises(TsgcError, match=rf"{shard.file}: damaged: clip {name} has bytes"):
                list(EvalLoader(own, split))
        else:
            assert sum(map(len, EvalLoader(own, split))) == len(columns)
    finally:
        path.write_bytes(original)


@FLIPS
@given(data=st.data())
def test_a_flipped_bit_of_the_manifest_never_passes_for_the_same_data(own, whole, data):
    """It is refused, or found by verify, or it is another text of the description and so another digest."""
    path = own.folder / "manifest.json"
    original = (whole.folder / "manifest.json").read_bytes()
    at, bit = data.draw(st.integers(0, len(original) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(original)
    changed[at] ^= 1 << bit
    path.write_bytes(changed)
    try:
        read = load_manifest(own.folder)
    except TsgcError as error:
        assert "manifest.json" in str(error) and "\n" not in str(error)
        return
    finally:
        path.write_bytes(original)
    assert read.digest != whole.digest
    path.write_bytes(changed)
    try:
        problems = verify_shards(own.folder)
    finally:
        path.write_bytes(original)
    if not problems:
        assert all(
            np.array_equal(getattr(read.clips[split], column), getattr(whole.clips[split], column))
            for split in ("train", "test")
            for column in ("labels", "offsets", "lengths", "frames", "bodies", "crc32", "repeats")
        )
        assert read.shards == whole.shards


def test_a_flipped_bit_anywhere_in_a_npy_header_is_found_and_named(own):
    """NumPy reads the header as Python: damage there fails in more ways than elsewhere."""
    shard, columns = own.shards["test"][0], own.clips["test"]
    path = own.folder / shard.file
    original = path.read_bytes()
    start = int(columns.offsets[0]) - 128
    assert original[start + 1 : start + 6] == b"NUMPY"
    for at in range(start, start + 128):
        changed = bytearray(original)
        changed[at] ^= 1 << at % 7
        path.write_bytes(changed)
        problems = verify_shards(own.folder)
        assert problems and all(shard.file in problem and "\n" not in problem for problem in problems)
