"""Skeleton animations in a page: compact data that its script plays."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.skeleton import Skeleton
from tsgc.drawing.skeleton import MIDDLE, Panel, bones, even_indices, joint_sides, panel_places

MOST_FRAMES = 150  # frames kept of a clip; longer ones are thinned out evenly, and say so
STEPS = 65_000  # from the lowest to the highest coordinate of the longest side; 16-bit numbers
ABSENT = 0xFFFF


@dataclass(frozen=True)
class Player:
    """One animation with its title and notes."""

    title: str
    caption: str
    """What it shows, such as its class; empty where that is not known."""
    notes: Sequence[str]
    data: dict[str, Any]
    """Data for the page's script: frames, bodies, milliseconds a frame, points, bones."""

    @property
    def turns(self) -> bool:
        """Whether the body can be turned: its joints lie in space."""
        return bool(self.data["axes"] > 2)


def make_player(
    panel: Panel, skeleton: Skeleton, *, fps: float, notes: Sequence[str] = (), caption: str = ""
) -> Player:
    """A clip as an animation at its own speed."""
    places = panel_places(panel, skeleton)
    T, M, V, axes = places.shape
    kept = even_indices(T, MOST_FRAMES)
    points, middle = encode_points(places[kept])
    sides = joint_sides(skeleton)
    data = {
        "frames": len(kept),
        "numbers": [index + 1 for index in kept],
        "of": T,
        "bodies": M,
        "joints": V,
        "axes": axes,
        "milliseconds": 1000 * T / (fps * max(1, len(kept))),
        "points": points,
        "middle": middle,
        "bones": [[child, parent, side] for child, parent, side in bones(skeleton)],
        "sides": ["" if side == MIDDLE else side for side in sides],
    }
    if panel.weights is not None:
        data["weights"] = encode_weights(panel.weights[kept])
    if len(kept) < T:
        notes = [*notes, f"{len(kept)} of its {T} frames are shown"]
    return Player(panel.title, caption, notes, data)


def encode_weights(weights: np.ndarray) -> str:
    """Weights (T, M, V), -1 to 1 -> base64 of signed bytes, 127 for 1."""
    return base64.b64encode((weights * 127).round().astype(np.int8).tobytes()).decode()


def encode_points(places: np.ndarray) -> tuple[str, list[float]]:
    """Places (T, M, V, 2 or 3), NaN where absent -> base64 of little-endian 16-bit numbers, and their middle.

    One scale for all axes keeps the proportions.
    """
    seen = places[~np.isnan(places).any(-1)]
    low, high = (seen.min(0), seen.max(0)) if len(seen) else (np.zeros(places.shape[-1]),) * 2
    extent = float((high - low).max())
    scale = STEPS / extent if extent > 0 else 0.0
    absent = np.isnan(places).any(-1, keepdims=True)
    scaled = np.where(absent, 0, (places - low) * scale).round()
    numbers = np.where(absent, ABSENT, scaled).astype("<u2")
    return base64.b64encode(numbers.tobytes()).decode(), ((high - low) * scale / 2).round(1).tolist()
