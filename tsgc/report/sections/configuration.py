"""Runs, their settings and their surroundings: what differs on top, everything folded below."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.errors import TsgcError
from tsgc.config import TrainConfig, resolve_config
from tsgc.report.section import Report, Section, section


@dataclass(frozen=True)
class Line:
    """A setting of every run."""

    key: str
    values: Sequence[str]
    marked: bool
    """Whether it differs between the runs or, of a single run, from its benchmark's recipe."""
    changed: bool
    """Whether any run's differs from its benchmark's recipe."""
    recipe: str
    published: str


def runs(report: Report) -> Section:
    return section("runs", "Runs", runs=report.runs, several=report.several)


def configuration(report: Report) -> Section:
    lines = config_lines(report)
    return section(
        "configuration",
        "Configuration",
        runs=report.runs,
        several=report.several,
        lines=lines,
        top=[line for line in lines if line.marked or line.changed],
    )


def environment(report: Report) -> Section:
    flat = [flatten(run.environment) for run in report.runs]
    rows = {
        key: [one.get(key, "") for one in flat] for key in dict.fromkeys(key for one in flat for key in one)
    }
    lines = [Line(key, values, len(set(values)) > 1, False, "", "") for key, values in rows.items()]
    return section("environment", "Environment", runs=report.runs, several=report.several, lines=lines)


def config_lines(report: Report) -> list[Line]:
    """Every setting of every run beside its benchmark's recipe and the published one."""
    published = asdict(TrainConfig())
    recipes = [recipe(run.run.benchmark, published) for run in report.runs]
    lines = []
    for key, default in published.items():
        values = [setting_text(run.config[key]) for run in report.runs]
        wanted = [setting_text(one[key]) for one in recipes]
        changed = values != wanted
        marked = len(set(values)) > 1 if report.several else changed
        lines.append(
            Line(key, values, marked, changed, ", ".join(dict.fromkeys(wanted)), setting_text(default))
        )
    return lines


def recipe(benchmark: str, published: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a benchmark's recipe; the published ones where it cannot be read."""
    try:
        return asdict(resolve_config(benchmark))
    except TsgcError:
        return dict(published)


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested JSON as `outer.inner` -> text."""
    flat: dict[str, str] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = setting_text(value)
    return flat


def setting_text(value: Any) -> str:
    """A setting as people write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, Mapping):  # `relabel`: how many clips of each class
        shown = (
            f"{key} ({len(part)})" if isinstance(part, dict) else f"{key}={part}"
            for key, part in value.items()
        )
        return ", ".join(shown) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
