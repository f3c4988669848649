"""Imports of much code, with the garbage collector at rest."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """A context whose objects stay until the process ends, so that nobody looks through them for garbage.

    PyTorch's import makes 180,000 of them, which the collector would look through 400 times in vain.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()
