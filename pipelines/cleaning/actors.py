"""Cleaning of NTU clips, corrected preset: the people of a clip, and their two tracks.

Without the quirks of `denoise.py`: frames keep their true numbers, motion is change over time, tracks are
filled frame by frame and nothing is overwritten. Every body-frame of the file is either in the result or
counted under the rule that dropped it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipelines.cleaning.denoise import MAX_BAD_FRAMES, MIN_FRAMES, spread_frames
from pipelines.cleaning.linking import Person, people_of
from pipelines.reading.track import Track
from pipelines.skeleton import NTU_25

# A person's length along the bones, head to foot, whatever the posture. Kinect v2 measures performers at
# 1.4 to 1.6 m; the limits leave room for children and for legs that are hidden behind a table.
STATURE = (0.8, 2.4)  # metres, median over the frames
MAX_BONE_CHANGE = 0.35  # standard deviation over mean of a bone's length; people 0.03 to 0.11, median bone
# Square metres of motion: 2 cm about a joint's mean place; the sensor's noise alone is half of it.
STILL = 4e-4

SPINE = (3, 2, 20, 1, 0)  # head, neck, spine shoulder, spine middle, spine base
LEGS = ((0, 12, 13, 14, 15), (0, 16, 17, 18, 19))  # spine base, hip, knee, ankle, foot

# What the report calls each rule. The first four drop bodies, the others lose nothing.
POINT = "bodies collapsed to one point in some frames, absent there"
SHORT = f"bodies of {MIN_FRAMES} frames or fewer, after joining, dropped"
FURNITURE = "bodies without a person's build, or wide and still, dropped"
THIRD = "third bodies, while both tracks were taken, dropped"
JOINED = "bodies joined to the one that was lost near by"
DIVIDED = "bodies that jumped to another person's place divided"
SPARED = "rules that would have dropped every body not applied"
GAPS = "frames without an actor between others kept, marked absent"
TRIMMED = "frames without an actor at the ends trimmed"


@dataclass
class Cleaned:
    """The actors of a clip, and all that was done to get them."""

    joints: np.ndarray
    """(T, M, V, 3) float32, metres; M is 1 or 2; 0 where an actor is absent. No frames: nobody was there."""
    present: np.ndarray
    """(T, M) bool."""
    first_frame: int = 0
    """The frame of the file that is frame 0 here."""
    rules: Counter[str] = field(default_factory=Counter)
    """Times that each rule applied: bodies, or frames where the rule says so."""
    lost: Counter[str] = field(default_factory=Counter)
    """Rule -> body-frames that it dropped."""


def clean(tracks: Sequence[Track], num_frames: int) -> Cleaned:
    """Actors of one clip, from all its tracks in order of first appearance.

    The `frames` of the tracks and `num_frames` are those of the file, frames without a body included.
    """
    rules: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    tracks = [drop_points(track, rules, lost) for track in tracks]
    tracks = [track for track in tracks if len(track.frames)]
    people = people_of(tracks)
    rules[JOINED] += sum(len(person.bodies) - 1 for person in people)
    rules[DIVIDED] += sum(sum(track.body in person.bodies for person in people) > 1 for track in tracks)
    people = drop(people, lambda person: len(person.frames) > MIN_FRAMES, SHORT, rules, lost)
    people = drop(people, is_person, FURNITURE, rules, lost)
    people = sorted(people, key=lambda person: -motion(person.joints))  # ties keep their order
    joints, present = two_tracks(people, num_frames, rules, lost)
    if not present[:, 1].any():
        joints, present = joints[:, :1], present[:, :1]
    kept = np.flatnonzero(present.any(axis=1))
    first, end = (int(kept[0]), int(kept[-1]) + 1) if len(kept) else (0, 0)
    rules[TRIMMED] += num_frames - (end - first)
    rules[GAPS] += end - first - len(kept)
    return Cleaned(joints[first:end], present[first:end], first, +rules, +lost)


def drop_points(track: Track, rules: Counter[str], lost: Counter[str]) -> Track:
    """The body-frames whose joints are not all in one place: the others hold no body."""
    there = (track.joints != track.joints[:, :1]).any(axis=(1, 2))
    rules[POINT] += not there.all()
    lost[POINT] += int((~there).sum())
    return replace(track, frames=track.frames[there], joints=track.joints[there])


def drop(
    people: Sequence[Person],
    passes: Callable[[Person], bool],
    rule: str,
    rules: Counter[str],
    lost: Counter[str],
) -> list[Person]:
    """The people who pass. One alone is not judged; where nobody passes, all stay."""
    if len(people) <= 1:
        return list(people)
    kept = [person for person in people if passes(person)]
    if not kept:
        rules[SPARED] += 1
        return list(people)
    rules[rule] += len(people) - len(kept)
    lost[rule] += sum(len(person.frames) for person in people) - sum(len(person.frames) for person in kept)
    return kept


def motion(joints: np.ndarray) -> float:
    """Mean over joints of the variance over time of their place (square metres). (n, V, 3) -> scalar."""
    return float(joints.astype(np.float64).var(axis=0).sum(axis=-1).mean())


def is_person(person: Person) -> bool:
    """Whether a body has a person's length and steady bones, and is not both wide and still.

    A lying person is as long as a standing one, and has moved to lie there; a sofa that is taken for a body
    is neither. Wide is measured as in the reference preset.
    """
    joints = person.joints
    shortest, longest = STATURE
    if not shortest <= np.median(stature(joints)) <= longest or bone_change(joints) > MAX_BONE_CHANGE:
        return False
    return spread_frames(joints).mean() < MAX_BAD_FRAMES or motion(joints) > STILL


def stature(joints: np.ndarray) -> np.ndarray:
    """Length along the bones from head to foot, the mean of both legs, in metres. (n, 25, 3) -> (n,)."""
    legs = [_length_along(joints, leg) for leg in LEGS]
    return _length_along(joints, SPINE) + sum(legs) / len(legs)


def _length_along(joints: np.ndarray, chain: Sequence[int]) -> np.ndarray:
    places = joints[:, list(chain)].astype(np.float64)
    return np.linalg.norm(np.diff(places, axis=1), axis=-1).sum(axis=-1)


def bone_change(joints: np.ndarray) -> float:
    """Change of the bones' lengths: standard deviation over mean, of the median bone."""
    children, parents = zip(*NTU_25.edges)
    bones = joints[:, list(children)].astype(np.float64) - joints[:, list(parents)]
    lengths = np.linalg.norm(bones, axis=-1)  # (n, bones)
    mean = lengths.mean(axis=0)
    return float(np.median(lengths.std(axis=0) / np.where(mean > 0, mean, 1)))


