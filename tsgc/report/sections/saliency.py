"""Joints that speak for each class, and when: means over some of its test clips."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from tsgc.drawing.saliency import body_drawing, time_bars
from tsgc.explain.summary import ClassSaliency, class_mean, movement_line, strongest_joints
from tsgc.inference.recogniser import load_run
from tsgc.report.gather import Gathered, score_class_names
from tsgc.report.section import Report, Section, section
from tsgc.workspace.clips_by_name import clips_by_name

NAMED = 3  # joints whose share is written below a drawing


@dataclass(frozen=True)
class Drawn:
    """The mean saliency of a class, drawn."""

    name: str
    clips: int
    said: str
    """What the movement adds."""
    strongest: str
    """The joints with the largest shares."""
    bodies: Sequence[Markup]
    times: Markup


def saliency(report: Report) -> Section | None:
    """None where it is not asked for, or no run can be explained."""
    if not report.explain:
        return None
    drawn = {group.label: run_classes(group.first, report) for group in report.groups}
    if not any(drawn.values()):
        return None
    return section(
        "saliency",
        "Joints that speak for a class",
        groups=report.groups,
        several=report.several,
        drawn=drawn,
        most=report.explain,
    )


def run_classes(run: Gathered, report: Report) -> list[Drawn]:
    """The classes of a run, in their order; what cannot be explained is noted among what it lacks."""
    try:
        return list(_run_classes(run, report))
    except TsgcError as error:
        run.missing.append(f"No saliency: {error}.")
        return []


def _run_classes(run: Gathered, report: Report) -> Iterator[Drawn]:
    scores = run.main_scores
    if scores is None:
        raise TsgcError("there are no scores to choose clips by")
    recogniser = load_run(run.run.checkpoint(run.main))
    manifest = report.manifest(run.run.benchmark)
    names = score_class_names(scores)
    chosen = right_clips(scores.logits, scores.labels, report.explain)
    total = sum(map(len, chosen.values()))
    done = 0
    with report.counting(f"explaining {run.run.title}", "clips") as count:
        for label, places in chosen.items():
            clips = clips_by_name(manifest, "test", [str(scores.names[place]) for place in places])
            found = [recogniser.explain(clip, label) for clip in clips.values()]
            done += len(places)
            count(done, total)
            if found:
                yield draw_class(class_mean(found), names[label], manifest.body)
    without = [name for label, name in enumerate(names) if label not in chosen and label in scores.labels]
    if without:
        run.missing.append(f"No saliency of classes without a clip that is right: {', '.join(without)}.")


def right_clips(logits: np.ndarray, labels: np.ndarray, most: int) -> dict[int, list[int]]:
    """Places of the first `most` rightly classified clips of each class that has any."""
    right = logits.argmax(1) == labels
    return {
        label: np.flatnonzero(right & (labels == label))[:most].tolist()
        for label in np.unique(labels[right]).tolist()
    }


def draw_class(mean: ClassSaliency, name: str, skeleton: Skeleton) -> Drawn:
    """The mean of a class on one resting body for each body of its clips, and along time."""
    joints = mean.values.sum(0)
    largest = float(np.abs(joints).max(initial=0))
    found = strongest_joints(mean.values, skeleton, NAMED)
    several = len(joints) > 1
    return Drawn(
        name,
        mean.clips,
        movement_line(mean),
        ", ".join(
            f"{one.joint}{f' of body {one.body}' if several else ''} {100 * one.share:.0f} %" for one in found
        ),
        [body_drawing(skeleton, body, f"Joints that speak for {name}", largest) for body in joints],
        time_bars(mean.values.sum((1, 2)), f"What speaks for {name}, from the clip's start to its end"),
    )
