"""Raw clips to recognise: files, folders, zips and bytes, prepared exactly as for training."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol

import numpy as np

from pipelines.errors import TsgcError
from pipelines.formats.other_files import found_instead
from pipelines.reading.sources import RawFile, find_clips
from pipelines.spec import Raw
from tsgc.inference.raw_format import RawFormat


@dataclass(frozen=True)
class PreparedClip:
    """A raw clip after preparation."""

    source: str
    """The file, or another source such as `standard input`."""
    clip: str
    """The file's name without its suffix."""
    joints: np.ndarray
    """(T, M, V, C) float32, as `tsgc prepare` stores it."""
    seen: np.ndarray | None = None
    """(T, M, V) bool: joints that were seen; None: all of every body that is present."""


@dataclass(frozen=True)
class Failure:
    """A clip that cannot be recognised."""

    source: str
    reason: str
    """One line that names the source."""


class Clip(Raw, Protocol):
    """A raw clip, still unread, that has a name."""

    @property
    def clip(self) -> str:
        """The name that answers have."""


def find_raw(paths: Iterable[Path], raw_format: RawFormat) -> list[Clip | Failure]:
    """The raw clips at paths: files themselves, and in folders and zips all of the format."""
    found: list[Clip | Failure] = []
    for path in paths:
        if path.is_dir() or path.suffix.lower() == ".zip":
            found += _find_inside(path, raw_format)
        elif path.exists():
            found.append(RawFile(path))
        else:
            found.append(Failure(str(path), f"{path}: no such file, folder or zip of raw clips"))
    return found


def _find_inside(location: Path, raw_format: RawFormat) -> list[Clip | Failure]:
    """The clips of a folder or zip; a Failure where there is none."""
    try:
        files: list[Any] = list(raw_format.find(location))
    except TsgcError as error:
        return [Failure(str(location), str(error))]
    if files:
        return files
    errors = []
    for suffix in raw_format.suffixes:
        try:
            files += [file for same in find_clips([location], suffix).values() for file in same]
        except TsgcError as error:
            errors.append(error)
    return list(dict.fromkeys(files)) or [Failure(str(location), f"{errors[0]}{found_instead(location)}")]


def read_recordings(
    files: Iterable[Clip | Failure], raw_format: RawFormat
) -> Iterator[PreparedClip | Failure]:
    """The prepared clips in order; a Failure for each that cannot be read."""
    for file in files:
        if isinstance(file, Failure):
            yield file
            continue
        try:
            data = file.read()
        except TsgcError as error:
            yield Failure(file.source, str(error))
        else:
            yield read_recording(file.source, file.clip, data, raw_format)


def read_recording(source: str, clip: str, data: bytes, raw_format: RawFormat) -> PreparedClip | Failure:
    """One raw clip from its bytes, prepared as the training clips were."""
    try:
        prepared = raw_format.read(source, data)
    except TsgcError as error:
        return Failure(source, f"{error}{_other_data(source, raw_format)}")
    if not len(prepared.joints):
        return Failure(source, f"{source}: no body in it, nothing to recognise")
    return PreparedClip(source, clip, prepared.joints, prepared.joints_seen)


def _other_data(source: str, raw_format: RawFormat) -> str:
    """A hint for a clip that cannot be read and is named as another data set's; empty for others."""
    if PurePath(source).suffix.lower() in ("", *raw_format.suffixes):
        return ""
    endings = ", ".join(raw_format.suffixes)
    return f" (the run is of {raw_format.dataset}, whose raw clips end in {endings}; --run names another)"
