"""Made recordings in the formats of pose estimators and sensors, for tests."""

from pathlib import Path

import numpy as np

from pipelines.formats.kinect_text import MSR_ORDER


def walking(V: int, frames: int = 12, seed: int = 0) -> np.ndarray:
    """Joints (T, V, 3) of one body, in metres, y up, some 3 m from the sensor; all numbers short."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(-0.8, 0.8, (V, 3)) + np.array([0, 0.2, 3])
    return (places + rng.normal(0, 0.02, (frames, V, 3))).round(4)


def msr_text(joints: np.ndarray) -> bytes:
    """Joints (T, 20, 3) in the order of `kinect1-20`, as MSR-Action3D writes them."""
    theirs = np.zeros_like(joints)
    theirs[:, MSR_ORDER] = joints
    lines = [f"{x:.6f} {y:.6f} {z:.6f} 1.000000" for x, y, z in theirs.reshape(-1, 3)]
    return "\n".join(lines).encode() + b"\n"


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
