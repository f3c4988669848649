"""Runs side by side: to the bit what each is alone, in folders of their own, stopped and gone on with."""

import json

import pytest
from made.command import quick, tsgc

STREAMS = ("joint", "bone")
SETTINGS = quick(
    "epochs=2", "drop_path=0.3", "noise=0.01", "mirror=0.5", "mixup_prob=0.5", "eval_every=1", "log_every=2",
    "micro_batch=4", "mix_group=4",
)  # fmt: skip
TIMES = ("seconds", "clips_per_second")


def words(data, streams=STREAMS, seeds="0-1", *more):
    modalities = [word for stream in streams for word in ("--modality", stream)]
    return ["train", "ntu60/xsub", "--data-root", data, *modalities, "--seeds", seeds, *SETTINGS, *more]


def results(folder):
    """All that a run leaves, but for times: weights, figures, scores."""
    left = {path.name: path.read_bytes() for path in folder.glob("checkpoints/*.safetensors")}
    left |= {path.name: path.read_bytes() for path in folder.glob("scores/*.npz")}
    for name in ("metrics.jsonl", "steps.jsonl"):
        lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        left[name] = [{key: value for key, value in line.items() if key not in TIMES} for line in lines]
    return left


@pytest.fixture(scope="module")
def alone(made, tmp_path_factory):
    """Each of four runs trained by itself: (stream, seed) -> what it left."""
    found = {}
    for stream in STREAMS:
        for seed in (0, 1):
            folder = tmp_path_factory.mktemp("alone")
            one = ["train", "ntu60/xsub", "--data-root", made, "--modality", stream, "--seed", seed]
            tsgc(*one, *SETTINGS, "--run-dir", folder)
            found[stream, seed] = results(folder)
    return found


def check_same(runs, alone):
    for (stream, seed), left in alone.items():
        found = results(runs / f"ntu60/xsub/tiny/{stream}/seed{seed}")
        assert found.keys() == left.keys() and len(found) > 6
        for name, value in left.items():
            assert found[name] == value, (stream, seed, name)


@pytest.mark.parametrize("at_once", [1, 4])
def test_runs_side_by_side_are_those_alone_to_the_bit(made, here, alone, at_once):
    said = tsgc(*words(made), "--at-once", at_once)
    assert "joint" in said
    check_same(here / "runs", alone)
