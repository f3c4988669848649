"""Test-time augmentation: a clip's logits averaged over several declared views of it.

Off by default. The views are the same for every clip, and none is random; scores say which they are wherever
they are printed.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.errors import UsageError
from tsgc.input.crop import centre_crop


@dataclass(frozen=True)
class View:
    """One way to look at a clip."""

    mirrored: bool = False
    """x negated, left and right joints swapped."""
    degrees: float = 0.0
    """Turn about the vertical; in space only."""
    span: tuple[float, float] | None = None
    """Part of the clip, and where it lies: 0 at the start, 1 at the end; None: the usual centre crop."""


PLAIN = View()
TURNS = (-30.0, -15.0, 0.0, 15.0, 30.0)

VIEWS: dict[str, tuple[View, ...]] = {
    "none": (PLAIN,),
    "mirror": (PLAIN, View(mirrored=True)),
    "turns": tuple(View(degrees=degrees) for degrees in TURNS),
    "spans": (PLAIN, *(View(span=(0.85, place)) for place in (0.0, 0.5, 1.0))),
    "mirror-turns": tuple(View(mirrored, degrees) for mirrored in (False, True) for degrees in TURNS),
}


def views(name: str) -> tuple[View, ...]:
    """The views of that name; UsageError for any other."""
    if name not in VIEWS:
        raise UsageError(f"--tta {name}: expected one of {', '.join(VIEWS)}")
    return VIEWS[name]


def view_span(frames: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of the part that a view sees of clips of `frames` (N,) frames."""
    if view.span is None:
        return centre_crop(frames)
    part, place = view.span
    length = np.maximum(1, np.rint(part * frames).astype(np.int64))
    return np.rint(place * (frames - length)).astype(np.int64), length


def as_augmentation(view: View, clips: int) -> dict[str, np.ndarray]:
    """A view's numbers for `clips` clips, of `mirror` and `view_turn` (augmentations.py)."""
    arrays: dict[str, np.ndarray] = {}
    if view.mirrored:
        arrays["mirror"] = np.ones(clips, np.bool_)
    if view.degrees:
        arrays["view_turn"] = np.zeros((clips, 3), np.float32)
        arrays["view_turn"][:, 1] = np.deg2rad(view.degrees)
    return arrays
