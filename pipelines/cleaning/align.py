"""View alignment: a clip turned so that its first actor starts upright and square to the axes.

An option of `tsgc prepare`, off in both presets; PYSKL (Duan et al., 2022) does it to its 3D skeletons.
Afterwards z points up along the spine, x from the left to the right shoulder, y to where the body faces.
PYSKL turns the spine to z and then the whole shoulder line to x, which tips the spine again; here only the
shoulders' part across the spine is turned, so that the spine stays upright.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from pipelines.channels import in_space
from pipelines.errors import UsageError
from pipelines.spec import Dataset, Prepared

SPINE_AND_SHOULDERS = "spine-shoulders"  # what an aligned file says in its attribute `alignment`
# Joints by skeleton: lower end of the spine, its middle, left shoulder, right shoulder.
JOINTS = {name: (0, 1, 4, 8) for name in ("ntu-25", "nw-ucla-20", "kinect1-20")}
SHORTEST = 1e-6  # metres; a shorter line has no direction


def reader(dataset: Dataset, preset: str, alignment: str = "") -> Callable[[str, bytes], Prepared]:
    """The data set's function from a clip's name and raw bytes to the prepared clip, aligned if asked for.

    Raises TsgcError for a skeleton without the joints that alignment needs, or of flat pictures.
    """
    return aligned(dataset.presets[preset], dataset.name, dataset.skeleton.name, dataset.channels, alignment)


def aligned(
    read: Callable[[str, bytes], Prepared], name: str, skeleton: str, channels: str, alignment: str
) -> Callable[[str, bytes], Prepared]:
    """`read`, its clips of the data set `name` aligned if asked for. Raises TsgcError as `reader`."""
    if not alignment:
        return read
    if alignment != SPINE_AND_SHOULDERS or skeleton not in JOINTS or not in_space(channels):
        raise UsageError(
            f"{name}: {skeleton} skeletons ({channels}) cannot be aligned; --align is for {', '.join(JOINTS)}"
        )
    return partial(_read_aligned, read=read, marks=JOINTS[skeleton])


def _read_aligned(
    source: str, data: bytes, read: Callable[[str, bytes], Prepared], marks: tuple[int, int, int, int]
) -> Prepared:
    prepared = read(source, data)
    return replace(prepared, joints=align(prepared.joints, prepared.present, marks, prepared.joints_seen))


def align(
    joints: np.ndarray,
    present: np.ndarray,
    marks: tuple[int, int, int, int],
    seen: np.ndarray | None = None,
) -> np.ndarray:
    """All bodies turned by one rotation about the origin: (T, M, V, 3) float32, or 4 with scores -> the same.

    The rotation is that of the first body in the first frame in which its `marks`, joints as in JOINTS, are
    all `seen` (T, M, V); if they never are, or without `seen`, in which it is `present` (T, M). Absent
    bodies, 0, stay 0. A clip without such a frame, or whose marks lie on one line, is returned as it is.
    """
    if not present[:, :1].any():
        return joints
    ready = present[:, 0]
    if seen is not None and (whole := np.all(seen[:, 0, list(marks)], axis=1)).any():
        ready = whole
    rotation = upright(joints[ready.argmax(), 0, :, :3], marks)
    turned = (joints[..., :3].astype(np.float64) @ rotation.T).astype(np.float32)
    return np.concatenate([turned, joints[..., 3:]], axis=-1) if joints.shape[-1] > 3 else turned


def upright(body: np.ndarray, marks: tuple[int, int, int, int]) -> np.ndarray:
    """The rotation (3, 3), x' = R x, that stands one body (V, 3) upright; identity without a direction."""
    low, high, left, right = body[list(marks)].astype(np.float64)
    up = high - low
    if np.linalg.norm(up) < SHORTEST:
        return np.eye(3)
    up /= np.linalg.norm(up)
    across = right - left
    across -= up * (across @ up)
    if np.linalg.norm(across) < SHORTEST:
        return np.eye(3)
    across /= np.linalg.norm(across)
    return np.stack([across, np.cross(up, across), up])
