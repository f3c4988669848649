"""Several runs trained side by side: each to the bit what it would be alone, in its own folder."""

import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
import torch

from pipelines.errors import first_line
from tsgc.console import Talker
from tsgc.distributed.apart import Apart
from tsgc.distributed.preemption import PreemptedError, StopRequest
from tsgc.distributed.process import CommonError, Process
from tsgc.evaluation.scores import Scores, all_and_clean
from tsgc.side_by_side.plan import Member
from tsgc.side_by_side.progress import GroupProgress
from tsgc.side_by_side.results import CHECKPOINTS, print_results
from tsgc.side_by_side.room import Room
from tsgc.side_by_side.shared_clips import shared_clips
from tsgc.side_by_side.turns import Over, Turns
from tsgc.training.loop import RunRequest, stream_in_turns
from tsgc.training.progress import RunProgress
from tsgc.training.restart import announce_stop


def train_side_by_side(
    members: Sequence[Member],
    request: RunRequest,
    apart: Apart,
    talker: Talker,
    *,
    at_once: int | None = None,
) -> None:
    """Train `members`, each as `request` says but with its own settings and folder; print what they come to.

    Those that are over already are left as they are. `apart`: this process of several that share the runs,
    each on a device of its own, or of one. `at_once`: runs that take turns on a device; None: as many as fit.
    Raises PreemptedError where they were asked to stop and have saved themselves; CommonError at the end
    where some failed: the others are trained all the same.
    """
    again = request.again or "the same command with --resume"
    process = apart.alone()
    announce = partial(announce_stop, talker)
    with StopRequest(process, announce, lambda: f"{again} goes on from the last checkpoints") as stop:
        asked = own_share(members, request, apart, talker, stop)
        group = Group(asked, process, talker, stop, at_once, apart.title)
        with talker.watching(group.progress.look):
            group.train()
        failed = None if group.stopped else exchange(apart, stop, "failed", group.failed)
        if failed is None:
            raise PreemptedError(f"asked to stop: {group.summary()}; {again} goes on")
    for name, why in (item for found in failed for item in found.items()):
        if name not in group.failed:  # said already
            talker.warn(f"{name}: failed: {why}")
    print_results(talker, request.benchmark, members)
    if names := [name for found in failed for name in found]:
        raise CommonError(
            f"{len(names)} of {len(members)} runs failed: {', '.join(names)}; {again} trains"
            f" {'it' if len(names) == 1 else 'them'} again"
        ) from group.first_error


def own_share(
    members: Sequence[Member], request: RunRequest, apart: Apart, talker: Talker, stop: StopRequest
) -> dict[str, RunRequest]:
    """The runs that this process trains, by name: every N-th of N processes' that is not over already."""
    over = [member.name for member in members if member.over] if apart.rank == 0 else []
    found = exchange(apart, stop, "over", over)  # as rank 0 sees it: others may have begun meanwhile
    over = found[0] if found else []
    for member in members:
        if member.name in over:
            talker.note(f"{member.name}: trained and scored already: {member.folder}")
    mine = [member for member in members if member.name not in over][apart.rank :: apart.world]
    if len(mine) > 1 and not stop.requested:
        with talker.doing("reading the clips"):
            request = replace(request, resident=shared_clips(request, apart.device))
    return {
        member.name: replace(
            request, config=member.config, folder=member.folder, resume=member.resume and member.taken
        )
        for member in mine
    }


def exchange(apart: Apart, stop: StopRequest, about: str, words: Any) -> list[Any] | None:
    """Every process's words, by rank; None: this one was asked to stop before all were there."""
    said = apart.exchange(about, orjson.dumps(words).decode(), lambda: stop.requested)
    return None if said is None else list(map(orjson.loads, said))


