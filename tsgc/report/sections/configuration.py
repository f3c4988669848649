"""Settings and surroundings of the runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tsgc.config import TrainConfig
from tsgc.report.gather import Gathered
from tsgc.report.section import Report, Section, section


def configuration(report: Report) -> Section:
    table = config_table(report.runs)
    return section("configuration", "Configuration", runs=report.runs, several=report.several, config=table)


def environment(report: Report) -> Section:
    table = environment_table(report.runs)
    return section("environment", "Environment", runs=report.runs, several=report.several, environment=table)


Table = dict[str, Any]


def compared(rows: Mapping[str, Sequence[str]], marked: Callable[[str, Sequence[str]], bool]) -> Table:
    """A table's rows, with a mark for those that `marked` picks."""
    return {"rows": [(key, values, marked(key, values)) for key, values in rows.items()]}


def differ(_: str, values: Sequence[str]) -> bool:
    return len(set(values)) > 1


def config_table(gathered: Sequence[Gathered]) -> Table:
    """Every setting of every run beside the published recipe's.

    Of several runs, rows that differ among them are marked; of one, rows that differ from the recipe.
    """
    published = asdict(TrainConfig())
    rows = {key: [setting_text(run.config[key]) for run in gathered] for key in published}
    if len(gathered) > 1:
        table = compared(rows, differ)
    else:
        table = compared(rows, lambda key, values: values[0] != setting_text(published[key]))
    return table | {"published": {key: setting_text(value) for key, value in published.items()}}


def environment_table(gathered: Sequence[Gathered]) -> Table:
    flat = [flatten(run.environment) for run in gathered]
    keys = dict.fromkeys(key for one in flat for key in one)
    return compared({key: [one.get(key, "") for one in flat] for key in keys}, differ)


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
        return ", ".join(f"{key} ({len(part)})" for key, part in value.items()) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
