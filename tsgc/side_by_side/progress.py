"""How far several runs are: one line for all, and one for each that is being trained."""

import math
import time

from tsgc.live import Pace, Shown, clock, rate_text
from tsgc.training.progress import RunProgress

EVERY = 0.25  # seconds between two looks at how far they are: turns are short


class GroupProgress:
    """The runs of a command, of which `total` are to be trained here; `look` is for `Talker.watching`."""

    def __init__(self, total: int, title: str = "runs") -> None:
        self.total, self.title = total, title
        self.over = 0
        """Runs that are trained and scored."""
        self.pace = Pace()
        self._running: dict[str, tuple[RunProgress, float]] = {}
        self._past = 0.0  # clips of the runs that are over
        self._planned: list[float] = []
        self._due = 0.0

    def start(self, name: str, run: RunProgress) -> None:
        """A run takes part from here on; what it did before it was gone on with counts for nothing."""
        self._running[name] = run, run.clips
        self._planned.append(_whole(run) - run.clips)

    def end(self, name: str, *, whole: bool) -> None:
        """A run takes part no more, and is `whole` or was ended before."""
        run, before = self._running.pop(name, (None, 0.0))
        if run is not None:
            self._past += run.clips - before
        self.over += whole

    def reached(self) -> None:
        """Note how far they are; called after each round of turns."""
        now = time.monotonic()
        if now >= self._due:
            self.pace.reached(self.clips)
            self._due = now + EVERY

    @property
    def clips(self) -> float:
        """Clips of all runs since the command began."""
        return self._past + sum(run.clips - before for run, before in list(self._running.values()))

    def left(self) -> float | None:
        """Seconds left, without those of evaluations; None: nobody knows yet."""
        if not self.pace.rate:
            return None
        running = [run for run, _ in list(self._running.values())]
        waiting = self.total - self.over - len(running)
        clips = sum(_whole(run) - run.clips for run in running)
        clips += waiting * sum(self._planned) / max(1, len(self._planned))
        return clips / self.pace.rate

    def look(self) -> Shown:
        """What there is to see now."""
        rate, left = self.pace.rate, self.left()
        words = [f"{self.over}/{self.total}"]
        words += [] if left is None else [f"left: {clock(left)}"]
        known = sum(self._planned) / max(1, len(self._planned)) * self.total
        share = min(1.0, self.clips / known) if known else None
        more = [f"{rate_text(rate)} clips/s"] if rate else []
        rows = [row(name, run) for name, (run, _) in list(self._running.items())]
        more.append(f"{len(rows)} at once")
        return Shown(self.title, share, words, more, rows)


def row(name: str, run: RunProgress) -> str:
    """One run in a line."""
    words = [f"{name}: epoch {min(run.epoch + 1, run.run.config.epochs)}/{run.run.config.epochs}"]
    words += [] if math.isnan(run.loss) else [f"loss {run.loss:.3f}"]
    words += [run.top1] if run.top1 else []
    words += [run.said] if run.said else []
    return ", ".join(words)


def _whole(run: RunProgress) -> float:
    """Clips of a whole run."""
    return float(run.run.config.epochs * run.clips_before[-1])
