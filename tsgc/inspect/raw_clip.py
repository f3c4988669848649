"""A raw clip as text: its bodies, what each preset keeps of them, and how the presets differ."""

from pathlib import Path

import numpy as np

from pipelines.channels import coordinates, has_score, in_space
from pipelines.reading.track import Track
from pipelines.spec import Prepared
from tsgc.inspect.preset_differences import TrackedClip
from tsgc.inspect.raw_formats import FORMATS, RawLook, open_raw, ranges, raw_file

TEXT = ".txt"  # the ending of anything that people write
ALIKE = "no difference: both presets give the same numbers"


def is_raw_clip(path: Path) -> bool:
    """Whether a file, or one in a zip, is a raw clip by its ending, or a text one by its content, too."""
    ending = path.suffix.lower()
    formats = [one for one in FORMATS.values() if ending in one.suffixes]
    file = raw_file(path) if formats else None
    if file is None or ending != TEXT:
        return file is not None
    data = file.read()
    return any(one.matches(path, data) for one in formats)


def raw_clip_lines(path: Path, dataset: str | None = None, compare: bool = False) -> list[str]:
    """Lines about a clip's bodies and presets; with `compare` every difference of the presets instead.

    Raises TsgcError for a damaged file, or one whose data set cannot be told.
    """
    look = open_raw(path, dataset)
    head = [f"{path}: {look.what}", _file_line(look.raw)]
    if compare:
        bodies = [f"body {number} is {track.body}" for number, track in enumerate(look.raw.tracks, 1)]
        return [*head, *bodies, *(look.differences() or [ALIKE])]
    bodies = [_body_line(number, track, look) for number, track in enumerate(look.raw.tracks, 1)]
    presets = [line for preset, clip in look.prepared.items() for line in _preset_lines(preset, clip, look)]
    return [*head, *bodies, *presets]


def _file_line(raw: TrackedClip) -> str:
    body_frames = sum(len(track.frames) for track in raw.tracks)
    empty = raw.without_body
    number = len(raw.tracks)
    return (
        f"file: {raw.num_frames} frames, {number} {_bodies(number)}, {body_frames} body-frames,"
        f" frames without a body: {ranges(empty) or 'none'}"
    )


def _body_line(number: int, track: Track, look: RawLook) -> str:
    """A line about a body's frames, place and size, by its seen joints; in pictures also the score."""
    joints = track.joints
    if has_score(look.channels):
        joints = np.where(joints[..., -1:] == 0, np.nan, joints)
    start = f"body {number} ({track.body}): {len(track.frames)} frames, {ranges(track.frames)}; "
    if np.isnan(joints).all():
        return f"{start}no joint seen"
    axes = coordinates(look.channels)
    low, high = np.nanmin(joints, axis=(0, 1)), np.nanmax(joints, axis=(0, 1))
    box = ", ".join(f"{axis} {a:.2f} to {b:.2f}" for axis, a, b in zip("xyz"[:axes], low, high))
    seen = joints[~np.isnan(joints).all(axis=(1, 2))]
    size = np.median(np.nanmax(seen, axis=1) - np.nanmin(seen, axis=1), axis=0)  # (n, V, C) -> (C,)
    extent = " x ".join(f"{length:.2f}" for length in size[:axes])
    if in_space(look.channels):
        moves = np.nanmean(np.nanvar(joints[..., :3].astype(np.float64), axis=0).sum(axis=1))
        how = f"moves {np.sqrt(moves):.3f}{look.unit} rms"
    else:
        how = f"score {track.joints[..., 2].mean():.2f}"
    return f"{start}{box}{look.unit}; extent {extent}{look.unit}; {how}"


def _preset_lines(preset: str, clip: Prepared, look: RawLook) -> list[str]:
    if not len(clip.joints):
        return [f"{preset}: nothing usable, the clip is dropped"]
    present = ", ".join(f"{n} in track {track}" for track, n in enumerate(clip.present.sum(axis=0), 1))
    T, M = clip.present.shape
    first = f"{preset}: {T} frames, {M} {_bodies(M)}; of {clip.seen} body-frames {present}"
    if in_space(look.channels):  # pictures are not centred on anybody
        first += f"; origin {', '.join(f'{part:.3f}' for part in clip.origin)}{look.unit}"
    return [first, *(f"  {rule}: {number:,}" for rule, number in sorted(clip.rules.items()))]


def _bodies(number: int) -> str:
    return "body" if number == 1 else "bodies"
