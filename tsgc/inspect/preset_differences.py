"""Every difference between the presets on one raw clip.

The cleaned bodies of both presets are traced back to the body-frames of the file, so that a difference
names the body, its frames and its track.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.cleaning import actors, denoise
from pipelines.datasets import nw_ucla
from pipelines.reading import ntu_text
from pipelines.reading.track import Track
from pipelines.spec import Dataset, Prepared

# Rules of the corrected preset, and the rules of the reference preset with the same purpose.
SAME_REASON = {
    actors.SHORT: denoise.SHORT,
    actors.FURNITURE: denoise.SPREAD,
    actors.THIRD: denoise.OVERLAP,
}


@dataclass(frozen=True)
class TrackedClip:
    """One raw clip before any preparation, and its actors by preset."""

    num_frames: int
    """Frames of the file, those without a body included."""
    tracks: list[Track]
    """The tracker's bodies, in order of first appearance; their `frames` are those of the file."""
    placed: dict[str, np.ndarray]
    """Preset -> joints (T, M, V, 3) in the camera's coordinates, 0 where an actor is absent."""

    @property
    def without_body(self) -> np.ndarray:
        """The frames of the file without a body."""
        there = [track.frames for track in self.tracks]
        return np.setdiff1d(np.arange(self.num_frames), np.concatenate(there) if there else [])


@dataclass(frozen=True)
class Stretch:
    """Consecutive frames of a prepared track that hold consecutive frames of one raw body."""

    body: int
    """The number of the body in the file, from 1."""
    at: int
    """The first frame in the prepared clip."""
    frame: int
    """The first frame in the file."""
    length: int

    def __str__(self) -> str:
        moved = "" if self.at == self.frame else f" as {_range(self.at, self.length)}"
        return f"body {self.body} frames {_range(self.frame, self.length)}{moved}"


def read_ntu(source: str, data: bytes) -> TrackedClip:
    """An NTU `.skeleton` file. Raises TsgcError as `ntu_text.parse`."""
    parsed = ntu_text.parse(source, data)
    num_frames = int(data.split(None, 1)[0])
    tracks = [replace(track, frames=parsed.file_frames[track.frames]) for track in parsed.tracks]
    placed = {"corrected": actors.clean(tracks, num_frames).joints}
    if parsed.tracks:
        placed["reference"] = denoise.denoise(parsed.tracks, parsed.num_frames)[0]
    return TrackedClip(num_frames, tracks, placed)


def read_nw_ucla(source: str, data: bytes) -> TrackedClip:
    """An NW-UCLA JSON. Raises TsgcError as `nw_ucla.parse`."""
    joints = nw_ucla.parse(source, data)
    tracks = [Track("the only one", np.arange(len(joints)), joints)]
    placed = {"reference": joints[:, None], "corrected": actors.clean(tracks, len(joints)).joints}
    return TrackedClip(len(joints), tracks, placed)


READERS: dict[str, Callable[[str, bytes], TrackedClip]] = {
    "ntu60": read_ntu,
    "ntu120": read_ntu,
    "nw-ucla": read_nw_ucla,
}


def differences(raw: TrackedClip, dataset: Dataset, prepared: Mapping[str, Prepared]) -> list[str]:
    """Lines about every difference between the reference and the corrected preset on a clip.

    `prepared`: preset -> the clip. There is no line where both presets give the same numbers.
    """
    one, other = prepared["reference"], prepared["corrected"]
    if not len(one.joints) or not len(other.joints):
        kept = [len(clip.joints) > 0 for clip in (one, other)]
        return [] if kept[0] == kept[1] else [f"usable: reference {_yes(kept[0])}, corrected {_yes(kept[1])}"]
    (T, M), (other_T, other_M) = one.present.shape, other.present.shape
    lines = []
    if other_T != T:
        lines.append(f"frames: reference {T}, corrected {other_T}")
    if other_M != M:
        lines.append(f"bodies: reference {M}, corrected {other_M}")
    if M == other_M == 1 and dataset.absent_body == "copy":
        lines.append("second body: reference a copy of the first, corrected absent")
    placed = {preset: trace_tracks(raw.placed[preset], raw.tracks) for preset in prepared}
    lines += _body_lines(raw.tracks, placed)
    for track in range(max(M, other_M)):
        holds = [_holds(placed[preset], track) for preset in ("reference", "corrected")]
        if holds[0] != holds[1]:
            lines.append(f"track {track + 1}: reference {holds[0]}; corrected {holds[1]}")
    if not np.array_equal(one.origin, other.origin):
        apart = np.linalg.norm(one.origin.astype(np.float64) - other.origin)
        lines.append(f"origin: {apart:.3f} m apart")
    lines += _joint_lines(one, other, dataset)
    return [*lines, *_rule_lines(one.rules, other.rules)] if lines else []


