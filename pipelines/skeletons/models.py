"""Bodies of motion capture and of body models.

Joint order and names: Human3.6M as the field cuts it to 17 (Martinez et al., 2017; Pavllo et al., 2019),
whose world has z up; SMPL (Loper et al., 2015).
"""

from pipelines.skeletons.body_plan import Skeleton, parents_of, sides_of

_H36M = (
    "hip centre", "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
    "spine", "thorax", "neck", "head",
    "left shoulder", "left elbow", "left wrist", "right shoulder", "right elbow", "right wrist",
)  # fmt: skip
H36M_17 = Skeleton(
    name="h36m-17",
    joints=_H36M,
    parents=parents_of("1-0 2-1 3-2 4-0 5-4 6-5 7-0 8-7 9-8 10-9 11-8 12-11 13-12 14-8 15-14 16-15"),
    left_right=sides_of(_H36M),
    centre=0,
    up="z",
)

_SMPL = (
    "pelvis", "left hip", "right hip", "lower spine", "left knee", "right knee", "middle spine",
    "left ankle", "right ankle", "upper spine", "left foot", "right foot", "neck", "left collar",
    "right collar", "head", "left shoulder", "right shoulder", "left elbow", "right elbow",
    "left wrist", "right wrist", "left hand", "right hand",
)  # fmt: skip
SMPL_24 = Skeleton(
    name="smpl-24",
    joints=_SMPL,
    parents=parents_of(
        "1-0 2-0 3-0 4-1 5-2 6-3 7-4 8-5 9-6 10-7 11-8 12-9 13-9 14-9 15-12 16-13 17-14 18-16 19-17 20-18"
        " 21-19 22-20 23-21"
    ),
    left_right=sides_of(_SMPL),
    centre=0,
)
