"""Clips that came as arrays, many in one file: what every such format shares."""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipelines.cleaning.centre import centre_on_first_actor, present_bodies
from pipelines.datasets.ntu_actions import NTU60_ACTIONS, NTU120_ACTIONS
from pipelines.errors import AmbiguousError, TsgcError
from pipelines.skeleton import Skeleton
from pipelines.spec import PRESETS, Dataset, Identity, Opener, Prepared, Raw, assigned

LONGEST_NAME = 90  # characters; what a shard can hold
MOST_BODIES = 2  # that the field's networks see
EXTRA = f"bodies beyond the first {MOST_BODIES} dropped"
NTU_NAMES = {len(names): names for names in (NTU60_ACTIONS, NTU120_ACTIONS)}


@dataclass(frozen=True)
class ArrayClip:
    """One clip's arrays, in memory."""

    source: str
    """How errors name it."""
    arrays: tuple[np.ndarray, ...]

    def read(self) -> bytes:
        """The arrays, one after the other, as `.npy`."""
        stream = io.BytesIO()
        for array in self.arrays:
            np.lib.format.write_array(stream, np.asarray(array, order="C"), allow_pickle=False)
        return stream.getvalue()


def read_arrays(data: bytes) -> list[np.ndarray]:
    """What `ArrayClip.read` wrote."""
    stream = io.BytesIO(data)
    arrays = []
    while stream.tell() < len(data):
        arrays.append(np.lib.format.read_array(stream, allow_pickle=False))
    return arrays


def finite(source: str, joints: np.ndarray) -> np.ndarray:
    """The joints in float32. Raises TsgcError: no numbers, or not finite."""
    if joints.dtype.kind not in "fiu":
        raise TsgcError(f"{source}: joints of type {joints.dtype}, expected numbers")
    with np.errstate(over="ignore"):
        joints = joints.astype(np.float32)
    if not np.isfinite(joints).all():
        raise TsgcError(f"{source}: joints that are not finite, expected numbers; 0 says absent")
    return joints


def keep_present(
    joints: np.ndarray, most: int | None = MOST_BODIES
) -> tuple[np.ndarray, dict[str, int], dict[str, int]]:
    """Bodies that are ever there, the first `most` of them: (T, M, V, C) -> fewer bodies.

    With them, by rule: the bodies dropped, and the body-frames that those had.
    """
    present = present_bodies(joints)
    seen = np.flatnonzero(present.any(axis=0))
    if most is None or len(seen) <= most:
        return joints[:, seen], {}, {}
    dropped = seen[most:]
    return joints[:, seen[:most]], {EXTRA: len(dropped)}, {EXTRA: int(present[:, dropped].sum())}


def finish(
    joints: np.ndarray, rules: Mapping[str, int], lost: Mapping[str, int], centre: int | None, preset: str
) -> Prepared:
    """A clip of present bodies (T, M, V, C), centred on joint `centre` where there is one.

    `rules`: bodies that each rule dropped; `lost`: the body-frames that those had.

    The reference preset moves a one-body clip's empty frames along, as the published preparation does; in
    the corrected one absent bodies stay 0.
    """
    present = present_bodies(joints)
    if not present.any():
        return nothing(*joints.shape[2:])
    origin = np.zeros(joints.shape[-1], np.float32)
    if centre is not None:
        joints, origin = centre_on_first_actor(joints, centre)
        if preset == "corrected":
            joints = joints * present[..., None, None]
    seen = int(present.sum()) + sum(lost.values())
    return Prepared(np.ascontiguousarray(joints), present, origin, dict(rules), seen, dict(lost))


def nothing(V: int, C: int) -> Prepared:
    """A clip without anybody in it."""
    return Prepared(np.zeros((0, 1, V, C), np.float32), np.zeros((0, 1), np.bool_), np.zeros(C, np.float32))


@dataclass(frozen=True)
class Listed:
    """Clips that a file lists: `identify` for a data set."""

    clips: Mapping[str, Identity]

    def __call__(self, name: str) -> Identity:
        if name not in self.clips:
            raise TsgcError(f"unknown name {name!r}, expected one of the {len(self.clips):,} listed clips")
        return self.clips[name]


def listed_dataset(
    opener: Opener,
    name: str,
    *,
    skeleton: Skeleton,
    class_names: tuple[str, ...],
    clips: Mapping[str, Identity],
    found: Mapping[str, Sequence[Raw]],
    benchmarks: Iterable[str],
    read: Callable[..., Prepared],
    channels: str,
    units: str,
    suffix: str = "",
    fields: tuple[str, ...] | None = None,
    official: tuple[int, int] | None = None,
    fps: int = 30,
) -> Dataset:
    """The data set of files that list their clips, their labels and their splits.

    `clips`: what the files say of each clip, its splits in the fields `split_<benchmark>`; `found`: the raw
    clips; `read`: function from a clip's name, its raw bytes and `preset` to the prepared clip; `fields`:
    per-clip integers (default: the splits). The rest is as in `Dataset`.
    """
    benchmarks = tuple(benchmarks)
    return Dataset(
        name=name,
        skeleton=skeleton,
        class_names=class_names,
        fields=tuple(f"split_{benchmark}" for benchmark in benchmarks) if fields is None else fields,
        benchmarks={benchmark: assigned(benchmark) for benchmark in benchmarks},
        holdout=None,
        raw=opener.raw,
        suffix=suffix,
        identify=Listed(clips),
        presets={preset: partial(read, preset=preset) for preset in PRESETS},
        official=official,
        find=lambda: found,
        channels=channels,
        units=units,
        fps=fps,
    )


def one_file(
    name: str, files: Sequence[str], what: str, open_file: Callable[[Sequence[Path], str], Dataset]
) -> Opener:
    """A format with a whole data set in one file, called as the file. `files`: their published names."""
    return Opener(
        name=name,
        raw=tuple(f"{name}/{file}" for file in files),
        default_name=lambda locations: the_file(locations, what).stem,
        open=open_file,
    )


def class_names(count: int, is_ntu: bool) -> tuple[str, ...]:
    """Names of `count` classes that are only numbers in the file."""
    if is_ntu and count in NTU_NAMES:
        return NTU_NAMES[count]
    return tuple(f"class {label}" for label in range(count))


def safe_names(names: Iterable[str]) -> dict[str, str]:
    """Clip names as later files can hold them: other characters than letters, digits and _ become -.

    Raises TsgcError where two become one.
    """
    safe = {name: re.sub(r"[^A-Za-z0-9_-]", "-", name)[-LONGEST_NAME:] for name in names}
    if len(set(safe.values())) < len(safe):
        again = Counter(safe.values())
        same = [name for name, short in safe.items() if again[short] > 1]
        raise TsgcError(f"clips {some(same)} would have one name, in letters, digits, _ and -; rename some")
    return safe


def the_file(locations: Sequence[Path], what: str) -> Path:
    """The one file that is meant. Raises AmbiguousError for several, TsgcError for what is no file."""
    if len(locations) > 1:
        raise AmbiguousError(f"which one? {', '.join(map(str, locations))}: give one {what} with --raw")
    if not locations[0].is_file():
        raise TsgcError(f"{locations[0]}: a folder, expected one {what}; give it with --raw")
    return locations[0]


def some(names: Iterable[str]) -> str:
    """The first few names, for an error."""
    names = list(names)
    shown: Sequence[str] = names[:3]
    return ", ".join(map(str, shown)) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
