"""Every format: the joints that were written come back, and it is known by its look."""

import json

import numpy as np
import pytest
from made import recordings as made
from made.recordings import HEIGHT, MADE, WIDTH, Made

from pipelines.errors import TsgcError, UsageError
from pipelines.formats.recording import Body, Recording, as_array
from pipelines.formats.table import FORMATS, find_format, sniff
from pipelines.skeleton import SKELETONS

CASES = [pytest.param(name, made, id=name) for name, made in MADE.items()]


def read(name: str, source: str, data: bytes, skeleton: str | None = None) -> np.ndarray:
    """(T, M, V, C) of a clip, in the format's own channels."""
    form = FORMATS[name]
    body = SKELETONS[skeleton or form.skeletons[0]]
    return as_array(source, form.read(source, data, body), body.num_joints, form.channels)


@pytest.mark.parametrize(("name", "made"), CASES)
def test_joints_come_back(name: str, made: Made) -> None:
    V = SKELETONS[made.skeleton].num_joints
    joints = made.joints(V)
    found = read(name, made.name, made.write(joints), made.skeleton)
    expected = joints
    if FORMATS[name].units == "parts of the picture":
        expected = joints / (WIDTH, HEIGHT, 1)
    if name == "mediapipe-world":
        expected = joints - joints[:, 23:25].mean(axis=1, keepdims=True)
    assert found.shape == (len(joints), 1, V, len(FORMATS[name].channels))
    np.testing.assert_allclose(found[:, 0, :, :3], expected, atol=1e-9)


@pytest.mark.parametrize(("name", "made"), CASES)
def test_a_clip_is_known_by_its_look(name: str, made: Made) -> None:
    V = SKELETONS[made.skeleton].num_joints
    data = made.write(made.joints(V))
    if name == "openpose":  # whose files are looked at one by one
        data = data[data.index(b"{") : data.index(b"}]}") + 3]
    form = sniff(made.name, data)
    assert form is FORMATS[name]
    body = form.skeleton(made.name, data, "x")
    assert body is not None and body.name == made.skeleton


def test_every_format_of_a_known_skeleton_is_made_here() -> None:
    assert set(MADE) == {name for name, form in FORMATS.items() if form.skeletons}
    for name, form in FORMATS.items():
        assert form.name == name and form.what and form.suffixes
        assert form.channels in ("xyz", "xyzs", "xys") and all(one in SKELETONS for one in form.skeletons)


def test_an_unknown_format_says_those_that_exist() -> None:
    assert find_format("arrays") is None
    with pytest.raises(UsageError, match="'opnpose' is unknown; choose one of arrays, openpose, "):
        find_format("opnpose")


# What a recording becomes ----------------------------------------------------------------------------------


def body(x: float, who: str | None = None, V: int = 2) -> Body:
    return Body(np.full((V, 2), x), np.array([0.5, 0.9]), who)


def test_people_with_ids_keep_their_places_and_others_their_turn() -> None:
    frames = [[body(1, "anna"), body(2, "ben")], [body(3, "ben")], [], [body(4, "ben"), body(5, "anna")]]
    found = as_array("a", Recording(frames), 2, "xy")[..., 0, 0]
    np.testing.assert_array_equal(found, [[1, 2], [np.nan, 3], [np.nan, np.nan], [5, 4]])


def test_scores_are_ones_where_a_file_has_none_and_zero_where_nothing_is_seen() -> None:
    seen = Body(np.array([[1, 2], [np.nan, 3]]))
    found = as_array("a", Recording([[seen]]), 2, "xys")
    np.testing.assert_array_equal(found[0, 0], [[1, 2, 1], [np.nan, 3, 0]])


def test_bodies_without_a_joint_are_nobody() -> None:
    nobody = Body(np.full((2, 2), np.nan))
    assert as_array("a", Recording([[nobody, body(1)]]), 2, "xy").shape == (1, 1, 2, 2)


def test_flat_joints_are_not_taken_for_space() -> None:
    with pytest.raises(TsgcError, match=r"a: joints of shape \(2, 2\), xyz needs \(2, 3\)"):
        as_array("a", Recording([[body(1)]]), 2, "xyz")


# What is particular to one -------------------------------------------------------------------------------


def test_openpose_joints_of_score_0_are_not_seen_and_gaps_are_frames_of_nobody() -> None:
    joints = made.filmed(25, frames=3)
    joints[1, 4] = 0
    whole = made.openpose_bytes(joints, first=10)
    assert np.isnan(read("openpose", "d/anna", whole)[1, 0, 4, :2]).all()
    first, _, last = joints
    parts = [made.openpose_frame(first), made.openpose_frame(), made.openpose_frame(last)]
    names = [
        "a_000000000001_keypoints.json",
        "a_000000000002_keypoints.json",
        "a_000000000007_keypoints.json",
    ]
    data = b"tsgc frames\n" + b"".join(
        f"{name}\0{len(part)}\n".encode() + part for name, part in zip(names, parts)
    )
    found = read("openpose", "d/a", data)
    assert len(found) == 7 and np.isfinite(found).all(axis=(1, 2, 3)).tolist() == [True, *[False] * 5, True]


