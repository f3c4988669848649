"""Made recordings in the formats of pose estimators and sensors, for tests: the same joints in each."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.formats.frame_files import GAP, MARK
from pipelines.formats.kinect_text import MSR_ORDER

WIDTH, HEIGHT = 640.0, 480.0


def walking(V: int, frames: int = 6, seed: int = 0) -> np.ndarray:
    """Joints (T, V, 3) of one body, in metres, y up, some 3 m from the sensor; all numbers short."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(-0.8, 0.8, (V, 3)) + np.array([0, 0.2, 3])
    return (places + rng.normal(0, 0.02, (frames, V, 3))).round(4)


def filmed(V: int, frames: int = 6, seed: int = 0) -> np.ndarray:
    """Joints (T, V, 3) of one body in a picture of WIDTH by HEIGHT pixels: x, y and a score above 0."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform((100, 100), (WIDTH - 100, HEIGHT - 100), (V, 2)) + rng.normal(0, 3, (frames, V, 2))
    return np.concatenate([xy, rng.uniform(0.2, 1, (frames, V, 1))], axis=-1).round(3)


# Each of these writes what `walking` or `filmed` gives ----------------------------------------------------


def msr_text(joints: np.ndarray) -> bytes:
    """Joints (T, 20, 3) in the order of `kinect1-20`."""
    theirs = np.zeros_like(joints)
    theirs[:, MSR_ORDER] = joints
    lines = [f"{x:.6f} {y:.6f} {z:.6f} 1.000000" for x, y, z in theirs.reshape(-1, 3)]
    return "\n".join(lines).encode() + b"\n"


def utkinect_text(joints: np.ndarray, first: int = 252) -> bytes:
    lines = ["  ".join(map(repr, [first + t, *frame.ravel().tolist()])) for t, frame in enumerate(joints)]
    return "\n".join(lines).encode() + b"\n"


def openpose_frame(*people: np.ndarray, hands: bool = False, ids: bool = False) -> bytes:
    """People (V, 3) of one frame; with `hands`, the last 42 rows are the hands'."""
    found = []
    for number, points in enumerate(people):
        body = points[:-42] if hands else points
        left, right = (points[-42:-21], points[-21:]) if hands else (np.zeros(0), np.zeros(0))
        found.append(
            {
                "person_id": [number if ids else -1],
                "pose_keypoints_2d": body.ravel().tolist(),
                "face_keypoints_2d": [],
                "hand_left_keypoints_2d": left.ravel().tolist(),
                "hand_right_keypoints_2d": right.ravel().tolist(),
                "pose_keypoints_3d": [],
            }
        )
    return json.dumps({"version": 1.3, "people": found}).encode()


def openpose_bytes(joints: np.ndarray, first: int = 0) -> bytes:
    """A clip as its reader gets it: all files in one."""
    parts = [MARK]
    for t, frame in enumerate(joints):
        text = openpose_frame(frame)
        parts += [f"anna_{first + t:012}_keypoints.json{GAP}{len(text)}\n".encode(), text]
    return b"".join(parts)


def kinetics_json(joints: np.ndarray) -> bytes:
    """Pixels as parts of the picture."""
    frames = [
        {
            "frame_index": t + 1,
            "skeleton": [
                {"pose": (frame[:, :2] / (WIDTH, HEIGHT)).ravel().tolist(), "score": frame[:, 2].tolist()}
            ],
        }
        for t, frame in enumerate(joints)
    ]
    return json.dumps({"data": frames, "label": "wave", "label_index": 3}).encode()


def mmpose_frames(joints: np.ndarray) -> list[dict]:
    return [
        {
            "frame_id": t,
            "instances": [
                {
                    "keypoints": frame[:, :2].tolist(),
                    "keypoint_scores": frame[:, 2].tolist(),
                    "bbox": [[0.0, 0.0, 9.0, 9.0]],
                    "bbox_score": 0.9,
                }
            ],
        }
        for t, frame in enumerate(joints)
    ]


def mmpose_json(joints: np.ndarray) -> bytes:
    return json.dumps(mmpose_frames(joints)).encode()


def coco_json(joints: np.ndarray) -> bytes:
    images = [
        {"id": 70 - t, "file_name": f"anna_{t:04}.jpg", "width": WIDTH, "height": HEIGHT}
        for t in range(len(joints))
    ]
    people = [
        {
            "id": t,
            "image_id": 70 - t,
            "category_id": 1,
            "keypoints": frame.ravel().tolist(),
            "num_keypoints": 17,
        }
        for t, frame in enumerate(joints)
    ]
    return json.dumps({"images": images, "annotations": people, "categories": []}).encode()


def alphapose_json(joints: np.ndarray) -> bytes:
    people = [
        {
            "image_id": f"{t}.jpg",
            "category_id": 1,
            "keypoints": frame.ravel().tolist(),
            "score": 2.9,
            "idx": 1,
        }
        for t, frame in enumerate(joints)
    ]
    return json.dumps(people).encode()


