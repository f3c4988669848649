"""The answer for a clip: its classes, best first."""

from dataclasses import dataclass, field

import numpy as np

from pipelines.errors import TsgcError
from tsgc.explain.summary import Saliency
from tsgc.inference.recording import Recording


@dataclass(frozen=True)
class Guess:
    """A class and how likely it is."""

    label: int
    """The class, from 0."""
    name: str
    probability: float
    """Softmax of the logits; of a fusion, of the weighted mean of its streams' logits."""


@dataclass(frozen=True)
class Prediction:
    """The recognised classes of a clip, or of a window of a recording."""

    source: str
    """The file that the clip came from; `array N` for joints."""
    clip: str
    frames: tuple[int, int]
    """The window in the prepared recording: its first frame, and one past its last."""
    seconds: tuple[float, float]
    """The same in seconds, at the data set's frame rate."""
    top: list[Guess]
    """The most likely classes, best first."""
    logits: np.ndarray = field(repr=False)
    """float32 (K,); of a fusion, the weighted sum of its streams', as `tsgc ensemble` adds them."""
    saliency: Saliency | None = field(default=None, repr=False)
    """What each joint's movement adds to the most likely class, where that was asked for."""
    recording: Recording | None = field(default=None, repr=False, compare=False)
    """The clip, as far as `Recogniser.predict` was given it, for Jupyter to show; not in copies."""

    def _repr_html_(self) -> str:
        """The clip playing beside its classes, for Jupyter."""
        from tsgc.drawing.notebook import Table, framed

        start, end = self.seconds
        best = self.top[0].name if self.top else ""
        lines, players = [f"{self.source}, {start:.2f} to {end:.2f} s"], []
        try:
            players = [self.recording.player(self.frames, best)] if self.recording else []
        except (TsgcError, OSError) as error:
            lines.append(f"not drawn: {error}")
        rows = [[guess.name, f"{100 * guess.probability:.2f}"] for guess in self.top]
        title = f"{self.clip}: {best}" if best else self.clip
        return framed(title, lines=lines, tables=[Table(("class", "probability %"), rows)], players=players)
