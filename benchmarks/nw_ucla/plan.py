"""What is to be tried: a YAML plan of configurations, each with seeds and folds, in order of priority.

A plan:

    base: {variant: "252", frames: 64}      # on top of before.yaml, or of `recipe: FILE`
    clips: 500000                           # visits to clips that each training has; sets epochs and warm-up
    seeds: [0]
    folds: [1to2, 2to1]                     # train on one training view, validate on the other
    trials:
      - name: rotation 90
        set: {rotation_max: 90}             # on top of base; `clips`, `seeds`, `folds` may stand here too
      - name: pretrained
        init: runs/made/people/252/joint/seed0   # weights, or a run's folder, as `tsgc train --init` takes
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nw_ucla.start import digest
from pipelines.errors import TsgcError
from tsgc.config import TrainConfig, build, read_yaml

BEFORE = Path(__file__).parent / "before.yaml"
FOLDS = {"1to2": (1, 2), "2to1": (2, 1)}  # views that train and validate
WARM_UP = 0.05  # of the epochs
KEYS = {"base", "recipe", "clips", "seeds", "folds", "init", "trials"}
TRIAL_KEYS = {"name", "set", "clips", "seeds", "folds", "init"}
# Settings that came after the first results, as those were made without them.
LATER = {"layer_scale": None, "teachers": (), "distil": 0.5, "distil_temperature": 2.0}


@dataclass(frozen=True)
class Spec:
    """One training to be done."""

    name: str
    settings: dict[str, Any]
    """What the trial changes of the plan's base."""
    config: TrainConfig
    fold: str
    """A key of FOLDS, or `all`: both views train."""
    clips: int
    """Visits to clips that the training makes, about."""
    init: Path | None = None
    """Weights that it starts from: a file, or a run's folder."""

    @property
    def key(self) -> str:
        """Of the whole configuration, and of the weights it starts from: what is done is not done again."""
        settings = dataclasses.asdict(self.config)
        kept = {name: value for name, value in settings.items() if name not in LATER or value != LATER[name]}
        what = {**kept, "fold": self.fold}
        if self.init is not None:
            what["init"] = digest(self.init)
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def with_clips(values: dict[str, Any], clips: int, num_clips: int) -> dict[str, Any]:
    """Epochs and warm-up such that about `clips` visits are made to `num_clips` training clips."""
    epochs = max(1, round(clips / (num_clips * values.get("repeats", 1))))
    return {"epochs": epochs, "warmup_epochs": round(WARM_UP * epochs), **values}


def read_plan(path: Path, counts: dict[str, int]) -> list[Spec]:
    """The trainings of a plan in its order; `counts`: training clips of each fold.

    All of a trial's folds and seeds follow each other. Raises TsgcError for keys and settings that are wrong.
    """
    plan = read_yaml(path)
    _known(path, plan, KEYS)
    recipe = read_yaml(Path(plan["recipe"]) if "recipe" in plan else BEFORE)
    for name in ("epochs", "warmup_epochs"):
        recipe.pop(name, None)
    specs = []
    for trial in plan.get("trials", []):
        _known(path, trial, TRIAL_KEYS)
        settings = trial.get("set") or {}
        values = {**recipe, **(plan.get("base") or {}), **settings}
        given = {**plan, **trial}
        init = Path(given["init"]) if given.get("init") else None
        for seed in given.get("seeds", [0]):
            for fold in given.get("folds", list(FOLDS)):
                if fold not in FOLDS:
                    raise TsgcError(f"{path}: fold {fold!r}, expected one of {', '.join(FOLDS)}")
                whole = with_clips(values, given["clips"], counts[fold])
                config = build({**whole, "seed": seed, "holdout": True}, f"{path}: {trial['name']}")
                visits = config.epochs * config.repeats * counts[fold]
                specs.append(Spec(str(trial["name"]), settings, config, fold, visits, init))
    return specs


def _known(path: Path, values: dict[str, Any], keys: set[str]) -> None:
    for key in values:
        if key not in keys:
            raise TsgcError(f"{path}: unknown key {key!r}; known: {', '.join(sorted(keys))}")
