"""People followed from frame to frame where a detector gives no identifiers, and any order in a frame.

As `linking.py` joins the runs of NTU's bodies, and with its distances. Pictures have no metres: there a
body's own size is the measure, so that the same rules hold near the camera and far from it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines.channels import coordinates
from pipelines.cleaning.actors import stretches
from pipelines.cleaning.denoise import MIN_FRAMES
from pipelines.cleaning.linking import REACH, WALK, reach

BOX = 1.5  # metres, about: the longer side of the box round a standing body's joints, which scales pictures
LINKED_FPS = 30  # frames a second that linking's distances a frame are meant for
MOST_AT_ONCE = 1_000_000  # numbers that distances are computed of together; 8 MB
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

    (T, M, V, C), bodies of a frame in any order, and `seen` (T, M, V). Frame by frame: first who was there in
    the frame before, then who was lost; the closest pair of a person and a body goes together first. Two
    bodies are as far apart as the joints that both show, on average; a person may be found again as far off
    as `linking.reach` says, by the time since. The only body of every frame is one person, wherever it jumps.
    """
    present = np.any(seen, axis=2)
    bodies_of = [np.flatnonzero(there).tolist() for there in present]
    if present.sum(axis=1).max(initial=0) <= 1:
        frames = [t for t, bodies in enumerate(bodies_of) if bodies]
        return [Followed(frames, [bodies_of[t][0] for t in frames])] if frames else []
    places = np.where(seen[..., None], joints[..., : coordinates(channels)], np.nan).astype(np.float64)
    size = _sizes(places, seen)
    people: list[Followed] = []
    here: dict[int, int] = {}  # body of the frame before -> person
    lost: list[int] = []
    for t, (bodies, step) in enumerate(zip(bodies_of, _steps(places, size))):
        pairs = [(step[was][now], here[was], now) for was in here for now in bodies]
        owner = _closest(pair for pair in pairs if pair[0] <= REACH)
        lost = [one for one in lost if t - people[one].frames[-1] <= FORGOTTEN * fps]
        left = [body for body in bodies if body not in owner]
        if left and lost:
            owner |= _found_again(lost, people, t, left, places, size, fps)
        people += [Followed() for body in left if body not in owner]
        new = iter(range(len(people) - sum(body not in owner for body in left), len(people)))
        now_here = {body: owner[body] if body in owner else next(new) for body in bodies}
        for body, person in now_here.items():
            people[person].frames.append(t)
            people[person].bodies.append(body)
        there = set(now_here.values())
        lost = [one for one in (*lost, *here.values()) if one not in there]
        here = now_here
    return people


def _closest(pairs: Iterable[tuple[float, int, int]]) -> dict[int, int]:
    """Body -> person, of pairs (cost, person, body): each in one pair, the closest first."""
    owner: dict[int, int] = {}
    taken = set()
    for _, person, body in sorted(pairs):
        if body not in owner and person not in taken:
            owner[body] = person
            taken.add(person)
    return owner


def _steps(places: np.ndarray, size: np.ndarray) -> Iterator[list[list[float]]]:
    """Metres from each body of the frame before to each of a frame's own, by frame; NaN: one is absent."""
    T, M, V, axes = places.shape
    yield []
    some = max(1, MOST_AT_ONCE // (M * M * V * axes))
    for start in range(1, T, some):
        now = slice(start, min(start + some, T))
        was = slice(start - 1, now.stop - 1)
        scale = BOX / np.maximum(size[was][:, :, None], size[now][:, None])
        yield from (_apart(places[was], places[now]) * scale).tolist()


def _found_again(
    lost: Sequence[int],
    people: Sequence[Followed],
    t: int,
    bodies: Sequence[int],
    places: np.ndarray,
    size: np.ndarray,
    fps: float,
) -> dict[int, int]:
    """Which of the `bodies` of frame `t` are which of the `lost` people."""
    last = tuple(np.array([(people[one].frames[-1], people[one].bodies[-1]) for one in lost]).T)
    missed = (t - last[0] - 1) * (LINKED_FPS / fps)
    metres = BOX / np.maximum(size[last][:, None], size[t, bodies])  # the larger: the other is partly hidden
    apart = _apart(places[last], places[t, bodies]) * metres  # (lost, bodies)
    cost = apart + WALK * missed[:, None]
    near = zip(*np.nonzero(apart <= reach(missed)[:, None]))
    return _closest((cost[one, at], lost[one], bodies[at]) for one, at in near)


def _sizes(places: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The longer side of the box round each body's joints, (T, M); the clip's usual one for a point."""
    high = np.where(seen[..., None], places, -np.inf).max(axis=2)
    low = np.where(seen[..., None], places, np.inf).min(axis=2)
    side = np.where(seen.any(axis=2), (high - low).max(axis=2), 0)
    usual = float(np.median(side[side > 0])) if (side > 0).any() else BOX
    return np.where(side > 0, side, usual)


def _apart(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Mean distance of the joints that two bodies both show; of their means, where they share none.

    (..., P, V, axes) and (..., B, V, axes), NaN where a joint was not seen -> (..., P, B), NaN where one is
    absent.
    """
    distance = np.sqrt(((before[..., :, None, :, :] - now[..., None, :, :, :]) ** 2).sum(axis=-1))
    both = ~np.isnan(distance)
    count = both.sum(axis=-1)
    shared = np.where(both, distance, 0).sum(axis=-1) / np.maximum(count, 1)
    if count.all():
        return shared
    means = [np.where(np.isnan(one), 0, one).sum(axis=-2) for one in (before, now)]
    shown = [(~np.isnan(one[..., :1])).sum(axis=-2) for one in (before, now)]
    with np.errstate(invalid="ignore"):
        before, now = (mean / number for mean, number in zip(means, shown))
    between = np.sqrt(((before[..., :, None, :] - now[..., None, :, :]) ** 2).sum(axis=-1))
    return np.where(count > 0, shared, between)


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


def stack(
    frames: Sequence[Sequence[np.ndarray] | np.ndarray], V: int, C: int, nobody: float = np.nan
) -> np.ndarray:
    """Frames of any number of bodies (V, C) -> (T, M, V, C) float32, `nobody` where a frame has fewer."""
    joints = np.full((len(frames), max(map(len, frames), default=0), V, C), nobody, np.float32)
    for t, bodies in enumerate(frames):
        if len(bodies):
            joints[t, : len(bodies)] = bodies
    return joints
