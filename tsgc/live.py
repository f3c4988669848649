"""Work that goes on, as it is seen meanwhile: two lines on a terminal, a plain line every 15 s elsewhere."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.text import Text

PLAIN_SECONDS = 15  # between lines where there is no terminal
BETWEEN = 2  # seconds from one work to the next that count as one
FRAMES = 4  # a second, drawn by a thread of its own: the work waits for none of them
RECENT = 30  # seconds that a rate is taken over
BAR = (8, 40)  # columns of a bar: fewer tell nothing, more are no clearer


@dataclass(frozen=True)
class Shown:
    """What there is to say of a work at one moment."""

    title: str
    share: float | None
    """The part that is done, 0 to 1; None: nobody knows."""
    words: Sequence[str] = ()
    """What stands beside the bar."""
    more: Sequence[str] = ()
    """What stands below it, the most important first: the last ones go where the line is too short."""
    rows: Sequence[str] = ()
    """Lines of their own below that, one for each of several works."""

    @property
    def plain(self) -> str:
        """All of it in one line."""
        return f"{self.title}: {'; '.join([*self.words, ', '.join(self.more), *self.rows])}".rstrip("; :")


Look = Callable[[], Shown]
"""Called by another thread at any time: reads, and changes nothing."""


class Pace:
    """The rate of a work that counts up, over the last RECENT seconds of it."""

    def __init__(self) -> None:
        self._reached: deque[tuple[float, float]] = deque()
        self._known = 0.0

    def reached(self, done: float) -> None:
        """Note how far the work is."""
        now = time.monotonic()
        reached = self._reached
        while len(reached) > 2 and reached[1][0] < now - RECENT:
            reached.popleft()
        if len(reached) > 1 and now - reached[-2][0] < 0.1:  # of many small steps, a few are enough
            reached.pop()
        reached.append((now, done))

    def rest(self) -> None:
        """Forget when it was where, as other work comes between; the rate stays until there is a new one."""
        self._known = self.rate
        self._reached.clear()

    @property
    def resting(self) -> bool:
        """Whether nothing was noted since the last rest."""
        return not self._reached

    @property
    def rate(self) -> float:
        """Units a second; 0: not known yet."""
        reached = list(self._reached)
        if len(reached) < 2 or reached[-1][0] == reached[0][0]:
            return self._known
        return (reached[-1][1] - reached[0][1]) / (reached[-1][0] - reached[0][0])


def rate_text(rate: float) -> str:
    """A rate in whole numbers, or two digits of one under 10."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def clock(seconds: float) -> str:
    """A duration as h:mm:ss, with days before it where there are any."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days} d {hour:02}:{minute:02}:{second:02}" if days else f"{hour}:{minute:02}:{second:02}"


class Watch(AbstractContextManager["Watch"]):
    """A context in which a work is shown, by a thread of its own."""

    def pause(self) -> None:
        """Clear the screen of it, so that other lines can be printed."""

    def resume(self) -> None:
        """Show it again."""


class ScreenWatch(Watch):
    """Two lines at the bottom of a terminal, which are gone at the end."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._live: Live | None = None

    def resume(self) -> None:
        self._live = Live(
            get_renderable=lambda: _Lines(self._look()),
            console=_Screen(stderr=True, highlight=False),
            transient=True,
            redirect_stdout=False,  # results are written as they are, wherever they go
            refresh_per_second=FRAMES,
        )
        self._live.start(refresh=True)

    def pause(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __enter__(self) -> "ScreenWatch":
        self.resume()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()


class PlainWatch(Watch):
    """A line on standard error every PLAIN_SECONDS, counted on from one work to the next."""

    said = 0.0
    """When the last line was written, of any work; when it began, where none came before it."""
    over = 0.0
    """When the last work was over."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._shown = True
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name="progress", daemon=True)

    def _repeat(self) -> None:
        while not self._over.wait(max(0.0, PlainWatch.said + PLAIN_SECONDS - time.monotonic())):
            if self._shown:
                print(self._look().plain, file=sys.stderr, flush=True)
                PlainWatch.said = time.monotonic()
            else:
                self._over.wait(1)

    def pause(self) -> None:
        self._shown = False

    def resume(self) -> None:
        self._shown = True

    def __enter__(self) -> "PlainWatch":
        now = time.monotonic()
        if now - PlainWatch.over > BETWEEN:
            PlainWatch.said = now
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        PlainWatch.over = time.monotonic()


class _Screen(Console):
    """A console whose cursor stays: a process that is killed could not bring it back."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


@dataclass(frozen=True)
class _Lines:
    """What is shown, in the width that there is."""

    shown: Shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width - 1  # some terminals fold a line that fills them
        shown = self.shown
        words = "  ".join(shown.words)
        room = width - cell_len(shown.title) - cell_len(words) - 2
        if room < BAR[0]:
            yield _cut(f"{shown.title} {words}", width)
        else:
            long = min(room, BAR[1])
            bar = ProgressBar(1.0, shown.share or 0.0, width=long, pulse=shown.share is None)
            drawn = list(console.render(bar, options))
            yield Text(f"{shown.title} ", no_wrap=True, end="")
            yield from drawn
            rest = " " * (long - Segment.get_line_length(drawn))  # not drawn without colours
            yield Text(f"{rest} {words}".rstrip(), no_wrap=True)
        below = "  " + ", ".join(shown.more)
        for count in range(len(shown.more) - 1, -1, -1):
            if cell_len(below) <= width:
                break
            below = "  " + ", ".join(shown.more[:count])
        if below.strip():
            yield _cut(below, width)
        room = max(0, console.height - 3)
        for row in shown.rows[: room if len(shown.rows) <= room else room - 1]:
            yield _cut(f"  {row}", width)
        if len(shown.rows) > room > 0:
            yield _cut(f"  and {len(shown.rows) - room + 1} more", width)


def _cut(text: str, width: int) -> Text:
    """A line of at most so many columns."""
    line = Text(text.rstrip(), no_wrap=True)
    line.truncate(width, overflow="ellipsis")
    return line
