"""Pages from templates: one HTML file with its styles and scripts inside."""

from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pipelines.prepared.store import tool_version

ASSETS = Path(__file__).parent / "assets"


def render(template: str, *, folder: Path | None = None, **values: Any) -> str:
    """A page from one of our templates, with styles and scripts inside; every value is escaped.

    `folder`: more templates, styles and scripts beside the shared ones.
    """
    environment, assets = _templates(folder)
    written = f"tsgc {tool_version()}, {datetime.now():%Y-%m-%d %H:%M}"
    return environment.get_template(template).render(assets=assets, written=written, **values)


@cache
def _templates(folder: Path | None) -> tuple[jinja2.Environment, dict[str, Markup]]:
    """The templates, and the styles and scripts by name; a report renders a template for each section."""
    folders = [ASSETS] if folder is None else [ASSETS, folder]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    files = [file for each in folders for file in each.iterdir() if file.suffix in (".css", ".js")]
    return environment, {file.name: Markup(file.read_text()) for file in files}
