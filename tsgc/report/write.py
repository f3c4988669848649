"""`tsgc report`: run folders to the report's file."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.errors import TsgcError
from pipelines.files import refuse_existing, write_atomic
from shards.load_manifest import load_manifest
from tsgc.console import Talker
from tsgc.drawing.player import Player, make_player
from tsgc.drawing.skeleton import Panel
from tsgc.report.analysis import softmax, worst_clips
from tsgc.report.gather import Gathered, gather, score_class_names
from tsgc.report.page import report_page
from tsgc.workspace.clips_by_name import clips_by_name
from tsgc.workspace.data_root import pick_shards
from tsgc.workspace.runs import newest_run, open_run, refuse_twice


def write_report(
    talker: Talker,
    folders: Sequence[Path],
    *,
    out: Path,
    ema: bool = False,
    clips: int = 0,
    overwrite: bool = False,
    data_root: Path,
    runs_root: Path,
) -> None:
    """Report on the runs in `folders` (default: the newest below `runs_root`) in the file `out`.

    `ema`: analyse the averaged weights. `clips`: how many animations of each run's worst clips to draw, from
    the shards under `data_root`. The page says what a run lacks. Raises TsgcError for a folder that is not a
    run or an `out` that exists, UsageError for the same run twice.
    """
    refuse_existing(out, overwrite)
    refuse_twice(folders, folders, "run", "given twice, it would be drawn twice")
    runs = [open_run(folder) for folder in folders] or [newest_run(runs_root)]
    gathered = gather(runs, ema=ema)
    animations = {}
    for run in gathered if clips else []:
        try:
            animations[run.label] = worst(run, clips, data_root)
        except TsgcError as error:
            run.missing.append(f"No worst clips: {error}.")
    if not any(animations.values()):
        animations = {}
    animations = {run.label: animations.get(run.label, []) for run in gathered} if animations else {}
    page = report_page(gathered, animations).encode()
    write_atomic(out, page)
    for run in gathered:
        for said in run.missing:
            talker.warn(f"{run.run.title}: {said}")
    talker.line(f"report on {', '.join(run.run.title for run in gathered)}: {out} ({len(page) / 1e6:.2f} MB)")
    if animations:
        talker.line("It holds skeletons of recorded people: the data set's terms may forbid sharing it.")


def worst(run: Gathered, most: int, data_root: Path) -> list[Player]:
    """Animations of the run's `most` worst clips. Raises TsgcError where its shards are not at hand."""
    scores = run.main_scores
    if scores is None:
        raise TsgcError("there are no scores to judge them by")
    manifest = load_manifest(pick_shards(data_root, run.run.benchmark)[0])
    names = score_class_names(scores)
    probability = softmax(scores.logits)
    indices = worst_clips(scores.logits, scores.labels, most).tolist()
    if not indices:
        raise TsgcError("every clip is right")
    joints = clips_by_name(manifest, "test", [str(scores.names[index]) for index in indices])
    if not joints:
        raise TsgcError(f"{manifest.folder}: has none of them; were the shards written from other clips?")
    if manifest.digest != run.environment.get("manifest_digest"):
        run.missing.append(
            f"The worst clips are drawn from {manifest.folder}, which is not the shard set of the run."
        )
    players = []
    for index in indices:
        name, label, taken = str(scores.names[index]), scores.labels[index], scores.logits[index].argmax()
        if name not in joints:
            continue
        notes = [
            f"true: {names[label]} ({100 * probability[index, label]:.1f} %)",
            f"taken for: {names[taken]} ({100 * probability[index, taken]:.1f} %)",
        ]
        panel = Panel(name, joints[name], channels=manifest.channels)
        players.append(make_player(panel, manifest.body, fps=manifest.fps, notes=notes))
    return players
