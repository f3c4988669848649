"""Skeleton animations in a page: compact data that its script plays."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.skeleton import Skeleton
from tsgc.drawing.skeleton import MIDDLE, Panel, bones, even_indices, joint_sides, panel_points

SIZE = (240, 240)  # of a drawing, in the page's pixels
MOST_FRAMES = 150  # frames kept of a clip; longer ones are thinned out evenly, and say so
SCALE = 64  # steps of a pixel; a 16-bit number holds 0 to 1023 pixels
ABSENT = 0xFFFF


@dataclass(frozen=True)
class Player:
    """One animation with its title and notes."""

    title: str
    notes: Sequence[str]
    data: dict[str, Any]
    """Data for the page's script: size, frames, bodies, milliseconds a frame, points, bones."""


def make_player(panel: Panel, skeleton: Skeleton, *, fps: float, notes: Sequence[str] = ()) -> Player:
    """A clip as an animation at its own speed."""
    points = panel_points(panel, skeleton, SIZE)
    T, M, V, _ = points.shape
    kept = even_indices(T, MOST_FRAMES)
    sides = joint_sides(skeleton)
    data = {
        "size": SIZE,
        "frames": len(kept),
        "numbers": [index + 1 for index in kept],
        "of": T,
        "bodies": M,
        "joints": V,
        "milliseconds": 1000 * T / (fps * max(1, len(kept))),
        "points": encode_points(points[kept]),
        "bones": [[child, parent, side] for child, parent, side in bones(skeleton)],
        "sides": ["" if side == MIDDLE else side for side in sides],
    }
    if len(kept) < T:
        notes = [*notes, f"{len(kept)} of its {T} frames are shown"]
    return Player(panel.title, notes, data)


def encode_points(points: np.ndarray) -> str:
    """Points (T, M, V, 2) in pixels, NaN where absent -> base64 of little-endian 16-bit numbers."""
    scaled = np.clip(np.nan_to_num(points) * SCALE, 0, ABSENT - 1).round()
    numbers = np.where(np.isnan(points), ABSENT, scaled).astype("<u2")
    return base64.b64encode(numbers.tobytes()).decode()