def test_openpose_hands_are_part_of_openpose_67() -> None:
    joints = made.filmed(67)
    data = made.openpose_frame(joints[0], hands=True)
    np.testing.assert_allclose(read("openpose", "a", data, "openpose-67")[0, 0], joints[0])
    np.testing.assert_allclose(read("openpose", "a", data)[0, 0], joints[0, :25])
    without = read("openpose", "a", made.openpose_frame(joints[0, :25]), "openpose-67")
    assert np.isnan(without[0, 0, 25:, :2]).all() and np.isfinite(without[0, 0, :25]).all()


def test_openpose_of_coco_says_which_skeleton_to_give() -> None:
    data = made.openpose_frame(made.filmed(18)[0])
    with pytest.raises(TsgcError, match="18 joints, openpose-25 has 25; give `skeleton: openpose-18`"):
        read("openpose", "a", data)
    assert read("openpose", "a", data, "openpose-18").shape == (1, 1, 18, 3)


def test_openpose_keeps_its_own_ids_and_knows_that_minus_1_is_none() -> None:
    points = made.filmed(25)[0]
    form = FORMATS["openpose"]
    for ids, expected in ((True, [0, 1]), (False, [None, None])):
        data = made.openpose_frame(points, points, ids=ids)
        (people,) = form.read("a", data, SKELETONS["openpose-25"]).frames
        assert [one.id for one in people] == expected


def test_mmpose_is_read_however_it_is_nested() -> None:
    joints = made.filmed(17)
    frames = made.mmpose_frames(joints)
    expected = read("mmpose", "a.json", json.dumps(frames).encode())
    bare = [frame["instances"] for frame in frames]
    for content in (
        {"meta_info": {"name": "coco"}, "instance_info": frames},
        {"predictions": bare},
        {"predictions": [[one] for one in bare]},
        bare,
    ):
        data = json.dumps(content).encode()
        assert sniff("a.json", data) is FORMATS["mmpose"]
        np.testing.assert_array_equal(read("mmpose", "a.json", data), expected)
    image = json.dumps(frames[0]["instances"]).encode()
    assert sniff("a.json", image) is FORMATS["mmpose"]
    np.testing.assert_array_equal(read("mmpose", "a.json", image), expected[:1])


def test_mmpose_in_space_has_three_coordinates() -> None:
    places = made.walking(17)
    frames = [
        {"frame_id": t, "instances": [{"keypoints": frame.tolist(), "keypoint_scores": [1.0] * 17}]}
        for t, frame in enumerate(places)
    ]
    recording = FORMATS["mmpose"].read("a.json", json.dumps(frames).encode(), SKELETONS["h36m-17"])
    np.testing.assert_array_equal(as_array("a.json", recording, 17, "xyz")[:, 0], places)


def test_coco_frames_go_by_file_names_and_say_the_pictures_size() -> None:
    joints = made.filmed(17)
    recording = FORMATS["coco"].read("a.json", made.coco_json(joints), SKELETONS["coco-17"])
    assert recording.size == (WIDTH, HEIGHT)
    content = json.loads(made.coco_json(joints))
    for image in content["images"]:
        image["file_name"] = "frame.jpg"  # says nothing: by id, which fall here
    backwards = read("coco", "a.json", json.dumps(content).encode())
    np.testing.assert_allclose(backwards[:, 0], joints[::-1])


def test_coco_visibility_is_no_score() -> None:
    joints = made.filmed(17, frames=1)
    joints[0, :, 2] = 2
    joints[0, 3:5, 2] = 1, 0
    found = read("coco", "a.json", made.coco_json(joints))[0, 0]
    assert found[:5, 2].tolist() == [1, 1, 1, 0.5, 0] and np.isnan(found[4, :2]).all()


def test_coco_images_of_two_videos_are_two_clips() -> None:
    content = json.loads(made.coco_json(made.filmed(17)))
    content["images"][0]["file_name"] = "other/anna_0000.jpg"
    with pytest.raises(TsgcError, match="images of 2 videos, expected one clip a file"):
        read("coco", "a.json", json.dumps(content).encode())


def test_an_image_without_anybody_is_a_frame() -> None:
    content = json.loads(made.coco_json(made.filmed(17)))
    del content["annotations"][2]
    found = read("coco", "a.json", json.dumps(content).encode())
    assert len(found) == 6 and np.isnan(found[2, ..., :2]).all()
    listed = json.loads(made.alphapose_json(made.filmed(17)))
    del listed[2]
    found = read("alphapose", "a.json", json.dumps(listed).encode())
    assert len(found) == 6 and np.isnan(found[2, ..., :2]).all()


