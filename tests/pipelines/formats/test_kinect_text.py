"""MSR-Action3D's text: known answers, and the real files."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from made.recordings import msr_text, walking

from pipelines.errors import TsgcError
from pipelines.formats.clips import find_clips
from pipelines.formats.kinect_text import MSR_JOINTS, read_msr
from pipelines.formats.recording import as_array
from pipelines.formats.table import FORMATS, sniff
from pipelines.skeleton import KINECT1_20

REAL = Path(__file__).parents[4] / "shared/data/msr-action3d"
NAME = "a01_s02_e03_skeleton3D.txt"


def read(data: bytes) -> np.ndarray:
    return as_array(NAME, read_msr(NAME, data, KINECT1_20), 20, "xyz")


def test_joints_come_in_the_order_of_kinect1_20() -> None:
    joints = walking(20)
    np.testing.assert_allclose(read(msr_text(joints))[:, 0], joints)


def test_the_first_line_is_the_left_shoulder_and_the_last_the_head() -> None:
    lines = b"".join(b"%d 1 1 0\n" % number for number in range(1, 21))
    (body,) = read(lines)[0]
    assert body[KINECT1_20.joints.index("left shoulder"), 0] == 1
    assert body[KINECT1_20.joints.index("head"), 0] == 20
    assert set(MSR_JOINTS) == set(KINECT1_20.joints)


def test_a_joint_at_the_sensor_was_not_seen_and_a_frame_of_them_has_nobody() -> None:
    joints = walking(20, frames=3)
    joints[1, 4] = 0
    joints[2] = 0
    recording = read_msr(NAME, msr_text(joints), KINECT1_20)
    assert [len(bodies) for bodies in recording.frames] == [1, 1, 0]
    assert np.isnan(recording.frames[1][0].joints).all(axis=1).nonzero()[0].tolist() == [4]


def test_a_mark_before_the_text_and_windows_line_ends_do_no_harm() -> None:
    text = msr_text(walking(20))
    windows = b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")
    np.testing.assert_array_equal(read(windows), read(text))
    assert sniff(NAME, text) is FORMATS["msr-action3d"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no lines, expected 4 values in each: x y z confidence"),
        (msr_text(walking(20))[:-10], "line 120: 3 values, expected 4"),
        (msr_text(walking(20)).rsplit(b"\n", 2)[0], "119 lines, expected 20 a frame"),
        (b"1 2 3\n", "line 1: 3 values, expected 4"),
        (b"\n1 2 three 4\n", "expected 4 numbers a line"),
        (b"1 2 inf 4\n", "line 1: a value that is not finite"),
        (b"1 2 nan 4\n", "line 1: a value that is not finite"),
    ],
)
def test_other_text_is_one_line(data: bytes, said: str) -> None:
    with pytest.raises(TsgcError) as caught:
        read(data)
    assert said in str(caught.value) and "\n" not in str(caught.value), str(caught.value)
    assert str(caught.value).startswith(f"{NAME}: ")


@pytest.mark.skipif(not REAL.exists(), reason="needs the real MSR-Action3D, which is not part of the project")
def test_the_real_files_are_upright_people_who_use_their_right_hand() -> None:
    clips = find_clips(REAL, FORMATS["msr-action3d"])
    names = {clip.rpartition("/")[2] for clip in clips}
    used = set((REAL / "files_used.txt").read_text().split())
    assert len(names) == 567 and len(used) == 557 and used <= names
    assert {name[5:7] for name in used} == {f"{subject:02}" for subject in range(1, 11)}
    assert len(Counter(name[1:3] for name in used)) == 20
    head, hip = KINECT1_20.joints.index("head"), KINECT1_20.joints.index("hip centre")
    left, right = (KINECT1_20.joints.index(f"{side} hand") for side in ("left", "right"))
    shares = []
    for clip, file in clips.items():
        if clip.rpartition("/")[2] in used and clip[-11:-8] == "a01":  # high arm wave, by one arm
            joints = as_array(clip, read_msr(file.source, file.read(), KINECT1_20), 20, "xyz")[:, 0]
            assert np.nanmean(joints[:, head, 1] - joints[:, hip, 1]) > 0.5
            moved = (np.nanmax(joints, axis=0) - np.nanmin(joints, axis=0)).sum(axis=1)
            shares.append(moved[right] / (moved[left] + moved[right]))
    assert len(shares) == 27 and np.median(shares) > 0.8  # performers were told to use the right one