def trace_tracks(placed: np.ndarray, tracks: Sequence[Track]) -> list[list[Stretch]]:
    """The stretches of raw bodies that each prepared track, (T, M, V, 3), consists of: M lists.

    Of several equal body-frames in the file, the one that continues a stretch is taken, else the first.
    """
    places: dict[bytes, list[tuple[int, int]]] = {}
    for number, track in enumerate(tracks, 1):
        for frame, joints in zip(track.frames.tolist(), track.joints):
            places.setdefault(joints.tobytes(), []).append((number, frame))
    found: list[list[Stretch]] = []
    for bodies in placed.transpose(1, 0, 2, 3):  # one track (T, V, 3) after another
        stretches: list[Stretch] = []
        for at, joints in enumerate(bodies):
            if not joints.any():
                continue
            here = places[joints.tobytes()]
            last = stretches[-1] if stretches else None
            if last and last.at + last.length == at and (last.body, last.frame + last.length) in here:
                stretches[-1] = replace(last, length=last.length + 1)
            else:
                stretches.append(Stretch(here[0][0], at, here[0][1], 1))
        found.append(stretches)
    return found


def _rule_lines(one: Mapping[str, int], other: Mapping[str, int]) -> list[str]:
    """Lines about rules that removed different numbers in the two presets; rules pair by purpose."""
    theirs = {SAME_REASON.get(rule, rule): rule for rule in other}
    lines = []
    for reason in sorted(one.keys() | theirs.keys()):
        counts = one.get(reason, 0), other.get(theirs.get(reason, reason), 0)
        if counts[0] != counts[1]:
            rule = reason if reason in one else theirs[reason]
            lines.append(f"rule: {rule}: reference {counts[0]:,}, corrected {counts[1]:,}")
    return lines


def _body_lines(tracks: Sequence[Track], placed: Mapping[str, list[list[Stretch]]]) -> list[str]:
    """Lines about bodies of which the presets keep different numbers of body-frames."""
    lines = []
    for number, track in enumerate(tracks, 1):
        kept = {
            preset: sum(one.length for stretches in found for one in stretches if one.body == number)
            for preset, found in placed.items()
        }
        if kept["reference"] != kept["corrected"]:
            lines.append(
                f"body {number}: of {len(track.frames)} body-frames the reference keeps {kept['reference']},"
                f" corrected {kept['corrected']}"
            )
    return lines


def _joint_lines(one: Prepared, other: Prepared, dataset: Dataset) -> list[str]:
    """A line for each track: the largest distance between a joint in one preset and in the other."""
    lines = []
    for track in range(min(one.present.shape[1], other.present.shape[1])):
        frames = min(len(one.joints), len(other.joints))
        both = one.present[:frames, track] & other.present[:frames, track]
        step = one.joints[:frames, track].astype(np.float64) - other.joints[:frames, track]
        apart = np.linalg.norm(step, axis=-1) * both[:, None]  # (frames, V)
        if apart.any():
            frame, joint = np.unravel_index(apart.argmax(), apart.shape)
            name = dataset.skeleton.joints[joint]
            lines.append(
                f"track {track + 1}: joints up to {apart.max():.3f} m apart ({name}, frame {frame}),"
                f" in {int(apart.any(axis=1).sum())} of {int(both.sum())} frames that both have"
            )
    return lines


def _holds(placed: list[list[Stretch]], track: int) -> str:
    stretches = placed[track] if track < len(placed) else []
    return ", ".join(map(str, stretches)) or "nobody"


def _range(start: int, length: int) -> str:
    return str(start) if length == 1 else f"{start}-{start + length - 1}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
