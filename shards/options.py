"""Options of reading shards, which do not belong to the data and change no result."""

import os
from dataclasses import dataclass
from pathlib import Path

ON_ERROR = ("raise", "skip")
REMOTE_WINDOW = 16  # shards, of about 1,000 NTU clips each: 0.6 GB; see `plan.windowed`
CACHE_GB = 20.0  # of remote shards; NTU RGB+D 120 has 11 GB


def default_cache() -> Path:
    """`tsgc/shards` in the user's folder for caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tsgc" / "shards"


@dataclass(frozen=True)
class LoaderOptions:
    """Options of a loader, the same on every rank."""

    on_error: str = "raise"
    """`raise`: the first damaged clip ends the run. `skip`: damaged clips are left out, and counted."""
    cache: Path | None = None
    """Where remote shards are kept; None: `default_cache()`."""
    cache_bytes: int = int(CACHE_GB * 1e9)
    """Most that they may take there."""
