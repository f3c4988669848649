"""States and weights of a run that stay on disk.

`checkpoints/state.pt` is the newest state, and what `--resume` goes on from. `keep_last` keeps older ones
beside it, `keep_every` keeps weights for good.
"""

import os
import re
import shutil
from pathlib import Path

from pipelines.files import atomic_path

STATE = "state.pt"
OLDER = re.compile(r"state-(\d+)\.pt")


def state_path(folder: Path) -> Path:
    """The path of a run's newest state; `folder` is the run's."""
    return folder / "checkpoints" / STATE


def retain_state(folder: Path, epoch: int, keep_last: int) -> None:
    """Keep the newest state, of the end of `epoch`, as one of the `keep_last` newest; older ones go.

    Its second name, such as state-0012.pt, costs no room: it is a link, and the newest name moves on with
    the next save. With `keep_last` 1 there are no second names.
    """
    newest = state_path(folder)
    if keep_last > 1:
        with atomic_path(newest.with_name(f"state-{epoch:04d}.pt")) as temporary:
            _link(newest, temporary)
    kept = older_states(folder)[-keep_last:] if keep_last > 1 else []
    for path in older_states(folder):
        if path not in kept:
            path.unlink()


def older_states(folder: Path) -> list[Path]:
    """The states that have an epoch in their names, oldest first."""
    found = [
        (int(match[1]), path)
        for path in (folder / "checkpoints").glob("state-*.pt")
        if (match := OLDER.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found)]


def weights_name(epoch: int, suffix: str) -> str:
    """The name of weights that are kept for good: epoch-0040, epoch-0040-ema."""
    return f"epoch-{epoch:04d}{suffix}"


def _link(source: Path, target: Path) -> None:
    """A second name for a file; a copy where the file system knows no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
