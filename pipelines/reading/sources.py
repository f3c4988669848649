"""Where raw clips lie: folders, and zips as downloaded, which are read in place."""

import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from pipelines.errors import TsgcError
from pipelines.reading.unzip import read_member
from pipelines.spec import Dataset, Opener

# What zipfile raises for a member that is damaged, encrypted or packed in a way it does not know.
BAD_MEMBER = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)  # one a clip: a hundred thousand of them
class RawFile:
    """One clip's file, on disk or in a zip."""

    path: Path
    """The file, or the zip that holds it."""
    member: str = ""
    """The path inside the zip, as the zip has it; empty for a file of its own."""

    def __reduce__(self) -> tuple:
        """A short form for pickle, which is slow with slots and paths: every clip travels to a worker."""
        return _raw_file, (str(self.path), self.member)

    @property
    def source(self) -> str:
        """The name of the clip in errors; ends in the file's name."""
        return f"{self.path}/{self.inside}" if self.member else str(self.path)

    @property
    def inside(self) -> PurePosixPath:
        """The path inside the zip; Windows may have written it with backslashes."""
        return PurePosixPath(self.member.replace("\\", "/"))

    @property
    def clip(self) -> str:
        """The clip's name: the file's, without folder and suffix."""
        return self.inside.stem if self.member else self.path.stem

    def read(self) -> bytes:
        """The bytes; raises TsgcError where they cannot be read."""
        try:
            if self.member:
                return read_member(_reopen_zip(self.path), self.member)
            return self.path.read_bytes()
        except (OSError, *BAD_MEMBER) as error:
            raise TsgcError(f"{self.source}: cannot be read ({error}); get the file again") from error


def _raw_file(path: str, member: str) -> RawFile:
    return RawFile(Path(path), member)


def raw_locations(dataset: Dataset | Opener, raw: Sequence[Path] | None, data_root: Path) -> list[Path]:
    """The folders and zips to read: those given, or the data set's default ones that exist.

    Raises TsgcError where one that was given, or every default one, is missing.
    """
    if raw:
        for path in raw:
            if not path.exists():
                raise TsgcError(f"{path}: no such folder or zip; expected raw {dataset.name} clips there")
        return list(raw)
    defaults = [data_root / place for place in dataset.raw]
    found = [path for path in defaults if path.exists()]
    if not found:
        places = " or ".join(map(str, defaults))
        raise TsgcError(f"no raw {dataset.name} clips: expected {places}; put them there or pass --raw")
    return found


def find_clips(locations: Sequence[Path], suffix: str) -> dict[str, list[RawFile]]:
    """All files that end in `suffix`, at any depth of folders and zips, by clip name, in name order.

    A folder or zip reached twice counts once. Raises TsgcError for a location without any such file and
    for a zip that is cut.
    """
    clips: dict[str, list[RawFile]] = {}
    seen: set[Path] = set()
    # Workers live on between calls, in the folder that was current when they started.
    for location in (path.absolute() for path in locations):
        read_before = any(place.is_relative_to(location.resolve()) for place in seen)
        files = list(walk_files(location, suffix, seen))
        if not files and not read_before:
            raise TsgcError(f"{location}: no *{suffix} files; expected a folder of raw clips, or their zip")
        for file in files:
            clips.setdefault(file.clip, []).append(file)
    return dict(sorted(clips.items()))


def walk_files(location: Path, suffix: str | tuple[str, ...], seen: set[Path]) -> Iterator[RawFile]:
    """Files of a folder or zip that end so, at any depth; `seen`: folders and zips that were read before."""
    if location.suffix.lower() == ".zip" and location.is_file():
        yield from _files_in_zip(location, suffix, seen)
    # Links are followed: raw data often lies on another disk.
    for folder, subfolders, names in os.walk(location, followlinks=True):
        real = Path(folder).resolve()
        if real in seen:
            subfolders.clear()  # a link back up, or a folder given twice
            continue
        seen.add(real)
        subfolders.sort()
        for name in sorted(names):
            if _is_clip(name, suffix):
                yield RawFile(Path(folder, name))
            elif name.lower().endswith(".zip"):
                yield from _files_in_zip(Path(folder, name), suffix, seen)


def _files_in_zip(path: Path, suffix: str | tuple[str, ...], seen: set[Path]) -> Iterator[RawFile]:
    if path.resolve() in seen:
        return
    seen.add(path.resolve())
    yield from (file for file in in_zip(path) if _is_clip(file.inside.name, suffix))


def in_zip(path: Path) -> Iterator[RawFile]:
    """All members of a zip. Raises TsgcError where it is not whole."""
    yield from (RawFile(path, member) for member in _reopen_zip(path).namelist())


def _is_clip(name: str, suffix: str | tuple[str, ...]) -> bool:
    return ends_in(name, suffix) and not name.startswith(".")  # macOS puts `._` twins beside files


def ends_in(name: str, suffix: str | tuple[str, ...]) -> bool:
    """Whether a file's name ends so; capitals and small letters are the same."""
    ends = suffix.lower() if isinstance(suffix, str) else tuple(map(str.lower, suffix))
    return name.lower().endswith(ends)


def _reopen_zip(path: Path) -> zipfile.ZipFile:
    """The zip, open; reading its directory takes a second, so each worker keeps it."""
    try:
        stat = path.stat()
        return _open_zip(path, stat.st_mtime_ns, stat.st_size)
    except (OSError, zipfile.BadZipFile) as error:
        raise TsgcError(f"{path}: not a whole zip ({error}); download it again") from error


@lru_cache(maxsize=8)
def _open_zip(path: Path, _modified: int, _size: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
