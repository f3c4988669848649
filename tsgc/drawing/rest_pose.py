"""A body at rest, seen from the front, for every skeleton that is known by name."""

import numpy as np
from markupsafe import Markup

from pipelines.skeleton import Skeleton
from tsgc.drawing.skeleton import bones

Places = dict[str, tuple[float, float]]

# A person at rest, as in a mirror (the left is on the left, as Kinect's x has it): metres right and up.
# Arms are held out a little, and fingers spread, so that no two joints lie on each other.
HALF: Places = {
    "eye": (0.05, 1.74), "eye inner": (0.03, 1.745), "eye outer": (0.07, 1.735), "ear": (0.11, 1.71),
    "mouth": (0.03, 1.61), "clavicle": (0.08, 1.46), "collar": (0.08, 1.47),
    "shoulder": (0.19, 1.42), "elbow": (0.34, 1.17), "wrist": (0.45, 0.92), "hand": (0.49, 0.83),
    "hand tip": (0.55, 0.73), "thumb": (0.40, 0.79), "index": (0.46, 0.77), "pinky": (0.53, 0.80),
    "hip": (0.11, 0.90), "knee": (0.15, 0.48), "ankle": (0.17, 0.10), "foot": (0.26, 0.03),
    "heel": (0.14, 0.03), "foot index": (0.25, 0.01), "big toe": (0.22, 0.02), "small toe": (0.27, 0.04),
}  # fmt: skip
MID: Places = {
    "nose": (0.0, 1.66), "head": (0.0, 1.70), "neck": (0.0, 1.53), "spine shoulder": (0.0, 1.43),
    "shoulder centre": (0.0, 1.45), "spine middle": (0.0, 1.17), "spine": (0.0, 1.12),
    "spine base": (0.0, 0.92), "hip centre": (0.0, 0.94), "mid hip": (0.0, 0.91), "pelvis": (0.0, 0.93),
    "lower spine": (0.0, 1.04), "middle spine": (0.0, 1.14), "upper spine": (0.0, 1.24),
    "spine navel": (0.0, 1.10), "spine chest": (0.0, 1.30), "thorax": (0.0, 1.42),
}  # fmt: skip
# A right hand that hangs, its palm to the front: each finger's direction, and how far along it a joint is.
FINGERS: Places = {
    "thumb": (-0.9, -0.5), "index": (-0.35, -1), "middle": (0, -1.05), "ring": (0.3, -1),
    "little": (0.6, -0.9),
}  # fmt: skip
ALONG = {"base": 0.08, "knuckle": 0.16, "joint": 0.22, "middle": 0.23, "end": 0.28, "tip": 0.33}
HAND: Places = {"wrist": (0.0, 0.0)} | {
    f"{finger} {joint}": (along * x, along * y)
    for finger, (x, y) in FINGERS.items()
    for joint, along in ALONG.items()
}
HALF |= {f"hand {joint}": (0.49 + 0.6 * x, 0.86 + 0.6 * y) for joint, (x, y) in HAND.items()}
POSE: Places = (
    MID
    | HAND
    | {
        f"{side} {name}": (sign * x, y)
        for side, sign in (("left", -1), ("right", 1))
        for name, (x, y) in HALF.items()
    }
)


def rest_pose(skeleton: Skeleton) -> np.ndarray:
    """The body at rest, (V, 2) metres right and up; a circle for a skeleton with joints of other names."""
    if all(name in POSE for name in skeleton.joints):
        return np.array([POSE[name] for name in skeleton.joints])
    angles = 2 * np.pi * np.arange(skeleton.num_joints) / skeleton.num_joints
    return np.stack([0.8 * np.sin(angles), 0.9 + 0.8 * np.cos(angles)], 1)


def resting_body(skeleton: Skeleton, width: float, height: float) -> tuple[np.ndarray, list[Markup]]:
    """The resting body's joints (V, 2) in a drawing of this size, and its bones as lines of SVG."""
    pose = rest_pose(skeleton)
    low, high = pose.min(0), pose.max(0)
    scale = min((width - 40) / (high[0] - low[0]), (height - 40) / (high[1] - low[1]))
    points = (pose - (low + high) / 2) * (scale, -scale) + (width / 2, height / 2)
    lines = [
        Markup('<line class="bone" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
            *points[child], *points[parent]
        )
        for child, parent, _ in bones(skeleton)
    ]
    return points, lines
