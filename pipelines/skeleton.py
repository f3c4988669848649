"""The bodies that are known by name: joints, parents, left-right pairs and centre.

A new one is a definition in `pipelines/skeletons/` and a name here.
"""

from pipelines.skeletons.body_plan import Skeleton
from pipelines.skeletons.models import H36M_17, SMPL_24
from pipelines.skeletons.pictures import (
    COCO_17,
    HAND_21,
    MEDIAPIPE_33,
    OPENPOSE_18,
    OPENPOSE_25,
    OPENPOSE_67,
)
from pipelines.skeletons.sensors import AZURE_32, KINECT1_20, NTU_25, NW_UCLA_20

__all__ = [
    "AZURE_32", "COCO_17", "H36M_17", "HAND_21", "KINECT1_20", "MEDIAPIPE_33", "NTU_25", "NW_UCLA_20",
    "OPENPOSE_18", "OPENPOSE_25", "OPENPOSE_67", "SKELETONS", "SMPL_24", "Skeleton",
]  # fmt: skip

SKELETONS: dict[str, Skeleton] = {
    body.name: body
    for body in (
        NTU_25, NW_UCLA_20, COCO_17, OPENPOSE_18,
        OPENPOSE_25, OPENPOSE_67, MEDIAPIPE_33, AZURE_32, H36M_17, SMPL_24, KINECT1_20, HAND_21,
    )
}  # fmt: skip
