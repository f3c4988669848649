"""Signals that ask a command to stop: Ctrl-C, a scheduler's SIGTERM, a terminal that closes.

In the main thread each becomes `Interrupted`, so that what was begun is tidied up on the way out. What must
not be cut in two is `held` together. A second Ctrl-C ends the process at once.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType

from pipelines.files import remove_unfinished

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 2.0  # seconds that the main thread has to end after the second Ctrl-C
PATIENCE = 10.0
TWICE = 1.0  # seconds within which a launcher's signal and the terminal's are one
LINE_START = "\r\x1b[K\x1b[?25h"  # over the ^C that a terminal shows; with the cursor, which bars hide


class Interrupted(KeyboardInterrupt):
    """A signal asked to stop. Its text, where it has one, says what is left and how to go on."""

    def __init__(self, said: str = "", number: int = signal.SIGINT) -> None:
        super().__init__(said)
        self.number = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """What a shell calls a process that ended by this signal."""
        return 128 + self.number


class CommandSignals:
    """A context for a whole command, which turns SIGNALS into `Interrupted`; ignored ones stay so.

    A signal raises in blocks that are `heard`, so that what reports an error is not interrupted itself. A
    thread of its own sees signals at once, even while the main one is in a computation of minutes.
    `mute`: says nothing itself. `last`: the process ends with the command; once it was asked to, SIGTERM
    changes nothing.
    """

    def __init__(self, *, mute: bool = False, last: bool = False) -> None:
        self.mute, self.last = mute, last
        self.say: Callable[[], None] | None = None
        """Called, from the thread, at the first signal."""
        self.how_to_go_on: Callable[[], str] = lambda: "the same command starts it again"
        """What is said after an end at once."""
        self.grace = GRACE
        self.pending = 0
        self.holders = 1
        self._first, self._since = 0, 0.0
        self._over = threading.Event()
        self._terminals = [number for number in (0, 1, 2) if _is_terminal(number)]

    def __enter__(self) -> "CommandSignals":
        global _active
        self._before = {
            number: signal.signal(number, self.arrived) for number in SIGNALS if catchable(number)
        }
        self._outer = _active
        if self._before:
            _active = self
            self._ear, self._mouth = socket.socketpair()
            self._mouth.setblocking(False)
            self._wakeup = signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
            threading.Thread(target=self._watch, name="signals", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _active
        if self._before:
            self._over.set()
            signal.set_wakeup_fd(self._wakeup)
            self._mouth.close()  # ends the thread
            _active = self._outer
        asked = self.last and self._first
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if asked and number != signal.SIGINT else handler)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """A block in which a signal raises, also one that came before it."""
        self.holders -= 1
        try:
            self.raise_pending()
            yield
        finally:
            self.holders += 1

    def raise_pending(self) -> None:
        """Let a signal that was held raise now."""
        if self.pending and not self.holders:
            number, self.pending = self.pending, 0
            self.arrived(number)

    def is_ending(self, number: int, since: float) -> None:
        """Take it that the signal `number` of the time `since` was heard: no further one raises."""
        if not self._first:
            self._first, self._since = number, since

    def arrived(self, number: int, frame: FrameType | None = None) -> None:
        """Raises in the main thread, wherever it is."""
        self.leave_terminal()
        if self.holders:
            self.pending = number
        elif not self._first:
            self._first, self._since = number, time.monotonic()
            raise Interrupted(number=number)
        elif at_once(number, self._first, self._since):
            self.end_at_once()

    def _watch(self) -> None:
        first, since = 0, 0.0
        while numbers := self._ear.recv(16):
            for number in numbers:
                self.leave_terminal()
                if not first:
                    first, since = number, time.monotonic()
                    if self.say is not None:
                        with suppress(Exception):  # a word less is no reason to lose the second Ctrl-C
                            self.say()
                elif at_once(number, first, since) and not self._over.wait(self.grace):
                    self.end_at_once()
        self._ear.close()

    def leave_terminal(self) -> None:
        """Writes nowhere from here on, where the terminal is gone: a failed write must not cost the work."""
        for number in self._terminals:
            if not _is_terminal(number):
                nowhere = os.open(os.devnull, os.O_RDWR)
                os.dup2(nowhere, number)
                os.close(nowhere)

    def end_at_once(self) -> None:
        """Ends the process, whatever its threads are doing; unfinished files go."""
        remove_unfinished()
        if not self.mute:
            said = f"interrupted: stopped at once, nothing half-written is left; {self.how_to_go_on()}"
            os.write(2, f"{line_start()}{said}\n".encode())
        os._exit(128 + signal.SIGINT)


_active: CommandSignals | None = None


def catchable(number: int) -> bool:
    """Whether this thread may catch a signal, and nobody has it ignored, as nohup does with SIGHUP."""
    main = threading.current_thread() is threading.main_thread()
    return main and signal.getsignal(number) not in (signal.SIG_IGN, None)


def at_once(number: int, first: int, since: float) -> bool:
    """Whether a further signal, after the `first` one at the time `since`, says to stop at once: Ctrl-C does.

    A launcher passes a second Ctrl-C on to its ranks as SIGTERM; the first may come from the terminal, too.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return first == signal.SIGINT and time.monotonic() - since > TWICE
    return number == signal.SIGINT


def patient_end() -> None:
    """Give this command PATIENCE, not GRACE, to end after the second Ctrl-C: its children end first."""
    if _active is not None:
        _active.grace = PATIENCE


def is_ending(number: int, since: float) -> None:
    """Say that this command ends as the signal `number` asked at `since`, of time.monotonic.

    On its way out further ones change nothing, but for a second Ctrl-C.
    """
    if _active is not None:
        _active.is_ending(number, since)


@contextmanager
def own_handlers() -> Iterator[None]:
    """A block in which a library may set handlers of SIGNALS; after it they are those of before."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in SIGNALS if main}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # set by other code than Python's
                signal.signal(number, handler)


def leave_terminal() -> None:
    """Write nowhere from here on, where this command's terminal is gone."""
    if _active is not None:
        _active.leave_terminal()


@contextmanager
def held() -> Iterator[None]:
    """A block that is done as a whole: in a command, a signal raises at its end."""
    command = _active
    if command is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    command.holders += 1
    try:
        yield
    finally:
        command.holders -= 1
        command.raise_pending()


@contextmanager
def shielded() -> Iterator[None]:
    """A block in which processes and threads are started that SIGNALS do not reach."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def announcing(say: Callable[[], None], how_to_go_on: Callable[[], str]) -> Iterator[None]:
    """A block whose first signal calls `say` at once, from a thread; after an end at once the other is said.

    Other code than a command's is not watched: neither is called.
    """
    command = _active
    if command is None:
        yield
        return
    before = command.say, command.how_to_go_on
    command.say, command.how_to_go_on = say, how_to_go_on
    try:
        yield
    finally:
        command.say, command.how_to_go_on = before


def line_start() -> str:
    """What to print on standard error before a line after a signal; empty where that is no terminal."""
    return LINE_START if _is_terminal(2) and os.environ.get("TERM") != "dumb" else ""


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:
        return False
