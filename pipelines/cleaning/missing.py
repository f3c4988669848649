"""Joints that were not seen: told from those that were, and given a place.

A detector or sensor loses joints: behind a table, outside the picture. Files say so by NaN, by 0 in all
coordinates, or by a score of 0. None of these is a place, and none may become one: a missing joint is
interpolated between frames in which it is seen, or stands where the nearest joint of its body is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from pipelines.channels import coordinates, has_score, in_space
from pipelines.cleaning.centre import present_bodies
from pipelines.skeleton import Skeleton

# Seconds without a joint that are bridged: a hand swings there and back in about one, so a straight line over
# more would cross places it never was in. Also what the network's input bridges for whole bodies (15 frames).
LONGEST_GAP = 0.5

OVER_TIME = "joints not seen, interpolated between frames in which they are"
AT_NEAREST = "joints not seen, put where the nearest joint of their body is"


@dataclass(frozen=True)
class Filled:
    """A clip in which every joint of a present body has a place."""

    joints: np.ndarray
    """(T, M, V, C) float32; coordinates of absent bodies 0, scores of joints not seen 0."""
    counts: dict[str, int]
    """How many joints, by rule."""


def seen_joints(joints: np.ndarray, channels: str, skeleton: Skeleton, *, zeros: bool = True) -> np.ndarray:
    """Which joints were seen: (T, M, V, C) -> (T, M, V) bool.

    Not seen: any number NaN, a score of 0 or, with `zeros`, 0 in all coordinates. In space 0 may be where
    coordinates start: the centre or a root is seen at 0 if a joint next to it stands within half the body's
    extent of 0. A sensor that shows the body is further off.
    """
    finite = bool(np.isfinite(joints).all())
    if finite:  # the common clip: nothing is 0, except absent bodies
        if joints.all():
            return np.ones(joints.shape[:3], np.bool_)
        V, C = joints.shape[2:]
        present = present_bodies(joints)
        if np.count_nonzero(joints) == np.count_nonzero(present) * V * C:
            return np.repeat(present[..., None], V, axis=2)
    parts = [joints[..., channel] for channel in range(joints.shape[-1])]  # several times as fast as over C
    known = np.ones(joints.shape[:3], np.bool_)
    for part in () if finite else parts:
        known &= ~np.isnan(part)
    if has_score(channels):
        known &= parts[-1] != 0
    if not zeros:
        return known
    placed = parts[0] != 0
    for part in parts[1 : coordinates(channels)]:
        placed |= part != 0
    seen = known & placed
    at_zero = known & ~placed
    if in_space(channels) and at_zero.any():
        at_zero &= seen.any(axis=2, keepdims=True)  # where the whole body is 0, it is absent
        seen |= _starts(joints, at_zero, seen, skeleton)
    return seen


def _starts(joints: np.ndarray, at_zero: np.ndarray, seen: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Joints at 0 that are where coordinates start, (T, M, V) bool; the places of others are `seen`."""
    found = np.zeros_like(seen)
    for joint, beside in _may_start(skeleton):
        frames, bodies = at_zero[..., joint].nonzero()
        if not len(frames):
            continue
        at = frames[:, None], bodies[:, None], beside
        away = np.where(seen[at], _lengths(joints[at]), np.inf).min(axis=-1)  # (n,)
        extents = np.zeros(joints.shape[1])
        for body in set(bodies.tolist()):
            extents[body] = _extent(joints[:, body, :, :3], seen[:, body])
        found[frames, bodies, joint] = away <= extents[bodies] / 2
    return found


def _extent(places: np.ndarray, seen: np.ndarray) -> float:
    """The longer side of the box round a body's joints (T, V, 3) that are `seen` (T, V).

    It is the median over the frames in which some are.
    """
    places = np.ascontiguousarray(places.transpose(1, 2, 0))  # (V, 3, T): several times as fast as over V
    there = np.ascontiguousarray(seen.T)[:, None]
    low = places.min(axis=0, where=there, initial=np.inf)
    high = places.max(axis=0, where=there, initial=-np.inf)
    sides = np.sort((high - low).max(axis=0)[seen.any(axis=1)])
    middle = len(sides) // 2
    return float(sides[middle] if len(sides) % 2 else (sides[middle - 1] + sides[middle]) / 2)


