"""Files and links below a folder that look like clips and were not read, each with the reason."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipelines.reading.sources import RawFile, in_zip
from pipelines.spec import Raw

ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".gz", ".xz", ".bz2")
# What files of skeletons end in; `.txt` also ends notes, lists and licences.
CLIPS = (".npy", ".npz", ".json", ".csv", ".skeleton", ".bvh", ".c3d", ".pkl", ".pickle", ".mat", ".h5")


def passed_over(
    locations: Iterable[Path], found: Iterable[Sequence[Raw]], lists: frozenset[str] = frozenset()
) -> list[str]:
    """What looks like a clip below `locations` and is not among the `found`; `lists`: names of other files.

    Clips by their names; archives inside archives, and archives of a kind that is not read; links to nothing,
    and to a folder that was read already.
    """
    read: dict[str, list[Raw]] = {}
    for file in (file for files in found for file in files):
        read.setdefault(_folder(file), []).append(file)
    seen: set[Path] = set()
    lines: list[str] = []
    for location in (path.absolute() for path in locations):
        if location.is_file():
            lines += _in_zip(location, read, seen, lists)
        else:
            lines += _in_folder(location, read, seen, lists)
    return lines


def _folder(file: Raw) -> str:
    """Where a raw clip lies: its folder, or its zip."""
    if isinstance(file, RawFile):
        return str(file.path if file.member else file.path.parent)
    return str(getattr(file, "folder", ""))


def _names(files: Sequence[Raw]) -> set[str]:
    """Names of files in their folder, or members of their zip."""
    names: set[str] = set()
    for file in files:
        if isinstance(file, RawFile):
            names.add(file.member or file.path.name)
        else:
            names.update(getattr(file, "names", "").split("\0"))
    return names


def _in_folder(
    location: Path, read: dict[str, list[Raw]], seen: set[Path], lists: frozenset[str]
) -> Iterator[str]:
    here: set[Path] = set()
    for folder, subfolders, names in os.walk(location, followlinks=True):
        real = Path(folder).resolve()
        if real in seen:
            subfolders.clear()
            if real in here:
                yield f"{folder} (a folder that was read already, by a link)"
            continue
        seen.add(real)
        here.add(real)
        subfolders.sort()
        there = _names(read.get(folder, ()))
        for name in sorted(set(names) - there - lists):
            path = Path(folder, name)
            if name.lower().endswith(".zip") and path.is_file():
                yield from _in_zip(path, read, seen, lists)
            elif path.is_symlink() and not path.exists():
                yield f"{path} (a link to nothing)"
            elif _looks_like_clip(name):
                yield f"{path}{_archive(name)}"


def _in_zip(path: Path, read: dict[str, list[Raw]], seen: set[Path], lists: frozenset[str]) -> Iterator[str]:
    if not path.name.lower().endswith(".zip") or path.resolve() in seen:
        return
    seen.add(path.resolve())
    there = _names(read.get(str(path), ()))
    for file in in_zip(path):
        name = file.inside.name
        if file.member in there or name in lists or not _looks_like_clip(name):
            continue
        inside = " (a zip inside a zip; unpack it)" if name.lower().endswith(".zip") else _archive(name)
        yield f"{file.source}{inside}"


def _looks_like_clip(name: str) -> bool:
    return name.lower().endswith((*CLIPS, *ARCHIVES)) and not name.startswith(".")


def _archive(name: str) -> str:
    return " (an archive; unpack it)" if name.lower().endswith(ARCHIVES) else ""
