"""The formats of recordings: a new one is its own file and a line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.errors import TsgcError, UsageError
from pipelines.formats import (
    azure_kinect,
    bvh,
    c3d_points,
    coco,
    kinect_text,
    mediapipe,
    mmpose,
    openpose,
    utkinect,
)
from pipelines.formats.frame_files import find_frames
from pipelines.formats.recording import Recording
from pipelines.reading.json_file import parse_loose
from pipelines.reading.sources import ends_in
from pipelines.skeleton import SKELETONS, Skeleton
from pipelines.spec import Raw

ARRAYS = "arrays"
"""The format of docs/your-own-data.md itself: `.npy`, `.json` and `.csv`, in the data set's own skeleton."""


@dataclass(frozen=True)
class Format:
    """A format of recordings."""

    name: str
    """What `format:` and `--format` call it."""
    what: str
    """Whose it is, for people."""
    suffixes: tuple[str, ...]
    """How its files end; a clip is called as its file without it."""
    matches: Callable[[str, Any], bool]
    """Whether a file that ends so is of this format, by its name and its content: JSON, parsed, or bytes."""
    read: Callable[[str, bytes, Skeleton], Recording]
    """A clip's name, its bytes and the skeleton that it is to have. Raises TsgcError: malformed."""
    skeletons: tuple[str, ...]
    """Skeletons that it usually holds, the commonest first; any other of as many joints will do."""
    channels: str
    """`xyz` or `xyzs` in space, `xys` in pictures, s the score."""
    units: str = "metres"
    define: Callable[[str, bytes, str], Skeleton | None] | None = None
    """A clip's name, its bytes and the data set's name -> the skeleton that the clip has, if it tells."""
    find: Callable[[Path], Mapping[str, Raw]] | None = None
    """The clips below a folder by their path; None: each file is one."""

    def skeleton(self, source: str, data: bytes, name: str) -> Skeleton | None:
        """The skeleton of a clip: as it tells, else the one that the format has; None: neither."""
        if self.define is not None:
            return self.define(source, data, name)
        return SKELETONS[self.skeletons[0]] if self.skeletons else None


def _openpose_skeleton(source: str, data: bytes, name: str) -> Skeleton | None:
    found = openpose.skeleton_of(parse_loose(source, data))
    return SKELETONS[found] if found else None


JSON = (".json",)
PIXELS = "pixels"
PARTS = "parts of the picture"
FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format("openpose", "OpenPose, a JSON a frame", ("_keypoints.json",), openpose.is_openpose,
               openpose.read, ("openpose-25", "openpose-18", "openpose-67"), "xys", PIXELS,
               define=_openpose_skeleton, find=partial(find_frames, pattern=openpose.FILE)),
        Format("kinetics-json", "Kinetics-Skeleton's JSON, a clip a file", JSON, openpose.is_kinetics,
               openpose.read_kinetics, ("openpose-18",), "xys", PARTS),
        Format("coco", "COCO key points: images and annotations", JSON, coco.is_coco, coco.read,
               ("coco-17",), "xys", PIXELS),
        Format("alphapose", "AlphaPose, and COCO's results", JSON, coco.is_flat, coco.read_flat,
               ("coco-17",), "xys", PIXELS),
        Format("azure-kinect", "Azure Kinect's body tracking", JSON, azure_kinect.is_azure,
               azure_kinect.read, ("azure-32",), "xyz"),
        Format("mmpose", "MMPose's predictions", JSON, mmpose.is_mmpose, mmpose.read,
               ("coco-17", "h36m-17"), "xys", PIXELS),
        Format("mediapipe-world", "MediaPipe Pose, world landmarks", (*JSON, ".csv", ".npy"),
               mediapipe.is_world, mediapipe.read_world, ("mediapipe-33",), "xyzs"),
        Format("mediapipe", "MediaPipe Pose, landmarks in the picture", (*JSON, ".csv", ".npy"),
               mediapipe.is_picture, mediapipe.read, ("mediapipe-33",), "xys", PARTS),
        Format("msr-action3d", "MSR-Action3D's text, world coordinates", ("_skeleton3D.txt",),
               kinect_text.is_msr, kinect_text.read_msr, ("kinect1-20",), "xyz"),
        Format("utkinect", "UTKinect-Action3D's text and its list of actions", (".txt",),
               utkinect.is_utkinect, utkinect.read, ("kinect1-20",), "xyz", find=utkinect.find),
        Format("bvh", "BVH", (".bvh",), bvh.is_bvh, bvh.read, (), "xyz", "as in the file", define=bvh.define),
        Format("c3d", "C3D", (".c3d",), c3d_points.is_c3d, c3d_points.read, (), "xyz"),
    )
}  # fmt: skip


def find_format(name: str) -> Format | None:
    """The format of that name; None for `arrays`. Raises UsageError with those that exist."""
    if name == ARRAYS:
        return None
    if name not in FORMATS:
        raise UsageError(f"format {name!r} is unknown; choose one of {', '.join((ARRAYS, *FORMATS))}")
    return FORMATS[name]


def suffixes() -> tuple[str, ...]:
    """How the files of any format end."""
    return tuple(sorted({suffix for one in FORMATS.values() for suffix in one.suffixes}))


def sniff(source: str, data: bytes) -> Format | None:
    """The format that a file looks like; None: none of these."""
    content: Any = data
    if ends_in(source, ".json"):
        try:
            content = parse_loose(source, data)
        except TsgcError:
            return None
    return next(
        (one for one in FORMATS.values() if ends_in(source, one.suffixes) and one.matches(source, content)),
        None,
    )
