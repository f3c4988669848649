"""Tables in text: CSV with names in the first line."""

import csv
import io
from dataclasses import dataclass

from pipelines.errors import TsgcError


@dataclass(frozen=True)
class Table:
    """A CSV file."""

    source: str
    head: list[str]
    """The names of the columns, as they are written."""
    rows: list[tuple[int, list[str]]]
    """Line number and cells, as many as there are names."""

    def value(self, line: int, cell: str) -> float:
        """A cell as a number; an empty one is NaN. Raises TsgcError: neither."""
        cell = cell.strip()
        try:
            number = float(cell) if cell else float("nan")
        except ValueError:
            raise TsgcError(f"{self.source}: line {line}: {cell[:40]!r}, expected a number") from None
        if number in (float("inf"), float("-inf")):
            raise TsgcError(f"{self.source}: line {line}: {cell[:40]!r}, expected a finite number")
        return number


def read_table(source: str, data: bytes) -> Table:
    """A CSV file's names and lines, but for empty ones. Raises TsgcError: none, or lines of other lengths."""
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TsgcError(f"{source}: not CSV ({error})") from None
    head = [column.strip() for column in rows[0]] if rows else []
    if len(set(head)) < len(head):
        raise TsgcError(f"{source}: line 1: a column comes twice")
    lines = [(number, row) for number, row in enumerate(rows[1:], 2) if row]
    for number, row in lines:
        if len(row) != len(head):
            raise TsgcError(f"{source}: line {number}: {len(row)} values, expected {len(head)}")
    return Table(source, head, lines)


def number_of(source: str, line: int, cell: str, most: int) -> int:
    """A cell as a whole number up to `most`. Raises TsgcError: none."""
    cell = cell.strip().removesuffix(".0")
    if not (cell.isascii() and cell.isdigit()) or len(cell) > 9 or int(cell) > most:
        raise TsgcError(f"{source}: line {line}: {cell[:40]!r}, expected a whole number up to {most:,}")
    return int(cell)
