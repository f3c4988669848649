"""Azure Kinect's body tracking, as its offline processor writes it.

`{"joint_names": [...], "frames": [{"frame_id", "timestamp_usec", "bodies": [{"body_id",
"joint_positions": [[x, y, z], ...], "joint_orientations": ...}]}]}` (microsoft/Azure-Kinect-Samples,
body-tracking-samples/offline_processor): 32 joints in millimetres, x to the camera's right, y down, z away.
Read into metres and turned by half a turn about the viewing axis: y up, x to the sensor's left, as
Kinect v2's.
"""

from typing import Any

import numpy as np

from pipelines.errors import TsgcError
from pipelines.formats.parts import check_joints, entries, in_order, numbers, person_id, whole
from pipelines.formats.recording import Body, Recording
from pipelines.reading.json_file import parse_loose
from pipelines.skeleton import AZURE_32, Skeleton

MILLIMETRES = 1000  # in a metre
TURN = np.array([-1, -1, 1])


def is_azure(source: str, content: Any) -> bool:
    """Whether JSON has frames of bodies, as the offline processor writes them."""
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames:
        return False
    return all(isinstance(frame, dict) and "bodies" in frame for frame in frames[:8])


def read(source: str, data: bytes, skeleton: Skeleton) -> Recording:
    """A clip. A joint at (0, 0, 0), the camera, was not seen. Raises TsgcError: no such JSON."""
    content = parse_loose(source, data)
    if not isinstance(content, dict):
        raise TsgcError(f"{source}: no `frames`, expected Azure Kinect's body tracking")
    frames: dict[int, list[Body]] = {}
    for place, frame in enumerate(entries(source, "`frames`", content.get("frames"))):
        number = whole(source, "frame_id", frame.get("frame_id", place))
        if number in frames:
            raise TsgcError(f"{source}: frame {number} comes twice, expected once; get the file again")
        where = f"{source}: frame {number}"
        bodies = entries(where, "`bodies`", frame.get("bodies"))
        frames[number] = [_body(where, body) for body in bodies]
    return Recording(in_order(source, frames))


def _body(source: str, body: dict[str, Any]) -> Body:
    joints = numbers(source, "`joint_positions`", body.get("joint_positions"), 3)
    check_joints(source, len(joints), AZURE_32.num_joints, AZURE_32.name)
    seen = (joints != 0).any(axis=1, keepdims=True)
    return Body(np.where(seen, joints * TURN / MILLIMETRES, np.nan), id=person_id(body.get("body_id")))
