"""What a worker does: read raw clips and prepare them. Imports little, so that workers start fast."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipelines.errors import TsgcError
from pipelines.spec import Identity, Prepared, Raw


@dataclass(frozen=True, slots=True)
class RawClip:
    """A clip that belongs to the data set, still unread."""

    name: str
    identity: Identity
    files: Sequence[Raw]
    """Where it lies; more than one: copies."""


@dataclass(frozen=True)  # without slots, which Python's own code would pickle, slowly
class Outcome:
    """What reading a clip gave: the prepared clip, or what is wrong with it."""

    digest: str = ""
    """sha256 of the raw bytes."""
    prepared: Prepared | None = None
    error: str = ""


def read_task(clips: Sequence[Sequence[Raw]], read: Callable[[str, bytes], Prepared]) -> list[Outcome]:
    """Reads and prepares some clips, in order, each given by its files."""
    return [read_clip(files, read) for files in clips]


def read_clip(files: Sequence[Raw], read: Callable[[str, bytes], Prepared]) -> Outcome:
    """Reads and prepares one clip, from any of its copies. Raises TsgcError only for copies that differ."""
    try:
        contents = [file.read() for file in files]
    except TsgcError as error:
        return Outcome(error=str(error))
    data = contents[0]
    for file, content in zip(files, contents):
        if content != data:
            raise TsgcError(
                f"{files[0].source} and {file.source}: the same clip with different content;"
                " remove the wrong one"
            )
    digest = hashlib.sha256(data).hexdigest()
    try:
        return Outcome(digest, read(files[0].source, data))
    except TsgcError as error:
        return Outcome(digest, error=str(error))