def landmarks(points: np.ndarray) -> list[dict]:
    """(33, 3 or 4) as MediaPipe's landmarks."""
    names = ("x", "y", "z", "visibility")
    return [dict(zip(names, map(float, point))) for point in points]


def in_the_world(joints: np.ndarray) -> np.ndarray:
    """Joints (T, 33, 3) with y up as MediaPipe has them: y down, the middle of the hips the origin."""
    world = joints * (-1, -1, 1)
    return world - world[:, 23:25].mean(axis=1, keepdims=True)


def mediapipe_world_json(joints: np.ndarray) -> bytes:
    frames = [
        {"frame": t, "pose_landmarks": [], "pose_world_landmarks": [landmarks(frame)]}
        for t, frame in enumerate(in_the_world(joints))
    ]
    return json.dumps(frames).encode()


def in_parts(joints: np.ndarray) -> np.ndarray:
    """Pixels (T, 33, 3) as MediaPipe has them: parts of the picture, a depth, and the score last."""
    xy = joints[..., :2] / (WIDTH, HEIGHT)
    return np.concatenate([xy, np.zeros_like(xy[..., :1]), joints[..., 2:]], axis=-1)


def mediapipe_json(joints: np.ndarray) -> bytes:
    frames = [{"pose_landmarks": {"landmark": landmarks(frame)}} for frame in in_parts(joints)]
    return json.dumps({"frames": frames}).encode()


def as_npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def azure_json(joints: np.ndarray) -> bytes:
    """Metres, y up, as millimetres, y down."""
    frames = [
        {
            "frame_id": t,
            "timestamp_usec": 33_333 * t,
            "num_bodies": 1,
            "bodies": [
                {
                    "body_id": 7,
                    "joint_positions": (frame * (-1000, -1000, 1000)).round(3).tolist(),
                    "joint_orientations": [[1.0, 0.0, 0.0, 0.0]] * 32,
                }
            ],
        }
        for t, frame in enumerate(joints)
    ]
    return json.dumps({"k4abt_sdk_version": "1.1.2", "joint_names": [], "frames": frames}).encode()


ARM_BVH = """HIERARCHY
ROOT Hips
{
\tOFFSET 0.0 0.0 0.0
\tCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
\tJOINT LeftArm
\t{
\t\tOFFSET 0.0 2.0 0.0
\t\tCHANNELS 3 Zrotation Xrotation Yrotation
\t\tEnd Site
\t\t{
\t\t\tOFFSET 1.0 0.0 0.0
\t\t}
\t}
\tJOINT RightArm
\t{
\t\tOFFSET 0.0 2.0 0.0
\t\tCHANNELS 3 Zrotation Xrotation Yrotation
\t\tEnd Site
\t\t{
\t\t\tOFFSET -1.0 0.0 0.0
\t\t}
\t}
}
MOTION
Frames: 2
Frame Time: 0.0333333
1 2 3 0 0 0 0 0 0 0 0 0
1 2 3 90 0 0 90 0 0 0 0 90
"""


def c3d_bytes(joints: np.ndarray, labels: tuple[str, ...], missing: tuple[int, int] | None = None) -> bytes:
    """Joints (T, V, 3), metres, y up, as millimetres, z up; `missing`: a frame and a joint not seen."""
    import c3d

    writer = c3d.Writer(point_rate=50)
    for t, frame in enumerate(joints):
        x, y, z = frame.T * 1000
        points = np.stack([x, -z, y, np.zeros(len(x)), np.zeros(len(x))], axis=1)
        if missing and missing[0] == t:
            points[missing[1], 3] = -1
        writer.add_frames([(points, np.zeros((0, 0)))])
    writer.set_point_labels(list(labels))
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


# One of each, for what every format has to do --------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """How a format's clip is made, and what it holds."""

    name: str
    """A clip's file."""
    skeleton: str
    write: Callable[[np.ndarray], bytes]
    pictured: bool = False

    def joints(self, V: int) -> np.ndarray:
        """(T, V, 3): x, y, z, or x, y and score."""
        return filmed(V) if self.pictured else walking(V)


MADE = {
    "openpose": Made("anna_000000000000_keypoints.json", "openpose-25", openpose_bytes, True),
    "kinetics-json": Made("a.json", "openpose-18", kinetics_json, True),
    "coco": Made("a.json", "coco-17", coco_json, True),
    "alphapose": Made("a.json", "coco-17", alphapose_json, True),
    "azure-kinect": Made("a.json", "azure-32", azure_json),
    "mmpose": Made("a.json", "coco-17", mmpose_json, True),
    "mediapipe-world": Made("a.json", "mediapipe-33", mediapipe_world_json),
    "mediapipe": Made("a.json", "mediapipe-33", mediapipe_json, True),
    "msr-action3d": Made("a01_s02_e03_skeleton3D.txt", "kinect1-20", msr_text),
    "utkinect": Made("joints_s01_e02.txt", "kinect1-20", utkinect_text),
}


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
