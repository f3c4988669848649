"""Made clips in the real raw formats: NTU `.skeleton` text, flaws included, and NW-UCLA JSON.

Each clip is a performance of its own (the real cameras film one performance together), drawn from a
generator seeded by the clip's numbers: the same seed gives the same bytes, whatever else is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from pipelines.errors import TsgcError
from pipelines.skeleton import NTU_25, NW_UCLA_20
from pipelines.synthetic.bodies import (
    NTU_MOTIONS,
    NTU_PAIRED_MOTIONS,
    NW_UCLA_MOTIONS,
    SENSOR_NOISE,
    TWO_PERSON_ACTIONS,
    Floats,
    Motion,
    film,
    make_body,
    perform,
    turn_and_move,
)

NTU_ACTIONS = (7, 10, 18, 19, 23, 24, 50, 58)
NTU_PERFORMERS = (1, 2, 4, 5, 8, 9, 13, 14, 3, 6, 7, 10)  # the last four are in NTU-60's xsub test split


def _length(shortest: int, longest: int, rng: np.random.Generator) -> int:
    """Frames; short clips are commoner, as in the real sets."""
    return shortest + int((longest + 1 - shortest) * rng.random() ** 2)


# NTU RGB+D -----------------------------------------------------------------------------------------------

CAMERA_YAW = {1: 0.0, 2: -0.4, 3: 0.4}  # radians
# Shares of clips that carry each flaw of the real files.
GHOST, FURNITURE, EMPTY_FRAMES, ID_SWITCH, LATE_PARTNER = 0.15, 0.1, 0.15, 0.08, 0.2
FIRST_BODY_ID = 72057594037927936  # 2 ** 56, where Kinect v2 starts counting


@dataclass(frozen=True, eq=False)
class MadeTrack:
    """One body id of a clip."""

    body_id: int
    frames: NDArray[np.int64]
    """(F,) frame numbers in the file."""
    joints: Floats
    """(F, V, 3) metres, in camera coordinates."""
    actor: int
    """0 or 1: a person of the action; -1: noise, for the preparation to drop."""


@dataclass(frozen=True, eq=False)
class NtuClip:
    """One `.skeleton` file before it is written."""

    name: str
    num_frames: int
    tracks: tuple[MadeTrack, ...]
    """The bodies, in the order in which a frame lists them."""


def _ntu_motions(action: int) -> tuple[Motion, ...]:
    """One motion a person; actions without their own borrow one, so that all 120 can be written."""
    if action in NTU_MOTIONS:
        return (NTU_MOTIONS[action],)
    if action in TWO_PERSON_ACTIONS:
        pairs = list(NTU_PAIRED_MOTIONS.values())
        return NTU_PAIRED_MOTIONS.get(action, pairs[action % len(pairs)])
    return (list(NTU_MOTIONS.values())[action % len(NTU_MOTIONS)],)


def ntu_clip(
    setup: int, camera: int, performer: int, replication: int, action: int, *, seed: int = 0
) -> NtuClip:
    """One NTU clip of 40 to 110 frames, flaws included; the same numbers and seed give the same clip."""
    if camera not in CAMERA_YAW or not 1 <= action <= 120:
        raise TsgcError(f"camera {camera}, action {action}: expected camera 1 to 3 and action 1 to 120")
    rng = np.random.default_rng([seed, 25, setup, camera, performer, replication, action])
    num_frames, phase = _length(40, 110, rng), rng.random()
    motions = _ntu_motions(action)
    people = []
    for person, motion in enumerate(motions):
        body = make_body(NTU_25, np.random.default_rng([seed, 25, performer, person]))
        people.append(perform(body, motion, num_frames, phase, rng))
    if len(people) == 2:  # face to face, seen from the side
        apart = rng.uniform(0.9, 1.3) / 2
        people = [
            turn_and_move(people[0], -np.pi / 2, (-apart, 0, 0)),
            turn_and_move(people[1], np.pi / 2, (apart, 0, 0)),
        ]
    yaw = CAMERA_YAW[camera] + rng.uniform(-0.25, 0.25)
    people = film(people, yaw, rng.uniform(-0.05, 0.1), 3.0, rng)
    return NtuClip(
        name=f"S{setup:03}C{camera:03}P{performer:03}R{replication:03}A{action:03}",
        num_frames=num_frames,
        tracks=_with_flaws(people, num_frames, rng),
    )


def _with_flaws(people: Sequence[Floats], num_frames: int, rng: np.random.Generator) -> tuple[MadeTrack, ...]:
    """The people's tracks, and for some clips ghosts, furniture, empty frames and changes of body id."""
    shown = [np.arange(num_frames) for _ in people]
    ids = (FIRST_BODY_ID + int(rng.integers(1000, 30000)) + np.cumsum(rng.integers(1, 9, 5))).tolist()
    if len(people) == 2 and rng.random() < LATE_PARTNER:
        shown[1] = shown[1][rng.integers(3, 9) :]
    tracks = [
        MadeTrack(ids.pop(), at, person[at], actor) for actor, (at, person) in enumerate(zip(shown, people))
    ]
    empty: NDArray[np.int64] = np.zeros(0, np.int64)
    if rng.random() < EMPTY_FRAMES:
        empty = rng.choice(np.arange(1, num_frames - 1), rng.integers(1, 5), replace=False)
    elif len(people) == 1 and rng.random() < ID_SWITCH:  # lost for some frames, then found as a new body
        cut = int(rng.integers(15, num_frames - 18))
        empty = np.arange(cut, cut + rng.integers(1, 4))
        before, after = np.arange(cut), np.arange(empty[-1] + 1, num_frames)
        tracks = [MadeTrack(ids.pop(), at, people[0][at], 0) for at in (before, after)]
    if rng.random() < GHOST:  # too short: a glimpse of somebody walking past
        start = int(rng.integers(0, num_frames - 12))
        at = np.arange(start, start + rng.integers(3, 12))
        tracks.append(MadeTrack(ids.pop(), at, people[0][at] + (rng.choice([-1.2, 1.2]), 0.1, 0.6), -1))
    if rng.random() < FURNITURE:  # too wide: a sofa taken for a body
        at = np.arange(rng.integers(0, num_frames // 3), num_frames)
        sofa = rng.uniform((-0.6, -0.7, 2.5), (0.6, -0.3, 2.8), (25, 3))
        sofa_joints = sofa + rng.normal(0, SENSOR_NOISE, (len(at), 25, 3))
        tracks.insert(int(rng.integers(0, len(tracks) + 1)), MadeTrack(ids.pop(), at, sofa_joints, -1))
    return tuple(_without(track, empty) for track in tracks)


def _without(track: MadeTrack, frames: NDArray[np.int64]) -> MadeTrack:
    keep = ~np.isin(track.frames, frames)
    return replace(track, frames=track.frames[keep], joints=track.joints[keep])


def _orientations(joints: Floats) -> Floats:
    """Unit quaternions w x y z (T, 25, 4) that turn "up" along each bone; zero at the ends of limbs."""
    bones = joints - joints[:, NTU_25.parents]
    bones /= np.linalg.norm(bones, axis=-1, keepdims=True).clip(1e-9)
    x, y, z = np.moveaxis(bones, -1, 0)
    turn = np.stack([1 + y, z, np.zeros_like(x), -x], axis=-1)  # half-way quaternion, before its length
    turn /= np.linalg.norm(turn, axis=-1, keepdims=True).clip(1e-9)
    ends = [joint for joint in range(25) if joint not in NTU_25.parents or joint in (22, 24)]
    turn[:, ends] = 0
    return turn


def _seven_digits(values: Floats) -> NDArray[np.float32]:
    """Rounded to 7 significant digits: in float32 their shortest decimal form is then that long at most."""
    scale = 10.0 ** (6 - np.floor(np.log10(np.abs(values).clip(1e-9))))
    return (np.rint(values * scale) / scale + 0.0).astype(np.float32)  # + 0.0: no "-0"


def _body_blocks(track: MadeTrack, rng: np.random.Generator) -> list[bytes]:
    """The text of one body in each of its frames."""
    x, y, z = np.moveaxis(track.joints, -1, 0)
    fields = np.empty((*x.shape, 12))
    fields[..., :3] = track.joints
    # Pinhole cameras fitted to real files: pixels of the depth and of the colour picture.
    fields[..., 3], fields[..., 4] = 256 + 365 * x / z, 208 - 365 * y / z
    fields[..., 5], fields[..., 6] = 960 + 1060 * (x + 0.054) / z, 540 - 1060 * y / z
    fields[..., 7:11] = _orientations(track.joints)
    fields[..., 11] = np.where(rng.random(x.shape) < 0.05, 1, 2)  # 1 inferred, 2 tracked
    text = orjson.dumps(_seven_digits(fields), option=orjson.OPT_SERIALIZE_NUMPY)
    text = text.replace(b".0,", b",").replace(b".0]", b"]").replace(b"],[", b"\r\n").replace(b",", b" ")
    lean = _seven_digits(_lean(track.joints))
    hands = rng.integers(0, 2, 4)
    flags = f"{track.body_id} 0 {hands[0]} {hands[1]} {hands[2]} {hands[3]} 0"
    return [
        f"{flags} {right:.7g} {forward:.7g} 2\r\n25\r\n".encode() + block + b"\r\n"
        for (right, forward), block in zip(lean.tolist(), text[3:-3].split(b"]\r\n["))
    ]


def _lean(joints: Floats) -> Floats:
    """Lean of the trunk (T, 2), right and forward, as Kinect reports it: -1 to 1 for 45 degrees."""
    spine = joints[:, 20] - joints[:, 0]
    return (np.arctan2(spine[:, [0, 2]], spine[:, [1]]) * (1, -1) / (np.pi / 4)).clip(-1, 1)


def ntu_text(clip: NtuClip) -> bytes:
    """The clip as a `.skeleton` file (lines end in CR LF, as in the real ones)."""
    rng = np.random.default_rng(list(clip.name.encode()))
    frames: list[list[bytes]] = [[] for _ in range(clip.num_frames)]
    for track in clip.tracks:
        for frame, block in zip(track.frames, _body_blocks(track, rng)):
            frames[frame].append(block)
    return b"%d\r\n" % clip.num_frames + b"".join(
        b"%d\r\n" % len(bodies) + b"".join(bodies) for bodies in frames
    )


def write_ntu(
    folder: Path,
    *,
    actions: Sequence[int] = NTU_ACTIONS,
    performers: Sequence[int] = NTU_PERFORMERS,
    cameras: Sequence[int] = (1, 2, 3),
    replications: Sequence[int] = (1, 2),
    setups: Sequence[int] = (1, 2),
    seed: int = 0,
) -> list[str]:
    """Write NTU clips below `folder`, in the subfolders of the real download; returns their names.

    Performer i of the list is filmed in setup i modulo the number of setups. S001-S017 go to
    `nturgb+d_skeletons`, later ones to `nturgb+d_skeletons120`.
    """
    names = []
    for (i, performer), action, camera, replication in product(
        enumerate(performers), actions, cameras, replications
    ):
        setup = setups[i % len(setups)]
        clip = ntu_clip(setup, camera, performer, replication, action, seed=seed)
        target = Path(folder) / ("nturgb+d_skeletons" if setup <= 17 else "nturgb+d_skeletons120")
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{clip.name}.skeleton").write_bytes(ntu_text(clip))
        names.append(clip.name)
    return names


# NW-UCLA -------------------------------------------------------------------------------------------------

VIEWS = {1: (-0.4, 0.0, 2.8), 2: (0.1, 0.05, 2.4), 3: (0.6, 0.2, 3.2)}  # yaw, pitch in radians; metres away


def nw_ucla_clip(action: int, subject: int, episode: int, view: int, *, seed: int = 0) -> tuple[str, Floats]:
    """Name and joints (T, 20, 3) in metres of one NW-UCLA clip of 20 to 80 frames."""
    if action not in NW_UCLA_MOTIONS or view not in VIEWS:
        expected = f"view 1 to 3 and an action of {', '.join(map(str, NW_UCLA_MOTIONS))}"
        raise TsgcError(f"view {view}, action {action}: expected {expected}")
    rng = np.random.default_rng([seed, 20, action, subject, episode, view])
    body = make_body(NW_UCLA_20, np.random.default_rng([seed, 20, subject]))
    person = perform(body, NW_UCLA_MOTIONS[action], _length(20, 80, rng), rng.random(), rng)
    yaw, pitch, distance = VIEWS[view]
    (joints,) = film([person], yaw + rng.uniform(-0.3, 0.3), pitch, distance, rng)
    return f"a{action:02}_s{subject:02}_e{episode:02}_v{view:02}", joints


def write_nw_ucla(
    folder: Path,
    *,
    subjects: Sequence[int] = (1, 2, 3, 4, 5, 6),
    episodes: Sequence[int] = (0, 1, 2),
    views: Sequence[int] = (1, 2, 3),
    seed: int = 0,
) -> list[str]:
    """Write NW-UCLA clips of all ten actions as `folder/all_sqe/*.json`; returns their names."""
    target = Path(folder) / "all_sqe"
    target.mkdir(parents=True, exist_ok=True)
    names = []
    for action, subject, episode, view in product(NW_UCLA_MOTIONS, subjects, episodes, views):
        name, joints = nw_ucla_clip(action, subject, episode, view, seed=seed)
        content = {
            "file_name": name,
            "skeletons": joints.round(6).tolist(),
            "label": list(NW_UCLA_MOTIONS).index(action) + 1,  # 1 to 10; action numbers have gaps
        }
        text = orjson.dumps(content).replace(b",", b", ").replace(b":", b": ")
        (target / f"{name}.json").write_bytes(text)
        names.append(name)
    return names
