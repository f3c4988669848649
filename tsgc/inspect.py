"""`tsgc inspect`: what a file is and holds, as text. A kind of file is its functions and a line in KINDS."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import TsgcError
from tsgc.inspect_clip import clip_lines, is_clip
from tsgc.inspect_store import is_store, store_lines


@dataclass(frozen=True)
class Wish:
    """What the user wants to see, beside the path."""

    dataset: str | None = None
    """Whose reader reads a raw clip; None: as its name tells."""
    compare: bool = False
    """List what the presets do differently with a raw clip."""


@dataclass(frozen=True)
class Kind:
    """A kind of file or folder that can be looked at."""

    name: str
    """For the error that lists them."""
    matches: Callable[[Path], bool]
    """Whether an existing path looks like one."""
    lines: Callable[[Path, Wish], list[str]]
    """What to print; raises TsgcError for a damaged one."""
    comparable: bool = False
    """Whether --dataset and --compare have a meaning for it."""


KINDS = (
    Kind(
        "a raw clip (.skeleton or .json)",
        is_clip,
        lambda path, wish: clip_lines(path, wish.dataset, wish.compare),
        comparable=True,
    ),
    Kind("a prepared file (.h5)", is_store, lambda path, wish: store_lines(path)),
)


def inspect(path: Path, wish: Wish) -> list[str]:
    """What a path holds, line by line. Raises TsgcError: no such path, or of no kind that is known."""
    if not path.exists():
        raise TsgcError(f"{path}: no such file; give {_kinds()}")
    for kind in KINDS:
        if kind.matches(path):
            if not kind.comparable and (wish.compare or wish.dataset):
                raise TsgcError(f"{path}: {kind.name}; --compare and --dataset are for raw clips")
            return kind.lines(path, wish)
    raise TsgcError(f"{path}: nothing that can be looked at; give {_kinds()}")


def _kinds() -> str:
    return " or ".join(kind.name for kind in KINDS)
