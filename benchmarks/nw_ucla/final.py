"""Final runs: trained on all training clips, scored on the test split after the last epoch."""

import argparse
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from nw_ucla.plan import Spec
from nw_ucla.trial import Trial
from pipelines.errors import TsgcError
from shards.manifest import Manifest
from tsgc.config import parse_settings, resolve_config
from tsgc.evaluation.scores import Scores, ScoreSource, all_and_clean, write_scores
from tsgc.input.tta import views
from tsgc.workspace.runs import run_folder, scores_path


def make_specs(options: argparse.Namespace, manifest: Manifest) -> list[Spec]:
    """A training on all training clips for each stream and seed, of the recipe and --set."""
    specs = []
    for seed in options.seed or [0]:
        for modality in options.modality or ["joint"]:
            config = resolve_config(
                manifest.benchmark,
                config=options.config,
                settings=options.set,
                options={"modality": modality, "seed": seed},
            )
            visits = config.epochs * config.repeats * len(manifest.clips["train"])
            told = parse_settings(options.set)
            file = options.save / f"{modality}-all-seed{seed}.safetensors" if options.save else None
            name, dataset = f"final {modality}", manifest.dataset
            specs.append(Spec(name, told, config, "all", visits, options.init, file, dataset=dataset))
    return specs


def check_places(specs: Sequence[Spec]) -> None:
    """Refuse to write weights over those of another training, which students may have learned from."""
    for spec in specs:
        if spec.save is not None and spec.save.exists():
            raise TsgcError(f"{spec.save}: is there, of another training; give another --save, or remove it")


def answers(trial: Trial, tta: str) -> dict[str, np.ndarray]:
    """Logits (N, K) by the score file's name: of raw and averaged weights, of plain clips and of views."""
    found = {
        "last" + suffix.replace("_", "-"): logits for suffix, logits in trial.logits(trial.plain).items()
    }
    if tta != "none":
        seen = [trial.logits(trial.seen(view)) for view in views(tta)]
        for suffix in seen[0]:
            name = "last" + suffix.replace("_", "-") + f"-tta-{tta}"
            found[name] = np.mean([logits[suffix] for logits in seen], axis=0)
    return found


def final_scorer(folder: Path, why: str, tta: str = "none") -> Callable[[Trial], dict[str, Any]]:
    """A function that scores a finished training: it writes score files, and returns the test's figures.

    `tta`: views whose mean logits are scored too; they are decided before the test is seen.
    """

    def score(trial: Trial) -> dict[str, Any]:
        config = trial.config
        test, which = trial.judge
        manifest = test.manifest
        figures: dict[str, Any] = {}
        for name, logits in answers(trial, tta).items():
            source = ScoreSource(
                benchmark=manifest.benchmark,
                split="test",
                preset=manifest.preset,
                variant=config.network_name,
                modality=config.modality,
                seed=config.seed,
                checkpoint=name,
                selected_on="none",
                tta=tta if "-tta-" in name else "none",
                class_names=list(manifest.class_names),
            )
            clips = test.clips.select(np.isin(np.arange(len(test.clips)), which))
            scores = Scores(np.asarray(clips.names), clips.labels, logits, clips.repeats, source)
            write_scores(scores_path(run_folder(folder, manifest.benchmark, config), "test", name), scores)
            for part, found in all_and_clean(scores).items():
                figures[f"{name} {part}"] = {"top1": found.top1, "mean_class": found.mean_class}
        look = {"benchmark": manifest.benchmark, "date": date.today().isoformat(), "why": why}
        return {"test": figures, **look}

    return score
