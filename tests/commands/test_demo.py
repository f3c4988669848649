"""The demo: its own words, without trainings, and all of it."""

from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest

from pipelines.errors import UsageError
from shards.load_manifest import load_manifest
from tsgc import demo as module
from tsgc.console import Talker
from tsgc.distributed.preemption import PreemptedError
from tsgc.evaluation.scores import all_and_clean
from tsgc.explain.summary import shares
from tsgc.inference.recogniser import load_run
from tsgc.workspace.clips_by_name import clips_by_name


def test_a_demo_that_is_asked_to_stop_says_how_it_starts_again(tmp_path, monkeypatch):
    def stopped(*args, **kwargs):
        raise PreemptedError(
            "asked to stop: saved after epoch 1; the same command with --resume goes on there"
        )

    monkeypatch.setattr(module.raw_files, "write_ntu", lambda *args, **kwargs: [])
    monkeypatch.setattr(module.raw_files, "write_nw_ucla", lambda *args, **kwargs: [])
    monkeypatch.setattr(
        module, "prepare_dataset", lambda *args, **kwargs: type("Report", (), {"lines": list})()
    )
    monkeypatch.setattr(module, "shard_all", lambda *args, **kwargs: [])
    monkeypatch.setattr(module, "train_stream", stopped)
    with pytest.raises(PreemptedError, match="tsgc demo --overwrite starts again") as caught:
        module.run_demo(tmp_path / "demo", Talker(), seed=0, jobs=1, device="cpu", overwrite=False)
    assert caught.value.exit_code == 75


def test_a_wrong_device_is_told_before_anything_is_made(tmp_path):
    with pytest.raises(UsageError, match="--device tpu: expected cpu or cuda"):
        module.run_demo(tmp_path / "demo", Talker(), seed=0, jobs=1, device="tpu", overwrite=False)
    assert not (tmp_path / "demo").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a whole demo, its fused scores, and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "demo"
    with redirect_stdout(StringIO()) as said:
        fused = module.run_demo(out, Talker(), seed=0, jobs=2, device="cpu", overwrite=False)
    return out, fused, said.getvalue()


@pytest.mark.slow  # four trainings
def test_the_whole_chain_gets_more_than_nine_of_ten_clips_right(whole):
    out, fused, said = whole
    assert set(fused) == {"ntu60/xsub", "nw-ucla/xview"}
    for benchmark, scores in fused.items():
        assert all_and_clean(scores)["all"].top1 > 90, benchmark
        assert len(list((out / "runs" / benchmark).rglob("scores/last.npz"))) == len(module.STREAMS)
    assert all(word in said for word in ("192 NTU and 360 NW-UCLA clips", "ntu60/xsub fused", "s in all"))


# Classes of the demo that one limb alone makes: the class, from 0, and the limb's joints. Not kicking, which
# these networks take a body for that does not move at all, so that its movement adds little.
RIGHT_ARM, RIGHT_LEG = (8, 9, 10, 11, 23, 24), (16, 17, 18, 19)
ONE_LIMB = (
    ("ntu60/xsub", 6, RIGHT_ARM),  # throw
    ("ntu60/xsub", 22, RIGHT_ARM),  # wave a hand
    ("nw-ucla/xview", 2, RIGHT_ARM),  # drop trash
)
LIMBS = ((4, 5, 6, 7, 21, 22), RIGHT_ARM, (12, 13, 14, 15), RIGHT_LEG)


@pytest.mark.slow
@pytest.mark.parametrize("benchmark, label, limb", ONE_LIMB)
def test_saliency_finds_the_limb_that_makes_the_class(whole, benchmark, label, limb):
    out, _, _ = whole
    recogniser = load_run([out / "runs" / benchmark / "tiny" / name / "seed0" for name in module.STREAMS])
    manifest = load_manifest(out / "data/shards" / benchmark)
    test = manifest.clips["test"]
    names = [name for name, own in zip(test.names, test.labels) if own == label][:5]
    found = []
    for joints in clips_by_name(manifest, "test", names).values():
        share = shares(recogniser.explain(joints, label).joints).sum(0)
        found.append([share[[joint for joint in each if joint < len(share)]].sum() for each in LIMBS])
    of_limb = np.array(found)[:, LIMBS.index(limb)]
    assert of_limb.mean() > 0.5
    assert (of_limb == np.max(found, axis=1)).mean() >= 0.8
