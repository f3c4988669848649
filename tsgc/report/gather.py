"""The contents of runs for the report; what is missing or damaged is noted, not fatal."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from safetensors import SafetensorError, safe_open

from pipelines.errors import TsgcError
from tsgc.checkpoint import Description, read_weights_description
from tsgc.evaluation.scores import Scores, hits, read_scores
from tsgc.fusion.calibrate import log_softmax
from tsgc.fusion.fuse import match_clips
from tsgc.network.adjacency import adjacency
from tsgc.networks import WITH_VARIANTS, network_title
from tsgc.workspace.runs import Run


@dataclass(frozen=True)
class LearnedAdjacency:
    """The adjacency that a checkpoint's blocks learned."""

    description: Description
    start: np.ndarray
    """The adjacency that every block started from, (3, V, V): identity, inward, outward."""
    learned: dict[tuple[int, int], np.ndarray]
    """The learned adjacency by (stage, block), from 0: (3, V, V)."""


@dataclass
class Gathered:
    """Everything that a report shows of one run."""

    run: Run
    label: str
    """Short and unique among the runs of a report: A, B, ..., and A1, A2, ... where they are seeds."""
    colour: int
    """Index of its colour, that of its group."""
    config: dict[str, Any]
    environment: dict[str, Any]
    metrics: list[dict[str, float]]
    scores: dict[str, Scores]
    """Test scores by checkpoint: last, last-ema, ..."""
    main: str
    """The checkpoint whose scores are analysed."""
    adjacency: LearnedAdjacency | None
    missing: list[str] = field(default_factory=list)
    """Sentences about what cannot be shown, and why."""

    @property
    def main_scores(self) -> Scores | None:
        return self.scores.get(self.main)

    @property
    def network(self) -> str:
        """What pages call the network, without its variant."""
        return network_title(self.run.config.network)

    @property
    def preset(self) -> str:
        return str(self.environment.get("preset", "unknown"))


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone; mostly one."""

    label: str
    """A, B, ..."""
    colour: int
    runs: Sequence[Gathered]
    scores: Sequence[Scores]
    """The main scores of its runs, all with their clips in one order; none where no run has any."""

    @property
    def first(self) -> Gathered:
        return self.runs[0]

    @property
    def benchmark(self) -> str:
        return self.first.run.benchmark

    @property
    def title(self) -> str:
        if len(self.runs) == 1:
            return self.first.run.title
        seeds = ", ".join(str(run.run.config.seed) for run in self.runs)
        return f"{self.first.run.title.rpartition(' seed ')[0]} seeds {seeds}"

    @property
    def name(self) -> str:
        """The stream and variant, as legends have it."""
        several = f", {len(self.runs)} seeds" if len(self.runs) > 1 else ""
        return f"{self.first.run.config.modality} {self.first.run.network}{several}"

    @cached_property
    def right(self) -> np.ndarray:
        """The share of its seeds that get each clip right, (N,)."""
        return np.mean([hits(part.logits, part.labels)[0] for part in self.scores], axis=0)

    @cached_property
    def pooled(self) -> tuple[np.ndarray, np.ndarray]:
        """Predicted and true classes of all its seeds' clips, one seed after the other."""
        predicted = np.concatenate([part.logits.argmax(1) for part in self.scores])
        return predicted, np.concatenate([part.labels for part in self.scores])

    @cached_property
    def log_probability(self) -> np.ndarray:
        """The logarithm of the mean of its seeds' probabilities, (N, K)."""
        parts = [log_softmax(part.logits) for part in self.scores]
        return np.logaddexp.reduce(parts) - np.log(len(parts))

    @property
    def probability(self) -> np.ndarray:
        """The mean of its seeds' probabilities, (N, K)."""
        return np.exp(self.log_probability)


def gather(runs: Sequence[Run], *, ema: bool) -> list[Group]:
    """Everything of each run; those that differ in their seed alone are together."""
    seeds: dict[str, list[Run]] = {}
    for run in runs:
        alike = dataclasses.asdict(run.config) | {"seed": None, "benchmark": run.benchmark}
        seeds.setdefault(repr(alike), []).append(run)
    groups = []
    for index, members in enumerate(seeds.values()):
        label = letters(index)
        labels = (
            [f"{label}{number}" for number in range(1, len(members) + 1)] if len(members) > 1 else [label]
        )
        gathered = [gather_run(run, name, index, ema=ema) for run, name in zip(members, labels)]
        groups.append(Group(label, index, gathered, matched_scores(gathered)))
    return groups


