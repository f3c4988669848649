"""Raw clips to recognise: files, folders, zips and bytes, prepared exactly as for training."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.errors import TsgcError
from pipelines.sources import RawFile, find_clips
from pipelines.spec import Dataset


@dataclass(frozen=True)
class Recording:
    """A prepared clip."""

    source: str
    """The file, or what stands for one, such as `standard input`."""
    clip: str
    """The file's name without its suffix."""
    joints: np.ndarray
    """(T, M, V, C) float32, as `tsgc prepare` stores it."""


@dataclass(frozen=True)
class Failure:
    """A clip that cannot be recognised."""

    source: str
    reason: str
    """One line that names the source."""


def find_raw(paths: Iterable[Path], suffix: str) -> list[RawFile | Failure]:
    """The raw clips at paths: files as they are, and all in folders and zips that end in `suffix`."""
    found: list[RawFile | Failure] = []
    for path in paths:
        try:
            if path.is_dir() or path.suffix.lower() == ".zip":
                found += [file for files in find_clips([path], suffix).values() for file in files]
            elif path.exists():
                found.append(RawFile(path))
            else:
                found.append(Failure(str(path), f"{path}: no such file, folder or zip of raw clips"))
        except TsgcError as error:
            found.append(Failure(str(path), str(error)))
    return found


def read_recordings(
    files: Iterable[RawFile | Failure], dataset: Dataset, preset: str
) -> Iterator[Recording | Failure]:
    """The prepared clips, in order; what is wrong with one does not stop the others."""
    for file in files:
        if isinstance(file, Failure):
            yield file
            continue
        try:
            data = file.read()
        except TsgcError as error:
            yield Failure(file.source, str(error))
        else:
            yield read_recording(file.source, file.clip, data, dataset, preset)


def read_recording(source: str, clip: str, data: bytes, dataset: Dataset, preset: str) -> Recording | Failure:
    """Bytes of one raw clip, prepared by the data set's own reader."""
    try:
        joints = dataset.presets[preset](source, data).joints
    except TsgcError as error:
        return Failure(source, str(error))
    if not len(joints):
        return Failure(source, f"{source}: no body in it, nothing to recognise")
    return Recording(source, clip, joints)
