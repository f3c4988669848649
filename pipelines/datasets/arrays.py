"""Clips that came as arrays, many in one file: what every such format shares."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from pipelines.channels import in_space
from pipelines.cleaning.centre import centre_on_first_actor, present_bodies
from pipelines.cleaning.missing import fill
from pipelines.datasets.ntu_actions import NTU60_ACTIONS, NTU120_ACTIONS
from pipelines.errors import AmbiguousError, TsgcError
from pipelines.names import safe_names as names_in_rule
from pipelines.skeleton import Skeleton
from pipelines.spec import PRESETS, Dataset, Identity, Opener, Prepared, Raw, assigned

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


def numbers(source: str, joints: np.ndarray) -> np.ndarray:
    """The joints in float32, NaN where a number is missing. Raises TsgcError: no numbers, or infinite."""
    if joints.dtype.kind not in "fiu":
        raise TsgcError(f"{source}: joints of type {joints.dtype}, expected numbers")
    with np.errstate(over="ignore"):
        joints = joints.astype(np.float32)
    if not np.isfinite(joints).all() and np.isinf(joints).any():
        raise TsgcError(f"{source}: joints that are not finite, expected numbers; NaN or 0 says not seen")
    return joints


@dataclass(frozen=True)
class Bodies:
    """The bodies of a clip as a format gives them."""

    joints: np.ndarray
    """(T, M, V, C) float32; NaN or anything where a joint was not seen."""
    seen: np.ndarray
    """(T, M, V) bool: joints that were seen; a body is present where one was."""
    rules: Mapping[str, int] = field(default_factory=dict)
    """Bodies that each rule dropped."""
    lost: Mapping[str, int] = field(default_factory=dict)
    """Body-frames that those had."""

    @cached_property
    def present(self) -> np.ndarray:
        """(T, M) bool: bodies of which some joint was seen."""
        return np.any(self.seen, axis=2)


def keep_present(joints: np.ndarray, seen: np.ndarray, most: int | None = MOST_BODIES) -> Bodies:
    """Bodies that are ever there, the first `most`: (T, M, V, C) and `seen` (T, M, V) of fewer bodies."""
    bodies = Bodies(joints, seen)
    present = bodies.present
    there = np.flatnonzero(present.any(axis=0))
    if len(there) == joints.shape[1] and (most is None or len(there) <= most):
        return bodies
    if most is None or len(there) <= most:
        return Bodies(joints[:, there], seen[:, there])
    kept, dropped = there[:most], there[most:]
    lost = int(present[:, dropped].sum())
    return Bodies(joints[:, kept], seen[:, kept], {EXTRA: len(dropped)}, {EXTRA: lost})


def in_halves(joints: np.ndarray, seen: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """x and y from the middle of a picture of `size` (width, height), in halves of it; 0 where not `seen`.

    (T, M, V, 3) float32, the score third, changed in place; `seen` (T, M, V).
    """
    for axis, half in enumerate(np.array(size, np.float32) / 2):  # faster than both, two numbers at a time
        joints[..., axis] -= half
        joints[..., axis] /= half
    if not seen.all():
        joints[~seen] = 0
    return joints


def finish(
    bodies: Bodies, skeleton: Skeleton, channels: str, fps: float, preset: str, *, centred: bool = False
) -> Prepared:
    """A clip as it is stored: missing joints filled, and in space centred on the skeleton's centre.

    `centred`: the file's joints are so already. The reference preset leaves missing joints of pictures as the
    file has them, and moves a one-body clip's empty frames along with the others, as the published
    preparations do; in the corrected one absent bodies stay 0.
    """
    joints, seen = bodies.joints, bodies.seen
    present = bodies.present
    if not present.any():
        return nothing(*joints.shape[2:])
    origin = np.zeros(joints.shape[-1], np.float32)
    rules = dict(bodies.rules)
    V = skeleton.num_joints
    is_whole = np.count_nonzero(seen) == V * np.count_nonzero(present)
    moves = in_space(channels) and not centred
    if is_whole and (present.all() or np.array_equal(present, present_bodies(joints))):
        pass  # nothing to fill, absent bodies 0 already: the common clip is not copied
    elif moves or preset == "corrected":
        filled = fill(joints, seen, skeleton, channels, fps)
        joints = filled.joints
        rules |= {rule: n for rule, n in filled.counts.items() if n}
    else:
        joints = np.where(np.isnan(joints), np.float32(0), joints)
    if moves:
        joints, origin = centre_on_first_actor(
            joints, skeleton.centre, None if is_whole else seen, present=present
        )
        if preset == "corrected" and not present.all():
            joints = joints * present[..., None, None]
    body_frames = int(present.sum()) + sum(bodies.lost.values())
    return Prepared(
        np.ascontiguousarray(joints),
        present,
        origin,
        rules,
        body_frames,
        dict(bodies.lost),
        joints_seen=None if is_whole else seen,
    )


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
    fps: float = 30,
    people: str = "",
    called: Mapping[str, str] | None = None,
    places: tuple[Path, ...] = (),
    lists: Iterable[str] = (),
    up: str = "",
    what: str = "",
    note: str = "",
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
        reader=opener.name,
        people=people,
        called=called or {},
        places=places,
        lists=frozenset(lists),
        up=up,
        what=what,
        note=note,
    )


def one_file(
    name: str,
    files: Sequence[str],
    what: str,
    open_file: Callable[[Sequence[Path], str], Dataset],
    preset: str = "corrected",
) -> Opener:
    """A format with a whole data set in one file, called as the file. `files`: their published names."""
    return Opener(
        name=name,
        raw=tuple(f"{name}/{file}" for file in files),
        default_name=lambda locations: the_file(locations, what).stem,
        open=open_file,
        preset=preset,
    )


def class_names(count: int, is_ntu: bool) -> tuple[str, ...]:
    """Names of `count` classes that are only numbers in the file."""
    if is_ntu and count in NTU_NAMES:
        return NTU_NAMES[count]
    return tuple(f"class {label}" for label in range(count))


def safe_names(names: Iterable[str]) -> dict[str, str]:
    """Clip names as later files can hold them, by `pipelines.names`. Raises TsgcError: two are equal."""
    names = list(names)
    try:
        return names_in_rule(names)
    except ValueError as error:
        raise TsgcError(f"clips {some(names)}: {error}; rename some") from None


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
