"""`tsgc ensemble`: choose streams, weigh them, fuse them, and compare the results."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.files import refuse_existing
from tsgc.console import Talker
from tsgc.evaluation.scores import Scores, ScoreSource, accuracy, remarks, write_scores
from tsgc.evaluation.statistics import RESAMPLES, SEED
from tsgc.fusion.calibrate import temperature
from tsgc.fusion.comparison import comparison_rows, judge, print_comparison
from tsgc.fusion.fuse import FUSIONS, fuse, learn_weights
from tsgc.fusion.recipes import RECIPES, recipe_runs
from tsgc.fusion.scored_streams import ScoredStream, held_out, open_streams
from tsgc.workspace.newest_runs import Say, newest_scored

TUNED_ON_TEST = "weights tuned on the test split: for comparison with papers only"
CHOICES = ("none", "holdout", "unknown", "test")  # what an epoch was selected on, the most doubtful last


@dataclass(frozen=True)
class Plan:
    """The options of the command."""

    paths: Sequence[Path] = ()
    """Runs, score files and pickles; none: the streams of the newest benchmark, or of the recipe."""
    recipe: str | None = None
    method: str = "logits"
    """A key of FUSIONS."""
    weights: Sequence[float] | None = None
    tune: str | None = None
    """The split to learn the weights on: `holdout` or `test`."""
    ema: bool = False
    shards: Path | None = None
    """The shard set that names and labels the test clips."""
    annotations: Path | None = None
    """PYSKL's or MMAction2's pickle, in whose order a pickled list of logits is."""

    def __post_init__(self) -> None:
        if self.method not in FUSIONS:
            raise UsageError(f"--fuse {self.method}: expected one of {', '.join(FUSIONS)}")
        if self.recipe is None:
            return
        if self.recipe not in RECIPES:
            raise UsageError(f"--recipe {self.recipe}: expected one of {', '.join(RECIPES)}")
        if self.paths:
            raise UsageError(f"--recipe {self.recipe} chooses the streams itself; leave out {self.paths[0]}")
        if RECIPES[self.recipe].weights and (self.weights is not None or self.tune):
            raise UsageError(f"--recipe {self.recipe} has weights of its own; leave yours out, or use new4s")


def choose_streams(plan: Plan, runs_root: Path, say: Say) -> list[ScoredStream]:
    """The streams that the plan names, or the newest ones; `say` is told which runs are left out."""
    ema = plan.ema or (plan.recipe is not None and RECIPES[plan.recipe].ema)
    checkpoint = "last-ema" if ema else "last"
    if plan.recipe is not None:
        paths = [run.folder for run in recipe_runs(plan.recipe, runs_root, checkpoint, say)]
    else:
        paths = list(plan.paths) or [run.folder for run in newest_scored(runs_root, checkpoint, say)]
    return open_streams(paths, checkpoint, plan.shards, plan.annotations)


@dataclass(frozen=True)
class Fused:
    """Streams, their weights, and the result of their fusion."""

    streams: list[ScoredStream]
    weights: list[float]
    origin: str
    """Where the weights come from, in words."""
    temperatures: list[float] | None
    """The temperature of each stream; its logits are divided by it already. None: not calibrated."""
    scores: Scores


def fuse_plan(plan: Plan, runs_root: Path, say: Say) -> Fused:
    """Choose the plan's streams, calibrate and weigh them as it says, and fuse them."""
    streams = choose_streams(plan, runs_root, say)
    scores = [stream.scores for stream in streams]
    held: list[Scores] = []
    temperatures = None
    if plan.tune == "holdout" or plan.method == "calibrated":
        held = held_out(streams)
    if plan.method == "calibrated":
        temperatures = [temperature(part.logits, part.labels) for part in held]
        held, scores = cooled(held, temperatures), cooled(scores, temperatures)
        streams = [replace(stream, scores=part) for stream, part in zip(streams, scores)]
    weights, origin = weigh(plan, scores, held)
    return Fused(streams, weights, origin, temperatures, fuse(scores, weights, plan.method))


def cooled(scores: Sequence[Scores], temperatures: Sequence[float]) -> list[Scores]:
    """The scores with their logits divided by the temperatures."""
    return [replace(part, logits=part.logits / heat) for part, heat in zip(scores, temperatures)]


