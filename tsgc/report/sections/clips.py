"""Animations of the clips that a run gets most wrong."""

from pathlib import Path

from pipelines.errors import TsgcError
from shards.load_manifest import load_manifest
from tsgc.drawing.player import Player, make_player
from tsgc.drawing.skeleton import Panel
from tsgc.report.analysis import softmax, worst_clips
from tsgc.report.gather import Gathered, score_class_names
from tsgc.report.section import Report, Section, section
from tsgc.workspace.clips_by_name import clips_by_name
from tsgc.workspace.data_root import pick_shards


def clips(report: Report) -> Section | None:
    shown = {run.label: shown_clips(run, report) for run in report.runs}
    if not any(shown.values()):
        return None
    return section(
        "clips",
        "Worst clips",
        scripts=["player.js"],
        people=True,
        runs=report.runs,
        several=report.several,
        clips=shown,
    )


def shown_clips(run: Gathered, report: Report) -> list[Player]:
    """Animations of a run's worst clips; none where they are not asked for, or cannot be read."""
    if not report.clips:
        return []
    try:
        return worst(run, report.clips, report.data_root)
    except TsgcError as error:
        run.missing.append(f"No worst clips: {error}.")
        return []


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
