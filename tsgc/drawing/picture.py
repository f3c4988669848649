"""A clip's pictures in files: a strip of stills, a GIF, or a page that plays it."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup
from PIL import Image

from pipelines.errors import UsageError
from pipelines.files import write_atomic
from pipelines.skeleton import Skeleton
from tsgc.drawing.saliency import body_drawing, draw_time, time_map
from tsgc.drawing.skeleton import Panel, below, draw_frames, draw_strip, gif_milliseconds
from tsgc.explain.summary import Saliency, along_time

if TYPE_CHECKING:
    from tsgc.drawing.player import Player


@dataclass(frozen=True)
class Pictured:
    """A clip to draw, in one or several panels."""

    title: str
    lines: Sequence[str]
    """Lines of text that describe it."""
    panels: Sequence[Panel]
    skeleton: Skeleton
    fps: float
    notes: Sequence[Sequence[str]] = field(default_factory=tuple)
    """Notes to each panel, for the page."""
    label: str = ""
    """The class, as a heading has it; empty where that is not known."""
    saliency: Saliency | None = None
    """What speaks for a class, drawn along time below the panels."""
    recognised: str = ""
    """The name of that class."""

    @property
    def heading(self) -> str:
        """The title and class."""
        return f"{self.title}: {self.label}" if self.label else self.title

    def players(self) -> "list[Player]":
        """An animation of each panel."""
        from tsgc.drawing.player import make_player

        notes = self.notes or [()] * len(self.panels)
        return [
            make_player(panel, self.skeleton, fps=self.fps, notes=said)
            for panel, said in zip(self.panels, notes)
        ]

    def _repr_html_(self) -> str:
        """The clip playing, for Jupyter."""
        from tsgc.drawing.notebook import framed

        return framed(self.heading, lines=self.lines, players=self.players())


def png(clip: Pictured) -> bytes:
    """A PNG of still frames, a row for each panel."""
    buffer = io.BytesIO()
    picture = draw_strip(clip.panels, clip.skeleton, fps=clip.fps, heading=clip.heading)
    if clip.saliency is not None:
        title = f"along time: what speaks for {clip.recognised} (up, purple), and against it (down, green)"
        picture = below([picture, draw_time(clip.saliency.values, title, picture.width)])
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def moving(clip: Pictured) -> tuple[list[Image.Image], float]:
    """The panels beside each other, and how many pictures a second play at their own speed."""
    pictures = draw_frames(clip.panels, clip.skeleton, fps=clip.fps, heading=clip.heading)
    return pictures, clip.fps * len(pictures) / _longest(clip)


def _longest(clip: Pictured) -> int:
    """Frames of the longest panel, at least 1."""
    return max(1, *(len(panel.joints) for panel in clip.panels))


def gif(clip: Pictured) -> bytes:
    """A GIF of the panels beside each other, at their own speed."""
    pictures, _ = moving(clip)
    buffer = io.BytesIO()
    first, *others = (picture.quantize(32) for picture in pictures)  # enough for six colours and their edges
    first.save(
        buffer,
        "GIF",
        save_all=True,
        append_images=others,
        duration=gif_milliseconds(_longest(clip), len(pictures), clip.fps),
        loop=0,
    )
    return buffer.getvalue()


def mp4(clip: Pictured) -> bytes:
    """A film of the panels beside each other, at their own speed."""
    from tsgc.drawing.film import encode_film

    return encode_film(*moving(clip))


def page(clip: Pictured) -> bytes:
    """One self-contained page with a player for each panel."""
    from tsgc.drawing.html import render

    return render(
        "clip.html",
        title=clip.title,
        label=clip.label,
        lines=clip.lines,
        players=clip.players(),
        why=_why(clip),
        about=clip.recognised,
    ).encode()


def _why(clip: Pictured) -> list[tuple[str, Markup]]:
    """Captions and drawings of the clip's saliency: each body, then all of it along time."""
    if clip.saliency is None:
        return []
    joints, skeleton = clip.saliency.joints, clip.skeleton
    largest = float(abs(joints).max(initial=0))
    drawn = []
    for number, body in enumerate(joints, 1):
        caption = f"body {number}, the whole clip" if len(joints) > 1 else "the whole clip"
        drawn.append((caption, body_drawing(skeleton, body, f"Joints that matter, {caption}", largest)))
    seconds = len(clip.saliency.values) / clip.fps
    times = time_map(skeleton, along_time(clip.saliency.values), seconds, "Joints that matter along time")
    return [*drawn, ("along time, the joints that matter most", times)]


WRITERS: dict[str, Callable[[Pictured], bytes]] = {".png": png, ".gif": gif, ".html": page, ".mp4": mp4}


def check_suffix(path: Path) -> None:
    """Raise UsageError for a file with another ending than WRITERS has, TsgcError where nothing writes it."""
    if path.suffix.lower() not in WRITERS:
        raise UsageError(f"{path}: pictures end in {', '.join(WRITERS)}; name the file so")
    if path.suffix.lower() == ".mp4":
        from tsgc.drawing.film import find_encoder

        find_encoder()


def write_picture(clip: Pictured, path: Path) -> str:
    """Write the kind of picture that the file's ending names; returns a line about it."""
    check_suffix(path)
    data = WRITERS[path.suffix.lower()](clip)
    write_atomic(path, data)
    return f"picture: {path} ({len(data) / 1e3:,.0f} kB); the data set's terms may forbid sharing it"
