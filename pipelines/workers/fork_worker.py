"""The processes of `forks.py`: a host that loads what the work needs, and the workers that it forks.

Started as a program of its own, with one thread and nothing of the caller's, so that forking is safe; what
it has loaded when it forks, no worker loads again. Imports little itself.
"""

import gc
import mmap
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

SLOTS = 4  # results of a worker that may wait for their turn, the one being worked on included
SLOT_BYTES = 4 << 20  # room for a result's arrays; memory that is never written is never there
IN_LINE = 4096  # bytes; smaller arrays travel with the message
ALIGNMENT = 64  # bytes
SIGNALS = 128


def host(start: int, connections: Sequence[int], memory: int) -> None:
    """Is told (function, load) by descriptor `start`, calls `load`, is told how many workers to fork.

    Waits for all of them; exits as the first that failed, as a shell does: a signal counts from SIGNALS on.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the caller, whose end ends this
    with Connection(start, writable=False) as told:
        function, load = pickle.loads(told.recv_bytes())
        load()
        jobs = pickle.loads(told.recv_bytes())
    gc.collect()
    gc.freeze()  # workers share these objects as long as nobody writes to them
    for number, descriptor in enumerate(connections[:jobs]):
        if os.fork() == 0:
            for other in connections:  # a connection ends with its last holder
                if other != descriptor:
                    os.close(other)
            _work(function, Connection(descriptor), memory, number * SLOTS)
    for descriptor in connections:
        os.close(descriptor)
    codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(jobs)]
    failed = next(filter(None, codes), 0)
    sys.exit(SIGNALS - failed if failed < 0 else failed)


def _work(function: Callable[[Any], Any], caller: Connection, memory: int, first_slot: int) -> None:
    """A worker's life: tasks in, results out, until the caller is gone."""
    try:
        shared = memoryview(mmap.mmap(memory, 0))
        while True:
            slot, task = pickle.loads(caller.recv_bytes())
            begin = (first_slot + slot) * SLOT_BYTES
            caller.send_bytes(_answer(function, task, shared[begin : begin + SLOT_BYTES]))
    except (EOFError, OSError):  # the caller went
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)  # never on into the host's code


def _answer(function: Callable[[Any], Any], task: bytes, slot: memoryview) -> bytes:
    try:
        return pack(function(pickle.loads(task)), slot)
    except Exception as error:  # told to the caller, who raises it
        error.add_note(traceback.format_exc())
        return pack(Raised(error), slot)


class Raised:
    """Instead of a result: what the function raised."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def pack(result: Any, slot: memoryview) -> bytes:
    """A result as a message, its larger arrays put into `slot` as far as they fit (pickle's protocol 5)."""
    places: list[tuple[int, int]] = []
    used = 0

    def keep_in_line(buffer: pickle.PickleBuffer) -> bool:
        nonlocal used
        raw = buffer.raw()
        if raw.nbytes < IN_LINE or used + raw.nbytes > len(slot):
            return True
        slot[used : used + raw.nbytes] = raw
        places.append((used, raw.nbytes))
        used += -(-raw.nbytes // ALIGNMENT) * ALIGNMENT
        return False

    content = pickle.dumps(result, protocol=5, buffer_callback=keep_in_line)
    return pickle.dumps((places, content), protocol=5)


def unpack(message: bytes, slot: memoryview) -> Any:
    """What `pack` packed; its arrays lie in `slot` as long as that is left alone."""
    places, content = pickle.loads(message)
    return pickle.loads(content, buffers=[slot[begin : begin + size] for begin, size in places])
