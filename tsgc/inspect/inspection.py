"""What was found at a path: lines of text and, of a clip, its picture."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tsgc.drawing.notebook import framed
from tsgc.drawing.picture import Pictured


@dataclass(frozen=True)
class Inspection:
    """A path that was looked at. Made by `inspect_path`; its text is what `tsgc inspect` prints."""

    lines: list[str]
    draw: Callable[[], Pictured] | None = field(default=None, repr=False)
    """Makes the picture, where the path is a clip or names one."""

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        """The clip playing above what is said of it, for Jupyter."""
        if self.draw is None:
            return framed("", text=str(self))
        clip = self.draw()
        return framed(clip.heading, text=str(self), players=clip.players())
