"""The plain chain: what the field's three preparation scripts do, line by line, one process, all in memory.

Written from their description, to measure against (benchmarks/preparation.md); the rules of cleaning are
the project's own, tested against the published output. First step: read every clip, line by line,
with the joints in metres and in pixels of the colour picture, and pickle them all. Second: read that,
choose the actors, place their joints and pixels frame by frame, and pickle again. Third: read that, centre
frame by frame, pad to 300 frames and two bodies, and write a dense `.npz`, split and with one-hot labels,
for each of the two benchmarks.
"""

import pickle
from pathlib import Path

import numpy as np

from pipelines.cleaning.denoise import denoise
from pipelines.datasets.ntu import XSUB120
from pipelines.reading.track import Track

V = 25
LONGEST = 300  # frames
Body = dict[str, list[np.ndarray]]


def parse_by_line(path: Path) -> tuple[dict[str, Body], int]:
    """Bodies of a clip, by id, and its frames that have any."""
    bodies: dict[str, Body] = {}
    valid = 0
    with path.open() as file:
        num_frames = int(file.readline())
        for _ in range(num_frames):
            num_bodies = int(file.readline())
            for _ in range(num_bodies):
                name = file.readline().split()[0]
                num_joints = int(file.readline())
                joints = np.zeros((num_joints, 3), np.float32)
                colours = np.zeros((num_joints, 2), np.float32)
                for joint in range(num_joints):
                    fields = file.readline().split()
                    joints[joint] = [float(field) for field in fields[:3]]
                    colours[joint] = [float(field) for field in fields[5:7]]
                body = bodies.setdefault(name, {"joints": [], "colours": [], "frames": []})
                body["joints"].append(joints)
                body["colours"].append(colours)
                body["frames"].append(np.array(valid))
            valid += num_bodies > 0
    return bodies, valid


def choose_actors(bodies: dict[str, Body], valid: int) -> tuple[np.ndarray, np.ndarray]:
    """The actors' joints (T, M * V * 3), and all bodies' pixels (T, bodies, V, 2)."""
    tracks = [
        Track(name, np.array(body["frames"]), np.stack(body["joints"])) for name, body in bodies.items()
    ]
    pixels = np.zeros((valid, len(bodies), V, 2), np.float32)
    for number, body in enumerate(bodies.values()):
        for frame, colours in zip(body["frames"], body["colours"]):
            pixels[frame, number] = colours
    joints, _ = denoise(tracks, valid)
    return joints.reshape(len(joints), -1), pixels


def centre_by_frame(actors: np.ndarray) -> np.ndarray:
    """Joint 2 of actor 1, from the first frame where it is, subtracted frame by frame."""
    first = next(frame for frame in actors if (frame[: V * 3] != 0).any())
    origin = first[3:6]
    centred = np.zeros_like(actors)
    for number, frame in enumerate(actors):
        moved = (frame.reshape(-1, V, 3) - origin).reshape(-1)
        if len(moved) == 2 * V * 3:
            for half in (slice(0, V * 3), slice(V * 3, None)):
                if frame[half].sum() == 0:
                    moved[half] = 0
        centred[number] = moved
    return centred


def save_pickle(content: object, path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump(content, file, pickle.HIGHEST_PROTOCOL)


def read_all(raw: Path, work: Path) -> None:
    """First step."""
    save_pickle({path.name: parse_by_line(path) for path in sorted(raw.iterdir())}, work / "raw.pkl")


def denoise_all(work: Path) -> None:
    """Second step."""
    clips = pickle.loads((work / "raw.pkl").read_bytes())
    save_pickle(
        {name: choose_actors(*clip) for name, clip in clips.items() if clip[0]}, work / "denoised.pkl"
    )


def transform_all(work: Path) -> None:
    """Third step."""
    clips = pickle.loads((work / "denoised.pkl").read_bytes())
    dense = np.zeros((len(clips), LONGEST, 2 * V * 3), np.float32)
    for number, (joints, _) in enumerate(clips.values()):
        centred = centre_by_frame(joints)
        dense[number, : len(centred), : centred.shape[1]] = centred
    labels = np.array([int(name[17:20]) - 1 for name in clips])
    one_hot = np.eye(120)[labels]
    performers, setups = (np.array([int(name[at : at + 3]) for name in clips]) for at in (9, 1))
    splits = {"xsub": np.isin(performers, sorted(XSUB120)), "xset": setups % 2 == 0}
    for benchmark, train in splits.items():
        np.savez(
            work / f"{benchmark}.npz",
            x_train=dense[train], y_train=one_hot[train], x_test=dense[~train], y_test=one_hot[~train],
        )  # fmt: skip


def chain(raw: Path, work: Path) -> None:
    """Everything, from the folder `raw` to `work/xsub.npz` and `work/xset.npz`."""
    read_all(raw, work)
    denoise_all(work)
    transform_all(work)
