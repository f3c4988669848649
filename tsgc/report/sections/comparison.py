"""Configurations beside the first: the difference and what it is worth, classes and clips that changed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.errors import TsgcError
from tsgc.evaluation.statistics import RESAMPLES
from tsgc.report.gather import Group, score_class_names
from tsgc.report.pairs import Disagreement, Pair, differences, disagreements, pair_up
from tsgc.report.section import Report, Section, section
from tsgc.report.sections.classes import class_shares
from tsgc.report.sections.clips import animate

MOST_CLIPS = 25  # of a table; the file of predictions beside the page has all


def comparison(report: Report) -> Section | None:
    if len(report.groups) < 2:
        return None
    found: list[dict[str, Any]] = []
    for group in report.groups[1:]:
        try:
            found.append({"group": group, "differences": differences(_pair(report.groups[0], group))})
        except TsgcError as error:
            found.append({"group": group, "problem": f"{error}"})
    return section("comparison", "Compared", first=report.groups[0], found=found, resamples=f"{RESAMPLES:,}")


def _pair(first: Group, second: Group) -> Pair:
    for group in (first, second):
        if not group.scores:
            raise TsgcError(f"{group.label} has no scores; `tsgc evaluate` writes them")
    return pair_up(first, second)


def pairs(report: Report) -> Iterator[Pair]:
    """The first group with each other one that has the same clips."""
    for group in report.groups[1:]:
        try:
            yield _pair(report.groups[0], group)
        except TsgcError:
            continue  # `comparison` says why


@dataclass(frozen=True)
class Change:
    """A class whose accuracy differs, percent."""

    name: str
    clips: int
    first: float
    second: float

    @property
    def points(self) -> float:
        return self.second - self.first


def gains(report: Report) -> Section | None:
    found = []
    for pair in pairs(report):
        changes = class_changes(pair)
        found.append(
            {
                "pair": pair,
                "gained": [change for change in changes if change.points > 0],
                "lost": [change for change in reversed(changes) if change.points < 0],
                "same": sum(change.points == 0 for change in changes),
                "most": max((abs(change.points) for change in changes), default=0) or 1,
            }
        )
    return section("gains", "Classes by gain and loss", found=found) if found else None


def class_changes(pair: Pair) -> list[Change]:
    """Classes that have clips, from the largest gain to the largest loss."""
    names = pair.names
    one, two = (class_shares(group, len(names)) for group in (pair.first, pair.second))
    changes = [
        Change(name, int(clips), float(first), float(second))
        for name, clips, first, second in zip(names, one[1], one[0], two[0])
        if clips
    ]
    return sorted(changes, key=lambda change: (-change.points, change.name))


def disagreement(report: Report) -> Section | None:
    found = []
    for pair in pairs(report):
        clips = disagreements(pair)
        found.append(
            {
                "pair": pair,
                "names": pair.names,
                "clips": clips[:MOST_CLIPS],
                "total": len(pair.first.scores[0].labels),
                "count": len(clips),
                "wins": {
                    who: sum(clip.winner == who for clip in clips) for who in ("first", "second", "neither")
                },
                "players": animate(
                    report,
                    pair.first.first,
                    [(clip.index, notes(pair, clip)) for clip in in_turn(clips, report.clips)],
                ),
            }
        )
    if not found:
        return None
    people = any(each["players"] for each in found)
    scripts = ["player.js"] if people else []
    return section(
        "disagreement", "Clips on which they disagree", found=found, scripts=scripts, people=people
    )


def in_turn(clips: Sequence[Disagreement], most: int) -> list[Disagreement]:
    """The first `most` clips that one alone gets right, in turn the second and the first."""
    sides = [[clip for clip in clips if clip.winner == who] for who in ("second", "first")]
    chosen = []
    for place in range(max(map(len, sides))):
        chosen += [side[place] for side in sides if place < len(side)]
    return chosen[:most]


def notes(pair: Pair, clip: Disagreement) -> list[str]:
    """What both take a clip for."""
    names = score_class_names(pair.first.scores[0])
    return [
        f"{group.label}: {names[taken]}{' (right)' if taken == clip.label else ''},"
        f" true class {100 * probability:.1f} %"
        for group, taken, probability in (
            (pair.first, clip.first, clip.first_probability),
            (pair.second, clip.second, clip.second_probability),
        )
    ]
