"""Formats of raw clips for `tsgc inspect`: a clip's data set, its raw bodies, and its prepared forms.

To add a format, write its functions and add an entry to FORMATS.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from pipelines.channels import in_space
from pipelines.cleaning.missing import seen_joints
from pipelines.datasets import custom, kinetics
from pipelines.datasets.arrays import safe_names
from pipelines.datasets.custom_clips import READERS as OWN_READERS
from pipelines.datasets.custom_clips import as_bodies, read_file
from pipelines.datasets.table import DATASETS, open_dataset
from pipelines.errors import AmbiguousError, TsgcError, UsageError
from pipelines.formats.clips import clip_name
from pipelines.formats.table import FORMATS as FILE_FORMATS
from pipelines.reading.json_file import parse_json
from pipelines.reading.sources import RawFile, find_clips
from pipelines.reading.track import Track
from pipelines.skeleton import OPENPOSE_18, Skeleton
from pipelines.spec import PRESETS, TEST, TRAIN, UNUSED, Dataset, Prepared
from tsgc.inspect.preset_differences import READERS, TrackedClip, differences

SPLITS = {TRAIN: "train", TEST: "test", UNUSED: "unused"}


@dataclass(frozen=True)
class RawLook:
    """A raw clip, read and prepared."""

    what: str
    """The data set, the class, and what else is known of the clip."""
    skeleton: Skeleton
    channels: str
    """`xyz`, `xyzs` or `xys`, s the detector's score, of raw and prepared joints."""
    unit: str
    """The unit of the file's coordinates, as written after a number; empty in pictures."""
    fps: float
    raw: TrackedClip
    """The bodies as the file has them, (n, V, C) each."""
    prepared: dict[str, Prepared]
    differences: Callable[[], list[str]]
    """Lines about differences between the presets; none where they give the same numbers."""


@dataclass(frozen=True)
class RawClipFormat:
    """A format of raw clips that can be inspected."""

    suffixes: tuple[str, ...]
    matches: Callable[[Path, bytes], bool]
    """Whether a file with such an ending is a clip of this format, by its name, place or content."""
    open: Callable[[Path, bytes], RawLook]
    """The reader; raises TsgcError for a malformed clip."""


def raw_file(path: Path) -> RawFile | None:
    """The file of a raw clip, also in a zip, as `CLIPS.zip/NAME.json`; None where there is none.

    Folders inside the zip may be left out. Raises TsgcError for a damaged zip, or one without such clips.
    """
    if path.is_file():
        return RawFile(path)
    archive = next((above for above in path.parents if above.suffix.lower() == ".zip"), None)
    if archive is None or not archive.is_file() or not path.suffix:
        return None
    found = find_clips([archive], path.suffix).get(path.stem, [])
    member = path.relative_to(archive).as_posix()
    return next((file for file in found if file.member == member), found[0] if found else None)


def open_raw(path: Path, dataset: str | None = None) -> RawLook:
    """A raw clip of the named data set, or of the first one that it matches.

    Raises TsgcError for a damaged file, or one whose data set cannot be told; UsageError for a wrong data
    set.
    """
    if dataset is not None and dataset not in FORMATS:
        raise UsageError(f"data set {dataset!r}: raw clips of {', '.join(FORMATS)} can be looked at")
    file = raw_file(path)
    if file is None:
        raise TsgcError(f"{path}: no such raw clip")
    data = file.read()
    if dataset is not None:
        if path.suffix.lower() not in FORMATS[dataset].suffixes:
            endings = " or ".join(FORMATS[dataset].suffixes)
            raise UsageError(f"{path}: {dataset} clips end in {endings}")
        return FORMATS[dataset].open(path, data)
    candidates = {name: one for name, one in FORMATS.items() if path.suffix.lower() in one.suffixes}
    for one in candidates.values():
        if one.matches(path, data):
            return one.open(path, data)
    own = f"a clip of your own lies below {custom.CLIPS}/, beside a {custom.DESCRIPTION}"
    others = [name for name in candidates if name != custom.CUSTOM.name]
    if not others:
        raise TsgcError(f"{path}: its name tells no data set; {own}")
    also = f"; {own}" if len(candidates) > len(others) else ""
    raise AmbiguousError(f"{path}: its name tells no data set; give --dataset {' or '.join(others)}{also}")


# Data sets whose names tell all --------------------------------------------------------------------------


