"""What every format's reader gives: the people of each frame, before anybody has said who is who."""

from dataclasses import dataclass

import numpy as np

from pipelines.errors import TsgcError

MOST_FRAMES = 1_000_000  # of a clip; more is a damaged number, and would fill the memory
MOST_BODIES = 100  # in a frame; as many as any detector gives


@dataclass(frozen=True, eq=False)
class Body:
    """One person in one frame."""

    joints: np.ndarray
    """(V, 2) or (V, 3); NaN: not seen. In space y points up; in pictures it points down."""
    scores: np.ndarray | None = None
    """(V,), how sure the detector is, 0 to 1; None: it does not say."""
    id: str | int | None = None
    """The tracker's name of the person, the same over the clip; None: it does not follow people."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One clip as its file tells it."""

    frames: list[list[Body]]
    """The people of each frame; nobody: an empty list."""
    fps: float | None = None
    """Frames a second, where the file says so."""
    size: tuple[float, float] | None = None
    """Width and height of the picture, in the unit of x and y, where the file says so."""


def as_array(source: str, recording: Recording, num_joints: int, channels: str) -> np.ndarray:
    """A place for each person: (T, M, V, C) float64, NaN where a joint, or the whole person, is not seen.

    People who have an id keep one place over the clip, in the order in which they come; the others have the
    place of their turn in the frame. `channels` is `xyz`, `xyzs`, `xys` or `xy`, s the score: 1 where the
    file has none, 0 where the joint is not seen. Raises TsgcError: bodies of other joints, or flat ones where
    space is meant.
    """
    axes = len(channels.removesuffix("s"))
    places: dict[str | int | None, int] = {}
    rows: list[tuple[int, int, Body]] = []
    for frame, bodies in enumerate(recording.frames):
        for turn, body in enumerate(bodies):
            if body.joints.shape[0] != num_joints or body.joints.shape[1] < axes:
                raise TsgcError(
                    f"{source}: joints of shape {body.joints.shape}, {channels} needs ({num_joints}, {axes})"
                )
            if not np.isfinite(body.joints).all(axis=1).any():
                continue
            key = f"turn {turn}" if body.id is None else body.id
            rows.append((frame, places.setdefault(key, len(places)), body))
    joints = np.full((len(recording.frames), len(places), num_joints, axes), np.nan)
    scores = np.zeros((*joints.shape[:3], 1))
    for frame, place, body in rows:
        joints[frame, place] = body.joints[:, :axes]
        seen = np.isfinite(body.joints).all(axis=1)
        scores[frame, place, :, 0] = seen if body.scores is None else np.where(seen, body.scores, 0)
    return np.concatenate([joints, scores], axis=-1) if channels.endswith("s") else joints