def matched_scores(runs: Sequence[Gathered]) -> list[Scores]:
    """The main scores of runs, clips in the first one's order; a run with others is noted and left out."""
    found: list[Scores] = []
    for run in runs:
        if run.main_scores is None:
            continue
        try:
            found.append(match_clips(found[0], run.main_scores) if found else run.main_scores)
        except TsgcError as error:
            run.missing.append(f"Not among its seeds' means: {error}.")
    return found


def letters(index: int) -> str:
    """A run's label: 0 -> A, 25 -> Z, 26 -> AA."""
    head, tail = divmod(index, 26)
    return (letters(head - 1) if head else "") + chr(ord("A") + tail)


def gather_run(run: Run, label: str, colour: int, *, ema: bool) -> Gathered:
    """Everything of one run; `ema`: analyse the averaged weights."""
    main = "last-ema" if ema else "last"
    missing: list[str] = []
    gathered = Gathered(
        run,
        label,
        colour,
        dataclasses.asdict(run.config),
        orjson.loads((run.folder / "environment.json").read_bytes()),
        read_metrics(run.folder / "metrics.jsonl"),
        read_all_scores(run, missing),
        main,
        None,
        missing,
    )
    if not gathered.metrics:
        missing.append(
            "No curves: metrics.jsonl is missing or empty; training writes a line to it each epoch."
        )
    if main not in gathered.scores:
        missing.append(
            f"No confusions, classes or calibration: scores/{main}.npz is not readable here;"
            " `tsgc evaluate` writes it."
        )
    if run.config.network not in WITH_VARIANTS:
        missing.append(f"No learned graphs: {gathered.network} has none that this page knows.")
        return gathered
    try:
        gathered.adjacency = read_adjacency(run.checkpoint(main))
    except TsgcError as error:
        missing.append(f"No learned graphs: {error}.")
    return gathered


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl by epoch; lines that are cut off or have no epoch are left out."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    rows: dict[float, dict[str, float]] = {}
    for line in lines:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict) and _is_figure(row.get("epoch")):
            rows[row["epoch"]] = {name: value for name, value in row.items() if _is_figure(value)}
    return [rows[epoch] for epoch in sorted(rows)]


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_all_scores(run: Run, missing: list[str]) -> dict[str, Scores]:
    """The run's test scores that can be read; notes about others are added to `missing`."""
    found = {}
    for name in ("last", "last-ema", "best", "best-ema"):
        path = run.scores(name)
        if not path.is_file():
            continue
        try:
            scores = read_scores(path)
        except TsgcError as error:
            missing.append(f"{error}.")
            continue
        if len(scores.labels):
            found[name] = scores
        else:
            missing.append(f"{path}: scores of no clips.")
    return found


def read_adjacency(path: Path) -> LearnedAdjacency:
    """The learned adjacency in one of our checkpoints, without building its network. Raises TsgcError."""
    description = read_weights_description(path)
    learned = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in list(file.keys()):
                match name.split("."):
                    case ["stages", stage, block, "graphs"]:
                        learned[int(stage), int(block)] = file.get_tensor(name)
    except (OSError, SafetensorError, ValueError) as error:
        raise TsgcError(f"{path}: not a whole safetensors file ({error})") from None
    start = adjacency(description.body)
    wrong = [matrices.shape for matrices in learned.values() if matrices.shape != start.shape]
    if wrong or not learned:
        raise TsgcError(f"{path}: graphs of shape {wrong[0] if wrong else 'none'}, expected {start.shape}")
    return LearnedAdjacency(description, start, dict(sorted(learned.items())))


def score_class_names(scores: Scores) -> list[str]:
    """Names of the K classes; numbers where the file does not name them."""
    K = scores.logits.shape[1]
    names = scores.source.class_names
    return list(names) if len(names) == K else [f"class {index + 1}" for index in range(K)]
