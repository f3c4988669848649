"""What part of NW-UCLA's joints `occlusion` takes as hidden, as recorded and turned about the vertical.

    python benchmarks/hidden_nw_ucla.py

Training clips of each view alone; the test split is not read.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from nw_ucla.data import ResidentClips

from shards.load_manifest import load_manifest
from tsgc.config import TrainConfig
from tsgc.input.geometry import rotation_matrices, turn
from tsgc.input.occlusion import hidden
from tsgc.input.rotation import AXIS_ORDER

DEGREES = (0, 45, -45, 90, -90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=Path, default=Path("data/shards/nw-ucla/xview"))
    parser.add_argument("--radius", type=float, default=TrainConfig().occlusion_radius)
    asked = parser.parse_args()
    clips = ResidentClips(load_manifest(asked.shards), "train", torch.device("cpu"))
    body = clips.manifest.body
    print(f"| view | {' | '.join(f'{degrees} degrees' for degrees in DEGREES)} |")
    print("|---" * (1 + len(DEGREES)) + "|")
    for view in sorted(set(clips.fields["views"])):
        joints = clips.batch(np.flatnonzero(clips.fields["views"] == view)).joints
        row_clip = torch.zeros(len(joints), dtype=torch.int64)
        cells = []
        for degrees in DEGREES:
            angles = torch.tensor([[0, np.deg2rad(degrees), 0]], dtype=torch.float32)
            turned = turn(joints, rotation_matrices(angles, AXIS_ORDER["vertical"]), row_clip)
            cells.append(f"{100 * hidden(turned, body, asked.radius).float().mean().item():.1f} %")
        print(f"| {view} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