def _lengths(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors[..., :3].astype(np.float64)
    return np.sqrt((vectors * vectors).sum(axis=-1))


def fill(joints: np.ndarray, seen: np.ndarray, skeleton: Skeleton, channels: str, fps: float) -> Filled:
    """A place for each missing joint of a body of which some joint is `seen` (T, M, V); the others stay.

    (T, M, V, C) float32. Between two frames in which it is seen, with at most LONGEST_GAP missed: on the
    straight line between them. Else at its nearest ancestor that has a place; without one, at the nearest
    joint along the bones. Bodies without a joint are 0.
    """
    if seen.all():
        return Filled(joints.copy(), {})
    filled = np.where(seen[..., None], joints, np.float32(0))
    missing = seen.any(axis=2, keepdims=True) & ~seen
    if not missing.any():
        return Filled(filled, {})
    between = _interpolate(filled, seen, missing, coordinates(channels), round(LONGEST_GAP * fps))
    rest = missing & ~between
    _stand_at_nearest(filled, seen | between, rest, coordinates(channels), skeleton)
    return Filled(filled, {OVER_TIME: int(between.sum()), AT_NEAREST: int(rest.sum())})


def _interpolate(
    joints: np.ndarray, seen: np.ndarray, missing: np.ndarray, axes: int, gap: int
) -> np.ndarray:
    """Fills, in place, what lies within gaps of at most `gap` frames; which those are, (T, M, V) bool."""
    done = np.zeros_like(missing)
    bodies, of_body = np.nonzero(missing.any(axis=0))
    there = seen[:, bodies, of_body]  # (T, n): a column for each joint that is ever missing
    frame = np.arange(len(seen))[:, None]
    before = np.maximum.accumulate(np.where(there, frame, -1), axis=0)
    after = np.minimum.accumulate(np.where(there, frame, len(seen))[::-1], axis=0)[::-1]
    within = (before >= 0) & (after < len(seen)) & (after - before - 1 <= gap)
    at, column = np.nonzero(missing[:, bodies, of_body] & within)
    left, right = before[at, column], after[at, column]
    body, joint = bodies[column], of_body[column]
    start = joints[left, body, joint, :axes].astype(np.float64)
    step = joints[right, body, joint, :axes] - start
    joints[at, body, joint, :axes] = start + step * ((at - left) / (right - left))[:, None]
    done[at, body, joint] = True
    return done


def _stand_at_nearest(
    joints: np.ndarray, placed: np.ndarray, rest: np.ndarray, axes: int, skeleton: Skeleton
) -> None:
    """Puts the joints of `rest`, in place, where the first `placed` joint of their `nearest` is."""
    frames, bodies = np.nonzero(rest.any(axis=2))
    have, want = placed[frames, bodies], rest[frames, bodies]  # (n, V)
    for joint in np.flatnonzero(want.any(axis=0)).tolist():
        order = np.array(nearest(skeleton)[joint])
        rows = np.flatnonzero(want[:, joint])
        source = order[have[rows][:, order].argmax(axis=1)]
        places = joints[frames[rows], bodies[rows], source, :axes]
        joints[frames[rows], bodies[rows], joint, :axes] = places


@cache
def _may_start(skeleton: Skeleton) -> tuple[tuple[int, list[int]], ...]:
    """The joints where coordinates may start, the centre and the roots, each with those next to it."""
    roots = {joint for joint, parent in enumerate(skeleton.parents) if joint == parent}
    starts = sorted({skeleton.centre, *roots})
    return tuple((joint, _next_to(skeleton)[joint]) for joint in starts if _next_to(skeleton)[joint])


@cache
def _next_to(skeleton: Skeleton) -> tuple[list[int], ...]:
    """The joints at the other ends of each joint's bones."""
    ends: tuple[list[int], ...] = tuple([] for _ in skeleton.parents)
    for child, parent in skeleton.edges:
        ends[child].append(parent)
        ends[parent].append(child)
    return ends


@cache
def nearest(skeleton: Skeleton) -> tuple[Sequence[int], ...]:
    """All other joints, for each: its ancestors upwards, then the others by the number of bones between."""
    orders = []
    for joint in range(skeleton.num_joints):
        order, above = [joint], skeleton.parents[joint]
        while above not in order:
            order.append(above)
            above = skeleton.parents[above]
        reached = [joint]  # breadth first
        for one in reached:
            reached += [other for other in _next_to(skeleton)[one] if other not in reached]
        order += [one for one in (*reached, *range(skeleton.num_joints)) if one not in order]
        orders.append(list(dict.fromkeys(order))[1:])
    return tuple(orders)
