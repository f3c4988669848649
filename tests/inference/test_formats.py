"""Recordings as estimators write them, recognised by a run that was trained on them."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from made import recordings as made
from made.command import fails, quick, tsgc
from made.recordings import write

from tsgc import load_run, predict
from tsgc.evaluation.scores import read_scores


def train(here: Path, name: str, **description: object) -> Path:
    """A tiny run on the recordings below `name`, and its folder."""
    content = {
        "classes": ["wave", "clap"],
        "splits": {"half": {"train": ["*1", "*2"], "test": "*3"}},
        **description,
    }
    (here / name / "dataset.yaml").write_text(yaml.safe_dump(content))
    tsgc("prepare", "custom", "--raw", here / name, "--jobs", 1)
    tsgc("shard", name, "--jobs", 1)
    tsgc("train", f"{name}/half", "--variant", "tiny", *quick("epochs=1"))
    return here / f"runs/{name}/half/tiny/joint/seed0"


def agrees(run: Path, folder: Path, ending: str, **options: object) -> None:
    """Predictions of the raw test clips, one a class, are the scores of evaluation."""
    scores = read_scores(run / "scores/last.npz")
    assert sorted(scores.names) == ["clap-3", "wave-3"]
    clips = [folder / f"{name.partition('-')[0]}/3{ending}" for name in scores.names]
    answers = predict(clips, load_run(run, device="cpu", **options))
    found = np.stack([answer.logits for answer in answers])
    np.testing.assert_allclose(found, scores.logits, atol=1e-4)


def test_a_file_a_clip_is_recognised_as_it_was_trained_on(here: Path) -> None:
    for label in ("wave", "clap"):
        for number in (1, 2, 3):
            joints = made.walking(32, frames=20, seed=number + 10 * (label == "clap"))
            write(here / f"azure/clips/{label}/{number}.json", made.azure_json(joints))
    run = train(here, "azure")
    agrees(run, here / "azure/clips", ".json")
    assert "6 clips" in tsgc("predict", here / "azure/clips", "--run", run)
    video = write(here / "wave.mp4", b"\0\0\0\x18ftypmp42" + bytes(100))
    said = fails("predict", video, "--run", run, "--quiet")
    assert "it is a video: a pose estimator finds the joints first; docs/from-video.md" in said
    write(here / "films/a.mp4", b"")
    assert "1 video is there: a pose estimator" in fails("predict", here / "films", "--run", run, "--quiet")
    ntu = write(
        here / "a.skeleton", b"2\n1\n7 0 1 1 1 1 0 0.1 0.2 2\n25\n" + b"0 0 0 0 0 0 0 0 0 0 0 2\n" * 25
    )
    assert "it is NTU RGB+D text: for `tsgc prepare ntu60`" in fails("predict", ntu, "--run", run, "--quiet")
    assert "--up w: expected one of y, -y" in fails("predict", video, "--run", run, "--up", "w", code=2)


def test_a_folder_of_frames_is_recognised_as_a_clip(here: Path) -> None:
    for label in ("wave", "clap"):
        for number in (1, 2, 3):
            joints = made.filmed(25, frames=20, seed=number + 10 * (label == "clap"))
            for t, frame in enumerate(joints):
                name = f"video_{t:012}_keypoints.json"
                write(here / f"open/clips/{label}/{number}/{name}", made.openpose_frame(frame))
    run = train(here, "open", image_size=[640, 480])
    agrees(run, here / "open/clips", "", image_size=(640, 480))
    recogniser = load_run(run, device="cpu", image_size=(640, 480))
    everything = predict(here / "open/clips", recogniser)
    names = [f"{label}/{number}" for label in ("clap", "wave") for number in (1, 2, 3)]
    assert [one.clip for one in everything] == names


def test_clips_that_lie_down_are_turned_as_in_training(here: Path) -> None:
    for label in ("wave", "clap"):
        for number in (1, 2, 3):
            joints = made.walking(25, frames=20, seed=number + 10 * (label == "clap"))
            lying = joints[..., [0, 2, 1]] * (1, -1, 1)  # z up
            write(here / f"lying/clips/{label}/{number}.npy", made.as_npy(lying))
            write(here / f"upright/clips/{label}/{number}.npy", made.as_npy(joints))
    run = train(here, "lying", skeleton="ntu-25", up="z")
    agrees(run, here / "lying/clips", ".npy")  # the checkpoint knows
    agrees(run, here / "upright/clips", ".npy", up="y")
    with pytest.raises(AssertionError):
        agrees(run, here / "upright/clips", ".npy")
