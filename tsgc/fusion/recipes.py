"""The published combinations of streams, by name."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import TsgcError
from tsgc.workspace.newest_runs import Say, newest_scored
from tsgc.workspace.runs import Run

ANY = ""  # any variant: the one with most of the recipe's streams


@dataclass(frozen=True)
class Recipe:
    """Streams as (modality, variant), in the order of their weights."""

    streams: tuple[tuple[str, str], ...]
    weights: tuple[float, ...] | None = None
    """The streams' weights; None: equal."""
    ema: bool = False
    """Whether the scores of the averaged weights are fused."""


NEW_4 = (("joint", "252"), ("bone", "252"), ("joint", "432"), ("bone", "432"))

RECIPES: dict[str, Recipe] = {
    "2s": Recipe((("joint", ANY), ("bone", ANY))),  # Shi et al., 2019 (2s-AGCN)
    "3s": Recipe((("joint", ANY), ("bone", ANY), ("joint_motion", ANY))),
    "4s": Recipe(
        (("joint", ANY), ("bone", ANY), ("joint_motion", ANY), ("bone_motion", ANY))
    ),  # Shi et al., 2020
    "new4s": Recipe(NEW_4),  # arXiv 2304.11631
    "reference": Recipe(NEW_4, weights=(0.95, 0, 0, 1), ema=True),  # its released script, to the letter
}


def recipe_runs(name: str, root: Path, checkpoint: str, say: Say) -> list[Run]:
    """The newest run of each of a recipe's streams, on the benchmark under `root` that was trained last.

    `say` is told which runs are left out. Raises TsgcError for missing streams, with the command that trains
    each.
    """
    recipe = RECIPES[name]
    found = {(run.config.modality, run.network): run for run in newest_scored(root, checkpoint, say)}
    newest = sorted(found.values(), key=lambda run: run.age, reverse=True)
    variants = list(dict.fromkeys(run.network for run in newest))

    def wanted(variant: str) -> list[tuple[str, str]]:
        return [(modality, own or variant) for modality, own in recipe.streams]

    streams = max(map(wanted, variants), key=lambda streams: len(found.keys() & set(streams)))
    missing = [stream for stream in streams if stream not in found]
    if missing:
        benchmark = newest[0].benchmark
        commands = [
            f"`tsgc train {benchmark} --variant {variant} --modality {modality}`"
            for modality, variant in missing
        ]
        names = ", ".join(" ".join(stream) for stream in missing)
        raise TsgcError(f"{root}: recipe {name} lacks {names} of {benchmark}; {', '.join(commands)}")
    return [found[stream] for stream in streams]
