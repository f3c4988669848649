"""The report's page: its sections in the order of a reader's questions, in one HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass

from tsgc.drawing.html import render
from tsgc.report.gather import Group
from tsgc.report.section import ASSETS, Report, Section, SectionMaker
from tsgc.report.sections.accuracy import accuracy
from tsgc.report.sections.classes import classes
from tsgc.report.sections.clips import clips
from tsgc.report.sections.comparison import comparison, disagreement, gains
from tsgc.report.sections.configuration import configuration, environment, runs
from tsgc.report.sections.confusion import confusion
from tsgc.report.sections.curves import curves
from tsgc.report.sections.embedding import embedding
from tsgc.report.sections.fusion import fusion
from tsgc.report.sections.graphs import graphs
from tsgc.report.sections.headline import headline
from tsgc.report.sections.saliency import saliency

# The questions in their order, and what answers each, in its order. A new section is a file in `sections`,
# its template in `assets`, and its name here.
QUESTIONS: dict[str, Sequence[SectionMaker]] = {
    "How good": (comparison, accuracy, fusion),
    "Where wrong": (gains, classes, confusion, disagreement, clips),
    "Why": (saliency, embedding, graphs),
    "How trained": (curves, configuration, runs, environment),
}
LAST_SCRIPT = "report.js"  # says that the page is ready


@dataclass(frozen=True)
class Part:
    """The sections that answer one question."""

    heading: str
    sections: Sequence[Section]

    @property
    def id(self) -> str:
        return self.heading.lower().replace(" ", "-")


@dataclass(frozen=True)
class Page:
    """A finished page."""

    html: str
    people: bool
    """Whether it shows recordings of people."""


def report_page(report: Report) -> Page:
    """The whole page."""
    parts = []
    for heading, makers in QUESTIONS.items():
        made = [made for maker in makers if (made := maker(report))]
        if made:
            parts.append(Part(heading, made))
    sections = [section for part in parts for section in part.sections]
    scripts = dict.fromkeys(name for section in sections for name in section.scripts)
    people = any(section.people for section in sections)
    html = render(
        "report.html",
        folder=ASSETS,
        title=title(report.groups),
        runs=report.runs,
        headline=headline(report).body,
        people=people,
        parts=parts,
        scripts=[*scripts, LAST_SCRIPT],
    )
    return Page(html, people)


def title(groups: Sequence[Group]) -> str:
    if len(groups) == 1:
        return groups[0].title
    benchmarks = list(dict.fromkeys(group.benchmark for group in groups))
    return f"{len(groups)} runs on {', '.join(benchmarks)}"
