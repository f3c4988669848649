"""Files that exist are whole, and what killed processes leave behind is swept."""

import os
import platform
import subprocess
import sys

import pytest

from pipelines.files import atomic_path, remove_unfinished, unfinished


def dead_process() -> int:
    return int(subprocess.check_output([sys.executable, "-c", "import os; print(os.getpid())"]))


@pytest.mark.parametrize("name", ["a.h5", "[a]*?.h5"])
def test_what_a_dead_process_left_is_swept_and_nothing_else(tmp_path, name):
    here, dead = platform.node(), dead_process()
    gone = tmp_path / f".{name}.{here}.{dead}.partial"
    kept = [
        f".{name}.{here}.{os.getppid()}.partial",  # at work
        f".{name}.{here}.{10**30}.partial",
        f".{name}.another-machine.{dead}.partial",
        f".b.h5.{here}.{dead}.partial",
        f".{name}.{here}.{dead}.txt",
        name,
    ]
    for file in (gone, *map(tmp_path.joinpath, kept)):
        file.write_bytes(b"")
    with atomic_path(tmp_path / name) as temporary:
        assert not gone.exists()
        temporary.write_bytes(b"whole")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(kept)
    assert (tmp_path / name).read_bytes() == b"whole"


def test_an_error_inside_atomic_writing_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_folder_that_workers_still_write_into_goes_too(tmp_path, monkeypatch):
    remove, late = os.rmdir, iter([(tmp_path / "set/train-000001.tar").touch])

    def rmdir(*place: object, **how: object) -> None:
        next(late, bool)()
        remove(*place, **how)

    monkeypatch.setattr(os, "rmdir", rmdir)
    with unfinished(tmp_path / "set"):
        (tmp_path / "set").mkdir()
        (tmp_path / "set/train-000000.tar").touch()
        remove_unfinished()
    assert not list(tmp_path.iterdir())
