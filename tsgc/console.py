"""Output for people and programs: lines, tables, JSON, and progress with rate and time left."""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tsgc.distributed.environment import QUIET
from tsgc.tables import fold_line, layout

PLAIN_SECONDS = 15  # between progress lines where there is no terminal
NO_END = 1 << 20  # columns, where there is no terminal: a line stays one, for grep and its like

Advance = Callable[..., None]
"""Called as advance(done, note=""): how far the work is, in its unit, and what to say beside it."""

Count = Callable[[int, int], None]
"""Called as count(done, total)."""


def no_count(done: int, total: int) -> None:
    """Progress that nobody watches."""


def write_json(document: str) -> None:
    """Write a JSON document to standard output, with JSON's escapes where its encoding lacks a letter."""
    try:
        document.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        document = re.sub(r"[^\x00-\x7f]+", lambda found: json.dumps(found.group())[1:-1], document)
    sys.stdout.write(document + "\n")
    sys.stdout.flush()  # a reader at the other end of a pipe waits for it


def _console(*, stderr: bool = False) -> Console:
    """A console that folds lines to a terminal's width, and elsewhere none."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = NO_END
    return console


def _print(console: Console, text: str, style: str = "") -> None:
    """Print a text's lines, folded between words; a word that is longer than the screen stays whole."""
    if console.is_terminal:
        text = "\n".join(part for line in text.split("\n") for part in fold_line(line, console.width))
    console.print(Text(text, style), soft_wrap=True)


class Talker:
    """Results go to standard output, progress and warnings to standard error.

    Quiet (`--quiet`, or TSGC_QUIET in the environment): no progress, no notes; results and warnings stay.
    With `json`, only `data` writes to standard output; it holds what `line` and `table` say in words.
    Colours appear on a terminal only, and never with NO_COLOR in the environment (both are rich's).
    A terminal gets lines and cells folded between words, and elsewhere each line and row is one line.
    """

    def __init__(self, *, json: bool = False, quiet: bool | None = None) -> None:
        self.out = _console()
        self.err = _console(stderr=True)
        self.json = json
        self.quiet = bool(os.environ.get(QUIET)) if quiet is None else quiet

    def line(self, text: str) -> None:
        """A result, in words."""
        if not self.json:
            _print(self.out, text)

    def note(self, text: str) -> None:
        """A word on what is going on, which --quiet leaves out."""
        if not self.quiet:
            self.line(text)

    def aside(self, text: str) -> None:
        """A note beside a result that other programs read: on standard error, and with JSON nowhere."""
        if not (self.quiet or self.json):
            self.warn(text)

    def warn(self, text: str) -> None:
        """A warning that a part of the work went wrong, on standard error."""
        _print(self.err, text)

    @property
    def columns(self) -> int | None:
        """Columns of the terminal that results go to; None where they go elsewhere."""
        return self.out.width if self.out.is_terminal else None

    def data(self, value: Any) -> None:
        """The result as one JSON document, where --json asks for it."""
        if self.json:
            options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
            write_json(orjson.dumps(value, option=options, default=str).decode())

    def table(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1
    ) -> None:
        """A table whose first `texts` columns are text and whose others are figures."""
        if self.json:
            return
        _print(self.out, title, "bold")
        self.out.print(layout(columns, rows, self.columns, texts), crop=False, overflow="ignore")

    @contextmanager
    def progress(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """Progress over `total` units of work; a bar on a terminal, plain lines elsewhere."""
        if self.quiet:
            yield _no_advance
        elif self.err.is_terminal:
            with Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                _Rate(unit),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=self.err,
                transient=True,
            ) as bar:
                task = bar.add_task(title, total=total, note="")
                yield lambda done, note="": bar.update(task, completed=done, note=note)
        else:
            yield _PlainProgress(title, total, unit)

    @contextmanager
    def counting(self, title: str, unit: str) -> Iterator[Count]:
        """Progress over a total that comes with each count."""
        with ExitStack() as stack:
            bar: Advance | None = None
            before = 0

            def count(done: int, total: int) -> None:
                nonlocal bar, before
                if bar is None or done < before:  # the next of several pieces of work
                    stack.close()
                    bar = stack.enter_context(self.progress(title, total, unit))
                bar(done)
                before = done

            yield count


class Silent(Talker):
    """The talker of all ranks but the first: says nothing."""

    def __init__(self) -> None:
        super().__init__(quiet=True)

    def line(self, text: str) -> None:
        pass

    def aside(self, text: str) -> None:
        """A note beside a result that other programs read: on standard error."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        pass

    def table(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1
    ) -> None:
        pass


def _no_advance(done: int, note: str = "") -> None:
    """Progress that --quiet keeps to itself."""


def rate_text(rate: float) -> str:
    """A rate in whole numbers, or two digits of one under 10."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text(f"{rate_text(task.speed)} {self.unit}/s" if task.speed else "")


class _PlainProgress:
    """A line every PLAIN_SECONDS, and none for work that is over before."""

    def __init__(self, title: str, total: int, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.start = self.said = time.monotonic()

    def __call__(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        if done == 0 or now - self.said < PLAIN_SECONDS:
            return
        self.said = now
        rate = done / (now - self.start)
        left = (self.total - done) / rate
        so_far = f"{done:,} of {self.total:,} {self.unit}, {rate_text(rate)}/s"
        words = f"{self.title}: {so_far}, {left:,.0f} s left {note}"
        print(words.rstrip(), file=sys.stderr, flush=True)
