"""Tables and lines for a screen of any width: they fold between words, never within."""

import re
from collections.abc import Sequence
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

LINES = 3  # columns that a cell's border and its two spaces take; a table has a border more
GAP = "  "  # between cells where there are no lines
WORD = re.compile(r"\S+\s*")

Columns = Sequence[str]
Rows = Sequence[Sequence[str]]


def layout(columns: Columns, rows: Rows, width: int | None, texts: int = 1) -> RenderableType:
    """The table for a screen of `width` columns; None: no screen, a row is a line, however long.

    The first `texts` columns are text, the others figures, to the right. A table that is too wide loses its
    lines, then folds its cells between words; where even the longest words do not fit beside each other, each
    row is a list of its own.
    """
    cells = list(zip(columns, *rows))
    whole = [max(map(cell_len, column)) for column in cells]
    if width is None or sum(whole) + LINES * len(whole) + 1 <= width:
        return _with_lines(columns, rows, texts)
    words = [max(cell_len(word) for cell in column for word in cell.split() or [""]) for column in cells]
    space = width - len(GAP) * (len(whole) - 1)
    if sum(words) <= space:
        return _without_lines(columns, rows, fold(whole, words, space), texts)
    return Text("\n".join(line for row in rows for line in _as_list(columns, row, width)))


def fold(whole: Sequence[int], least: Sequence[int], space: int) -> list[int]:
    """Widths of columns that are `whole` wide unfolded, together at most `space`; none is under its `least`.

    The widest columns give way first, all down to one width.
    """
    for most in range(max(whole), 0, -1):
        widths = [max(low, min(full, most)) for full, low in zip(whole, least)]
        if sum(widths) <= space:
            return widths
    return list(least)


def fold_line(text: str, width: int) -> list[str]:
    """A line of text as lines of at most `width` columns, as far as its words allow: none is taken apart.

    The lines after the first are as far in as it is.
    """
    margin = " " * (len(text) - len(text.lstrip(" ")))
    lines = [margin]
    for word in WORD.findall(text):
        if cell_len(lines[-1] + word.rstrip()) > width and lines[-1].strip():
            lines.append(margin)
        lines[-1] += word
    return [line.rstrip() for line in lines]


def _with_lines(columns: Columns, rows: Rows, texts: int) -> RenderableType:
    table = Table()
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if index < texts else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _without_lines(columns: Columns, rows: Rows, widths: Sequence[int], texts: int) -> RenderableType:
    head, *body = ("\n".join(_folded_row(row, widths, texts)) for row in (columns, *rows))
    rule = "-" * (sum(widths) + len(GAP) * (len(widths) - 1))
    return Text.assemble((head, "bold"), "\n", "\n".join([rule, *body]))


def _folded_row(row: Sequence[str], widths: Sequence[int], texts: int) -> list[str]:
    """The lines of a row whose cells are folded to `widths`."""
    folded = [fold_line(cell, width) for cell, width in zip(row, widths)]
    lines = []
    for parts in zip_longest(*folded, fillvalue=""):
        spare = [" " * (width - cell_len(part)) for part, width in zip(parts, widths)]
        cells = [
            part + room if index < texts else room + part
            for index, (part, room) in enumerate(zip(parts, spare))
        ]
        lines.append(GAP.join(cells).rstrip())
    return lines


def _as_list(columns: Columns, row: Sequence[str], width: int) -> list[str]:
    """The lines of a row as a list: its first cell, and below it each other behind its column's name."""
    named = [f"{column}: {cell}" if column else cell for column, cell in zip(columns, row) if cell]
    lines = [named[0], *(f"  {line}" for line in named[1:])] if named else []
    return [part for line in lines for part in fold_line(line, width)]
