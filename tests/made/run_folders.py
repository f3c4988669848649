"""Run folders as training leaves them, in any state, without a training: settings, figures, scores."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from made.scores import make_scores
from tsgc.config import to_yaml
from tsgc.evaluation.scores import write_scores
from tsgc.train_config import TrainConfig
from tsgc.workspace.runs import run_folder, scores_path


def make_run_folder(
    root: Path, benchmark: str = "ntu60/xsub", *, done: int | None = None, scored: bool | None = None,
    skill: float = 1.5, repeats: int = 20, started: float | None = None, folder: Path | None = None,
    environment: dict[str, Any] | None = None, **settings: Any,
) -> Path:  # fmt: skip
    """A run of `settings`, `done` of its epochs done (default: all), scored where all are.

    A fifth of an epoch's figures has an accuracy. `started`: seconds since 1970.
    """
    config = TrainConfig(**settings)
    folder = folder or run_folder(root, benchmark, config)
    done = config.epochs if done is None else done
    (folder / "checkpoints").mkdir(parents=True)
    about = {"benchmark": benchmark, "manifest_digest": "made", "init": "", **(environment or {})}
    (folder / "environment.json").write_bytes(orjson.dumps(about))
    lines = [{"epoch": epoch, "loss": 1.0, "seconds": 60.0, **({"test_top1": 40.0 + epoch / 10}
             if epoch % 5 == 0 else {})} for epoch in range(1, done + 1)]  # fmt: skip
    (folder / "metrics.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    for name in ("last", "last-ema"):
        (folder / f"checkpoints/{name}.safetensors").write_bytes(b"")
    (folder / "checkpoints/state.pt").write_bytes(b"state")
    if done >= config.epochs if scored is None else scored:
        for index, name in enumerate(("last", "last-ema")):
            seed = sum(map(ord, f"{config.modality}{config.variant}{config.seed}")) + index
            scores = make_scores(
                seed, skill=skill, repeats=repeats, split="test", checkpoint=name, benchmark=benchmark,
                modality=config.modality, variant=config.variant,
            )  # fmt: skip
            source = replace(scores.source, seed=config.seed)
            write_scores(scores_path(folder, "test", name), replace(scores, source=source))
    (folder / "config.yaml").write_text(to_yaml(config))
    if started is not None:
        os.utime(folder / "config.yaml", (started, started))
    return folder
