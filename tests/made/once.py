"""What takes long to make and is only read: made once a run of pytest, by whichever worker asks first."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder of this run of pytest that all workers of pytest-xdist see."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name`, filled by `make(folder)`; other workers wait for it. Nothing may write there."""
    folder = shared_folder(factory) / name
    done = folder.with_name(f"{name}.done")
    with FileLock(f"{folder}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker whose `make` failed
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def only_read(folder: Path) -> Iterator[Path]:
    """`folder` to tests, then a check that none of them changed it: other workers' tests read it, too."""
    before = listing(folder)
    yield folder
    after = listing(folder)
    changed = sorted({str(path) for path, _ in before.items() ^ after.items()})
    assert not changed, f"tests write in {folder}, which they share: {', '.join(changed)}; copy it first"


def listing(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of change of each file below."""
    found = {path.relative_to(folder): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}
