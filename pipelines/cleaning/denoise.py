"""Cleaning of NTU clips, reference preset: which tracked bodies are actors, and which of the two.

Kinect tracks furniture and passers-by as bodies. The rules and constants are those that the field took
from VA-NN (Zhang et al., 2019), quirks included (marked Q), so that results compare with published ones.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pipelines.reading.track import Track

MIN_FRAMES = 11  # frames; tracks of this length or shorter are noise
MAX_SPREAD = 0.8  # x-extent over y-extent; people are taller than wide, furniture is not
MAX_BAD_FRAMES = 0.69754  # share of spread-out frames from which on a body is noise

# What the report calls each rule.
SHORT = f"bodies of {MIN_FRAMES} frames or fewer dropped"
SPREAD = "bodies wider than tall dropped"
OVERLAP = "bodies that overlap both actors dropped"
LONGEST = "longest of only short bodies kept"
EMPTY = "frames without a body left removed"


def denoise(tracks: Sequence[Track], num_frames: int) -> tuple[np.ndarray, Counter[str]]:
    """Actors of one clip, from all its tracks in order of first appearance.

    `num_frames`: valid frames of the clip. Returns joints (T, M, V, 3) float32, zero where an actor is
    absent, M = 1 or 2 (2 also where the second actor got nothing), and how often each rule applied.
    """
    rules: Counter[str] = Counter()
    if len(tracks) == 1:
        return one_actor(tracks[0], num_frames), rules
    tracks = drop_short(tracks, rules)
    if len(tracks) > 1:
        tracks = rank_by_motion(*drop_spread(tracks, rules))
    if len(tracks) == 1:
        joints = one_actor(tracks[0], num_frames)
    else:
        joints = two_actors(tracks, num_frames, rules)
    return drop_empty_frames(joints, rules), rules


def motion(joints: np.ndarray) -> float:
    """Sum over x, y, z of the variance over all frames and joints together (square metres).

    Q: mostly the spread of the posture, hardly motion. (n, V, 3) -> scalar.
    """
    return float(joints.reshape(-1, 3).astype(np.float64).var(axis=0).sum())


def spread_frames(joints: np.ndarray) -> np.ndarray:
    """Frames in which the body is too wide for its height. (n, V, 3) -> (n,) bool."""
    extent = np.ptp(joints[..., :2], axis=1)  # (n, V, 2) -> (n, 2)
    return extent[:, 0] > MAX_SPREAD * extent[:, 1]


def drop_short(tracks: Sequence[Track], rules: Counter[str]) -> list[Track]:
    """Tracks long enough; where none is (there the reference crashes), the longest."""
    kept = [track for track in tracks if len(track.joints) > MIN_FRAMES]
    if not kept:
        rules[LONGEST] += 1
        kept = [max(tracks, key=lambda track: len(track.joints))]
    rules[SHORT] += len(tracks) - len(kept)
    return kept


def drop_spread(tracks: Sequence[Track], rules: Counter[str]) -> tuple[list[Track], list[float]]:
    """Tracks that are mostly upright, and the motion of each.

    Judged in order; judging stops when one is left, which is not judged. A body that is spread out in a
    few frames only has the lower of its motions with and without them.
    """
    motions = [motion(track.joints) for track in tracks]
    kept = list(range(len(tracks)))
    for index, track in enumerate(tracks):
        if len(kept) == 1:
            break
        bad = spread_frames(track.joints)
        if bad.mean() >= MAX_BAD_FRAMES:
            kept.remove(index)
            rules[SPREAD] += 1
        elif bad.any():
            motions[index] = min(motions[index], motion(track.joints[~bad]))
    return [tracks[index] for index in kept], [motions[index] for index in kept]


def rank_by_motion(tracks: Sequence[Track], motions: Sequence[float]) -> list[Track]:
    """Tracks by motion, highest first; ties keep their order."""
    order = sorted(range(len(tracks)), key=lambda index: -motions[index])
    return [tracks[index] for index in order]


def one_actor(track: Track, num_frames: int) -> np.ndarray:
    """The track at its interval, zeros elsewhere: (num_frames, 1, V, 3) float32."""
    joints = np.zeros((num_frames, 1, *track.joints.shape[1:]), np.float32)
    write_track(joints, 0, track)
    return joints


def two_actors(tracks: Sequence[Track], num_frames: int, rules: Counter[str]) -> np.ndarray:
    """The first track is actor 1; each next goes to the first actor whose interval it leaves alone.

    An actor's interval grows to the hull of its tracks. Q: a track that overlaps both actors is dropped;
    Q: actor 2 starts as [0, 0], so that its hull always starts at frame 0.
    Returns (num_frames, 2, V, 3) float32, also when actor 2 got nothing.
    """
    joints = np.zeros((num_frames, 2, *tracks[0].joints.shape[1:]), np.float32)
    write_track(joints, 0, tracks[0])
    hulls = [tracks[0].interval, (0, 0)]
    for track in tracks[1:]:
        free = [actor for actor, hull in enumerate(hulls) if not overlap(track.interval, hull)]
        if not free:
            rules[OVERLAP] += 1
            continue
        actor = free[0]
        write_track(joints, actor, track)
        hulls[actor] = hull_of(track.interval, hulls[actor])
    return joints


def overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two intervals share frames. Q: one shared frame does not count (it is overwritten)."""
    return min(a[1], b[1]) - max(a[0], b[0]) > 0


def hull_of(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """The smallest interval that holds both."""
    return min(a[0], b[0]), max(a[1], b[1])


def write_track(joints: np.ndarray, actor: int, track: Track) -> None:
    """Writes a track over an actor's frames, in place."""
    first, last = track.interval
    joints[first : last + 1, actor] = track.joints


def drop_empty_frames(joints: np.ndarray, rules: Counter[str]) -> np.ndarray:
    """Frames whose joint sum is not exactly 0. (T, M, V, 3) -> (fewer, M, V, 3)."""
    seen = joints.sum(axis=(1, 2, 3)) != 0
    rules[EMPTY] += int((~seen).sum())
    return joints[seen]