def _named(name: str, path: Path, data: bytes) -> bool:
    try:
        return DATASETS[name].identify(path.stem) is not None
    except TsgcError:
        return False


def _open_known(name: str, path: Path, data: bytes) -> RawLook:
    spec = DATASETS[name]
    return _look(spec, _what(spec, path.stem), READERS[name](str(path), data), _prepare(spec, path, data))


def _prepare(spec: Dataset, path: Path, data: bytes) -> dict[str, Prepared]:
    return {preset: read(str(path), data) for preset, read in spec.presets.items()}


def _look(spec: Dataset, what: str, raw: TrackedClip, prepared: dict[str, Prepared]) -> RawLook:
    unit = "" if not in_space(spec.channels) else " m" if spec.units == "metres" else f" {spec.units}"
    return RawLook(
        what,
        spec.skeleton,
        spec.channels,
        unit,
        spec.fps,
        raw,
        prepared,
        lambda: differences(raw, spec, prepared),
    )


def _what(spec: Dataset, name: str) -> str:
    """The data set, and the class and other facts that a clip's name tells."""
    try:
        identity = spec.identify(name)
    except TsgcError:
        identity = None
    if identity is None:
        return spec.name
    facts = [spec.name, f"{spec.class_names[identity.label]} (class {identity.label})"]
    for field, value in identity.fields.items():
        benchmark = field.removeprefix("split_")
        facts.append(f"{field.removesuffix('s')} {value}" if benchmark == field
                     else f"{SPLITS[value]} in {benchmark}")  # fmt: skip
    return ", ".join(facts)


# Kinetics-Skeleton ---------------------------------------------------------------------------------------


def _is_kinetics(path: Path, data: bytes) -> bool:
    clip = parse_json(str(path), data)
    return isinstance(clip, dict) and isinstance(clip.get("data"), list)


def _open_kinetics(path: Path, data: bytes) -> RawLook:
    """A clip of Kinetics-Skeleton as its file has it: y downwards, the bodies of each frame in order."""
    prepared = {  # checks the file too
        preset: kinetics.read(str(path), data, preset, kinetics.ANY_LENGTH) for preset in PRESETS
    }
    clip = parse_json(str(path), data)
    entries = {entry["frame_index"]: entry["skeleton"] for entry in clip["data"]}
    first, end = (min(entries), max(entries) + 1) if entries else (0, 0)
    tracks = []
    for place in range(max(map(len, entries.values()), default=0)):
        frames = [index for index in sorted(entries) if len(entries[index]) > place]
        bodies = [entries[index][place] for index in frames]
        pose = np.array([body["pose"] for body in bodies], np.float32).reshape(len(bodies), -1, 2)
        score = np.array([body["score"] for body in bodies], np.float32)[..., None]
        joints = np.concatenate([pose, score], axis=-1)
        tracks.append(Track(f"entry {place + 1} of each frame", np.array(frames) - first, joints))
    label, number = clip.get("label"), clip.get("label_index")
    named = isinstance(label, str) and number is not None
    what = f"kinetics, {label} (class {number})" if named else "kinetics, of no class that the file tells"
    raw = TrackedClip(end - first, tracks, {})
    return RawLook(what, OPENPOSE_18, "xys", "", Dataset.fps, raw, prepared, lambda: in_picture(prepared))


# Clips of one's own --------------------------------------------------------------------------------------


def own_folder(path: Path) -> Path | None:
    """The folder whose dataset.yaml describes a clip: the nearest one whose clips it is among."""
    path = path.absolute()
    described = (folder for folder in path.parents if (folder / custom.DESCRIPTION).is_file())
    return next((folder for folder in described if path.is_relative_to(_own_clips(folder))), None)


def _own_clips(folder: Path) -> Path:
    """Where the clips of a described folder lie."""
    try:
        return custom.folder_of_clips(folder, custom.read_description(folder))
    except TsgcError:  # which is said when the clip is read
        return folder / custom.CLIPS


