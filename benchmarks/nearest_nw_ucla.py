"""How alike one performance looks from two cameras, by normalisation: nearest neighbours, no training.

    python benchmarks/nearest_nw_ucla.py

Each clip of one training view of NW-UCLA gets the class of the clip of the other that is nearest (all joints
of 16 frames), either as they are or with the other view's clips turned about the vertical, -90 to 90 degrees.
The test split is not read.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
from nw_ucla.data import ResidentClips
from nw_ucla.folds import fold_clips, folds_of

from shards.load_manifest import load_manifest
from tsgc.config import TrainConfig
from tsgc.input.pipeline import InputPipeline
from tsgc.input.tta import PLAIN, View

FRAMES = 16
TURNS = tuple(View(degrees=float(degrees)) for degrees in range(-90, 91, 15))
INPUTS = {
    "metres, first frame's spine at 0": {},
    "metres, middle of the extents at 0": {"centre": "middle"},
    "metres, shoulders turned to the camera": {"align": "facing", "centre": "middle"},
    "spine scale, first frame's spine at 0": {"normalise": "spine"},
    "spine scale, middle of the extents at 0": {"normalise": "spine", "centre": "middle"},
    "one scale for all axes (unit)": {"normalise": "unit"},
    "each axis by itself (min-max)": {"normalise": "min-max"},
}


def input_features(
    pipeline: InputPipeline, clips: ResidentClips, which: np.ndarray, view: View
) -> torch.Tensor:
    return pipeline.test(clips.batch(which), torch.device("cpu"), view)[0].flatten(1)


def agreement(pipeline: InputPipeline, clips: ResidentClips, fold: str, views: tuple[View, ...]) -> float:
    """Part of the validating view's clips, in percent, whose nearest training clip is of their class."""
    known, asked = fold_clips(clips.fields, fold)
    memory = torch.cat([input_features(pipeline, clips, known, view) for view in views])
    labels = torch.from_numpy(np.tile(clips.clips.labels[known], len(views)))
    nearest = torch.cdist(input_features(pipeline, clips, asked, PLAIN), memory).argmin(1)
    return 100 * (labels[nearest] == torch.from_numpy(clips.clips.labels[asked])).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=Path, default=Path("data/shards/nw-ucla/xview"))
    manifest = load_manifest(parser.parse_args().shards)
    clips = ResidentClips(manifest, "train", torch.device("cpu"))
    print("| input | as it is: view 1 to 2, 2 to 1 | turned: view 1 to 2, 2 to 1 |\n|---|---|---|")
    for name, changes in INPUTS.items():
        config = dataclasses.replace(
            TrainConfig(), frames=FRAMES, rotation="none", face_camera=False, **changes
        )
        pipeline = InputPipeline(config, manifest.body, 1, manifest.absent_body)
        cells = [
            ", ".join(f"{agreement(pipeline, clips, fold, views):.1f}" for fold in folds_of("views"))
            for views in ((PLAIN,), TURNS)
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
