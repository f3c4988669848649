"""Made actions to pretrain on: every class is one, whatever side and moment it is seen from."""

from pathlib import Path

import numpy as np
import pytest
from made.command import tsgc
from made_actions import action_motion, all_actions, class_name, made_clip, write_data_set

import cli
from pipelines.errors import TsgcError
from pipelines.skeleton import NW_UCLA_20
from pipelines.synthetic.bodies import wave
from shards.load_manifest import load_manifest

STEPS = 40  # of a cycle; a quarter is a whole number of them


def signals(action) -> np.ndarray:
    """How far each joint is turned about x, y, z over a cycle: (STEPS, V, 3)."""
    made = action_motion(action)
    turns = np.zeros((STEPS, NW_UCLA_20.num_joints, 3))
    for swing in made.swings:
        swung = wave(np.arange(STEPS) / STEPS - swing.lag, made.rise)
        turns[:, swing.joint] += swung[:, None] * (swing.x, swing.y, swing.z)
    return turns


def seen(turns: np.ndarray) -> bytes:
    """The same for all that look alike: from any quarter of the cycle on, and in a mirror."""
    mirror = turns.copy()
    for left, right in NW_UCLA_20.left_right:
        mirror[:, [left, right]] = turns[:, [right, left]]
    mirror *= (1, -1, -1)
    shifts = range(0, STEPS, STEPS // 4)
    return min((np.roll(t, s, 0).round(6) + 0.0).tobytes() for t in (turns, mirror) for s in shifts)


@pytest.mark.slow
def test_no_action_is_another_one_from_another_side_or_moment():
    actions = all_actions()
    assert len(actions) > 5000
    assert len({seen(signals(action)) for action in actions}) == len(actions)
    assert len({class_name(action) for action in actions}) == len(actions)


def test_clips_hang_on_their_numbers_alone():
    action = all_actions()[500]
    one, again, other = (made_clip(action, number, 3, seed=0) for number in (5, 5, 6))
    assert np.array_equal(one, again) and one.shape[1:] == (20, 3) and 20 <= len(one) <= 80
    assert one.shape != other.shape or not np.allclose(one, other)
    assert np.abs(one[..., 2] - 3).max() < 1.5  # metres from the camera


@pytest.mark.slow
def test_they_are_prepared_sharded_and_trained_from(here, trained):
    """As benchmarks/nw_ucla/README.md says, up to a run on NW-UCLA's shards that starts from them."""
    write_data_set(here / "data/made", clips=240, classes=12, seed=1)
    with pytest.raises(TsgcError, match="is there already"):
        write_data_set(here / "data/made", clips=240, classes=12, seed=1)
    tsgc("prepare", "custom", "--raw", "data/made")
    tsgc("shard", "made")
    manifest = load_manifest(here / "data/shards/made/people")
    assert manifest.body == NW_UCLA_20 and len(manifest.class_names) == 12
    clips = {split: np.bincount(manifest.clips[split].labels) for split in ("train", "test")}
    assert clips["train"].tolist() == [18] * 12 and clips["test"].tolist() == [2] * 12
    sizes = ["--set", "variant=tiny", "--set", "epochs=2", "--set", "warmup_epochs=1", "--set", "repeats=1"]
    words = ["--config", Path(cli.__file__).parent / "configs/nw-ucla.yaml", *sizes, "--device", "cpu"]
    tsgc("train", "made/people", *words)
    init = "runs/made/people/tiny/joint/seed0"
    words = ["train", "nw-ucla/xview", "--data-root", trained / "data", "--init", init, *sizes]
    said = " ".join(tsgc(*words, "--device", "cpu").split())
    assert "tensors loaded; classifier new (12 classes there, 10 others here)" in said


@pytest.mark.parametrize(
    ("clips", "classes", "said"),
    [(100, 1, "1 classes, expected 2 to"), (100, 11, "expected 10 or more of each")],
)
def test_too_few_of_anything_is_told(tmp_path, clips, classes, said):
    with pytest.raises(TsgcError, match=said):
        write_data_set(tmp_path / "made", clips, classes, seed=0)