def _open_own(path: Path, data: bytes) -> RawLook:
    """A clip of one's own in its own unit; without scores, they are 1, and 0 where a joint is at (0, 0)."""
    folder = own_folder(path)
    if folder is None:
        raise TsgcError(
            f"{path}: no {custom.DESCRIPTION} beside a {custom.CLIPS}/ that holds it; docs/your-own-data.md"
            " says what it is"
        )
    spec, _ = open_dataset(custom.CUSTOM.name, [folder], folder)
    prepared = _prepare(spec, path, data)  # checks the file too
    layout = custom.layout_of(spec)
    channels = layout.channels
    ends = FILE_FORMATS[layout.format].suffixes if layout.format in FILE_FORMATS else tuple(OWN_READERS)
    name = clip_name(RawFile(path.absolute()), _own_clips(folder), ends)
    joints = as_bodies(str(path), read_file(str(path), data, layout).joints, layout)
    seen = seen_joints(joints, channels, spec.skeleton)
    joints = np.where(seen[..., None], joints, np.float32(np.nan if in_space(channels) else 0))
    joints[~seen.any(axis=2)] = 0
    if channels == "xy":
        joints = np.concatenate([joints, seen[..., None].astype(np.float32)], axis=-1)
    look = _look(spec, _what(spec, safe_names([name])[name]), own_clip(joints), prepared)
    if not in_space(spec.channels):
        return replace(look, differences=lambda: in_picture(prepared))
    return replace(look, differences=lambda: [*look.differences(), *elsewhere(prepared)])


def own_clip(joints: np.ndarray) -> TrackedClip:
    """An array of bodies (T, M, V, C) as a raw clip, NaN: not seen; bodies of joints all 0 are absent."""
    present = (joints != 0).any(axis=(2, 3))
    tracks = [
        Track(f"body {place} of the file", np.flatnonzero(there), joints[there, place])
        for place, there in enumerate(present.T)
        if there.any()
    ]
    placed = joints[:, present.any(axis=0)]
    return TrackedClip(len(joints), tracks, {preset: placed for preset in PRESETS})


def elsewhere(prepared: dict[str, Prepared]) -> list[str]:
    """Lines about differences where no body is present, for clips that both presets clean alike."""
    one, other = prepared["reference"], prepared["corrected"]
    lines = []
    for track in range(one.present.shape[1]):
        apart = (one.joints[:, track] != other.joints[:, track]).any(axis=(1, 2)) & ~one.present[:, track]
        if apart.any():
            there = _point(one.joints[apart.argmax(), track, 0])
            lines.append(
                f"track {track + 1}: nobody in frames {ranges(np.flatnonzero(apart))};"
                f" reference all joints at {there}, corrected at 0, absent"
            )
    return lines


def in_picture(prepared: dict[str, Prepared]) -> list[str]:
    """Every difference between the presets of a clip in pictures."""
    one, other = prepared["reference"], prepared["corrected"]
    if one.joints.shape != other.joints.shape or not np.array_equal(one.present, other.present):
        counts = [
            " and ".join(f"{n} in track {m}" for m, n in enumerate(clip.present.sum(axis=0), 1)) or "nobody"
            for clip in (one, other)
        ]
        return [f"body-frames: reference {counts[0]}; corrected {counts[1]}, people followed by distance"]
    lines = []
    for track in range(one.present.shape[1]):
        apart = (one.joints[:, track] != other.joints[:, track]).any(axis=2)  # (T, V)
        traded = (apart & (one.joints[:, track, :, 2] != other.joints[:, track, :, 2])).any(axis=1)
        if traded.any():
            frames = ranges(np.flatnonzero(traded))
            lines.append(f"track {track + 1}: another body in frames {frames}: corrected follows people")
        if (n := int(apart[~traded].sum())) > 0:
            lines.append(f"track {track + 1}: {n:,} joints not seen: reference at 0, corrected filled")
    return lines


def _point(joint: np.ndarray) -> str:
    return f"({', '.join(f'{number:.3f}' for number in joint)})"


def ranges(frames: np.ndarray | Sequence[int]) -> str:
    """Ascending frame numbers as `0-7, 12, 15-20`."""
    if not len(frames):
        return ""
    parts = np.split(np.asarray(frames), np.flatnonzero(np.diff(frames) > 1) + 1)
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


FORMATS: dict[str, RawClipFormat] = {
    "custom": RawClipFormat(
        (*OWN_READERS, ".txt", ".bvh", ".c3d"), lambda path, data: own_folder(path) is not None, _open_own
    ),
    **{
        name: RawClipFormat((DATASETS[name].suffix,), partial(_named, name), partial(_open_known, name))
        for name in READERS
    },
    "kinetics": RawClipFormat((".json",), _is_kinetics, _open_kinetics),
}