def weigh(plan: Plan, scores: Sequence[Scores], held: Sequence[Scores]) -> tuple[list[float], str]:
    """The weights, and in words where they come from; `held`: the streams' scores on held-out clips."""
    recipe_weights = RECIPES[plan.recipe].weights if plan.recipe is not None else None
    if plan.tune:
        where, clips = ("held-out", held) if plan.tune == "holdout" else ("test", scores)
        weights = learn_weights(clips, plan.method).tolist()
        top1 = [_top1(fuse(clips, each, plan.method)) for each in (weights, None)]
        kept = ": kept, none learned do better" if len(set(weights)) == 1 < len(weights) else ""
        there = f"top-1 there {top1[0]:.2f} %, of equal weights {top1[1]:.2f} %{kept}"
        return weights, f"learned on {len(clips[0].labels):,} {where} clips ({there})"
    if recipe_weights is not None:
        return list(recipe_weights), f"of recipe {plan.recipe}"
    if plan.weights is not None:
        return list(plan.weights), "given"
    return [1.0] * len(scores), "equal"


def _top1(scores: Scores) -> float:
    return accuracy(scores.logits, scores.labels).top1


def fuse_streams(
    talker: Talker, plan: Plan, *, runs_root: Path, out: Path | None = None, overwrite: bool = False
) -> Scores:
    """`tsgc ensemble`: fuse as planned, print the comparison, write the fused scores to `out`."""
    if out is not None:
        refuse_existing(out, overwrite)
    said: list[str] = []
    fused = fuse_plan(plan, runs_root, said.append)
    lines = comparison_rows(fused.streams, fused.scores, fused.weights, plan.method)
    verdict = judge(lines, fused.scores)
    source = fused_source(plan, fused)
    notes = [TUNED_ON_TEST] if plan.tune == "test" else []
    notes += remarks([stream.scores for stream in fused.streams])

    for line in said:
        talker.note(line)
    described = stream_entries(fused)
    for stream in described:
        heat = f", temperature {stream['temperature']:.3f}" if fused.temperatures else ""
        seed = "" if stream["seed"] is None else f" seed {stream['seed']}"
        title = f"{stream['modality']} {stream['variant']}{seed}"
        weight = f"weight {stream['weight']:.4g}"
        talker.line(f"{title}, {stream['checkpoint']}, {weight}{heat}: {stream['path']}")
    talker.line(f"weights: {fused.origin}; fused: {plan.method}")
    print_comparison(talker, f"{source.benchmark}, {source.preset} preset, {source.split}", lines, verdict)
    for note in notes:
        talker.line(note)
    talker.data(
        {
            "benchmark": source.benchmark,
            "split": source.split,
            "preset": source.preset,
            "fuse": plan.method,
            "recipe": plan.recipe,
            "weights_from": fused.origin,
            "streams": described,
            "bootstrap": {"percent": 95, "resamples": RESAMPLES, "seed": SEED},
            "parts": verdict,
            "notes": notes,
        }
    )
    if out is not None:
        write_scores(out, replace(fused.scores, source=source))
        talker.line(f"fused scores: {out}")
    return fused.scores


def stream_entries(fused: Fused) -> list[dict[str, Any]]:
    """An entry for each stream: what it is, its path, its weight; what --json prints."""
    result = []
    for index, stream in enumerate(fused.streams):
        source = stream.scores.source
        result.append(
            {
                "name": stream.name,
                "modality": source.modality,
                "variant": source.variant,
                "seed": source.seed,
                "checkpoint": source.checkpoint,
                "selected_on": source.selected_on,
                "path": str(stream.path),
                "weight": fused.weights[index],
                "temperature": fused.temperatures[index] if fused.temperatures else None,
            }
        )
    return result


def fused_source(plan: Plan, fused: Fused) -> ScoreSource:
    """The source of the fused scores."""
    sources = [stream.scores.source for stream in fused.streams]
    chosen = max((source.selected_on for source in sources), key=CHOICES.index)
    return replace(
        sources[0],
        preset="+".join(dict.fromkeys(source.preset for source in sources)),
        variant="fused",
        modality="fused",
        seed=None,
        checkpoint="+".join(dict.fromkeys(source.checkpoint for source in sources)),
        selected_on="test" if plan.tune == "test" else chosen,
    )
