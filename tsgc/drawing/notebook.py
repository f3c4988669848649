"""What things show of themselves in Jupyter: a small page in a frame of its own.

A frame keeps several on one notebook apart, and the notebook's styles from the page's; nothing is loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from tsgc.drawing.html import render
from tsgc.drawing.player import Player

HEIGHT = 360  # pixels until the page has told its own, which it does where scripts run


@dataclass(frozen=True)
class Table:
    """A table whose first column is text and whose others are figures."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def framed(
    title: str,
    *,
    lines: Sequence[str] = (),
    text: str = "",
    tables: Sequence[Table] = (),
    players: Sequence[Player] = (),
    more: str = "",
    script: str = "",
) -> str:
    """The HTML of one output: a title, lines, `text` as a terminal has it, players beside tables, and `more`.

    `script`: what `more` needs. These two are HTML and JavaScript already; everything else is escaped.
    """
    page = render(
        "notebook.html",
        title=title,
        lines=lines,
        text=text,
        tables=tables,
        players=players,
        more=Markup(more),
        script=Markup(script),
    )
    return (
        f'<iframe srcdoc="{escape(page)}" title="{escape(title)}" width="100%" height="{HEIGHT}"'
        ' style="border: 0; display: block"></iframe>'
    )
