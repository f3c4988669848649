"""The switch between fused operations and their plain twins."""

from collections.abc import Iterator
from contextlib import contextmanager

_enabled = True


@contextmanager
def plain() -> Iterator[None]:
    """A context in which every operation is its plain twin, for tests and benchmarks."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


def enabled() -> bool:
    """Whether anything but plain twins may run: not inside `plain()`."""
    return _enabled
