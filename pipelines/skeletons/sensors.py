"""Bodies that depth sensors follow.

Joint order and names: Kinect v2 SDK (NTU RGB+D), Kinect v1 SDK (NW-UCLA), Azure Kinect Body Tracking SDK
(learn.microsoft.com/azure/kinect-dk/body-joints).
"""

from dataclasses import replace

from pipelines.skeletons.body_plan import Skeleton, parents_of, sides_of

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
    parents=parents_of(
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
    parents=parents_of(
        "1-2 2-3 4-3 5-3 6-5 7-6 8-7 9-3 10-9 11-10 12-11 13-1 14-13 15-14 16-15 17-1 18-17 19-18 20-19",
        first=1,
    ),
    left_right=((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19)),
    centre=1,
)  # fmt: skip

# The same body, of any first Kinect: MSR-Action3D, UTKinect, recordings of one's own.
KINECT1_20 = replace(NW_UCLA_20, name="kinect1-20")

_AZURE = (
    "pelvis", "spine navel", "spine chest", "neck",
    "left clavicle", "left shoulder", "left elbow", "left wrist", "left hand", "left hand tip", "left thumb",
    "right clavicle", "right shoulder", "right elbow", "right wrist", "right hand", "right hand tip",
    "right thumb",
    "left hip", "left knee", "left ankle", "left foot",
    "right hip", "right knee", "right ankle", "right foot",
    "head", "nose", "left eye", "left ear", "right eye", "right ear",
)  # fmt: skip
AZURE_32 = Skeleton(
    name="azure-32",
    joints=_AZURE,
    parents=parents_of(
        "1-0 2-1 3-2 4-2 5-4 6-5 7-6 8-7 9-8 10-7 11-2 12-11 13-12 14-13 15-14 16-15 17-14"
        " 18-0 19-18 20-19 21-20 22-0 23-22 24-23 25-24 26-3 27-26 28-26 29-26 30-26 31-26"
    ),
    left_right=sides_of(_AZURE),
    centre=1,
    up="-y",
)
