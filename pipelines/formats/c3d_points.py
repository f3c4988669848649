"""C3D: the points of a motion-capture system, by the `c3d` library (an extra of the same name).

A file's points have labels (`POINT:LABELS`) and a unit (`POINT:UNITS`, millimetres as a rule); a point whose
residual is below 0 was not seen (c3d.org, the user guide). Read into metres; joints are found by label,
without the subject's name before a colon. z is up by convention, so that the clip is turned: y up.
"""

import io
import warnings
from typing import Any

import numpy as np

from pipelines.errors import TsgcError
from pipelines.formats.recording import MOST_FRAMES, Body, Recording
from pipelines.skeleton import Skeleton

METRES = {"mm": 0.001, "cm": 0.01, "m": 1.0, "dm": 0.1, "in": 0.0254}
MOST_NUMBERS = 50_000_000


def is_c3d(source: str, content: Any) -> bool:
    """Whether a file begins as C3D does: a block number, and the key 80."""
    return isinstance(content, bytes) and len(content) >= 512 and content[1] == 80


def read(source: str, data: bytes, skeleton: Skeleton) -> Recording:
    """A clip. Raises TsgcError: the library is not here, no C3D, or a joint that no point is called."""
    labels, points, fps, unit = _parse(source, data)
    if missing := [joint for joint in skeleton.joints if joint not in labels]:
        raise TsgcError(
            f"{source}: no point {missing[0]!r}, which {skeleton.name} has; it has {', '.join(labels)[:80]}"
        )
    if unit not in METRES:
        raise TsgcError(f"{source}: points in {unit[:20]!r}, expected one of {', '.join(METRES)}")
    order = [labels.index(joint) for joint in skeleton.joints]
    x, y, z = np.moveaxis(points[:, order, :3].astype(np.float64) * METRES[unit], -1, 0)
    joints = np.stack([x, z, -y], axis=-1)  # z up -> y up
    seen = points[:, order, 3] >= 0
    if np.isinf(joints[seen]).any():
        raise TsgcError(f"{source}: an infinite number; get the file again")
    frames = [[Body(np.where(there[:, None], frame, np.nan), id=0)] for frame, there in zip(joints, seen)]
    return Recording(frames, fps=fps)


def labels_of(source: str, data: bytes) -> list[str]:
    """The labels of a file's points. Raises TsgcError as `read`."""
    return _parse(source, data)[0]


def _parse(source: str, data: bytes) -> tuple[list[str], np.ndarray, float, str]:
    """Labels, points (frames, points, 4: x, y, z, residual), frames a second, unit."""
    try:
        import c3d
    except ImportError:
        raise TsgcError(f"{source}: C3D needs the library c3d; install it: pip install 'tsgc[c3d]'") from None
    try:
        with warnings.catch_warnings(action="ignore"):  # of a file without analog data, and of a cut one
            return _points(source, c3d.Reader(io.BytesIO(data)))
    except TsgcError:
        raise
    except Exception as error:  # the library checks nothing: whatever it meets in a damaged file, it raises
        raise TsgcError(f"{source}: not a whole C3D ({' '.join(str(error).split())[:80]})") from None


def _points(source: str, reader: Any) -> tuple[list[str], np.ndarray, float, str]:
    """What `_parse` gives, by the library's reader."""
    used, frames = reader.point_used, reader.last_frame - reader.first_frame + 1
    if not 0 < frames <= MOST_FRAMES or not used > 0 or frames * used * 5 > MOST_NUMBERS:
        raise TsgcError(f"{source}: {frames:,} frames of {used:,} points; get the file again")
    labels = [label.strip().rpartition(":")[2] for label in reader.point_labels][:used]
    unit = reader.get_string("POINT:UNITS").strip().lower() if "POINT:UNITS" in reader else "mm"
    points = np.stack([frame[1][:, :4] for frame in reader.read_frames(copy=True)])
    if points.shape[:2] != (frames, used):
        raise TsgcError(
            f"{source}: {len(points):,} frames of {points.shape[1]:,} points, its head says {frames:,} of"
            f" {used:,}; get the file again"
        )
    return labels, points, float(reader.point_rate), unit
