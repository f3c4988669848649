"""Made bodies that move: classes that show only in the motion, for the demo and the tests.

Every clip has a random posture and starts at a random phase; a class is which limbs swing about which
axis, with or against each other, and in what order in time. A swing's mean is 0, so that the mean
posture is the same in all classes and a single frame says next to nothing. None differ by speed alone:
training resizes crops of any length to one length. `raw_files.py` writes them as raw files.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.skeleton import NTU_25, NW_UCLA_20, Skeleton

Floats = NDArray[np.floating]

FPS = 30  # frames a second, both Kinects
SENSOR_NOISE = 0.008  # metres, standard deviation of a joint's place
TRUNK, NECK, FEET = 1, 2, (15, 19)
# Both skeletons number these limbs alike.
L_SHOULDER, L_ELBOW, R_SHOULDER, R_ELBOW = 4, 5, 8, 9
L_HIP, L_KNEE, R_HIP, R_KNEE = 12, 13, 16, 17


@dataclass(frozen=True)
class Swing:
    """A joint turning to and fro: radians about x (to the body's right), y (up) and z (its back)."""

    joint: int
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    lag: float = 0.0
    """Cycles behind the clip's phase; 0.5 is the opposite phase."""


@dataclass(frozen=True)
class Motion:
    """What makes a class: its swings and their order in time."""

    swings: tuple[Swing, ...]
    rate: float = 1.3
    """Cycles a second, for a performer of average speed."""
    rise: float = 0.5
    """Share of a cycle spent on the way up: 0.3 played backwards is 0.7."""


def _late(cycles: float, swings: Iterable[Swing]) -> tuple[Swing, ...]:
    return tuple(replace(swing, lag=swing.lag + cycles) for swing in swings)


# Positive x turns a hanging limb forward; positive z turns it to the right. A bow is negative x.
RIGHT_ARM_UP = (Swing(R_SHOULDER, x=0.7), Swing(R_ELBOW, x=0.4))
LEFT_ARM_UP = (Swing(L_SHOULDER, x=0.7), Swing(L_ELBOW, x=0.4))
RIGHT_ARM_OUT = (Swing(R_SHOULDER, z=0.65),)
LEFT_ARM_OUT = (Swing(L_SHOULDER, z=-0.65),)
RIGHT_LEG_UP = (Swing(R_HIP, x=0.6), Swing(R_KNEE, x=-0.25))
LEFT_LEG_UP = (Swing(L_HIP, x=0.6), Swing(L_KNEE, x=-0.25))
BOW = (Swing(TRUNK, x=-0.4),)
SQUAT = tuple(Swing(hip, x=0.28) for hip in (L_HIP, R_HIP)) + tuple(
    Swing(knee, x=-0.56) for knee in (L_KNEE, R_KNEE)
)
WALK = RIGHT_LEG_UP + _late(0.5, LEFT_LEG_UP)
BOTH_ARMS_UP = RIGHT_ARM_UP + LEFT_ARM_UP

# Action number -> motion; the names of the real classes are a memory aid, not a claim.
NTU_MOTIONS: dict[int, Motion] = {
    7: Motion(RIGHT_ARM_UP),  # throw
    10: Motion(RIGHT_ARM_OUT + LEFT_ARM_OUT, rate=1.6),  # clapping: arms out and in together
    18: Motion(BOTH_ARMS_UP, rate=1.1, rise=0.3),  # put on glasses: quickly up, slowly down
    19: Motion(BOTH_ARMS_UP, rate=1.1, rise=0.7),  # take off glasses: the same, played backwards
    23: Motion(RIGHT_ARM_OUT, rate=1.9),  # hand waving
    24: Motion(RIGHT_LEG_UP),  # kicking something
    35: Motion(BOW),  # nod, bow
    80: Motion(SQUAT),  # squat down
}
# Two people: (one, the other).
NTU_PAIRED_MOTIONS: dict[int, tuple[Motion, Motion]] = {
    50: (Motion(RIGHT_ARM_UP + _late(0.5, LEFT_ARM_UP)), Motion(_late(0.2, BOW))),  # punch, recoil
    51: (Motion(RIGHT_LEG_UP), Motion(_late(0.2, BOW))),  # kick the other person
    58: (Motion(RIGHT_ARM_UP, rate=1.6), Motion(RIGHT_ARM_UP, rate=1.6)),  # shaking hands
    59: (Motion(WALK), Motion(WALK)),  # walking towards each other
}
NW_UCLA_MOTIONS: dict[int, Motion] = {
    1: Motion(BOW + RIGHT_ARM_UP),  # pick up with one hand
    2: Motion(BOW + BOTH_ARMS_UP),  # pick up with two hands
    3: Motion(RIGHT_ARM_UP),  # drop trash
    4: Motion(WALK + _late(0.5, RIGHT_ARM_UP) + LEFT_ARM_UP),  # walk around, arms swinging
    5: Motion(SQUAT, rise=0.25),  # sit down: quickly down, slowly up
    6: Motion(SQUAT, rise=0.75),  # stand up: the same, played backwards
    8: Motion(RIGHT_ARM_OUT + LEFT_ARM_OUT),  # donning: arms out together
    9: Motion(RIGHT_ARM_OUT + _late(0.5, LEFT_ARM_OUT)),  # doffing: one out while the other is in
    11: Motion((*RIGHT_ARM_OUT, Swing(TRUNK, y=0.4))),  # throw, sidearm, the trunk turning along
    12: Motion(WALK),  # carry: walking, arms still
}
TWO_PERSON_ACTIONS = (*range(50, 61), *range(106, 121))  # NTU RGB+D 120's mutual actions

# Radians about x, y, z: the range of a clip's posture. The left side is the right one's mirror image.
POSTURES: dict[int, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    TRUNK: ((-0.5, -0.2, -0.1), (-0.1, 0.2, 0.1)),
    NECK: ((-0.15, -0.1, -0.1), (0.1, 0.1, 0.1)),
    R_SHOULDER: ((-0.1, -0.2, 0.0), (0.9, 0.2, 0.5)),
    R_ELBOW: ((0.5, -0.1, -0.1), (1.4, 0.1, 0.1)),
    R_HIP: ((0.15, -0.1, 0.0), (0.5, 0.1, 0.15)),
    R_KNEE: ((-1.0, 0.0, 0.0), (-0.5, 0.0, 0.0)),
}
# Metres from a joint's parent to the joint, in a standing adult of 1.75 m, arms down, facing -z.
_LEG = ((0.08, -0.03, 0.0), (0.0, -0.41, 0.0), (0.0, -0.38, 0.0), (0.0, -0.06, -0.11))
_ARM = ((0.17, -0.05, 0.0), (0.0, -0.27, 0.0), (0.0, -0.24, 0.0), (0.0, -0.07, 0.0))
_MIRROR = np.array([-1.0, 1.0, 1.0])
_LIMBS = np.concatenate([_ARM * _MIRROR, _ARM, _LEG * _MIRROR, _LEG])  # joints 4 to 19 of both skeletons
OFFSETS: dict[str, Floats] = {
    NTU_25.name: np.concatenate([
        [(0, 0, 0), (0, 0.28, 0), (0, 0.07, 0), (0, 0.13, -0.02)], _LIMBS,
        [(0, 0.21, 0), (0, -0.06, 0.03), (0, -0.02, -0.04), (0, -0.06, 0.03), (0, -0.02, -0.04)],
    ]),
    NW_UCLA_20.name: np.concatenate([[(0, 0, 0), (0, 0.06, 0), (0, 0.40, 0), (0, 0.20, -0.03)], _LIMBS]),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Body:
    """One performer: bones and manner."""

    skeleton: Skeleton
    offsets: Floats
    """(V, 3) metres from each joint's parent."""
    speed: float
    size_of_motion: float


def make_body(skeleton: Skeleton, rng: np.random.Generator) -> Body:
    """A performer of random height, proportions, speed and liveliness."""
    offsets = OFFSETS[skeleton.name].copy()
    legs, trunk = slice(12, 20), slice(0, 4)
    arms = np.r_[4:12, 21 : skeleton.num_joints]
    for part in (legs, trunk, arms):
        offsets[part] *= rng.uniform(0.92, 1.08)
    offsets *= rng.uniform(0.88, 1.1)  # height 1.54 to 1.93 m
    offsets[:, 0] *= rng.uniform(0.9, 1.15)  # width
    return Body(skeleton, offsets, speed=rng.uniform(0.85, 1.2), size_of_motion=rng.uniform(0.85, 1.2))


def _hangs_on(skeleton: Skeleton) -> dict[int, int]:
    """Child -> parent with the pelvis (joint 0) as root, parents first: the same bones, spine turned."""
    parents = list(skeleton.parents)
    spine = [0]
    while parents[spine[-1]] != spine[-1]:
        spine.append(parents[spine[-1]])
    for lower, upper in pairwise(spine):
        parents[upper] = lower
    order = [0]
    for joint in order:
        order += [child for child, parent in enumerate(parents) if parent == joint and child not in order]
    return {joint: parents[joint] for joint in order[1:]}


def rotations(turns: Floats) -> Floats:
    """Rotation vectors (..., 3) in radians -> matrices (..., 3, 3) (Rodrigues)."""
    angle = np.linalg.norm(turns, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(turns, -1, 0)
    o = np.zeros_like(x)
    cross = np.stack([o, -z, y, z, o, -x, -y, x, o], axis=-1).reshape(*turns.shape, 3)
    return np.eye(3) + np.sinc(angle / np.pi) * cross + np.sinc(angle / 2 / np.pi) ** 2 / 2 * cross @ cross


def pose(body: Body, turns: Floats) -> Floats:
    """Each joint's turn (T, V, 3) in radians -> joints (T, V, 3) in metres, pelvis at the origin."""
    frames = rotations(turns)
    joints = np.zeros_like(turns)
    for joint, parent in _hangs_on(body.skeleton).items():
        joints[:, joint] = joints[:, parent] + frames[:, parent] @ body.offsets[joint]
        frames[:, joint] = frames[:, parent] @ frames[:, joint]
    return joints


def wave(phase: Floats, rise: float) -> Floats:
    """-1 to 1 and back, once a cycle; smooth, of mean 0; `rise` is the share spent on the way up."""
    phase = phase % 1
    return -np.cos(np.pi * np.where(phase < rise, phase / rise, 1 + (phase - rise) / (1 - rise)))


def softplus(angle: Floats) -> Floats:
    """Radians, kept above 0 without a jolt: a hinge bends one way."""
    return np.logaddexp(0, 12 * angle) / 12


def perform(body: Body, motion: Motion, num_frames: int, phase: float, rng: np.random.Generator) -> Floats:
    """Joints (T, V, 3) in metres of one performance, facing -z, the lowest foot on the floor, y = 0."""
    seconds = np.arange(num_frames)[:, None, None] / FPS
    V = body.skeleton.num_joints
    turns = np.zeros((V, 3))
    for joint, (low, high) in POSTURES.items():
        turns[joint] = rng.uniform(low, high)
        if joint >= R_SHOULDER:
            turns[joint - 4] = rng.uniform(low, high) * (1, -1, -1)
    drift = np.sin(2 * np.pi * (seconds * rng.uniform(0.1, 0.5, (V, 3)) + rng.random((V, 3))))
    turns = turns + 0.06 * drift  # radians; nobody stands quite still
    cycles = seconds[:, 0, 0] * motion.rate * body.speed * rng.uniform(0.92, 1.08)
    size = body.size_of_motion * rng.uniform(0.85, 1.15)
    for swing in motion.swings:
        swung = wave(cycles + phase - swing.lag, motion.rise)[:, None]
        turns[:, swing.joint] += size * swung * (swing.x, swing.y, swing.z)
    for hinge, way in ((L_ELBOW, 1), (R_ELBOW, 1), (L_KNEE, -1), (R_KNEE, -1)):
        turns[:, hinge, 0] = way * softplus(way * turns[:, hinge, 0])
    joints = pose(body, turns)
    joints[..., 1] -= joints[:, FEET, 1].min(axis=1, keepdims=True)
    return joints


def turn_and_move(joints: Floats, yaw: float, at: Sequence[float]) -> Floats:
    """Turn joints (..., 3) by `yaw` radians about the vertical, then move them by `at` metres."""
    return joints @ rotations(np.array([0.0, yaw, 0.0])).T + np.asarray(at)


def film(
    people: Sequence[Floats], yaw: float, pitch: float, distance: float, rng: np.random.Generator
) -> list[Floats]:
    """People (T, V, 3) round the origin -> as a camera sees them: metres, y up, z away from it."""
    turn = rotations(np.array([pitch, 0.0, 0.0])) @ rotations(np.array([0.0, yaw, 0.0]))
    at = (rng.uniform(-0.4, 0.4), rng.uniform(-1.0, -0.75), distance + rng.uniform(-0.4, 0.4))
    return [person @ turn.T + at + rng.normal(0, SENSOR_NOISE, person.shape) for person in people]
