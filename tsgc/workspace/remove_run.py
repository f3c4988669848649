"""Deletion of runs: of the files that a run wrote, and of nothing else, wherever links may lead."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from pipelines.errors import TsgcError
from tsgc.workspace.at_work import ERROR, LOCK, is_running
from tsgc.workspace.runs import is_run

TRAINED = (
    "config.yaml",
    "environment.json",
    "metrics.jsonl",
    "steps.jsonl",
    ERROR,
    LOCK,
    "checkpoints/*",
    "scores/*",
    "tensorboard/*",
    "trackers.json",
    "report.html",
    "report-*.csv",
    "network/*",
)
"""What training writes into a run's folder."""
BESIDE = ("export/*", "wandb/**/*")
"""What other commands, and trackers, write there."""


def remove_trained(folder: Path) -> None:
    """Delete the files that training wrote, so that it may start again; nothing that lies beside them.

    The lock stays: whoever starts again holds it.
    """
    for path in _files(folder, [pattern for pattern in TRAINED if pattern != LOCK]):
        path.unlink()


def find_named(names: Sequence[str], root: Path) -> list[Path]:
    """The folders of the runs of these names: paths, or names below `root`, as `tsgc runs` shows them.

    Raises TsgcError for what is no run, lies elsewhere than below `root`, is behind a link, or is running.
    """
    return list(dict.fromkeys(_find(name, root) for name in names))


def _find(name: str, root: Path) -> Path:
    folder = Path(name) if Path(name).exists() else root / name
    if not folder.exists():
        raise TsgcError(f"{name}: no such run below {root}; `tsgc runs` lists them")
    base, place = root.resolve(), folder.absolute()
    inside = [path for path in (place, *place.parents) if path.resolve().is_relative_to(base)]
    inside = [path for path in inside if path.resolve() != base]
    if not inside or ".." in folder.parts:
        raise TsgcError(f"{folder}: not below {root}; --runs says where runs lie")
    for path in inside:
        if path.is_symlink():
            raise TsgcError(f"{path}: a link; what it leads to stays, and `rm` deletes the link itself")
    if not is_run(folder):
        raise TsgcError(f"{folder}: not a run (no config.yaml and environment.json); name its runs")
    if is_running(folder):
        raise TsgcError(f"{folder}: being trained; stop that first (Ctrl-C saves it)")
    return folder


def run_bytes(folder: Path) -> int:
    """Bytes of the files that `remove_run` would delete."""
    return sum(path.lstat().st_size for path in _files(folder, (*TRAINED, *BESIDE)))


def remove_run(folder: Path, root: Path) -> list[Path]:
    """Delete a run's files and its empty folders up to `root`; returns what is left: files that are not its.

    Links to files are deleted, and linked folders stay: nothing that a link leads to is touched.
    """
    for path in _files(folder, (*TRAINED, *BESIDE)):
        path.unlink()
    for inside, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # not empty
            Path(inside).rmdir()
    if not folder.exists():
        _remove_empty(folder.parent, root)
        return []
    return sorted(folder.iterdir())


def _remove_empty(folder: Path, root: Path) -> None:
    """Delete a folder and those above it, up to `root`, as far as they are empty."""
    for path in (folder, *folder.parents):
        if path.resolve() == root.resolve():
            break
        try:
            path.rmdir()
        except OSError:  # other runs are in it
            break


def _files(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """The files, and links to any, that match; none that lies behind a linked folder."""
    found = []
    for pattern in patterns:
        first, *rest = Path(pattern).parts
        if not (rest and (folder / first).is_symlink()):
            found += [path for path in folder.glob(pattern) if path.is_symlink() or path.is_file()]
    return found
