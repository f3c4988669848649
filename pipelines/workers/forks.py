"""Work spread over forked processes: results in order, hardly copied, memory bounded. Linux only.

Plain twin: joblib's processes (`workers.py`), each of which loads everything anew, and whose results are
copied through a pipe. Here they are forked from one that has loaded it all, and what they return lies in
memory that all share.
"""

import json
import mmap
import os
import pickle
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import spawn
from multiprocessing.connection import Connection, Pipe, wait
from sys import path as import_path
from typing import Any

from pipelines.errors import TsgcError
from pipelines.workers.fork_worker import SIGNALS, SLOT_BYTES, SLOTS, Raised, unpack

AVAILABLE = hasattr(os, "fork") and hasattr(os, "memfd_create")
MOST = 64  # workers; more than one process can serve that writes what they read (benchmarks/prepare.py cores)
GIVEN = 2  # tasks that a worker has at most: the one that it works on, and one to go on with
SMALL = 32_000  # bytes; the system keeps so much for a process that does not read yet
PROGRAM = """
import json, sys
sys.path[:], *numbers = json.loads(sys.argv[1])
from pipelines.workers.fork_worker import host
host(*numbers)
"""


Run = Callable[[Sequence[Any], int], Iterator[Any]]


@contextmanager
def forks(function: Callable[[Any], object], most: int, load: Callable[[], object]) -> Iterator[Run]:
    """Up to `most` processes for `function`, as `run(tasks, jobs)`, to be called once within the block.

    The one that they are forked from starts at once and calls `load`: by the time that the caller has its
    tasks together, it is ready. `run` gives the results in the order of the tasks. A result's arrays lie in
    memory that is used again once the next result is asked for: copy what is to stay. At most SLOTS * `jobs`
    results wait. It raises what `function` raises; the block raises TsgcError where a worker died.
    """
    with ExitStack() as stack:
        memory = os.memfd_create("tsgc")
        stack.callback(os.close, memory)
        os.ftruncate(memory, most * SLOTS * SLOT_BYTES)
        slots = memoryview(mmap.mmap(memory, 0))
        told, tell = Pipe(duplex=False)
        pairs = [Pipe() for _ in range(most)]
        host = _start(told, [theirs for _, theirs in pairs], memory)
        stack.callback(host.wait)
        for connection in (tell, *(ours for ours, _ in pairs)):  # without them workers end, and so the host
            stack.callback(connection.close)
        unused = stack.enter_context(ExitStack())
        unused.callback(host.kill)

        def run(tasks: Sequence[Any], jobs: int) -> Iterator[Any]:
            unused.pop_all()
            _send(tell, pickle.dumps(jobs))
            size = SLOTS * SLOT_BYTES
            return _results(
                tasks, [_Worker(pairs[n][0], slots[n * size : (n + 1) * size]) for n in range(jobs)]
            )

        try:
            _send(tell, pickle.dumps((function, load)))
            yield run
            return
        except _DiedError:
            stack.close()
    code = host.returncode if host.returncode <= SIGNALS else SIGNALS - host.returncode
    how = signal.Signals(-code).name if code < 0 else f"status {code}"
    raise TsgcError(f"a worker process died ({how}); if memory was short, run again with fewer --jobs")


def _results(tasks: Sequence[Any], workers: Sequence["_Worker"]) -> Iterator[Any]:
    done: dict[int, tuple[_Worker, int, bytes]] = {}
    giver = _give(tasks, workers)
    for number in range(len(tasks)):
        next(giver)
        while number not in done:
            for connection in wait([worker.connection for worker in workers if worker.given]):
                worker = next(one for one in workers if one.connection is connection)
                answered, slot = worker.given.popleft()
                done[answered] = worker, slot, worker.receive()
            next(giver)
        worker, slot, message = done.pop(number)
        result = unpack(message, worker.slot(slot))
        if isinstance(result, Raised):
            raise result.error
        yield result
        worker.free.append(slot)


class _DiedError(Exception):
    """A worker is gone."""


@dataclass(eq=False)
class _Worker:
    """What this process knows of a worker."""

    connection: Connection
    memory: memoryview
    """Its slots."""
    free: list[int] = field(default_factory=lambda: list(range(SLOTS)))
    given: deque[tuple[int, int]] = field(default_factory=deque)
    """The number and the slot of each task that it has; it answers in this order."""

    def slot(self, number: int) -> memoryview:
        return self.memory[number * SLOT_BYTES : (number + 1) * SLOT_BYTES]

    def can_take(self, size: int) -> bool:
        """Whether it has a slot left, and a message of `size` bytes need not wait for it to be read."""
        return bool(self.free) and len(self.given) < (GIVEN if size <= SMALL else 1)

    def give(self, number: int, task: bytes) -> None:
        slot = self.free.pop()
        self.given.append((number, slot))
        _send(self.connection, pickle.dumps((slot, task)))

    def receive(self) -> bytes:
        try:
            return self.connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise _DiedError from error


def _give(tasks: Sequence[Any], workers: Sequence[_Worker]) -> Iterator[None]:
    """Gives out all the tasks that workers can take, in order, each time it is asked."""
    for number, task in enumerate(tasks):
        packed = pickle.dumps(task, protocol=5)
        while not (able := [worker for worker in workers if worker.can_take(len(packed))]):
            yield
        min(able, key=lambda worker: len(worker.given)).give(number, packed)
    while True:
        yield


def _start(told: Connection, theirs: Sequence[Connection], memory: int) -> subprocess.Popen[bytes]:
    """The host, to which these ends of the connections go."""
    ends = [connection.fileno() for connection in theirs]
    numbers = [told.fileno(), ends, memory]
    # Another program, not a fork of this one: here may be threads and libraries that forking breaks.
    process = subprocess.Popen(
        [spawn.get_executable(), "-c", PROGRAM, json.dumps([import_path, *numbers])],
        stdin=subprocess.DEVNULL,
        pass_fds=(told.fileno(), *ends, memory),
    )
    for connection in (told, *theirs):
        connection.close()
    return process


def _send(connection: Connection, message: bytes) -> None:
    try:
        connection.send_bytes(message)
    except OSError as error:
        raise _DiedError from error
