"""The clip of an answer, found again so that it can be drawn."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from tsgc.drawing.player import Player, make_player
from tsgc.drawing.skeleton import Panel
from tsgc.inference.raw_clips import Failure, find_raw, read_recordings
from tsgc.inference.raw_format import RawFormat

ClipSource = str | Path | np.ndarray
"""A raw clip's file, a folder or zip of them, or joints (T, M, V, C), NaN where one was not seen."""


@dataclass(frozen=True, eq=False)
class Recording:
    """A clip that was recognised. Files are read again when they are drawn; joints are the caller's own."""

    given: ClipSource
    """What it was found in."""
    source: str
    """The name of its own that it has there."""
    format: RawFormat
    skeleton: Skeleton
    channels: str
    fps: float

    def __reduce__(self) -> tuple[Any, ...]:
        """None in copies and pickles: readers cannot be pickled, and joints would be twice there."""
        return _nothing, ()

    def joints(self) -> np.ndarray:
        """The recording's joints (T, M, V, C). Raises TsgcError where its file is gone or another by now."""
        if isinstance(self.given, np.ndarray):
            return self.given
        files = [each for each in find_raw([Path(self.given)], self.format) if each.source == self.source]
        for found in read_recordings(files, self.format):
            if isinstance(found, Failure):
                raise TsgcError(found.reason)
            return found.joints
        raise TsgcError(f"{self.source}: no longer there")

    def player(self, frames: tuple[int, int], caption: str) -> Player:
        """The frames from the first to before the second, as an animation under its caption."""
        panel = Panel(Path(self.source).name, self.joints()[slice(*frames)], channels=self.channels)
        return make_player(panel, self.skeleton, fps=self.fps, caption=caption)


def _nothing() -> None:
    """What stands for a recording in a copy."""
