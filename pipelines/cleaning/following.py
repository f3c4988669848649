"""People followed from frame to frame where a detector gives no identifiers, and any order in a frame.

As `linking.py` joins the runs of NTU's bodies, and with its distances. Pictures have no metres: there a
body's own size is the measure, so that the same rules hold near the camera and far from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines.channels import coordinates
from pipelines.cleaning.actors import stretches
from pipelines.cleaning.denoise import MIN_FRAMES
from pipelines.cleaning.linking import WALK, reach

BOX = 1.5  # metres, about: the longer side of the box round a standing body's joints, which scales pictures
LINKED_FPS = 30  # frames a second that linking's distances a frame are meant for
FORGOTTEN = 10  # seconds; who was lost for longer may be anybody, and a long recording has thousands


@dataclass
class Followed:
    """One person: the body-frames of a clip that belong to it."""

    frames: list[int] = field(default_factory=list)
    """Ascending, each at most once."""
    bodies: list[int] = field(default_factory=list)
    """The person's place in each of those frames."""


def follow(joints: np.ndarray, seen: np.ndarray, channels: str, fps: float) -> list[Followed]:
    """The people of a clip in order of first appearance; every body-frame is in exactly one of them.

    (T, M, V, C), bodies of a frame in any order, and `seen` (T, M, V). Frame by frame, the closest pair of a
    person and a body goes together first. Two bodies are as far apart as the joints that both show, on
    average; a person may be found again as far off as `linking.reach` says, by the time since. The only body
    of every frame is one person, wherever it jumps.
    """
    present = np.any(seen, axis=2)
    bodies_of = [np.flatnonzero(there).tolist() for there in present]
    if present.sum(axis=1).max(initial=0) <= 1:
        frames = [t for t, bodies in enumerate(bodies_of) if bodies]
        return [Followed(frames, [bodies_of[t][0] for t in frames])] if frames else []
    places = np.where(seen[..., None], joints[..., : coordinates(channels)], np.nan).astype(np.float64)
    size = _sizes(places, seen)
    people: list[Followed] = []
    waiting: list[int] = []  # people who may be found again
    for t, bodies in enumerate(bodies_of):
        waiting = [one for one in waiting if t - people[one].frames[-1] <= FORGOTTEN * fps]
        owner = _match([people[one] for one in waiting], t, bodies, places, size, fps)
        for body in bodies:
            if body not in owner:
                waiting.append(len(people))
                people.append(Followed())
            person = people[waiting[owner.get(body, -1)]]
            person.frames.append(t)
            person.bodies.append(body)
    return people


def _match(
    people: Sequence[Followed],
    t: int,
    bodies: Sequence[int],
    places: np.ndarray,
    size: np.ndarray,
    fps: float,
) -> dict[int, int]:
    """Which of the `bodies` of frame `t` are which of the people, by index."""
    if not people or not bodies:
        return {}
    last = tuple(np.array([(one.frames[-1], one.bodies[-1]) for one in people]).T)
    missed = (t - last[0] - 1) * (LINKED_FPS / fps)
    metres = BOX / np.maximum(size[last][:, None], size[t, bodies])  # the larger: the other is partly hidden
    apart = _apart(places[last], places[t, bodies]) * metres  # (people, bodies)
    owner: dict[int, int] = {}
    cost = apart + WALK * missed[:, None]
    for one, at in sorted(zip(*np.nonzero(apart <= reach(missed)[:, None])), key=lambda pair: cost[pair]):
        if bodies[at] not in owner and one not in owner.values():
            owner[bodies[at]] = int(one)
    return owner


def _sizes(places: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The longer side of the box round each body's joints, (T, M); the clip's usual one for a point."""
    high = np.where(seen[..., None], places, -np.inf).max(axis=2)
    low = np.where(seen[..., None], places, np.inf).min(axis=2)
    side = np.where(seen.any(axis=2), (high - low).max(axis=2), 0)
    usual = float(np.median(side[side > 0])) if (side > 0).any() else BOX
    return np.where(side > 0, side, usual)


def _apart(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Mean distance of the joints that two bodies both show; of their means, where they share none.

    (P, V, axes) and (B, V, axes), NaN where a joint was not seen -> (P, B).
    """
    distance = np.linalg.norm(before[:, None] - now, axis=3)  # (P, B, V)
    both = ~np.isnan(distance)
    shared = np.where(both, distance, 0).sum(axis=2) / np.maximum(both.sum(axis=2), 1)
    between = np.linalg.norm(np.nanmean(before, axis=1)[:, None] - np.nanmean(now, axis=1), axis=2)
    return np.where(both.any(axis=2), shared, between)


@dataclass(frozen=True)
class Tracks:
    """A clip whose bodies keep their places, and what found none."""

    joints: np.ndarray
    """(T, M, V, C): NaN where a body is absent."""
    seen: np.ndarray
    """(T, M, V) bool."""
    dropped: int = 0
    """People of whom some body-frames found no track."""
    lost: int = 0
    """Body-frames that found no track."""


def in_tracks(
    joints: np.ndarray, seen: np.ndarray, channels: str, fps: float, most: int | None = None
) -> Tracks:
    """The clip with each person in one place of every frame, at most `most`; arguments as of `follow`.

    Who shows most joints comes first, each whole to the first track that is free in all of the person's
    frames. Where `most` are taken, stretches of more than MIN_FRAMES frames go to one that is free there.
    """
    people = follow(joints, seen, channels, fps)
    shown = [int(seen[person.frames, person.bodies].sum()) for person in people]
    place = np.full((len(joints), 0), -1)  # (T, tracks): the body of the frame that is there
    dropped = lost = 0
    for one in sorted(range(len(people)), key=lambda one: -shown[one]):  # ties in order of appearance
        frames, bodies = np.array(people[one].frames), np.array(people[one].bodies)
        free = np.flatnonzero((place[frames] < 0).all(axis=0))
        if not len(free) and (most is None or place.shape[1] < most):
            place = np.concatenate([place, np.full((len(joints), 1), -1)], axis=1)
            free = np.array([place.shape[1] - 1])
        if len(free):
            place[frames, free[0]] = bodies
            continue
        kept = 0
        for part in stretches(place[frames] >= 0, frames):
            free = np.flatnonzero((place[frames[part]] < 0).all(axis=0))
            if len(free) and len(part) > MIN_FRAMES:
                place[frames[part], free[0]] = bodies[part]
                kept += len(part)
        dropped, lost = dropped + (kept < len(frames)), lost + len(frames) - kept
    there = place >= 0
    picked = np.arange(len(joints))[:, None], np.where(there, place, 0)
    kept_joints = np.where(there[..., None, None], joints[picked], joints.dtype.type(np.nan))
    return Tracks(kept_joints, seen[picked] & there[..., None], dropped, lost)


def stack(frames: Sequence[Sequence[np.ndarray] | np.ndarray], V: int, C: int) -> np.ndarray:
    """Frames of any number of bodies (V, C) -> (T, M, V, C) float32, NaN where a frame has fewer."""
    joints = np.full((len(frames), max(map(len, frames), default=0), V, C), np.nan, np.float32)
    for t, bodies in enumerate(frames):
        for m, body in enumerate(bodies):
            joints[t, m] = body
    return joints
