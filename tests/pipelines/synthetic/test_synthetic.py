"""Made data: the real formats, believable bodies, and classes that only the motion tells apart."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from pipelines.cleaning.denoise import SHORT, SPREAD
from pipelines.errors import TsgcError
from pipelines.prepare import prepare_dataset
from pipelines.prepared.report import Report
from pipelines.prepared.store import Clip, open_store
from pipelines.skeleton import NTU_25, NW_UCLA_20, SKELETONS, Skeleton
from pipelines.synthetic.bodies import (
    FPS,
    NTU_MOTIONS,
    NTU_PAIRED_MOTIONS,
    NW_UCLA_MOTIONS,
    TWO_PERSON_ACTIONS,
    make_body,
    perform,
    wave,
)
from pipelines.synthetic.raw_files import (
    NTU_ACTIONS,
    NTU_PERFORMERS,
    NtuClip,
    ntu_clip,
    ntu_text,
    nw_ucla_clip,
    write_ntu,
    write_nw_ucla,
)

Set = tuple[list[Clip], np.ndarray, Report]
"""Prepared clips, the split of the main benchmark (0 train, 1 test), and the report."""


def prepared(dataset: str, raw: Path, folder: Path) -> Set:
    report = prepare_dataset(dataset, [raw], folder / f"{dataset}.h5", data_root=folder, jobs=1)
    with open_store(folder / f"{dataset}.h5") as store:
        clips = [store.clip(i) for i in range(len(store))]
        return clips, next(iter(store.splits.values())), report


@pytest.fixture(scope="module")
def ntu(tmp_path_factory: pytest.TempPathFactory) -> Set:
    folder = tmp_path_factory.mktemp("ntu")
    write_ntu(folder / "raw")
    return prepared("ntu60", folder / "raw" / "nturgb+d_skeletons", folder)


@pytest.fixture(scope="module")
def nw_ucla(tmp_path_factory: pytest.TempPathFactory) -> Set:
    folder = tmp_path_factory.mktemp("nw-ucla")
    write_nw_ucla(folder)
    return prepared("nw-ucla", folder / "all_sqe", folder)


def made(name: str) -> NtuClip:
    setup, camera, performer, replication, action = map(int, re.findall(r"\d+", name))
    return ntu_clip(setup, camera, performer, replication, action)


# What tells the classes apart -----------------------------------------------------------------------------


def nearest_mean_accuracy(features: np.ndarray, labels: np.ndarray, split: np.ndarray) -> float:
    """Test accuracy of the class whose training mean is nearest. `features` (N, F)."""
    train, test = split == 0, split == 1
    classes = np.unique(labels)
    means = np.stack([features[train & (labels == k)].mean(axis=0) for k in classes])
    distance = np.square(features[test][:, None] - means).sum(axis=-1)
    return float((classes[distance.argmin(axis=1)] == labels[test]).mean())


def posture(clip: Clip, frame: int) -> np.ndarray:
    """Joints of both bodies in one frame; zeros for a second body that is not there."""
    joints = np.zeros((2, *clip.joints.shape[2:]))
    joints[: clip.joints.shape[1]] = clip.joints[frame]
    return joints.ravel()


def motion_features(clip: Clip, skeleton: Skeleton) -> np.ndarray:
    """How much each joint moves, how lopsided in time, and with or against its mirror image."""
    velocity = np.diff(clip.joints, axis=0) * (clip.present[1:] & clip.present[:-1])[..., None, None]
    energy = np.square(velocity).mean(axis=0) + 1e-5  # (T-1, M, V, C) -> (M, V, C)
    skewness = (velocity**3).mean(axis=0) / energy**1.5
    left, right = np.array(skeleton.left_right).T
    together = (velocity[:, :, left] * velocity[:, :, right]).mean(axis=0)
    together /= np.sqrt(energy[:, left] * energy[:, right])
    bodies = np.concatenate([np.log(energy), skewness, together], axis=1)
    return bodies.mean(axis=0).ravel()


@pytest.mark.parametrize("dataset", ["ntu", "nw_ucla"])
def test_one_frame_hides_the_class_and_the_motion_shows_it(
    dataset: str, request: pytest.FixtureRequest
) -> None:
    clips, split, _ = request.getfixturevalue(dataset)
    skeleton = SKELETONS["ntu-25" if dataset == "ntu" else "nw-ucla-20"]
    labels = np.array([clip.label for clip in clips])
    first = np.stack([posture(clip, 0) for clip in clips])
    middle = np.stack([posture(clip, len(clip.joints) // 2) for clip in clips])
    motion = np.stack([motion_features(clip, skeleton) for clip in clips])
    motion = (motion - motion[split == 0].mean(axis=0)) / motion[split == 0].std(axis=0)
    assert nearest_mean_accuracy(first, labels, split) < 0.4
    assert nearest_mean_accuracy(middle, labels, split) < 0.4
    assert nearest_mean_accuracy(motion, labels, split) > 0.9


# Through the preparation ----------------------------------------------------------------------------------


def test_every_ntu_clip_survives_and_just_the_noise_is_dropped(ntu: Set) -> None:
    clips, split, report = ntu
    noise = [track for clip in clips for track in made(clip.name).tracks if track.actor < 0]
    short = sum(len(track.frames) <= 11 for track in noise)
    assert not report.dropped
    assert report.kept == len(clips) == len(NTU_ACTIONS) * len(NTU_PERFORMERS) * 6
    assert (split == 0).sum() == 2 * (split == 1).sum()
    assert report.rules[SHORT] == short > 20
    assert report.rules[SPREAD] == len(noise) - short > 20


def test_the_prepared_actors_are_the_made_people(ntu: Set) -> None:
    for clip in ntu[0][::3]:
        made_clip = made(clip.name)
        shown = np.zeros((made_clip.num_frames, 2, 25, 3))
        for track in made_clip.tracks:
            if track.actor >= 0:
                shown[track.frames, track.actor] = track.joints
        shown = shown[shown.any(axis=(1, 2, 3))]
        got = np.zeros_like(shown)
        got[:, : clip.joints.shape[1]] = clip.joints + clip.origin * clip.present[..., None, None]
        # The preparation ranks people by the spread of their posture: either may come first.
        assert any(np.allclose(got[:, list(order)], shown, atol=1e-5) for order in ((0, 1), (1, 0)))


def test_flaws_of_the_real_files_occur(ntu: Set) -> None:
    clips = [made(clip.name) for clip in ntu[0]]
    empty = [set(range(clip.num_frames)) - {f for t in clip.tracks for f in t.frames} for clip in clips]
    assert sum(map(bool, empty)) > 50
    assert all(
        min(frames) > 0 and max(frames) < clip.num_frames - 1 for clip, frames in zip(clips, empty) if frames
    )
    assert sum([track.actor for track in clip.tracks].count(0) == 2 for clip in clips) > 10  # a new body id
    assert sum(any(t.actor == 1 and t.frames[0] > 2 for t in clip.tracks) for clip in clips) > 10
    assert {40 <= clip.num_frames <= 110 for clip in clips} == {True}


def test_every_nw_ucla_clip_survives(nw_ucla: Set) -> None:
    clips, split, report = nw_ucla
    assert not report.dropped
    assert report.kept == 540
    assert (split == 1).sum() == 180
    assert {clip.label for clip in clips} == set(range(10))
    assert {20 <= len(clip.joints) <= 80 for clip in clips} == {True}


# Formats --------------------------------------------------------------------------------------------------


def test_ntu_text_has_the_fields_and_digits_of_the_real_files() -> None:
    clip = ntu_clip(1, 2, 3, 1, 58)
    text = ntu_text(clip).decode("ascii")
    assert text.endswith("\r\n")
    lines = text.split("\r\n")[:-1]
    assert not any("\n" in line for line in lines)
    assert int(lines[0]) == clip.num_frames
    widths = [len(line.split(" ")) for line in lines]
    bodies = sum(len(track.frames) for track in clip.tracks)
    assert widths.count(10) == bodies
    assert widths.count(12) == 25 * bodies
    assert widths.count(1) == 1 + clip.num_frames + bodies
    number = re.compile(r"-?\d+(\.\d+)?(e-\d+)?")
    for line in lines:
        fields = line.split(" ")
        assert all(number.fullmatch(field) for field in fields)
        if len(fields) == 12:
            digits = [re.sub(r"e.*|\D", "", field).lstrip("0") for field in fields]
            assert max(map(len, digits)) <= 7
            assert fields[11] in ("1", "2")
        if len(fields) == 10:
            assert re.fullmatch(r"\d{17}", fields[0])


def test_pixels_and_orientations_are_plausible() -> None:
    rows = [line.split() for line in ntu_text(ntu_clip(1, 1, 1, 1, 7)).splitlines()]
    joints = np.array([row for row in rows if len(row) == 12], float).reshape(-1, 25, 12)
    depth, colour, turns = joints[..., 3:5], joints[..., 5:7], joints[..., 7:11]
    assert ((depth > 0) & (depth < (512, 424))).all()
    assert ((colour > 0) & (colour < (1920, 1080))).all()
    lengths = np.linalg.norm(turns, axis=-1)
    ends = [3, 15, 19, 21, 22, 23, 24]
    assert not lengths[:, ends].any()
    assert np.allclose(np.delete(lengths, ends, axis=1), 1, atol=1e-5)


def test_nw_ucla_json_has_the_layout_of_the_real_files(tmp_path: Path) -> None:
    names = write_nw_ucla(tmp_path, subjects=(1,), episodes=(0,), views=(2,))
    assert names[-1] == "a12_s01_e00_v02"
    text = (tmp_path / "all_sqe" / "a12_s01_e00_v02.json").read_text()
    assert text.startswith('{"file_name": "a12_s01_e00_v02", "skeletons": [[[')
    clip = json.loads(text)
    assert clip["label"] == 10
    assert np.allclose(clip["skeletons"], nw_ucla_clip(12, 1, 0, 2)[1], atol=1e-6)


def test_later_setups_go_to_the_second_folder(tmp_path: Path) -> None:
    (name,) = write_ntu(
        tmp_path, actions=(106,), performers=(45,), cameras=(1,), replications=(1,), setups=(18,)
    )
    assert name == "S018C001P045R001A106"
    assert (tmp_path / "nturgb+d_skeletons120" / f"{name}.skeleton").is_file()


def test_the_same_seed_gives_the_same_bytes_whatever_else_is_written(tmp_path: Path) -> None:
    def content(folder: str, **choice: object) -> dict[str, bytes]:
        few = {"actions": (7,), "cameras": (1,), "replications": (1,)}
        write_ntu(tmp_path / folder, **(few | choice))  # type: ignore[arg-type]
        return {path.name: path.read_bytes() for path in sorted((tmp_path / folder).rglob("*.skeleton"))}

    both = content("both", performers=(1, 2), setups=(1,))
    assert content("one", performers=(2,), setups=(1,)).items() <= both.items()
    assert content("other", performers=(1, 2), setups=(1,), seed=1) != both


def test_every_ntu_120_action_can_be_made() -> None:
    for action in range(1, 121):
        actors = {track.actor for track in ntu_clip(18, 1, 1, 1, action).tracks} - {-1}
        assert actors == ({0, 1} if action in TWO_PERSON_ACTIONS else {0})


def test_unknown_actions_and_cameras_are_refused() -> None:
    with pytest.raises(TsgcError, match="camera 1 to 3 and action 1 to 120"):
        ntu_clip(1, 4, 1, 1, 1)
    with pytest.raises(TsgcError, match="action 7: expected view 1 to 3 and an action of 1, 2, 3"):
        nw_ucla_clip(7, 1, 0, 1)


# Bodies ---------------------------------------------------------------------------------------------------

MOTIONS = [
    *itertools.product([NTU_25], [*NTU_MOTIONS.values(), *itertools.chain(*NTU_PAIRED_MOTIONS.values())]),
    *itertools.product([NW_UCLA_20], NW_UCLA_MOTIONS.values()),
]


def test_bones_keep_their_length_and_bodies_move_smoothly_on_the_floor() -> None:
    for skeleton, motion in MOTIONS:
        body = make_body(skeleton, np.random.default_rng(1))
        joints = perform(body, motion, 90, 0.3, np.random.default_rng(2))
        bones = np.linalg.norm(joints - joints[:, skeleton.parents], axis=-1)
        assert np.ptp(bones, axis=0).max() < 1e-9
        assert np.linalg.norm(np.diff(joints, axis=0), axis=-1).max() * FPS < 10  # metres a second
        assert np.allclose(joints[..., 1].min(axis=1), 0, atol=0.05)
        assert 1.2 < np.ptp(joints[..., 1], axis=1).mean() < 2.0  # somebody stands there


def test_an_elbow_never_bends_backwards() -> None:
    shoulder, elbow, wrist = 8, 9, 10
    body = make_body(NTU_25, np.random.default_rng(0))
    for seed in range(20):
        joints = perform(body, NTU_MOTIONS[18], 60, 0.0, np.random.default_rng(seed))
        upper, lower = joints[:, elbow] - joints[:, shoulder], joints[:, wrist] - joints[:, elbow]
        straight = np.linalg.norm(joints[:, wrist] - joints[:, shoulder], axis=-1)
        assert (straight < np.linalg.norm(upper, axis=-1) + np.linalg.norm(lower, axis=-1)).all()


def test_a_wave_has_mean_0_and_is_its_mirror_played_backwards() -> None:
    phase = (np.arange(1000) + 0.5) / 1000
    quick, slow = wave(phase, 0.2), wave(phase, 0.8)
    assert abs(quick.mean()) < 1e-6
    assert np.allclose(quick[::-1], slow)
    assert np.diff(quick).max() > 3 * -np.diff(quick).min()
