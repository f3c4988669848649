"""Made score files, and runs made of little more than them, for the tests of fusion."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson

from tsgc.config import TrainConfig, to_yaml
from tsgc.evaluation.scores import Scores, ScoreSource, write_scores
from tsgc.workspace.runs import run_folder, scores_path

SOURCE = ScoreSource(
    "ntu60/xsub", "test", "reference", "252", "joint", 0, "last", "none", [f"c{k}" for k in range(10)]
)


def clip_names(count: int) -> np.ndarray:
    """Names like NTU's, in another order than the published one."""
    names = [f"S{i % 17 + 1:03d}C{i % 3 + 1:03d}P{i * 7 % 40 + 1:03d}R{i // 60 + 1:03d}A{i % 60 + 1:03d}"
             for i in range(count)]  # fmt: skip
    return np.random.default_rng(0).permutation(names)


def make_scores(
    seed: int = 0, clips: int = 200, classes: int = 10, skill: float = 1.5, repeats: int = 0, **source: object
) -> Scores:
    """Logits that favour the right class by `skill`; names and labels are the same for every seed."""
    labels = np.random.default_rng(99).integers(0, classes, clips)
    logits = np.random.default_rng(seed).standard_normal((clips, classes))
    logits[np.arange(clips), labels] += skill
    flags = np.arange(clips) < repeats
    made = replace(SOURCE, **{"class_names": [f"c{k}" for k in range(classes)], **source})
    return Scores(clip_names(clips), labels, logits.astype(np.float32), flags, made)


def shuffled(scores: Scores, seed: int = 0) -> Scores:
    order = np.random.default_rng(seed).permutation(len(scores.names))
    columns = {name: getattr(scores, name)[order] for name in ("names", "labels", "logits", "repeats")}
    return replace(scores, **columns)


def make_run(
    root: Path, modality: str = "joint", variant: str = "252", seed: int = 0, holdout: bool = False,
    skill: float = 1.5, benchmark: str = "ntu60/xsub", repeats: int = 0,
) -> Path:  # fmt: skip
    """A run's folder with its settings and scores, as `tsgc train` leaves them, less the checkpoints."""
    config = replace(TrainConfig(), modality=modality, variant=variant, seed=seed, holdout=holdout)
    folder = run_folder(root, benchmark, config)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(config))
    (folder / "environment.json").write_bytes(orjson.dumps({"benchmark": benchmark}))
    noise = sum(map(ord, f"{modality}{variant}{seed}"))
    for split in ["test", "holdout"] if holdout else ["test"]:
        for index, name in enumerate(("last", "last-ema")):
            held = split == "holdout"
            scores = make_scores(
                noise + index + 1000 * held, 120 if held else 200, skill=skill,
                repeats=0 if held else repeats,
                split=split, checkpoint=name, modality=modality, variant=variant, benchmark=benchmark,
            )  # fmt: skip
            scores = replace(scores, source=replace(scores.source, seed=seed))
            write_scores(scores_path(folder, split, name), shuffled(scores, noise))
    return folder


def write_pickle(path: Path, scores: Scores, names: list[str] | None = None) -> Path:
    """{name: logits}, as CTR-GCN and its descendants save it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(dict(zip(names or scores.names.tolist(), scores.logits)), protocol=4))
    return path
