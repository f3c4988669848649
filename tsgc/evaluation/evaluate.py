"""`tsgc evaluate`: score one checkpoint on a split, write its score file, print its accuracies."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from shards.options import LoaderOptions
from tsgc.checkpoint import read_weights_description
from tsgc.console import Talker
from tsgc.distributed.process import Process
from tsgc.evaluation.score import score_checkpoints
from tsgc.evaluation.scores import (
    COLUMNS,
    Scores,
    accuracy_rows,
    all_and_clean,
    remarks,
    write_scores,
)
from tsgc.network.own.code import admit
from tsgc.network.precision import replacement
from tsgc.networks import OURS
from tsgc.workspace.data_root import pick_shards
from tsgc.workspace.runs import newest_run, open_run, scores_path

WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class Target:
    """The checkpoint that is scored."""

    file: Path
    name: str
    """The checkpoint's name in its score file's: `last`, `best-ema`, or the file's own."""
    folder: Path
    """The folder that scores/ is in: the run's, or the checkpoint's."""
    benchmark: str | None
    """The benchmark that it was trained on; None: a released checkpoint does not say."""


def find_target(
    run: Path | None,
    checkpoint: str,
    ema: bool,
    runs_root: Path,
    network: str | Sequence[str] | None = None,
) -> Target:
    """The checkpoint `checkpoint` of a run (default: the newest, of `network` if given), or a file."""
    file = Path(checkpoint)
    if file.suffix and run is None:
        return _file_target(file, ema)
    opened = open_run(run) if run else newest_run(runs_root, network)
    name = file.stem if file.suffix else checkpoint + ("-ema" if ema else "")
    file = file if file.suffix else opened.checkpoint(name)
    return Target(file, name, opened.folder, opened.benchmark)


def _file_target(file: Path, ema: bool) -> Target:
    """A checkpoint file without its run; a released one has raw and averaged weights in one file."""
    ours = file.suffix == WEIGHTS
    name = f"{file.stem}-ema" if ema and not ours else file.stem
    return Target(
        file, name, file.resolve().parent, read_weights_description(file).benchmark if ours else None
    )


def evaluate_run(
    process: Process,
    talker: Talker,
    *,
    run: Path | None,
    checkpoint: str,
    ema: bool,
    variant: str | None,
    modality: str | None,
    shards: Path | str | None,
    split: str,
    run_dir: Path | None,
    data_root: Path,
    runs_root: Path,
    loader_options: LoaderOptions | None = None,
    tta: str = "none",
    network: Sequence[str] | None = None,
) -> Scores:
    """`tsgc evaluate`: score one checkpoint, write its scores, print its accuracies.

    The name of the score file tells test-time augmentation, so that it replaces no other's.
    """
    admit(network)
    target = find_target(run, checkpoint, ema, runs_root, network)
    name = target.name if tta == "none" else f"{target.name}-tta-{tta}"
    where, _ = pick_shards(data_root, None if shards else target.benchmark, shards)
    if target.file.suffix == WEIGHTS:
        config = read_weights_description(target.file).config
        if said := replacement(config.precision, process.device, config.network == OURS):
            talker.aside(said)
    with talker.counting(f"scoring {name}", "clips") as advance:
        scores = score_checkpoints(
            {name: target.file},
            where,
            split,
            process,
            variant=variant,
            modality=modality,
            ema=ema,
            advance=advance,
            loader_options=loader_options,
            tta=tta,
        )[name]
    path = scores_path(run_dir or target.folder, split, name)
    if process.main:
        write_scores(path, scores)
    print_scores(talker, name, scores, path)
    return scores


def print_scores(talker: Talker, name: str, scores: Scores, path: Path) -> None:
    """Print the accuracies of scores that were written to `path`, as a table and as JSON."""
    source = scores.source
    title = f"{source.benchmark} {source.modality} {source.variant}, {source.preset} preset, {source.split}"
    talker.table(title, COLUMNS, accuracy_rows(name, scores))
    for remark in remarks([scores]):
        talker.line(remark)
    talker.line(f"scores: {path}")
    accuracies = {part: asdict(figures) for part, figures in all_and_clean(scores).items()}
    talker.data({**asdict(source), "accuracy": accuracies, "scores": str(path)})
