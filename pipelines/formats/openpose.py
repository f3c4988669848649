"""OpenPose's JSON: a folder of one file a frame, and the one-file form of Kinetics-Skeleton.

`--write_json` writes `<clip>_<number>_keypoints.json`, each `{"people": [{"person_id": [-1],
"pose_keypoints_2d": [x, y, c, ...], "hand_left_keypoints_2d": [...], ...}]}` (CMU-Perceptual-Computing-Lab/
openpose, its page on output): x right and y down in pixels, unless `--keypoint_scale` says otherwise; c is 0
for a joint that was not found. BODY_25 has 25 joints, COCO 18.
Kinetics-Skeleton (Yan et al., 2018) has `{"data": [{"frame_index", "skeleton": [{"pose": [x, y, ...],
"score": [c, ...]}]}]}`, 18 joints, in parts of the picture.
"""

import re
from typing import Any

import numpy as np

from pipelines.errors import TsgcError
from pipelines.formats.frame_files import frames_of
from pipelines.formats.parts import check_joints, entries, in_order, numbers, person_id, scored, whole
from pipelines.formats.recording import Body, Recording
from pipelines.reading.json_file import parse_loose
from pipelines.skeleton import HAND_21, OPENPOSE_18, OPENPOSE_67, Skeleton

FILE = re.compile(r"(?P<clip>.*?)(?P<number>\d{1,15})_keypoints\.json", re.IGNORECASE)
HANDS = ("hand_left_keypoints_2d", "hand_right_keypoints_2d")
BODIES = {25: "openpose-25", 18: "openpose-18", 67: "openpose-67"}  # by joints


def is_openpose(source: str, content: Any) -> bool:
    """Whether JSON has people with OpenPose's key points; a frame of nobody tells by its version too."""
    if not isinstance(content, dict) or not isinstance(content.get("people"), list):
        return False
    return "version" in content or any("pose_keypoints_2d" in one for one in _tables(content["people"]))


def is_kinetics(source: str, content: Any) -> bool:
    """Whether JSON is a clip of Kinetics-Skeleton."""
    frames = content.get("data") if isinstance(content, dict) else None
    return isinstance(frames, list) and bool(frames) and all("skeleton" in one for one in _tables(frames))


def _tables(values: list[Any]) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)]


def skeleton_of(content: Any) -> str | None:
    """The skeleton of a frame of OpenPose's, by the joints of its first person; None: nobody in it."""
    for person in _tables(content["people"]):
        points = person.get("pose_keypoints_2d")
        if isinstance(points, list) and len(points) // 3 in BODIES:
            return BODIES[len(points) // 3]
    return None


def read(source: str, data: bytes, skeleton: Skeleton) -> Recording:
    """A clip of one file a frame, or a single frame; frames without a file have nobody.

    `openpose-67` is BODY_25 and both hands. Raises TsgcError: no such JSON, or another number of joints.
    """
    frames: dict[int, list[Body]] = {}
    folder = source.rpartition("/")[0]
    for name, text in frames_of(source, data):
        file = f"{folder}/{name}" if folder else name
        match = FILE.fullmatch(name)
        number = int(match["number"]) if match else 0
        if number in frames:
            raise TsgcError(f"{file}: frame {number} comes twice; remove one")
        content = parse_loose(file, text)
        if not isinstance(content, dict) or "people" not in content:
            raise TsgcError(f"{file}: no `people`, expected a frame of OpenPose's JSON")
        people = [_person(file, one, skeleton) for one in entries(file, "`people`", content["people"])]
        frames[number] = [body for body in people if body is not None]
    return Recording(in_order(source, frames))


def _person(source: str, person: dict[str, Any], skeleton: Skeleton) -> Body | None:
    """A body; None where nothing of it was found."""
    points = numbers(source, "`pose_keypoints_2d`", person.get("pose_keypoints_2d"), 3)
    if skeleton.name == OPENPOSE_67.name:
        points = np.concatenate([points, *(_hand(source, person, key) for key in HANDS)])
    elif not len(points):
        return None
    hint = f"; give `skeleton: {BODIES[len(points)]}`" if len(points) in BODIES else ""
    check_joints(source, len(points), skeleton.num_joints, skeleton.name, hint)
    joints, scores = scored(points)
    return Body(joints, scores, person_id(person.get("person_id"))) if scores.any() else None


def _hand(source: str, person: dict[str, Any], key: str) -> np.ndarray:
    """The 21 points of a hand; none of them where the detector was not asked for hands."""
    points = numbers(source, f"`{key}`", person.get(key) or [], 3)
    if not len(points):
        return np.full((HAND_21.num_joints, 3), np.nan)
    check_joints(source, len(points), HAND_21.num_joints, f"`{key}`")
    return points


def read_kinetics(source: str, data: bytes, skeleton: Skeleton) -> Recording:
    """A clip in Kinetics-Skeleton's form, of any length. Raises TsgcError: no such JSON."""
    content = parse_loose(source, data)
    if not isinstance(content, dict):
        raise TsgcError(f"{source}: no `data`, expected Kinetics-Skeleton JSON")
    frames: dict[int, list[Body]] = {}
    for entry in entries(source, "`data`", content.get("data")):
        number = whole(source, "frame_index", entry.get("frame_index"))
        if number in frames:
            raise TsgcError(f"{source}: frame {number} comes twice, expected once; get the file again")
        people = entries(source, f"`skeleton` of frame {number}", entry.get("skeleton"))
        frames[number] = [_kinetics_body(f"{source}: frame {number}", person) for person in people]
    return Recording(in_order(source, frames), size=(1.0, 1.0))


def _kinetics_body(source: str, person: dict[str, Any]) -> Body:
    pose = numbers(source, "`pose`", person.get("pose"), 2)
    scores = numbers(source, "`score`", person.get("score"), 1)
    for points in (pose, scores):
        check_joints(source, len(points), OPENPOSE_18.num_joints, OPENPOSE_18.name)
    return Body(*scored(np.concatenate([pose, scores], axis=1)))
