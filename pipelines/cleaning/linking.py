"""The tracker's bodies linked to people, corrected preset: who is the same person over the whole clip.

Kinect gives a person a new identifier after every loss, and sometimes one identifier to two people in
turn. So each body is cut into runs (no frame missing, no jump), and the runs are joined again by distance,
in order of time. Distances are between the mean places of all joints, in metres.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np

from pipelines.reading.track import Track

MAX_STEP = 0.5  # metres a frame; 15 m/s: nobody moves so fast, so an identifier that does has changed people
REACH = 0.5  # metres; a body found again is the one that was lost this near: about an arm's length
WALK = 0.05  # metres a frame; 1.5 m/s, a brisk walk, while it was lost
MAX_REACH = 1.5  # metres; reached after two thirds of a second: further off may stand somebody else


@dataclass(frozen=True, eq=False)
class Person:
    """One person, or piece of furniture, over a clip: n body-frames of one or more bodies."""

    bodies: tuple[str, ...]
    """The tracker's identifiers of its runs, in order of time."""
    frames: np.ndarray
    """(n,) int, ascending: frames of the file, each at most once."""
    joints: np.ndarray
    """(n, V, 3) float32, metres."""

    @cached_property
    def places(self) -> np.ndarray:
        """Mean of the joints in each body-frame, (n, 3) float64 metres."""
        return self.joints.mean(axis=1, dtype=np.float64)


def people_of(tracks: Sequence[Track]) -> list[Person]:
    """The people of a clip, in order of first appearance; every body-frame is in exactly one of them.

    `tracks`: the tracker's bodies, their `frames` those of the file. The only body of a clip is one person,
    wherever it jumps: there is nobody else it could be.
    """
    singles = [single for track in tracks for single in once_a_frame(track)]
    if len(singles) <= 1:
        return singles
    return join(run for single in singles for run in cut(single))


def once_a_frame(track: Track) -> list[Person]:
    """The track, or where it has several bodies in one frame, the first of each, the second of each, ..."""
    starts = np.searchsorted(track.frames, track.frames)
    turn = np.arange(len(track.frames)) - starts  # 0 for the first of a frame, 1 for the second, ...
    return [
        Person((track.body,), track.frames[turn == k], track.joints[turn == k])
        for k in range(int(turn.max(initial=-1)) + 1)
    ]


def cut(person: Person) -> list[Person]:
    """Runs of consecutive frames in which the body moves MAX_STEP a frame at most."""
    steps = np.linalg.norm(np.diff(person.places, axis=0), axis=1)
    ends = np.flatnonzero((np.diff(person.frames) > 1) | (steps > MAX_STEP)) + 1
    parts = zip(np.split(person.frames, ends), np.split(person.joints, ends))
    return [Person(person.bodies, frames, joints) for frames, joints in parts]


def join(runs: Iterable[Person]) -> list[Person]:
    """Runs joined into people: each to the person that was lost nearest to where it starts.

    In order of time; of runs that start together, the closest pair first. The cost of a pair is its
    distance plus WALK for each frame missed. It may be joined within `reach`, and where that person had the
    same identifier before, within MAX_STEP a frame: the tracker vouches for it.
    """
    people: list[list[Person]] = []  # the runs of each
    last_frames = np.zeros(0, np.int64)
    last_places = np.zeros((0, 3))
    ordered = sorted(runs, key=lambda run: run.frames[0])
    for start, together in groupby(ordered, key=lambda run: run.frames[0]):
        pairs = []
        starting = list(together)
        for index, run in enumerate(starting):
            missed = start - last_frames - 1  # negative: still there
            distance = np.linalg.norm(last_places - run.places[0], axis=1)
            known = np.array([any(run.bodies == past.bodies for past in runs_of) for runs_of in people], bool)
            limit = np.where(known, np.maximum(reach(missed), MAX_STEP * (missed + 1)), reach(missed))
            for person in np.flatnonzero((missed >= 0) & (distance <= limit)).tolist():
                pairs.append((distance[person] + WALK * missed[person], index, person))
        owner: dict[int, int] = {}
        for _, index, nearest in sorted(pairs):
            if index not in owner and nearest not in owner.values():
                owner[index] = nearest
        for index, run in enumerate(starting):
            if index in owner:
                people[owner[index]].append(run)
            else:
                people.append([run])
        last_frames = np.array([runs_of[-1].frames[-1] for runs_of in people])
        last_places = np.array([runs_of[-1].places[-1] for runs_of in people])
    return [_whole(runs_of) for runs_of in people]


def reach(missed: np.ndarray) -> np.ndarray:
    """Metres from where a body was lost at which it may be found again, after `missed` frames."""
    return np.minimum(REACH + WALK * missed, MAX_REACH)


def _whole(runs: Sequence[Person]) -> Person:
    return Person(
        tuple(dict.fromkeys(body for run in runs for body in run.bodies)),
        np.concatenate([run.frames for run in runs]),
        np.concatenate([run.joints for run in runs]),
    )
