"""What is to be tried: a YAML plan of configurations, each with seeds and folds, in order of priority.

A plan:

    base: {variant: "252", frames: 64}      # on top of before.yaml, or of `recipe: FILE`
    clips: 500000                           # visits to clips that each training has; sets epochs and warm-up
    seeds: [0]
    folds: [views, performers]              # of folds.py, or all of a witness (default: views)
    rounds: true                            # all trials' first seeds, then all second ones (default: false)
    datasets:                               # what one data set has in place of these; `base`: on top of it
      msr-action3d: {recipe: configs/custom.yaml, clips: 182000, base: {warmup_epochs: 5}}
    trials:
      - name: rotation 90
        set: {rotation_max: 90}             # on top of base; `clips`, `seeds`, `folds` may stand here too
      - name: pretrained
        init: runs/made/people/252/joint/seed0   # weights, or a run's folder, as `tsgc train --init` takes
      - name: a teacher
        save: joint                         # its averaged weights are kept, in the folder of --save
      - name: a student
        set: {distil: 0.9}
        teachers: [joint]                   # what earlier trials save, of the same fold
        teacher_seed: 0                     # default: of the student's own seed
      - name: pairs
        twins: {kind: same, weight: 0.5}    # ideas/settings.py
      - name: first without labels
        pretrain: {clips: 300000, mask: 0.5, target: joints}
      - name: parts described
        describe: {weight: 0.3}
      - name: other mirrors
        datasets: {msr-action3d: {set: {mirror: 0.5}}}   # for one data set alone; `clips` may stand here too
"""

import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nw_ucla.folds import CLIP_FIELDS, FOLDS, NW_UCLA, named_folds
from nw_ucla.ideas.settings import (
    Describe,
    Pretraining,
    Twins,
    read_describe,
    read_pretraining,
    read_twins,
)
from nw_ucla.weights import weights_digest, weights_file
from pipelines.errors import TsgcError
from tsgc.config import REMOVED, TrainConfig, build_config, read_yaml

