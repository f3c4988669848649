"""A report's runs, and the sections that its page is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tsgc.drawing.html import render
from tsgc.report.gather import Gathered

ASSETS = Path(__file__).parent / "assets"  # the report's own; the rest is tsgc/drawing's


@dataclass(frozen=True)
class Report:
    """What a report is about, and how much of it to show."""

    runs: Sequence[Gathered]
    data_root: Path
    """Where the shards lie that clips are read from."""
    clips: int = 0
    """Animations of each run's clips to show; 0: none, as the data's terms may forbid sharing them."""

    @property
    def several(self) -> bool:
        """Whether runs are compared."""
        return len(self.runs) > 1


@dataclass(frozen=True)
class Section:
    """One section of the page."""

    id: str
    """The anchor that links lead to."""
    heading: str
    body: Markup
    """What stands below the heading; headings in it begin with h4."""
    scripts: Sequence[str] = ()
    """Scripts among the assets that it needs; each is put into the page once."""
    people: bool = False
    """Whether it shows recordings of people, of which the data's terms may forbid sharing any."""


SectionMaker = Callable[[Report], Section | None]
"""Makes a section; None: there is nothing to show. What a run lacks is added to its `missing`."""


def section(
    name: str, heading: str, *, scripts: Sequence[str] = (), people: bool = False, **values: Any
) -> Section:
    """The section whose template is assets/NAME.html, filled with values; every value is escaped."""
    return Section(name, heading, Markup(render(f"{name}.html", folder=ASSETS, **values)), scripts, people)
