"""A report's runs, and the sections that its page is made of."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from shards.load_manifest import load_manifest
from shards.manifest import Manifest
from tsgc.console import Count, no_count
from tsgc.drawing.html import render
from tsgc.report.gather import Gathered, Group
from tsgc.workspace.data_root import pick_shards

ASSETS = Path(__file__).parent / "assets"  # the report's own; the rest is tsgc/drawing's


Counting = Callable[[str, str], AbstractContextManager[Count]]


def unwatched(what: str, unit: str) -> AbstractContextManager[Count]:
    """Progress that nobody watches."""
    return nullcontext(no_count)


@dataclass(frozen=True)
class Report:
    """What a report is about, and how much of it to show."""

    groups: Sequence[Group]
    """The runs, those that differ in their seed alone together."""
    data_root: Path
    """Where the shards lie that clips are read from."""
    clips: int = 0
    """Animations of each run's clips to show; 0: none, as the data's terms may forbid sharing them."""

    explain: int = 0
    """Clips of each class whose saliency is computed; 0: none, and no network is run."""
    counting: Counting = unwatched
    """Progress of long work: counting(what, unit)."""

    _manifests: dict[str, Manifest] = field(default_factory=dict)

    def manifest(self, benchmark: str) -> Manifest:
        """The benchmark's shard set under the data root. Raises TsgcError where it is not at hand."""
        if benchmark not in self._manifests:
            self._manifests[benchmark] = load_manifest(pick_shards(self.data_root, benchmark)[0])
        return self._manifests[benchmark]

    @property
    def runs(self) -> list[Gathered]:
        return [run for group in self.groups for run in group.runs]

    @property
    def several(self) -> bool:
        """Whether runs are compared, or seeds are taken together."""
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