BEFORE = Path(__file__).parent / "before.yaml"
WARM_UP = 0.05  # of the epochs
KEYS = {"base", "recipe", "clips", "seeds", "folds", "rounds", "init", "datasets", "trials"}
TRIAL_KEYS = {
    "name", "set", "clips", "seeds", "folds", "init", "save", "teachers", "teacher_seed", "datasets",
    "twins", "pretrain", "describe",
}  # fmt: skip
DATASET_KEYS = {"base", "recipe", "clips"}
TRIAL_DATASET_KEYS = {"set", "clips"}
TEACHING = 1 / 3  # of a step: a teacher's forward pass
# Settings that came after the first results, as those were made without them.
LATER = {
    "layer_scale": None, "teachers": (), "distil": 0.5, "distil_temperature": 2.0, "relabel": {},
    "occlusion": 0.0, "occlusion_radius": 0.08, "trained_in": None,
    "optimiser": "adamw", "schedule": "cosine", "lr_steps": (), "decay_biases": False,
    "network": "tsgcnext", "network_settings": {}, "mutual": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """One training to be done."""

    name: str
    settings: dict[str, Any]
    """What the trial changes of the plan's base."""
    config: TrainConfig
    fold: str
    """A key of FOLDS."""
    clips: int
    """Visits to clips that the training makes, about."""
    init: Path | None = None
    """Weights that it starts from: a file, or a run's folder."""
    save: Path | None = None
    """Where its averaged weights go."""
    taught_by: tuple[str, ...] = ()
    """Keys of the plan's trainings that its configuration's teachers are."""
    dataset: str = NW_UCLA
    twins: Twins | None = None
    pretrain: Pretraining | None = None
    describe: Describe | None = None

    @property
    def key(self) -> str:
        """A digest of the configuration, of the weights that it starts from and of its teachers.

        A training with a known key is not done again. Teachers count by their own keys, as they may not be
        trained yet, or by the content of their files, not by their paths.
        """
        settings = {**REMOVED, **dataclasses.asdict(self.config)}  # as when the first results were made
        if settings["precision"] == "auto":
            settings["precision"] = "bf16"  # which the recipe said by name; trials run where `auto` is that
        kept = {name: value for name, value in settings.items() if name not in LATER or value != LATER[name]}
        what = {**kept, "fold": self.fold}
        if self.dataset != NW_UCLA:
            what["dataset"] = self.dataset
        if self.config.teachers:
            what["teachers"] = self.taught_by or [weights_digest(Path(name)) for name in self.config.teachers]
        if self.init is not None:
            what["init"] = weights_digest(self.init)
        ideas = {"twins": self.twins, "pretrain": self.pretrain, "describe": self.describe}
        for name, idea in ideas.items():
            if idea is not None:
                what[name] = dataclasses.asdict(idea)
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def ready(self) -> bool:
        """Whether its teachers are trained."""
        return not self.missing_teachers

    @property
    def missing_teachers(self) -> list[str]:
        """Keys of the plan's trainings that it waits for; a description file is written last."""
        files = zip(self.taught_by, self.config.teachers)
        return [key for key, name in files if not Path(name).with_suffix(".json").is_file()]

    @property
    def cost(self) -> float:
        """What a visit to a clip costs, over one without teachers."""
        return 1 + TEACHING * len(self.config.teachers)

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets whose training clips it sees, its own first."""
        return (self.dataset, *(self.pretrain.others if self.pretrain else ()))

    @property
    def work(self) -> float:
        """What the training costs, in visits: those before it, without labels, too."""
        return self.clips * self.cost + (self.pretrain.clips if self.pretrain else 0)


def with_clips(values: dict[str, Any], clips: int, num_clips: int) -> dict[str, Any]:
    """Epochs and warm-up such that about `clips` visits are made to `num_clips` training clips."""
    epochs = max(1, round(clips / (num_clips * values.get("repeats", 1))))
    return {"epochs": epochs, "warmup_epochs": round(WARM_UP * epochs), **values}


def read_plan(path: Path, counts: Mapping[str, int], folder: Path = Path()) -> list[Spec]:
    """The trainings of a plan in its order; `counts`: clips that train in each fold whose data set is there.

    `folder`: where trials keep weights and find their teachers. All of a trial's folds and seeds follow each
    other, or with `rounds` all of its folds. Raises TsgcError for keys and settings that are wrong.
    """
    plan = _checked(path)
    specs: list[Spec] = []
    turns: dict[int, list[Spec]] = defaultdict(list)
    saved: dict[tuple[str, str, int], Spec] = {}
    for trial in plan.get("trials", []):
        where = f"{path}: {trial['name']}"
        given = {**plan, **trial}
        init = Path(given["init"]) if given.get("init") else None
        for turn, seed in enumerate(given.get("seeds", [0])):
            for fold in _folds(path, given):
                settings, whole = _settings(plan, trial, fold, _count(path, fold, counts))
                teachers = _teachers(saved, trial, fold, seed, where)
                if teachers:
                    whole["teachers"] = [str(teacher.save) for teacher in teachers]
                    settings["teachers"] = "+".join(trial["teachers"])
                ideas = _ideas(trial, fold, counts, where)
                settings |= {key: str(idea) for key, idea in ideas.items()}
                config = build_config({**whole, "seed": seed, "holdout": True}, where)
                visits = config.epochs * config.repeats * counts[fold]
                by = tuple(teacher.key for teacher in teachers)
                spec = Spec(
                    str(trial["name"]), settings, config, fold, visits, init,
                    taught_by=by, dataset=FOLDS[fold].dataset, **ideas,
                )  # fmt: skip
                if name := trial.get("save"):
                    file = folder / f"{name}-{fold}-seed{seed}-{spec.key[:8]}.safetensors"
                    spec = saved[name, fold, seed] = dataclasses.replace(spec, save=file)
                specs.append(spec)
                turns[turn].append(spec)
    return [spec for turn in turns.values() for spec in turn] if plan.get("rounds") else specs


def _checked(path: Path) -> dict[str, Any]:
    """The plan in a file. Raises TsgcError for keys that are wrong."""
    plan = read_yaml(path)
    for place, keys, own_keys in [
        (plan, KEYS, DATASET_KEYS),
        *((trial, TRIAL_KEYS, TRIAL_DATASET_KEYS) for trial in plan.get("trials", [])),
    ]:
        _known(path, place, keys)
        _known(path, place.get("datasets", {}), set(CLIP_FIELDS))
        for own in place.get("datasets", {}).values():
            _known(path, own, own_keys)
    return plan


def _folds(path: Path, given: dict[str, Any]) -> list[str]:
    try:
        return named_folds(given.get("folds", ["views"]))
    except TsgcError as error:
        raise TsgcError(f"{path}: {error}") from None


def _count(path: Path, fold: str, counts: Mapping[str, int]) -> int:
    if fold not in counts:
        raise TsgcError(
            f"{path}: no clips for fold {fold}; give the shards of {FOLDS[fold].dataset}: --shards FOLDER"
        )
    return counts[fold]


def _settings(
    plan: dict[str, Any], trial: dict[str, Any], fold: str, count: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a trial changes of its plan's base, and all settings, for a fold of which `count` clips train."""
    dataset = FOLDS[fold].dataset
    own, theirs = (place.get("datasets", {}).get(dataset, {}) for place in (plan, trial))
    given = {**plan, **own, **trial, **theirs}
    recipe = read_yaml(Path(given["recipe"]) if "recipe" in given else BEFORE)
    for name in ("epochs", "warmup_epochs"):
        recipe.pop(name, None)
    base = {**(plan.get("base") or {}), **(own.get("base") or {})}
    changes = {**(trial.get("set") or {}), **(theirs.get("set") or {})}
    return changes, with_clips({**recipe, **base, **changes}, given["clips"], count)


def _teachers(
    saved: dict[tuple[str, str, int], Spec], trial: dict[str, Any], fold: str, seed: int, where: str
) -> list[Spec]:
    """The earlier trainings that a trial names as its teachers, of one fold."""
    seed = trial.get("teacher_seed", seed)
    for name in trial.get("teachers", []):
        if (name, fold, seed) not in saved:
            there = ", ".join(f"{name} {fold} seed {seed}" for name, fold, seed in saved) or "nothing"
            raise TsgcError(f"{where}: no earlier trial saves {name} {fold} seed {seed}; they save {there}")
    return [saved[name, fold, seed] for name in trial.get("teachers", [])]


def _ideas(trial: dict[str, Any], fold: str, counts: Mapping[str, int], where: str) -> dict[str, Any]:
    """`twins`, `pretrain` and `describe` of a trial in a fold, those that it has."""
    there = {FOLDS[one].dataset for one in counts}
    ideas = {
        "twins": read_twins(trial.get("twins"), where),
        "pretrain": read_pretraining(trial.get("pretrain"), FOLDS[fold].dataset, there, where),
        "describe": read_describe(trial.get("describe"), where),
    }
    return {name: idea for name, idea in ideas.items() if idea is not None}


def _known(path: Path, values: dict[str, Any], keys: set[str]) -> None:
    for key in values:
        if key not in keys:
            raise TsgcError(f"{path}: unknown key {key!r}; known: {', '.join(sorted(keys))}")


def startable(specs: Sequence[Spec]) -> tuple[list[Spec], list[str]]:
    """Trainings whose weights are there, and a line for each of the others, which have to wait for them."""
    ready, waiting = [], []
    for spec in specs:
        try:
            given = [] if spec.taught_by else [Path(name) for name in spec.config.teachers]
            for file in given if spec.init is None else [spec.init, *given]:
                weights_file(file)
            ready.append(spec)
        except TsgcError as error:
            waiting.append(f"{spec.name} {spec.fold} seed {spec.config.seed} is left out: {error}")
    return ready, waiting
