"""The formats of recordings: a new one is its own file and a line here."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipelines.errors import UsageError
from pipelines.formats.kinect_text import is_msr, read_msr
from pipelines.formats.recording import Recording
from pipelines.skeleton import Skeleton

ARRAYS = "arrays"
"""The format of docs/your-own-data.md itself: `.npy`, `.json` and `.csv`, in the data set's own skeleton."""


@dataclass(frozen=True)
class Format:
    """A format of recordings."""

    name: str
    """What `format:` and `--format` call it."""
    what: str
    """Whose it is, for people."""
    suffixes: tuple[str, ...]
    """How its files end; a clip is called as its file without it."""
    matches: Callable[[str, bytes], bool]
    """Whether a file that ends so is of this format, by its name and bytes."""
    read: Callable[[str, bytes, Skeleton], Recording]
    """A clip's name, its bytes and the skeleton that it is to have. Raises TsgcError: malformed."""
    skeletons: tuple[str, ...]
    """Those that it can hold, the usual one first."""
    channels: str
    """`xyz` in space, `xys` in pictures, s the score."""
    units: str


FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format(
            "msr-action3d", "MSR-Action3D's text, world coordinates", ("_skeleton3D.txt",), is_msr, read_msr,
            ("kinect1-20",), "xyz", "metres",
        ),
    )
}  # fmt: skip


def find_format(name: str) -> Format | None:
    """The format of that name; None for `arrays`. Raises UsageError with those that exist."""
    if name == ARRAYS:
        return None
    if name not in FORMATS:
        raise UsageError(f"format {name!r} is unknown; choose one of {', '.join((ARRAYS, *FORMATS))}")
    return FORMATS[name]


def suffixes() -> tuple[str, ...]:
    """How the files of any format end, the longest first."""
    found = {suffix for one in FORMATS.values() for suffix in one.suffixes}
    return tuple(sorted(found, key=lambda suffix: (-len(suffix), suffix)))


def sniff(source: str, data: bytes, among: Iterable[Format] | None = None) -> Format | None:
    """The format that a file looks like; None: none of these."""
    for one in FORMATS.values() if among is None else among:
        if source.endswith(one.suffixes) and one.matches(source, data):
            return one
    return None
