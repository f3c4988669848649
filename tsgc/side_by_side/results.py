"""What several runs come to: mean and deviation over the seeds, of each stream and of their fusions."""

import statistics
from collections.abc import Mapping, Sequence

from tsgc.console import Talker
from tsgc.evaluation.scores import Scores, all_and_clean, read_scores, remarks
from tsgc.fusion.fuse import fuse
from tsgc.fusion.recipes import ANY, RECIPES
from tsgc.modalities import stream_order
from tsgc.side_by_side.plan import Member
from tsgc.workspace.runs import scores_path

CHECKPOINTS = ("last", "last-ema")
PARTS = ("all", "clean")

BySeed = Mapping[int, Scores]
"""The scores of one stream's runs, by seed."""


def scores_by_stream(members: Sequence[Member], checkpoint: str) -> dict[str, dict[int, Scores]]:
    """The test scores of the runs that have some: modality -> seed -> scores."""
    found: dict[str, dict[int, Scores]] = {}
    for member in sorted(members, key=lambda one: (stream_order(one.config.modality), one.config.seed)):
        path = scores_path(member.folder, "test", checkpoint)
        if path.is_file():
            found.setdefault(member.config.modality, {})[member.config.seed] = read_scores(path)
    return found


def fusions(modalities: Sequence[str], network: str) -> dict[str, tuple[list[str], list[float] | None]]:
    """The fusions of these streams, by name: their modalities and weights (None: equal).

    Those are the recipes of `tsgc ensemble` whose streams are all there, and all streams together.
    """
    found: dict[str, tuple[list[str], list[float] | None]] = {}
    for name, recipe in RECIPES.items():
        names = [modality for modality, own in recipe.streams if own in (ANY, network)]
        if len(names) == len(recipe.streams) and set(names) <= set(modalities):
            found[name] = names, list(recipe.weights) if recipe.weights else None
    if len(modalities) > 1 and not any(set(names) == set(modalities) for names, _ in found.values()):
        found[f"{len(modalities)} streams"] = list(modalities), None
    return found


def fused_by_seed(
    streams: Mapping[str, BySeed], names: Sequence[str], weights: Sequence[float] | None
) -> dict[int, Scores]:
    """The fusion of the streams `names` for each seed that all of them have."""
    seeds = set.intersection(*(set(streams.get(name, {})) for name in names))
    return {seed: fuse([streams[name][seed] for name in names], weights) for seed in sorted(seeds)}


def spread(by_seed: BySeed, part: str) -> str:
    """Mean and sample deviation over seeds of the top-1 % of `part`: `93.97 ± 0.35`; of one seed its own."""
    found = [figures[part].top1 for scores in by_seed.values() if part in (figures := all_and_clean(scores))]
    if not found:
        return ""
    deviation = f" ± {statistics.stdev(found):.2f}" if len(found) > 1 else ""
    return f"{statistics.mean(found):.2f}{deviation}"


def print_results(talker: Talker, benchmark: str, members: Sequence[Member]) -> None:
    """Print the table of the runs that are scored: a row a stream, then a row a fusion."""
    streams = {checkpoint: scores_by_stream(members, checkpoint) for checkpoint in CHECKPOINTS}
    last = streams[CHECKPOINTS[0]]
    if not last:
        return
    network = members[0].config.network_name
    planned = fusions(list(last), network)
    rows: dict[str, dict[str, BySeed]] = {}
    for checkpoint, found in streams.items():
        for stream in last:
            rows.setdefault(stream, {})[checkpoint] = found.get(stream, {})
        for name, (names, weights) in planned.items():
            rows.setdefault(f"{name} fused", {})[checkpoint] = fused_by_seed(found, names, weights)
    parts = [part for part in PARTS if any(spread(by_seed, part) for by_seed in last.values())]
    columns = ("", "seeds", *(f"{checkpoint} {part}" for checkpoint in CHECKPOINTS for part in parts))
    cells = [
        [
            title,
            str(len(found[CHECKPOINTS[0]])),
            *(spread(found[checkpoint], part) for checkpoint in CHECKPOINTS for part in parts),
        ]
        for title, found in rows.items()
    ]
    first = next(iter(next(iter(last.values())).values()))
    talker.table(f"{benchmark} {network}, {first.source.preset} preset, test, top-1 %", columns, cells)
    if any(len(found[CHECKPOINTS[0]]) > 1 for found in rows.values()):
        talker.line("mean ± deviation over the seeds (n - 1)")
    for name, (names, weights) in planned.items():
        weighed = "equal weights" if weights is None else f"weights {', '.join(map(str, weights))}"
        talker.line(f"{name}: {' + '.join(names)} of one seed, {weighed}")
    for said in remarks([scores for by_seed in last.values() for scores in by_seed.values()]):
        talker.line(said)