def test_mediapipe_is_read_however_it_was_saved() -> None:
    joints = made.walking(33)
    world = made.in_the_world(joints)
    expected = read("mediapipe-world", "a.json", made.mediapipe_world_json(joints))
    with_score = np.concatenate([world, np.full((*world.shape[:2], 1), 0.5)], axis=-1)
    head = ",".join(f"{axis}{v}" for v in range(33) for axis in "xyzv")
    wide = "\n".join([head, *(",".join(map(repr, frame.ravel().tolist())) for frame in with_score)])
    names = SKELETONS["mediapipe-33"].joints
    named = ",".join(f"{name.replace(' ', '_').upper()}_{axis}" for name in names for axis in "xyz")
    by_name = "\n".join([f"frame,{named}", *(
        f"{t}," + ",".join(map(repr, frame.ravel().tolist())) for t, frame in enumerate(world)
    )])  # fmt: skip
    long = "\n".join(["frame,landmark,x,y,z,visibility", *(
        f"{t},{v},{','.join(map(repr, world[t, v].tolist()))},0.5" for t, v in np.ndindex(len(world), 33)
    )])  # fmt: skip
    files = {
        "a.npy": made.as_npy(world), "b.npy": made.as_npy(with_score), "c.npy": made.as_npy(world[:, None]),
        "d.npy": made.as_npy(with_score.reshape(len(world), -1)),
        "a.csv": wide.encode(), "b.csv": by_name.encode(), "c.csv": long.encode(),
        "b.json": json.dumps([{"poseWorldLandmarks": [made.landmarks(one)]} for one in world]).encode(),
        "c.json": json.dumps([[made.landmarks(one)] for one in world]).encode(),
        "d.json": json.dumps(world.tolist()).encode(),
    }  # fmt: skip
    scored = ("b.npy", "d.npy", "a.csv", "c.csv")
    for name, data in files.items():
        assert sniff(name, data) is FORMATS["mediapipe-world"], name
        found = read("mediapipe-world", name, data)
        np.testing.assert_allclose(found[..., :3], expected[..., :3], err_msg=name)
        assert set(found[..., 3].ravel()) == {0.5 if name in scored else 1.0}


def test_mediapipe_in_the_picture_is_told_from_the_world() -> None:
    parts = made.in_parts(made.filmed(33))
    for name, data in {"a.npy": made.as_npy(parts), "d.json": json.dumps(parts.tolist()).encode()}.items():
        assert sniff(name, data) is FORMATS["mediapipe"], name
        np.testing.assert_allclose(read("mediapipe", name, data)[:, 0], parts[..., [0, 1, 3]])
    with pytest.raises(TsgcError, match="no `pose_landmarks` in it; give `format: mediapipe-world`"):
        read("mediapipe", "a.json", json.dumps([{"pose_world_landmarks": []}]).encode())


def test_a_mediapipe_frame_of_nobody_is_a_frame() -> None:
    frames = [{"pose_world_landmarks": [made.landmarks(made.walking(33)[0])]}, {"pose_world_landmarks": None}]
    found = read("mediapipe-world", "a.json", json.dumps(frames).encode())
    assert len(found) == 2 and np.isnan(found[1, ..., :3]).all() and not found[1, ..., 3].any()


def test_azure_kinects_bodies_stand_upright_in_metres_and_keep_their_sides() -> None:
    names = SKELETONS["azure-32"].joints
    joints = np.zeros((1, 32, 3))
    joints[0, names.index("head")] = 0, -700, 2000  # as the sensor says: y down, millimetres
    joints[0, names.index("left hand")] = 300, 100, 2000  # at the right of the picture of one who faces it
    frames = [{"bodies": [{"body_id": 3, "joint_positions": joints[0].tolist()}]}]
    found = read("azure-kinect", "a.json", json.dumps({"frames": frames}).encode())[0, 0]
    np.testing.assert_allclose(found[names.index("head")], [0, 0.7, 2])
    np.testing.assert_allclose(found[names.index("left hand")], [-0.3, -0.1, 2])
    assert np.isnan(found[names.index("pelvis")]).all()  # at the sensor itself: not seen


def test_two_azure_bodies_are_two_people_by_their_ids() -> None:
    one, two = made.walking(32, seed=1), made.walking(32, seed=2)
    frames = []
    for t in range(len(one)):
        bodies = [
            {"body_id": 4, "joint_positions": one[t].tolist()},
            {"body_id": 9, "joint_positions": two[t].tolist()},
        ]
        frames.append({"frame_id": t, "bodies": bodies[:: 1 if t % 2 else -1]})
    found = read("azure-kinect", "a.json", json.dumps({"frames": frames}).encode())
    np.testing.assert_allclose(found[:, 1], one * (-1, -1, 1) / 1000)
