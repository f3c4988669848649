"""The corrected preset and alignment from raw files to a prediction, as a user drives them."""

import numpy as np
import pytest
from made.command import fails, quick, tsgc

from pipelines.prepared.store import open_store
from pipelines.synthetic.raw_files import write_ntu
from shards.load_manifest import load_manifest
from tsgc.checkpoint import read_weights_description
from tsgc.inference.recogniser import load_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A data root and a run of the corrected preset, aligned, of made clips."""
    root = tmp_path_factory.mktemp("corrected")
    write_ntu(root / "data/nturgbd_raw", actions=(7, 50), performers=(1, 2, 3), cameras=(1,))
    data = ("--data-root", root / "data")
    said = tsgc("prepare", "ntu60", "--preset", "corrected", "--align", *data, "--jobs", 1)
    tsgc("shard", "ntu60-corrected-aligned", "--benchmark", "xsub", *data)
    tsgc(
        "train", "ntu60-corrected-aligned/xsub", *data, "--runs", root / "runs", "--run-dir", root / "run",
        *quick("epochs=1", "warmup_epochs=0", "batch=4", "mix_group=4"),
    )  # fmt: skip
    return root, said


def test_every_part_says_how_its_clips_were_prepared(trained):
    root, said = trained
    assert "ntu60, corrected preset, aligned\n" in said
    with open_store(root / "data/prepared/ntu60-corrected-aligned.h5") as store:
        facts = (store.info.preset, store.info.alignment, store.info.absent_body)
    manifest = load_manifest(root / "data/shards/ntu60-corrected-aligned/xsub")
    description = read_weights_description(root / "run/checkpoints/last.safetensors")
    assert facts == ("corrected", "spine-shoulders", "zeros")
    assert (manifest.preset, manifest.alignment, manifest.absent_body) == facts
    assert (description.preset, description.alignment) == facts[:2]


def test_prediction_prepares_a_raw_clip_as_training_did(trained):
    root, _ = trained
    with np.load(root / "run/scores/last.npz") as scores:
        name, logits = str(scores["names"][0]), scores["logits"][0]
    raw = next((root / "data/nturgbd_raw").rglob(f"{name}.skeleton"))
    (prediction,) = load_run(root / "run", device="cpu").predict(raw)
    np.testing.assert_allclose(prediction.logits, logits, atol=1e-5)


def test_a_checkpoint_is_not_judged_on_clips_of_another_preset_or_alignment(trained):
    root, _ = trained
    data = ("--data-root", root / "data")
    tsgc("prepare", "ntu60", "--preset", "corrected", *data, "--jobs", 1)
    tsgc("shard", "ntu60-corrected", "--benchmark", "xsub", *data)
    shards = root / "data/shards/ntu60-corrected/xsub"
    assert "trained for alignment spine-shoulders" in fails(
        "evaluate", root / "run", "--shards", shards, *data
    )
