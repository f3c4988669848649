"""BVH and C3D: places by hand, skeletons from the file, damage in one line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.recordings import ARM_BVH, c3d_bytes, walking

from pipelines.errors import TsgcError
from pipelines.formats import bvh
from pipelines.formats.recording import as_array
from pipelines.formats.table import FORMATS, sniff
from pipelines.skeleton import Skeleton

ARM = ARM_BVH.encode()


def test_a_bvh_file_defines_its_skeleton() -> None:
    body = bvh.define("a.bvh", ARM, "arms")
    assert body == Skeleton(
        "arms",
        ("Hips", "LeftArm", "LeftArm end", "RightArm", "RightArm end"),
        (0, 0, 1, 0, 3),
        ((1, 3), (2, 4)),
        0,
    )


def test_bvh_rotations_move_what_is_below() -> None:
    body = bvh.define("a.bvh", ARM, "arms")
    recording = bvh.read("a.bvh", ARM, body)
    found = as_array("a.bvh", recording, 5, "xyz")[:, 0]
    still = [[1, 2, 3], [1, 4, 3], [2, 4, 3], [1, 4, 3], [0, 4, 3]]
    # The hips turn by 90 degrees about z: up becomes -x. The left arm turns once more, the right about y.
    turned = [[1, 2, 3], [-1, 2, 3], [-2, 2, 3], [-1, 2, 3], [-1, 2, 4]]
    np.testing.assert_allclose(found, [still, turned], atol=1e-12)
    assert recording.fps == pytest.approx(30, rel=1e-5)
    assert sniff("a.bvh", ARM) is FORMATS["bvh"]


def test_bvh_rotations_apply_in_the_order_in_which_they_are_written() -> None:
    z, x = bvh.rotation("z", np.radians([30.0])), bvh.rotation("x", np.radians([50.0]))
    text = ARM_BVH.replace("1 2 3 90 0 0 90 0 0 0 0 90", "1 2 3 30 50 0 0 0 0 0 0 0").encode()
    found = as_array("a", bvh.read("a", text, bvh.define("a", text, "b")), 5, "xyz")[1, 0, 1]
    np.testing.assert_allclose(found, [1, 2, 3] + (z @ x)[0] @ [0, 2, 0], atol=1e-12)


def test_a_part_of_a_bvh_file_is_found_by_name() -> None:
    part = Skeleton("part", ("RightArm", "Hips"), (1, 1), (), 1)
    found = as_array("a", bvh.read("a", ARM, part), 2, "xyz")[0, 0]
    np.testing.assert_array_equal(found, [[1, 4, 3], [1, 2, 3]])
    with pytest.raises(TsgcError, match="no joint 'Head', which part has; it has Hips, LeftArm"):
        bvh.read("a", ARM, Skeleton("part", ("Head",), (0,), (), 0))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("HIERARCHY", "HIER", "no HIERARCHY and MOTION"),
        ("ROOT Hips\n{", "ROOT Hips\n{\nROOT Two", "line 4: 'ROOT Two' is no BVH"),
        ("OFFSET 0.0 2.0 0.0", "OFFSET 0.0 2.0", "line 8: 'OFFSET 0.0 2.0' is no BVH"),
        ("OFFSET 0.0 2.0 0.0", "OFFSET 0.0 two 0.0", "line 8: 'two', expected a number"),
        ("CHANNELS 3", "CHANNELS 4", "is no BVH"),
        ("3 Zrotation Xrotation", "3 Wrotation Xrotation", "channel 'Wrotation', expected such as"),
        ("}\n}\nMOTION", "}\nMOTION", "a hierarchy that does not end"),
        ("Frames: 2", "Frames: 3", "2 lines of motion, expected 3 of 12"),
        ("Frame Time: 0.0333333", "Frame Time: 0", "MOTION without"),
        ("1 2 3 90 0", "1 2 3 90 x", "could not convert"),
        ("1 2 3 90 0", "1 2 3 90", "2 lines of motion, expected 2 of 12"),
        ("1 2 3 90 0", "1 2 3 inf 0", "not finite"),
    ],
)
def test_damaged_bvh_is_one_line(old: str, new: str, said: str) -> None:
    assert old in ARM_BVH
    body = bvh.define("a.bvh", ARM, "arms")
    with pytest.raises(TsgcError) as caught:
        bvh.read("a.bvh", ARM_BVH.replace(old, new).encode(), body)
    assert (
        said in str(caught.value)
        and str(caught.value).startswith("a.bvh: ")
        and "\n" not in str(caught.value)
    )


@given(data=st.data())
def test_cut_and_changed_bvh_is_a_clip_or_one_line(data: st.DataObject) -> None:
    text = bytearray(ARM)
    for _ in range(data.draw(st.integers(1, 5))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        bvh.read("a", bytes(text[: data.draw(st.integers(0, len(text)))]), bvh.define("a", ARM, "b"))
    except TsgcError as error:
        assert "\n" not in str(error)


# C3D -----------------------------------------------------------------------------------------------------

POINTS = ("LFHD", "C7", "RANK")
MARKERS = Skeleton("markers", ("C7", "LFHD", "RANK"), (0, 0, 0), (), 0)


def test_c3d_points_are_found_by_label_in_metres_y_up() -> None:
    pytest.importorskip("c3d")
    joints = walking(3)
    data = c3d_bytes(joints, POINTS, missing=(1, 0))
    assert sniff("a.c3d", data) is FORMATS["c3d"]
    recording = FORMATS["c3d"].read("a.c3d", data, MARKERS)
    found = as_array("a.c3d", recording, 3, "xyz")[:, 0]
    assert recording.fps == 50 and np.isnan(found[1, 1]).all()
    expected = joints[:, [1, 0, 2]]
    expected[1, 1] = np.nan
    np.testing.assert_allclose(found, expected, atol=1e-3)
    with pytest.raises(TsgcError, match="no point 'hip', which b has; it has LFHD, C7, RANK"):
        FORMATS["c3d"].read("a.c3d", data, Skeleton("b", ("hip",), (0,), (), 0))


@given(data=st.data())
def test_cut_and_changed_c3d_is_a_clip_or_one_line(data: st.DataObject) -> None:
    pytest.importorskip("c3d")
    text = bytearray(c3d_bytes(walking(3, frames=2), POINTS))
    for _ in range(data.draw(st.integers(1, 5))):
        text[data.draw(st.integers(0, min(len(text) - 1, 2000)))] = data.draw(st.integers(0, 255))
    try:
        FORMATS["c3d"].read("a", bytes(text[: data.draw(st.integers(0, len(text)))]), MARKERS)
    except TsgcError as error:
        assert "\n" not in str(error)


def test_without_its_library_c3d_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "c3d", None)
    with pytest.raises(TsgcError, match=r"C3D needs the library c3d; install it: pip install 'tsgc\[c3d\]'"):
        FORMATS["c3d"].read("a.c3d", b"", MARKERS)
