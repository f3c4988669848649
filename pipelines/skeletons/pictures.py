"""Bodies that pose estimators find in pictures, and the hand.

Joint order and names: COCO keypoints, OpenPose (its page on output: COCO, BODY_25, the hand), MediaPipe Pose
(PoseLandmark). In pictures y goes down.
"""

from pipelines.skeletons.body_plan import Skeleton, parents_of, sides_of

COCO_17 = Skeleton(
    name="coco-17",
    joints=(
        "nose", "left eye", "right eye", "left ear", "right ear",
        "left shoulder", "right shoulder", "left elbow", "right elbow", "left wrist", "right wrist",
        "left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle",
    ),
    parents=parents_of(
        "15-13 13-11 16-14 14-12 11-5 12-6 9-7 7-5 10-8 8-6 5-0 6-0 1-0 3-1 2-0 4-2", first=0
    ),
    left_right=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    centre=0,
    up="-y",
)  # fmt: skip

OPENPOSE_18 = Skeleton(
    name="openpose-18",
    joints=(
        "nose", "neck",
        "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
        "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
        "right eye", "left eye", "right ear", "left ear",
    ),
    parents=parents_of(
        "4-3 3-2 7-6 6-5 13-12 12-11 10-9 9-8 11-5 8-2 5-1 2-1 0-1 15-0 14-0 17-15 16-14", first=0
    ),
    left_right=((5, 2), (6, 3), (7, 4), (11, 8), (12, 9), (13, 10), (15, 14), (17, 16)),
    centre=1,
    up="-y",
)  # fmt: skip

_BODY_25 = (
    "nose", "neck",
    "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
    "mid hip", "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
    "right eye", "left eye", "right ear", "left ear",
    "left big toe", "left small toe", "left heel", "right big toe", "right small toe", "right heel",
)  # fmt: skip
_BODY_25_BONES = (
    "0-1 1-8 2-1 3-2 4-3 5-1 6-5 7-6 9-8 10-9 11-10 12-8 13-12 14-13 15-0 16-0 17-15 18-16"
    " 19-14 20-19 21-14 22-11 23-22 24-11"
)
OPENPOSE_25 = Skeleton(
    name="openpose-25",
    joints=_BODY_25,
    parents=parents_of(_BODY_25_BONES),
    left_right=sides_of(_BODY_25),
    centre=8,
    up="-y",
)

_MEDIAPIPE = (
    "nose", "left eye inner", "left eye", "left eye outer", "right eye inner", "right eye", "right eye outer",
    "left ear", "right ear", "left mouth", "right mouth",
    "left shoulder", "right shoulder", "left elbow", "right elbow", "left wrist", "right wrist",
    "left pinky", "right pinky", "left index", "right index", "left thumb", "right thumb",
    "left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle",
    "left heel", "right heel", "left foot index", "right foot index",
)  # fmt: skip
MEDIAPIPE_33 = Skeleton(
    name="mediapipe-33",
    joints=_MEDIAPIPE,
    parents=parents_of(
        "1-0 2-1 3-2 4-0 5-4 6-5 7-3 8-6 9-0 10-0 11-0 12-0 13-11 14-12 15-13 16-14 17-15 18-16 19-15 20-16"
        " 21-15 22-16 23-11 24-12 25-23 26-24 27-25 28-26 29-27 30-28 31-27 32-28"
    ),
    left_right=sides_of(_MEDIAPIPE),
    centre=0,
    up="-y",
)

_HAND = (
    "wrist",
    "thumb base", "thumb knuckle", "thumb joint", "thumb tip",
    "index knuckle", "index middle", "index end", "index tip",
    "middle knuckle", "middle middle", "middle end", "middle tip",
    "ring knuckle", "ring middle", "ring end", "ring tip",
    "little knuckle", "little middle", "little end", "little tip",
)  # fmt: skip
_HAND_BONES = (
    "1-0 2-1 3-2 4-3 5-0 6-5 7-6 8-7 9-0 10-9 11-10 12-11 13-0 14-13 15-14 16-15 17-0 18-17 19-18 20-19"
)
HAND_21 = Skeleton(
    name="hand-21", joints=_HAND, parents=parents_of(_HAND_BONES), left_right=(), centre=0, up="-y"
)


def _with_hands(body: Skeleton, name: str) -> Skeleton:
    """A body with a left and a right hand of 21 joints, whose wrists are children of the body's."""
    joints, parents = list(body.joints), list(body.parents)
    for side in ("left", "right"):
        first = len(joints)
        joints += [f"{side} hand {joint}" for joint in HAND_21.joints]
        parents += [first + parent for parent in HAND_21.parents]
        parents[first] = body.joints.index(f"{side} wrist")
    return Skeleton(name, tuple(joints), tuple(parents), sides_of(tuple(joints)), body.centre, body.up)


OPENPOSE_67 = _with_hands(OPENPOSE_25, "openpose-67")