def two_tracks(
    people: Sequence[Person], num_frames: int, rules: Counter[str], lost: Counter[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The people in two tracks, the first in track 1: joints (num_frames, 2, V, 3), present (num_frames, 2).

    Each person goes whole to a track that is free in all of the person's frames: an empty one, else the one
    whose nearest body in time is nearest in place. Where no track is free throughout, each stretch of more
    than MIN_FRAMES frames goes to a track that is free there; what is left is dropped.
    """
    V = people[0].joints.shape[1] if people else NTU_25.num_joints
    joints = np.zeros((num_frames, 2, V, 3), np.float32)
    present = np.zeros((num_frames, 2), np.bool_)
    for person in people:
        parts = [np.arange(len(person.frames))]
        if present[person.frames].any(axis=0).all():
            parts = stretches(present[person.frames], person.frames)
        dropped = 0
        for part in parts:
            frames, part_joints = person.frames[part], person.joints[part]
            free = np.flatnonzero(~present[frames].any(axis=0))
            if len(free) == 0 or (len(parts) > 1 and len(part) <= MIN_FRAMES):
                dropped += len(part)
                continue
            track = min(free, key=lambda one: _distance(joints[:, one], present[:, one], frames, part_joints))
            joints[frames, track], present[frames, track] = part_joints, True
        rules[THIRD] += dropped > 0
        lost[THIRD] += dropped
    return joints, present


def stretches(taken: np.ndarray, frames: np.ndarray) -> list[np.ndarray]:
    """Indices of consecutive frames with the same tracks taken. (n, 2) bool and (n,) -> arrays."""
    changes = (taken[1:] != taken[:-1]).any(axis=1) | (np.diff(frames) > 1)
    return np.split(np.arange(len(frames)), np.flatnonzero(changes) + 1)


def _distance(joints: np.ndarray, present: np.ndarray, frames: np.ndarray, body: np.ndarray) -> float:
    """Metres from a body's start or end to the track's nearest body in time; -1 for an empty track."""
    there = np.flatnonzero(present)
    if not len(there):
        return -1.0
    nearest = [there[np.abs(there - end).argmin()] for end in (frames[0], frames[-1])]
    ends = zip(nearest, (body[0], body[-1]), (frames[0], frames[-1]))
    gaps = [(abs(int(at) - int(end)), joints[at].mean(axis=0), place.mean(axis=0)) for at, place, end in ends]
    _, one, other = min(gaps, key=lambda gap: gap[0])
    return float(np.linalg.norm(one - other))
