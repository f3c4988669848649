"""Tiny raw clips in the real file formats, for tests."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import ZipFile

import numpy as np

V = 25
UPRIGHT = np.stack([np.linspace(-0.2, 0.2, V), np.linspace(-0.9, 0.9, V), np.full(V, 3.0)], axis=1)

Frames = Sequence[Mapping[str, np.ndarray]]
"""Per frame, body id -> joints (25, 3), metres."""


def ntu_text(frames: Frames, line_end: str = "\r\n") -> bytes:
    """A `.skeleton` file; values are written so that they read back exactly."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for body, joints in bodies.items():
            lines += [f"{body} 0 1 1 1 1 0 0.01 -0.25 2", str(len(joints))]
            lines += [
                " ".join(map(repr, map(float, xyz))) + " 336.5 192.8 1184.5 489.4 0 0 0 1 2" for xyz in joints
            ]
    return (line_end.join(lines) + line_end).encode()


def standing(frames: int, seed: int = 0, move: float = 0.01) -> np.ndarray:
    """(frames, 25, 3): an upright body that wanders, unlike any other seed's."""
    rng = np.random.default_rng(seed)
    return (UPRIGHT + rng.normal(0, move, (frames, 1, 3)) + 0.3 * seed).astype(np.float32)


def ntu_clip(seed: int = 0, frames: int = 15, bodies: int = 1) -> bytes:
    """A well-formed clip of upright bodies."""
    tracks = {str(100 + body): standing(frames, 10 * seed + body) for body in range(bodies)}
    return ntu_text([{body: joints[frame] for body, joints in tracks.items()} for frame in range(frames)])


def nw_ucla_clip(label: int, frames: int = 6, seed: int = 0) -> bytes:
    joints = np.random.default_rng(seed).normal(0, 1, (frames, 20, 3)).round(6)
    return json.dumps({"file_name": "made", "skeletons": joints.tolist(), "label": label}).encode()


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path
