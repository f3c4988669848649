"""MMPose's predictions, and the same instances as other OpenMMLab projects nest them.

For a video the inferencer writes `[{"frame_id": 0, "instances": [{"keypoints": [[x, y], ...],
"keypoint_scores": [...], "bbox": ...}]}, ...]`, for an image the instances alone (open-mmlab/mmpose,
mmpose/apis/inferencers/base_mmpose_inferencer.py); its demos `{"meta_info": ..., "instance_info": [frames]}`;
what a program collects is `{"predictions": [...]}`. Pixels, y down; three numbers a key point are a place in
space.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from pipelines.errors import TsgcError
from pipelines.formats.parts import check_joints, entries, in_order, numbers, person_id, whole
from pipelines.formats.recording import Body, Recording
from pipelines.reading.json_file import parse_loose
from pipelines.skeleton import Skeleton

WRAPPERS = ("instance_info", "predictions")


def is_mmpose(source: str, content: Any) -> bool:
    """Whether JSON has instances with key points and their scores."""
    frames = _frames(content)
    if not frames or not all(isinstance(frame, dict | list) for frame in frames):
        return False
    if all(isinstance(frame, dict) and "instances" in frame for frame in frames):
        return True
    return any("keypoint_scores" in one for one in _flat(frames) if isinstance(one, dict))


def _frames(content: Any) -> list[Any]:
    """The list of frames, whatever it is wrapped in."""
    if isinstance(content, dict):
        content = next((content[key] for key in WRAPPERS if key in content), None)
    return content if isinstance(content, list) else []


def _flat(values: list[Any]) -> Iterator[Any]:
    """What lists in lists hold; ten deep at most, which no program writes."""
    level = list(values)
    for _ in range(10):
        yield from (one for one in level if not isinstance(one, list))
        level = [inner for one in level if isinstance(one, list) for inner in one]


def read(source: str, data: bytes, skeleton: Skeleton) -> Recording:
    """A clip. Raises TsgcError: no such JSON, or another number of joints."""
    frames: dict[int, list[Body]] = {}
    content = _frames(parse_loose(source, data))
    if content and all(isinstance(one, dict) and "keypoints" in one for one in content):
        content = [content]  # an image: its instances alone
    for place, frame in enumerate(content):
        number, instances = place, frame
        if isinstance(frame, dict):
            number = whole(source, "frame_id", frame.get("frame_id", place))
            instances = frame.get("instances")
        if not isinstance(instances, list):
            raise TsgcError(f"{source}: frame {number} without `instances`, expected MMPose's predictions")
        if number in frames:
            raise TsgcError(f"{source}: frame {number} comes twice, expected once; get the file again")
        where = f"{source}: frame {number}"
        people = entries(where, "`instances`", list(_flat(instances)))
        frames[number] = [_body(where, person, skeleton) for person in people]
    return Recording(in_order(source, frames))


def _body(source: str, person: dict[str, Any], skeleton: Skeleton) -> Body:
    points = person.get("keypoints")
    first = points[0] if isinstance(points, list) and points else None
    joints = numbers(source, "`keypoints`", points, len(first) if isinstance(first, list) and first else 2)
    check_joints(source, len(joints), skeleton.num_joints, skeleton.name)
    scores = np.ones((len(joints), 1))
    if person.get("keypoint_scores") is not None:
        scores = numbers(source, "`keypoint_scores`", person["keypoint_scores"], 1)
        check_joints(source, len(scores), skeleton.num_joints, "`keypoint_scores`")
    seen = np.nan_to_num(scores) > 0
    joints = np.where(seen, joints, np.nan)
    return Body(joints, np.nan_to_num(scores[:, 0]), person_id(person.get("track_id")))
