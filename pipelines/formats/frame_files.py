"""Clips that are many files, one a frame: found without a look at each, and read as one piece of bytes."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import TsgcError

MARK = b"tsgc frames\n"
GAP = "\0"  # in no file name


@dataclass(frozen=True, slots=True)
class FrameFiles:
    """The files of one clip. A million of them take as many bytes as their names have."""

    folder: str
    names: str
    """Names of the files, in order, with GAP between them."""
    clip: str

    @property
    def source(self) -> str:
        """How errors name it."""
        return f"{self.folder}/{self.names.partition(GAP)[0]}"

    def read(self) -> bytes:
        """All files in order, each behind its name and size. Raises TsgcError: one cannot be read."""
        parts = [MARK]
        for name in self.names.split(GAP):
            path = f"{self.folder}/{name}"
            try:
                with open(path, "rb", buffering=0) as file:  # noqa: PTH123, a Path for each costs more than reading
                    data = file.read()
            except OSError as error:
                raise TsgcError(f"{path}: cannot be read ({error.strerror}); get the file again") from error
            parts += [f"{name}{GAP}{len(data)}\n".encode("utf-8", "surrogateescape"), data]
        return b"".join(parts)


def frames_of(source: str, data: bytes) -> list[tuple[str, bytes]]:
    """Name and bytes of each file of a clip; other bytes are the one file that `source` names."""
    if not data.startswith(MARK):
        return [(source.rpartition("/")[2], data)]
    found = []
    at = len(MARK)
    while at < len(data):
        end = data.index(b"\n", at)
        name, _, size = data[at:end].decode("utf-8", "surrogateescape").rpartition(GAP)
        found.append((name, data[end + 1 : end + 1 + int(size)]))
        at = end + 1 + int(size)
    return found


def find_frames(folder: Path, pattern: re.Pattern[str]) -> dict[str, FrameFiles]:
    """The clips below a folder by their path, in order; `pattern` finds `clip` and `number` in file names.

    The files of a folder that have one name before the number are a clip, called as the folder; where a
    folder holds several, or lies at the top, each is called as its files.
    """
    clips: dict[str, FrameFiles] = {}
    for place, names in _folders(folder.absolute()):
        by_clip: dict[str, list[tuple[int, str]]] = {}
        for name in names:
            if match := pattern.fullmatch(name):
                by_clip.setdefault(match["clip"].rstrip("_-. "), []).append((int(match["number"]), name))
        where = place.relative_to(folder.absolute())
        for clip, files in by_clip.items():
            alone = len(by_clip) == 1 and len(where.parts) > 1
            called = (where if alone else where / (clip or "clip")).as_posix()
            clips[called] = FrameFiles(str(place), GAP.join(name for _, name in sorted(files)), called)
    return dict(sorted(clips.items()))


def _folders(top: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below, links followed once, with the names of its files; no file is asked for its size."""
    seen: set[Path] = set()
    for place, subfolders, names in os.walk(top, followlinks=True):
        real = Path(place).resolve()
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()
        yield Path(place), names
