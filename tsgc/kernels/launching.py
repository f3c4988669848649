"""Launches: the one gate that every kernel goes through, and what becomes of one that does not run here."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import torch

Result = TypeVar("Result")

# A CUDA or HIP error that says that this kernel cannot run on this GPU; others are the GPU's own trouble.
OF_THE_KERNEL = ("kernel image", "PTX", "too many resources", "invalid argument", "not supported")


class KernelError(RuntimeError):
    """A kernel that was not compiled or launched, and why."""

    def __init__(self, kernel: str, reason: str) -> None:
        super().__init__(f"{kernel}: {reason}")
        self.kernel = kernel


class Launch(NamedTuple):
    """A launch as it was asked for."""

    kernel: Any
    programs: int
    args: tuple[Any, ...]
    options: dict[str, Any]


_record: list[Launch] | None = None


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """A context in which launches are listed and nothing runs, as on the device `meta`."""
    global _record
    before, _record = _record, []
    try:
        yield _record
    finally:
        _record = before


def launch(kernel: Any, programs: int, *args: Any, **options: Any) -> None:
    """Launch `programs` programs of a kernel; options that are None are left out. Raises KernelError."""
    options = {name: value for name, value in options.items() if value is not None}
    if _record is not None:
        _record.append(Launch(kernel, programs, args, options))
        return
    try:
        kernel[(programs,)](*args, **options)
    except Exception as error:  # whatever a Triton of another version raises
        raise unless_the_gpus_own(error, kernel.__name__) from error


def unless_the_gpus_own(error: Exception, name: str) -> KernelError:
    """The error as a kernel's; trouble of the GPU's own, its memory's for one, is raised again."""
    text = " ".join(str(error).split())
    of_driver = isinstance(error, RuntimeError) and ("CUDA" in text or "HIP" in text)
    if isinstance(error, torch.OutOfMemoryError) or (
        of_driver and not any(word in text for word in OF_THE_KERNEL)
    ):
        raise error
    return KernelError(name, text[-200:] or type(error).__name__)


_given_up: set[str] = set()
"""Kernels and functions whose twins run in their place."""


def give_up(name: str, error: KernelError, instead: str) -> None:
    """Warn, once for each name, that a kernel does not run here, and what happens instead."""
    if name not in _given_up:
        _given_up.add(name)
        text = f"{error.kernel} does not run on this GPU with this Triton; {instead} ({error})"
        warnings.warn(text, RuntimeWarning, stacklevel=3)


def or_twin(
    twin: Callable[..., Result], instead: str = "plain PyTorch takes its place"
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Decorates a function that launches kernels: where one does not run, `twin` of the same arguments does.

    `instead` ends the warning, which comes once.
    """

    def decorate(fused: Callable[..., Result]) -> Callable[..., Result]:
        name = f"{fused.__module__}.{fused.__qualname__}"

        @wraps(fused)
        def run(*args: Any) -> Result:
            if name not in _given_up:
                try:
                    return fused(*args)
                except KernelError as error:
                    give_up(name, error, instead)
            return twin(*args)

        return run

    return decorate
