"""Output for people and programs: lines, tables, JSON, and progress with rate and time left."""

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

from tsgc.distributed.environment import QUIET
from tsgc.live import Look, Pace, PlainWatch, ScreenWatch, Shown, Watch, clock, rate_text
from tsgc.tables import fold_line, layout

NO_END = 1 << 20  # columns, where there is no terminal: a line stays one, for grep and its like

Advance = Callable[[int], None]
"""Called as advance(done): how far the work is, in its unit."""

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
        self._watches: list[Watch] = []  # what is being shown: the last one, unless it is paused
        self._printing = threading.RLock()  # held by one thread: a request to stop is answered by another

    def line(self, text: str) -> None:
        """A result, in words."""
        if not self.json:
            with self._cleared():
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
        with self._cleared():
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
        with self._cleared():
            _print(self.out, title, "bold")
            self.out.print(layout(columns, rows, self.columns, texts), crop=False, overflow="ignore")

    @contextmanager
    def watching(self, look: Look) -> Iterator[None]:
        """A context in which work is shown as `look` says: below all on a terminal, in lines elsewhere."""
        if self.quiet:
            yield
            return
        screen = self.err.is_terminal and not self.err.is_dumb_terminal
        watch = ScreenWatch(look) if screen else PlainWatch(look)
        with self._printing:  # another thread may be about to show the last watch again
            outer = self._watches[-1:]
            for other in outer:
                other.pause()
            watch.__enter__()
            self._watches.append(watch)
        try:
            yield
        finally:
            with self._printing:
                self._watches.pop()
                watch.__exit__(None, None, None)
        with self._printing:
            for other in outer:
                other.resume()

    @contextmanager
    def _cleared(self) -> Iterator[None]:
        """A context in which lines can be printed: what is shown at the bottom of the terminal is gone."""
        with self._printing:
            for watch in self._watches[-1:]:
                watch.pause()
            yield
            for watch in self._watches[-1:]:
                watch.resume()

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """A context in which something is done whose end nobody knows."""
        start = time.monotonic()
        with self.watching(lambda: Shown(what, None, [clock(time.monotonic() - start)])):
            yield

    @contextmanager
    def progress(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """Progress over `total` units of work."""
        work = _Work(title, total, unit)
        with self.watching(work.look):
            yield work

    @contextmanager
    def counting(self, title: str, unit: str) -> Iterator[Count]:
        """Progress over a total that comes with each count."""
        with ExitStack() as stack:
            stack.enter_context(self.doing(title))
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


def rank_talker(*, json: bool = False) -> Talker:
    """The talker of this process: of torchrun's ranks only the first one speaks."""
    silent = "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK") != "0"
    return Silent() if silent else Talker(json=json)


class _Work:
    """Work of so many units, and how far it is."""

    def __init__(self, title: str, total: int, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = 0
        self.pace = Pace()
        self.pace.reached(0)

    def __call__(self, done: int) -> None:
        self.done = done
        self.pace.reached(done)

    def look(self) -> Shown:
        words = [f"{self.done:,}/{self.total:,} {self.unit}"]
        if rate := self.pace.rate:
            words += [f"{rate_text(rate)}/s", f"{clock((self.total - self.done) / rate)} left"]
        return Shown(self.title, self.done / max(1, self.total), words)
