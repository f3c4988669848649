"""What preparation did: clips read, dropped and why, bodies dropped by which rule."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from pipelines.files import atomic_path

# Why a clip was dropped.
EXCLUDED = "excluded by the list"
MALFORMED = "malformed"
NO_BODIES = "no bodies"
UNKNOWN = "unknown name"
BAD = (MALFORMED, UNKNOWN)  # what too much of is fatal

SHOWN = 3  # examples that a line names


@dataclass
class Report:
    """Counts of one run of `prepare`, for the console and for the JSON beside the HDF5."""

    dataset: str
    preset: str
    raw: list[str]
    """Folders and zips read."""
    output: str
    official: tuple[int, int]
    """Published number of clips: raw, and left once unusable ones are gone."""
    found: int = 0
    """Clip names found, those of other data sets included."""
    other: int = 0
    """Clips that belong to another data set, ignored."""
    duplicates: int = 0
    """Further copies of a clip, of the same content."""
    read: int = 0
    kept: int = 0
    dropped: dict[str, dict[str, str]] = field(default_factory=dict)
    """Reason -> clip -> what was found."""
    rules: Counter[str] = field(default_factory=Counter)
    """Cleaning rule -> bodies (or frames) it took."""
    rule_clips: Counter[str] = field(default_factory=Counter)
    """Cleaning rule -> clips it changed."""
    source_digest: str = ""

    @property
    def total(self) -> int:
        """Clips of this data set, bad ones included."""
        return self.found - self.other

    def drop(self, reason: str, clip: str, what: str = "") -> None:
        self.dropped.setdefault(reason, {})[clip] = what

    def count_rules(self, rules: dict[str, int]) -> None:
        """Adds what the cleaning of one kept clip did."""
        self.rules.update(rules)
        self.rule_clips.update(rules.keys())

    def bad(self) -> list[str]:
        """What is wrong with each bad clip."""
        return [what for reason in BAD for what in self.dropped.get(reason, {}).values()]

    @property
    def warnings(self) -> list[str]:
        """What the user should look at."""
        lines = []
        if self.bad():
            lines.append(f"{_clips(len(self.bad()))} bad and skipped: {examples(self.bad())}")
        if self.duplicates:
            lines.append(f"{self.duplicates:,} copies of clips found in a second place; each clip read once")
        return lines

    def against_official(self) -> str:
        """One honest line: the clips kept, beside the published number."""
        raw, usable = self.official
        if self.kept == usable:
            return f"{self.kept:,} clips kept, the official number"
        if self.total < raw:
            return f"{self.kept:,} clips kept of the official {usable:,}: {raw - self.total:,} are not here"
        difference = self.kept - usable
        more = f"{abs(difference):,} {'more' if difference > 0 else 'fewer'} than the official {usable:,}"
        return f"{self.kept:,} clips kept, {more}; --exclude takes the official list of unusable clips"

    def lines(self) -> list[str]:
        """For the console."""
        lines = [
            f"{self.output}: {self.dataset}, {self.preset} preset",
            f"clips: {self.found:,} found, {self.read:,} read, {self.kept:,} kept",
        ]
        if self.other:
            lines.append(f"ignored: {_clips(self.other)} of another data set")
        lines += [
            f"dropped: {_clips(len(clips))}, {reason}" for reason, clips in sorted(self.dropped.items())
        ]
        lines += [
            f"cleaned: {rule}: {n:,}, in {_clips(self.rule_clips[rule])}" for rule, n in self._by_rule()
        ]
        lines.append(f"official: {self.against_official()}")
        return lines + [f"warning: {line}" for line in self.warnings]

    def to_json(self, path: Path) -> None:
        """Writes everything, all dropped clips included. Raises TsgcError where it cannot."""
        content = asdict(self) | {
            "rules": dict(self._by_rule()),
            "rule_clips": dict(sorted(self.rule_clips.items())),
            "dropped": {reason: self.dropped[reason] for reason in sorted(self.dropped)},
            "against_official": self.against_official(),
            "warnings": self.warnings,
        }
        with atomic_path(path) as temporary:
            temporary.write_bytes(
                orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
            )

    def _by_rule(self) -> list[tuple[str, int]]:
        return sorted(self.rules.items())


def examples(lines: Iterable[str]) -> str:
    """The first few, and how many more there are."""
    lines = list(lines)
    more = f"; and {len(lines) - SHOWN:,} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more


def _clips(number: int) -> str:
    return f"{number:,} clip" if number == 1 else f"{number:,} clips"
