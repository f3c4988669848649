"""The bodies that the data sets use: joints, parents, left-right pairs and centre."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Skeleton:
    """A named body plan of V joints, numbered from 0."""

    name: str
    """As files store it, such as `ntu-25`."""
    joints: tuple[str, ...]
    """Joint names, in the order of the data."""
    parents: tuple[int, ...]
    """Parent of each joint; the root is its own parent."""
    left_right: tuple[tuple[int, int], ...]
    """Pairs that trade places when the body is mirrored."""
    centre: int
    """The joint that centring moves to the origin."""

    @property
    def num_joints(self) -> int:
        return len(self.parents)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(child, parent) of every bone; the root has none."""
        return tuple((child, parent) for child, parent in enumerate(self.parents) if child != parent)


def _parents(pairs: str, first: int) -> tuple[int, ...]:
    """Parents from `child-parent` pairs counted from `first`; joints without a pair are roots."""
    table = {}
    for pair in pairs.split():
        child, parent = pair.split("-")
        table[int(child) - first] = int(parent) - first
    size = max(max(table), max(table.values())) + 1
    return tuple(table.get(joint, joint) for joint in range(size))


# Joint order and names: Kinect v2 SDK (NTU RGB+D), Kinect v1 SDK (NW-UCLA), COCO keypoints, OpenPose.
NTU_25 = Skeleton(
    name="ntu-25",
    joints=(
        "spine base", "spine middle", "neck", "head",
        "left shoulder", "left elbow", "left wrist", "left hand",
        "right shoulder", "right elbow", "right wrist", "right hand",
        "left hip", "left knee", "left ankle", "left foot",
        "right hip", "right knee", "right ankle", "right foot",
        "spine shoulder", "left hand tip", "left thumb", "right hand tip", "right thumb",
    ),
    parents=_parents(
        "1-2 2-21 3-21 4-3 5-21 6-5 7-6 8-7 9-21 10-9 11-10 12-11 13-1 14-13 15-14 16-15"
        " 17-1 18-17 19-18 20-19 22-23 23-8 24-25 25-12",
        first=1,
    ),
    left_right=((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19), (21, 23), (22, 24)),
    centre=1,
)  # fmt: skip

NW_UCLA_20 = Skeleton(
    name="nw-ucla-20",
    joints=(
        "hip centre", "spine", "shoulder centre", "head",
        "left shoulder", "left elbow", "left wrist", "left hand",
        "right shoulder", "right elbow", "right wrist", "right hand",
        "left hip", "left knee", "left ankle", "left foot",
        "right hip", "right knee", "right ankle", "right foot",
    ),
    parents=_parents(
        "1-2 2-3 4-3 5-3 6-5 7-6 8-7 9-3 10-9 11-10 12-11 13-1 14-13 15-14 16-15 17-1 18-17 19-18 20-19",
        first=1,
    ),
    left_right=((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19)),
    centre=1,
)  # fmt: skip

COCO_17 = Skeleton(
    name="coco-17",
    joints=(
        "nose", "left eye", "right eye", "left ear", "right ear",
        "left shoulder", "right shoulder", "left elbow", "right elbow", "left wrist", "right wrist",
        "left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle",
    ),
    parents=_parents(
        "15-13 13-11 16-14 14-12 11-5 12-6 9-7 7-5 10-8 8-6 5-0 6-0 1-0 3-1 2-0 4-2", first=0
    ),
    left_right=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    centre=0,
)  # fmt: skip

OPENPOSE_18 = Skeleton(
    name="openpose-18",
    joints=(
        "nose", "neck",
        "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
        "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
        "right eye", "left eye", "right ear", "left ear",
    ),
    parents=_parents(
        "4-3 3-2 7-6 6-5 13-12 12-11 10-9 9-8 11-5 8-2 5-1 2-1 0-1 15-0 14-0 17-15 16-14", first=0
    ),
    left_right=((2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13), (14, 15), (16, 17)),
    centre=1,
)  # fmt: skip

SKELETONS: dict[str, Skeleton] = {body.name: body for body in (NTU_25, NW_UCLA_20, COCO_17, OPENPOSE_18)}
