"""Recognition of frames as they come in: a line of JSON is a frame, a window of frames gives an answer.

A line is `{"bodies": [body, ...]}`. A body is a list of joints, each a list of coordinates in the units of
the data set; null in place of a body, a joint or a number says not seen. A body keeps its place in the list.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson

from pipelines.cleaning.following import stack
from pipelines.cleaning.missing import seen_joints
from pipelines.errors import TsgcError
from tsgc.inference.raw_clips import Failure
from tsgc.inference.recogniser import Recogniser

SOURCE = "live"


@dataclass(frozen=True)
class Answer:
    """The recognised classes of a window of frames; printed as one line of JSON."""

    frames: tuple[int, int]
    """The window's first line, from 0, and one past its last."""
    seconds: tuple[float, float]
    top: list[dict[str, Any]]
    """Guesses, best first: label, name, probability."""
    latency_ms: float
    """Milliseconds from reading the window's last frame to this answer."""


def recognise_live(
    recogniser: Recogniser, lines: Iterable[bytes], *, window: int, stride: int, top: int = 5
) -> Iterator[Answer | Failure]:
    """An answer for the last `window` frames, every `stride` frames, and one at the end.

    Frames without a body are dropped, as in preparation. A malformed line gives a Failure and is left out.
    """
    frames: deque[tuple[int, np.ndarray]] = deque(maxlen=window)
    fresh = 0  # frames since the last answer
    answered = False
    for number, line in enumerate(lines):
        start = time.perf_counter()
        try:
            bodies = parse_frame(line, recogniser, f"line {number + 1}")
        except TsgcError as error:
            yield Failure(SOURCE, str(error))
            continue
        if not seen_joints(bodies[None], recogniser.channels, recogniser.skeleton).any():
            continue
        frames.append((number, bodies))
        fresh += 1
        if len(frames) == window and (fresh >= stride or not answered):
            yield answer(recogniser, frames, start, top)
            fresh, answered = 0, True
    if fresh:
        yield answer(recogniser, frames, time.perf_counter(), top)


def parse_frame(line: bytes, recogniser: Recogniser, where: str) -> np.ndarray:
    """The bodies of a line, (M, V, C) float32, NaN for what is not seen. Raises TsgcError."""
    V, C = recogniser.joint_shape
    joint = ", ".join(recogniser.channels)
    expected = f'expected {{"bodies": [[[{joint}], ... {V} joints], ...]}}'
    try:
        bodies = orjson.loads(line)["bodies"]
        unseen = np.full((V, C), np.nan)
        joints = np.array([_body(body, unseen) for body in bodies], np.float32)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise TsgcError(f"{where}: not a frame; {expected}") from None
    if not joints.size:
        return np.zeros((0, V, C), np.float32)
    if joints.shape[1:] != (V, C):
        raise TsgcError(f"{where}: bodies of shape {joints.shape[1:]}; {expected}")
    if np.isinf(joints).any():
        raise TsgcError(f"{where}: numbers too large; {expected}")
    return joints


def _body(body: Any, unseen: np.ndarray) -> Any:
    """A body's joints; `unseen` (V, C) for null, and a row of it for a joint that is."""
    if body is None:
        return unseen
    if not isinstance(body, list) or None not in body:
        return body  # null in place of a number becomes NaN by itself
    return [unseen[0] if joint is None else joint for joint in body]


def answer(
    recogniser: Recogniser, frames: Iterable[tuple[int, np.ndarray]], start: float, top: int
) -> Answer:
    """Recognise frames as a clip of their own; `start`: when the last one was read, for the latency."""
    numbers, bodies = zip(*frames)
    recording = recogniser.prepare_joints(stack(bodies, *recogniser.joint_shape), SOURCE)
    span = (numbers[0], numbers[-1] + 1)
    logits = recogniser.logits([recording.joints])[0]
    found = recogniser.prediction(recording, span, logits, top)
    latency = 1000 * (time.perf_counter() - start)
    return Answer(span, found.seconds, [asdict(guess) for guess in found.top], round(latency, 3))