class Group:
    """The runs `asked` for, by name, as they take turns on the device of `process`."""

    def __init__(
        self,
        asked: dict[str, RunRequest],
        process: Process,
        talker: Talker,
        stop: StopRequest,
        at_once: int | None,
        share: str = "",
    ) -> None:
        """`share`: whose part of all runs they are, where they are a part."""
        self.asked, self.process, self.talker, self.stop = asked, process, talker, stop
        self.waiting = deque(asked)
        """Runs that have not begun."""
        self.trained: list[str] = []
        self.saved: list[str] = []
        """Runs that were asked to stop."""
        self.failed: dict[str, str] = {}
        """Runs that an error ended, and what it says."""
        self.first_error: Exception | None = None
        self.share = share
        self.progress = GroupProgress(len(asked), f"runs of {share}" if share else "runs")
        self._turns: Turns[str, dict[str, Scores]] = Turns(process.device)
        self._room = Room(process.device, at_once)
        self._said: set[str] = set()
        self._begun: set[str] = set()

    def train(self) -> None:
        """Train all of them, or until they are asked to stop."""
        try:
            while self._turns or self._more:
                while self._more and len(self._turns) < self._room(self._turns.taken):
                    self._start(self.waiting.popleft())
                for over in self._turns.round():
                    self._end(over)
                self.progress.reached()
        finally:
            self._turns.close()

    @property
    def _more(self) -> bool:
        """Whether another run is to begin."""
        return bool(self.waiting) and not self.stop.requested

    def _start(self, name: str) -> None:
        talker = OneOfSeveral(self.talker, name, self._said)

        def watch(progress: RunProgress) -> None:
            self.progress.start(name, progress)
            self._begun.add(name)
            talker.begun = True

        self._turns.start(name, stream_in_turns(self.asked[name], self.process, talker, self.stop, watch))

    def _end(self, over: Over[str, dict[str, Scores]]) -> None:
        name, error = over.key, over.error
        beside = len(self._turns) + 1
        self.progress.end(name, whole=over.error is None)
        if over.result is not None:
            self.trained.append(name)
            self.talker.line(f"{name}: {scored(over.result)}: {self.asked[name].folder}")
        elif isinstance(error, PreemptedError):
            (self.saved if name in self._begun else self.waiting).append(name)
        elif error is not None:
            free_frames(error)
            self.failed[name] = told(error, beside)
            self.first_error = self.first_error or error
            self.talker.warn(f"{name}: failed: {self.failed[name]}")

    @property
    def stopped(self) -> bool:
        """Whether some of them are to be gone on with."""
        return bool(self.saved or self.waiting)

    def summary(self) -> str:
        """How far the runs are, in words."""
        counts = {
            "trained": self.trained,
            "saved where they were": self.saved,
            "not begun": self.waiting,
            "failed": self.failed,
        }
        runs = len(self.asked)
        said = [f"{len(names)} of {runs} runs {what}" for what, names in counts.items() if names]
        return f"{self.share}: {', '.join(said)}" if self.share else ", ".join(said)


def free_frames(error: BaseException | None) -> None:
    """Let go of what the frames of an error hold, such as a network on the device; its traceback stays."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def scored(scores: dict[str, Scores]) -> str:
    """A run's test accuracies in a line, without those of epochs that were selected."""
    words = []
    for name in CHECKPOINTS:
        parts = all_and_clean(scores[name])
        clean = f" (clean {parts['clean'].top1:.2f})" if "clean" in parts else ""
        words.append(f"{name} {parts['all'].top1:.2f}{clean}")
    return f"test top-1 % {', '.join(words)}"


def told(error: Exception, at_once: int) -> str:
    """An error that ended one of `at_once` runs, in a line."""
    if isinstance(error, torch.OutOfMemoryError):
        less = f"--at-once {at_once - 1}" if at_once > 1 else "a smaller --set micro_batch=N"
        return (
            f"out of GPU memory, with {at_once} run{'' if at_once == 1 else 's'} at once; {less} needs less"
        )
    return first_line(error, 1000)


class OneOfSeveral(Talker):
    """What one of several runs says, with its name before it: its warnings, and how it starts.

    The runs of a group say many things alike, such as the kernels that they use: each is said once. Notes of
    its epochs are left out.
    """

    def __init__(self, whole: Talker, name: str, said: set[str]) -> None:
        super().__init__(quiet=True)
        self.whole, self.name, self.said = whole, name, said
        self.begun = False
        """Whether it trains."""

    def note(self, text: str) -> None:
        if not self.begun and text not in self.said:
            self.said.add(text)
            self.whole.note(f"{self.name}: {text}")

    def line(self, text: str) -> None:
        self.whole.line(f"{self.name}: {text}")

    def warn(self, text: str) -> None:
        if self.begun or text not in self.said:
            self.said.add(text)
            self.whole.warn(f"{self.name}: {text}")
