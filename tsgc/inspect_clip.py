"""A raw clip as text: its bodies, what each preset keeps of them, and where the presets differ."""

from pathlib import Path

import numpy as np

from pipelines.actors import motion
from pipelines.compare import READERS, RawClip, differences
from pipelines.dataset import DATASETS, Dataset
from pipelines.denoise import Track
from pipelines.errors import TsgcError
from pipelines.sources import RawFile
from pipelines.spec import Prepared


def is_clip(path: Path) -> bool:
    """Whether a file ends like a raw clip of a data set that can be looked at."""
    return path.is_file() and path.suffix in {DATASETS[name].suffix for name in READERS}


def clip_lines(path: Path, dataset: str | None = None, compare: bool = False) -> list[str]:
    """The clip, body by body and preset by preset; with `compare` every difference of the presets instead.

    Raises TsgcError: a file that is not whole, a name that tells no data set.
    """
    spec = choose_dataset(path, dataset)
    data = RawFile(path).read()
    raw = READERS[spec.name](str(path), data)
    prepared = {preset: read(str(path), data) for preset, read in spec.presets.items()}
    head = [f"{path}: {_what(path.stem, spec)}", _file_line(raw)]
    if compare:
        found = differences(raw, spec, prepared)
        bodies = [f"body {number} is {track.body}" for number, track in enumerate(raw.tracks, 1)]
        return [*head, *bodies, *(found or ["no difference: both presets give the same numbers"])]
    bodies = [_body_line(number, track) for number, track in enumerate(raw.tracks, 1)]
    presets = [line for preset, clip in prepared.items() for line in _preset_lines(preset, clip)]
    return [*head, *bodies, *presets]


def choose_dataset(path: Path, dataset: str | None) -> Dataset:
    """The data set named, or the first one that a clip of this name belongs to."""
    if dataset is not None and dataset not in READERS:
        raise TsgcError(f"data set {dataset!r}: raw clips of {', '.join(READERS)} can be looked at")
    for name in [dataset] if dataset else READERS:
        spec = DATASETS[name]
        if path.suffix != spec.suffix:
            continue
        if dataset or _identity(path.stem, spec):
            return spec
    if dataset:
        raise TsgcError(f"{path}: {dataset} clips end in {DATASETS[dataset].suffix}")
    raise TsgcError(f"{path}: the name tells no data set; give --dataset {' or '.join(READERS)}")


def _identity(name: str, spec: Dataset) -> object | None:
    try:
        return spec.identify(name)
    except TsgcError:
        return None


def _what(name: str, spec: Dataset) -> str:
    """Data set, class and what else the name tells, where it is a name of the data set's."""
    try:
        identity = spec.identify(name)
    except TsgcError:
        identity = None
    if identity is None:
        return spec.name
    fields = "".join(f", {field.removesuffix('s')} {value}" for field, value in identity.fields.items())
    return f"{spec.name}, {spec.class_names[identity.label]} (class {identity.label}){fields}"


def _file_line(raw: RawClip) -> str:
    body_frames = sum(len(track.frames) for track in raw.tracks)
    empty = raw.without_body
    number = len(raw.tracks)
    return (
        f"file: {raw.num_frames} frames, {number} {_bodies(number)}, {body_frames} body-frames,"
        f" frames without a body: {ranges(empty) or 'none'}"
    )


def _body_line(number: int, track: Track) -> str:
    low, high = track.joints.min(axis=(0, 1)), track.joints.max(axis=(0, 1))
    box = ", ".join(f"{axis} {a:.2f} to {b:.2f}" for axis, a, b in zip("xyz", low, high))
    size = np.median(np.ptp(track.joints, axis=1), axis=0)  # (n, V, 3) -> (3,)
    extent = " x ".join(f"{metres:.2f}" for metres in size)
    return (
        f"body {number} ({track.body}): {len(track.frames)} frames, {ranges(track.frames)};"
        f" {box} m; extent {extent} m; moves {np.sqrt(motion(track.joints)):.3f} m rms"
    )


def _preset_lines(preset: str, clip: Prepared) -> list[str]:
    if not len(clip.joints):
        return [f"{preset}: nothing usable, the clip is dropped"]
    present = ", ".join(f"{n} in track {track}" for track, n in enumerate(clip.present.sum(axis=0), 1))
    T, M = clip.present.shape
    origin = ", ".join(f"{metres:.3f}" for metres in clip.origin)
    first = f"{preset}: {T} frames, {M} {_bodies(M)}; of {clip.seen} body-frames {present}; origin {origin} m"
    return [first, *(f"  {rule}: {number:,}" for rule, number in sorted(clip.rules.items()))]


def _bodies(number: int) -> str:
    return "body" if number == 1 else "bodies"


def ranges(frames: np.ndarray) -> str:
    """Ascending frame numbers as `0-7, 12, 15-20`."""
    if not len(frames):
        return ""
    parts = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
