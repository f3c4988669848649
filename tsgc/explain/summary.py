"""What a saliency says in few numbers: joints by their share, along time, and the mean of a class."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.skeleton import Skeleton

BINS = 24  # parts of a clip along time
MOST = 6  # joints that are listed
BLOCKS = " ▁▂▃▄▅▆▇█"  # of a joint's part over time, in a terminal


@dataclass(frozen=True)
class Saliency:
    """The saliency of one clip for one class."""

    label: int
    """The class, from 0."""
    values: np.ndarray
    """(T, M, V) float32: what each joint's movement adds to the score in each frame; below 0: takes away.
    0 where a body is absent, and in frames that the network does not see."""
    score: float
    """The class's score of the clip: its logit less the mean of all logits."""
    still: float
    """The same of the clip held still. All values add up to the difference."""

    @property
    def joints(self) -> np.ndarray:
        """What each joint of each body adds over all frames, (M, V)."""
        return self.values.sum(0)


def shares(values: np.ndarray) -> np.ndarray:
    """Shares of what speaks for the class, 1 in all: values below 0 count as 0. All 0 where none is above."""
    positive = np.maximum(values, 0)
    total = positive.sum()
    return positive / total if total > 0 else positive


def along_time(values: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Values (T, ...) added up in equal parts of the clip: (bins, ...). A frame may lie in several.

    All parts together hold the same sum.
    """
    T = len(values)
    edges = np.linspace(0, T, bins + 1)
    total = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, 0, dtype=np.float64)])
    low = np.minimum(edges.astype(int), T - 1)
    part = (edges - low).reshape(-1, *[1] * (values.ndim - 1))
    return np.diff(total[low] + part * (total[low + 1] - total[low]), axis=0)


@dataclass(frozen=True)
class JointShare:
    """A joint's part in what speaks for a class."""

    body: int
    """From 1."""
    joint: str
    share: float
    """0 to 1; those of all joints of all bodies that speak for the class add up to 1."""
    times: np.ndarray
    """What it adds to the score in each of `BINS` equal parts of the clip, (BINS,); below 0: takes away."""


def strongest_joints(values: np.ndarray, skeleton: Skeleton, most: int) -> list[JointShare]:
    """The joints with the largest shares, largest first; of values (T, M, V). None that takes away."""
    share = shares(values.sum(0))
    times = along_time(values)
    order = np.argsort(-share, axis=None, kind="stable")[:most]
    bodies, joints = np.unravel_index(order, share.shape)
    return [
        JointShare(int(body) + 1, skeleton.joints[joint], float(share[body, joint]), times[:, body, joint])
        for body, joint in zip(bodies, joints)
        if share[body, joint] > 0
    ]


@dataclass(frozen=True)
class ClassSaliency:
    """The mean saliency of some clips of a class."""

    label: int
    clips: int
    """How many clips it is the mean of."""
    values: np.ndarray
    """(BINS, M, V): what each joint adds to the score in each part of the clips."""
    score: float
    still: float


def class_mean(found: Sequence[Saliency]) -> ClassSaliency:
    """The mean of one class's clips, one or more; a body that a clip does not have adds nothing."""
    most = max(one.values.shape[1] for one in found)
    parts = [along_time(one.values) for one in found]
    padded = [np.pad(part, ((0, 0), (0, most - part.shape[1]), (0, 0))) for part in parts]
    return ClassSaliency(
        found[0].label,
        len(found),
        np.mean(padded, axis=0),
        float(np.mean([one.score for one in found])),
        float(np.mean([one.still for one in found])),
    )


def movement_line(found: Saliency | ClassSaliency) -> str:
    """A sentence about the class's score, and what the movement adds to it."""
    added = found.score - found.still
    does = "adds" if added >= 0 else "takes away"
    return (
        f"its logit is {found.score:.2f} above the mean of all classes, and {found.still:.2f} if"
        f" nothing moved; the movement {does} {abs(added):.2f}"
    )


def joint_rows(values: np.ndarray, skeleton: Skeleton) -> list[list[str]]:
    """Rows (joint, share in percent, its part over time) of the `MOST` strongest joints."""
    found = strongest_joints(values, skeleton, MOST)
    largest = max((joint.times.max() for joint in found), default=0.0)
    bodies = values.shape[1]
    return [
        [
            joint.joint + (f", body {joint.body}" if bodies > 1 else ""),
            f"{100 * joint.share:.0f}",
            "".join(BLOCKS[math.ceil(8 * max(value, 0) / largest)] for value in joint.times.tolist()),
        ]
        for joint in found
    ]


def as_json(found: Saliency, skeleton: Skeleton) -> dict[str, Any]:
    """A saliency for JSON: the score, what each joint adds, by body, and what each frame adds."""
    return {
        "label": found.label,
        "score": found.score,
        "still": found.still,
        "joints": [dict(zip(skeleton.joints, body)) for body in found.joints.tolist()],
        "frames": found.values.sum((1, 2)).tolist(),
    }
