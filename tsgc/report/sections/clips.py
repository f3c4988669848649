"""Animations of test clips, among them those that a configuration gets most wrong."""

from collections.abc import Sequence

from pipelines.errors import TsgcError
from tsgc.drawing.player import Player, make_player
from tsgc.drawing.skeleton import Panel
from tsgc.report.analysis import worst_clips
from tsgc.report.gather import Gathered, Group, score_class_names
from tsgc.report.section import Report, Section, section
from tsgc.workspace.clips_by_name import clips_by_name


def clips(report: Report) -> Section | None:
    shown = {group.label: worst(group, report) for group in report.groups}
    if not any(shown.values()):
        return None
    return section(
        "clips",
        "Worst clips",
        scripts=["player.js"],
        people=True,
        groups=report.groups,
        several=report.several,
        clips=shown,
    )


def worst(group: Group, report: Report) -> list[Player]:
    """Animations of the clips that a group gets most wrong; none where they are not asked for."""
    if not report.clips:
        return []
    if not group.scores:
        group.first.missing.append("No worst clips: there are no scores to judge them by.")
        return []
    labels = group.scores[0].labels
    names = score_class_names(group.scores[0])
    indices = worst_clips(group.log_probability, labels, report.clips).tolist()
    if not indices:
        group.first.missing.append("No worst clips: every clip is right.")
    wanted = []
    for index in indices:
        given = 100 * group.probability[index]
        taken = int(given.argmax())
        wanted.append(
            (
                index,
                [
                    f"true: {names[labels[index]]} ({given[labels[index]]:.1f} %)",
                    f"taken for: {names[taken]} ({given[taken]:.1f} %)",
                ],
            )
        )
    return animate(report, group.first, wanted)


def animate(report: Report, run: Gathered, wanted: Sequence[tuple[int, Sequence[str]]]) -> list[Player]:
    """Animations of test clips of a run, each with its notes; `wanted`: their places in its scores.

    What cannot be read is noted among what the run lacks.
    """
    if not wanted or run.main_scores is None:
        return []
    try:
        return _animate(report, run, wanted)
    except TsgcError as error:
        note(run, f"No worst clips: {error}.")
        return []


def _animate(report: Report, run: Gathered, wanted: Sequence[tuple[int, Sequence[str]]]) -> list[Player]:
    scores = run.main_scores
    assert scores is not None
    manifest = report.manifest(run.run.benchmark)
    names = score_class_names(scores)
    joints = clips_by_name(manifest, "test", [str(scores.names[index]) for index, _ in wanted])
    if not joints:
        raise TsgcError(f"{manifest.folder}: has none of them; were the shards written from other clips?")
    if manifest.digest != run.environment.get("manifest_digest"):
        note(run, f"The clips are drawn from {manifest.folder}, which is not the shard set of the run.")
    players = []
    for index, said in wanted:
        name = str(scores.names[index])
        if name in joints:
            panel = Panel(name, joints[name], channels=manifest.channels)
            caption = names[scores.labels[index]]
            players.append(make_player(panel, manifest.body, fps=manifest.fps, notes=said, caption=caption))
    return players


def note(run: Gathered, said: str) -> None:
    """Add a sentence about what a run lacks, once."""
    if said not in run.missing:
        run.missing.append(said)
