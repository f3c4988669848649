"""`manifest.json`: what a shard set holds and where each clip's numbers lie in it.

Per-clip values are columns, so that 100,000 clips load in a fraction of a second. Everything a reader
relies on is checked once, here; shards themselves are checked by the reader (size, CRC-32) and whole by
`verify.py`.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from pipelines.skeleton_definition import find_skeleton
from shards.remote import check_url, is_url, join_url, read_remote, safe

SCHEMA_VERSION = 1
FILE_NAME = "manifest.json"
SPLITS = {"train": 0, "test": 1}  # name -> code in a prepared file's `/splits/<benchmark>`
PAYLOAD = np.dtype("<f4")
MOST = 1 << 20  # frames or bodies of a clip; keeps every product of sizes within 64 bits
CLIP_NAME = r"[A-Za-z0-9_-]{1,90}"  # with its extension it fits a USTAR header's 100 bytes
_NAME = re.compile(CLIP_NAME)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAMES = re.compile(rf"{CLIP_NAME}(\n{CLIP_NAME})*")


@dataclass(frozen=True)
class Shard:
    """One tar file."""

    file: str
    bytes: int
    sha256: str
    count: int
    """Clips in it."""


@dataclass(frozen=True)
class Clips:
    """The clips of one split in manifest order: columns of N entries."""

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    """Classes, from 0."""
    shards: NDArray[np.int64]
    """Index of the clip's shard in its split."""
    offsets: NDArray[np.int64]
    """Byte of the shard at which the clip's float32 numbers start, just after the .npy header."""
    lengths: NDArray[np.int64]
    """Bytes of those numbers: frames x bodies x joints x channels x 4."""
    frames: NDArray[np.int64]
    bodies: NDArray[np.int64]
    crc32: NDArray[np.int64]
    """CRC-32 of those bytes."""
    holdout: NDArray[np.bool_]
    """Training clips that `--holdout` leaves out."""
    repeats: NDArray[np.bool_]
    """Test clips whose joints equal a training clip's."""

    def __len__(self) -> int:
        return len(self.names)

    def select(self, mask: NDArray[np.bool_]) -> "Clips":
        """The clips where `mask` (N,) is true, in the same order."""
        chosen = np.flatnonzero(mask)
        columns = {f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name != "names"}
        return Clips(names=tuple(self.names[i] for i in chosen.tolist()), **columns)


# Columns as they are stored; `names` is a list of strings and `shards` follows from the shards' counts.
INTEGER_COLUMNS = ("labels", "offsets", "lengths", "frames", "bodies", "crc32")
FLAG_COLUMNS = ("holdout", "repeats")


@dataclass(frozen=True)
class Manifest:
    """A shard set: what the data is, and every clip of both splits."""

    dataset: str
    benchmark: str
    """`<dataset>/<split rule>`, such as `ntu60/xsub`."""
    preset: str
    skeleton: str
    num_joints: int
    channels: str
    """`xyz`, or `xys` with s the detector's score."""
    units: str
    fps: int
    """Frames a second."""
    absent_body: str
    """What stands for a body that a clip lacks: `zeros` or `copy` (of the first)."""
    class_names: tuple[str, ...]
    seed: int
    """Of the order in which clips were written."""
    tool_version: str
    source_digest: str
    """sha256 over the names and contents of the raw clips."""
    shards: Mapping[str, tuple[Shard, ...]]
    """Split -> its tar files."""
    clips: Mapping[str, Clips]
    """Split -> its clips."""
    alignment: str = ""
    """`spine-shoulders` where `--align` turned the clips; empty, and not stored, else."""
    skeleton_definition: str = ""
    """JSON of a skeleton of its own; empty, and not stored, for one that is named in `SKELETONS`."""
    folder: Path = Path()
    """Where the shards lie; not stored."""
    url: str = ""
    """Where they lie if not here; not stored."""
    digest: str = ""
    """sha256 of the manifest file, which has every shard's own in it: names the data of a run."""

    @property
    def body(self) -> Skeleton:
        """The skeleton itself."""
        return find_skeleton(self.skeleton, self.skeleton_definition)

    @property
    def place(self) -> str:
        """Where the shards lie, in words."""
        return safe(self.url) if self.url else str(self.folder)

    @property
    def max_bodies(self) -> int:
        """Most bodies in any clip of either split."""
        return max((int(clips.bodies.max()) for clips in self.clips.values() if len(clips)), default=0)

    def to_json(self) -> bytes:
        """The bytes of `manifest.json`."""
        head = {name: getattr(self, name) for name in _HEAD}
        head |= {name: getattr(self, name) for name in _OPTIONAL if getattr(self, name)}
        splits = {
            split: {
                "shards": self.shards[split],
                "clips": {name: getattr(clips, name) for name in ("names", *INTEGER_COLUMNS, *FLAG_COLUMNS)},
            }
            for split, clips in self.clips.items()
        }
        content = {"schema_version": SCHEMA_VERSION, **head, "splits": splits}
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"


_HEAD: dict[str, type] = {
    "dataset": str, "benchmark": str, "preset": str, "skeleton": str, "num_joints": int, "channels": str,
    "units": str, "fps": int, "absent_body": str, "class_names": list, "seed": int, "tool_version": str,
    "source_digest": str,
}  # fmt: skip
_OPTIONAL = ("alignment", "skeleton_definition")
_SHARD: dict[str, type] = {"file": str, "bytes": int, "sha256": str, "count": int}


def load_manifest(path: Path | str, expected: str | None = None) -> Manifest:
    """The manifest of a shard set, checked.

    `path`: its folder or the file, or the URL (text) of either; `expected`: its benchmark, such as
    `ntu60/xsub`.
    Raises TsgcError, naming file and remedy: no such file, another schema, data set or benchmark than
    expected, a shard name that is not a plain `<split>-NNNNNN.tar`, columns that do not fit together.
    """
    if is_url(path):
        url = check_url(str(path))
        data, file = read_remote(join_url(url, FILE_NAME)), safe(join_url(url, FILE_NAME))
        origin: dict[str, Any] = {"url": url}
    else:
        path = Path(path)
        file = str(path if path.name == FILE_NAME else path / FILE_NAME)
        data, origin = _read(Path(file)), {"folder": Path(file).parent}
    try:
        manifest = replace(_parse(data), **origin)
    except _DefectError as defect:
        raise TsgcError(f"{file}: {defect}; write the shards again with `tsgc shard --overwrite`") from None
    if expected not in (None, manifest.benchmark):
        raise TsgcError(
            f"{file}: holds {manifest.benchmark}, expected {expected}; give the shards of {expected}"
        )
    return manifest


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise TsgcError(
            f"{file}: no such file, so no complete shard set; make one with `tsgc shard`"
        ) from None
    except OSError as error:
        raise TsgcError(f"{file}: cannot be read: {error.strerror}") from error


def find_shard_sets(root: Path) -> list[Path]:
    """Folders `<root>/<name>/<benchmark>` that hold a manifest, sorted; unfinished (hidden) ones left out."""
    return sorted(
        file.parent
        for file in root.glob(f"*/*/{FILE_NAME}")
        if not any(part.startswith(".") for part in file.relative_to(root).parts)
    )


def clip_digest(frames: int, bodies: int, payload: bytes | memoryview) -> bytes:
    """What two clips share exactly if their joints are equal; `payload`: the clip's float32 bytes."""
    return hashlib.sha256(b"%d %d " % (frames, bodies) + payload).digest()


def check_names(names: Sequence[str]) -> str | None:
    """What is wrong with clip names, if anything: a character that is not allowed, or a name twice."""
    together = "\n".join(names)  # one match for all: a loop takes 10 times as long
    if names and (together.count("\n") >= len(names) or not _NAMES.fullmatch(together)):
        bad = next(name for name in names if not _NAME.fullmatch(name))
        return f"clip name {bad!r} is not made of 1 to 90 of A-Z a-z 0-9 _ -"
    if len(set(names)) != len(names):
        return f"clip name {Counter(names).most_common(1)[0][0]} comes twice"
    return None


class _DefectError(Exception):
    """What is wrong with a manifest."""


def _parse(data: bytes) -> Manifest:
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _DefectError(f"not whole JSON ({error})") from None
    if not isinstance(content, dict) or "schema_version" not in content:
        raise _DefectError("not a manifest of shards (no schema_version)")
    if content["schema_version"] != SCHEMA_VERSION:
        raise _DefectError(f"schema version {content['schema_version']}, expected {SCHEMA_VERSION}")
    head = {name: _typed(content, name, kind) for name, kind in _HEAD.items()}
    head["class_names"] = tuple(head["class_names"])
    if head["num_joints"] < 1 or not head["channels"]:
        raise _DefectError(f"{head['num_joints']} joints, channels {head['channels']!r}")
    head |= {name: _typed(content, name, str) for name in _OPTIONAL if name in content}
    try:
        skeleton = find_skeleton(head["skeleton"], head.get("skeleton_definition", ""))
    except TsgcError as error:
        raise _DefectError(str(error)) from None
    if skeleton.num_joints != head["num_joints"]:
        raise _DefectError(f"{head['num_joints']} joints, {skeleton.name} has {skeleton.num_joints}")
    splits = _typed(content, "splits", dict)
    if set(splits) != set(SPLITS):
        raise _DefectError(f"splits {', '.join(splits)}, expected {', '.join(SPLITS)}")
    row_bytes = head["num_joints"] * len(head["channels"]) * PAYLOAD.itemsize
    shards, clips = {}, {}
    for split in SPLITS:
        shards[split] = _parse_shards(split, _typed(splits, split, dict))
        clips[split] = _parse_clips(split, splits[split], shards[split])
        _check_clips(split, clips[split], shards[split], row_bytes, len(head["class_names"]))
    if wrong := check_names([name for split in SPLITS for name in clips[split].names]):
        raise _DefectError(wrong)
    digest = hashlib.sha256(data).hexdigest()
    return Manifest(**head, shards=shards, clips=clips, digest=digest)


def _typed(content: dict[str, Any], name: str, kind: type) -> Any:
    value = content.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _DefectError(f"{name} is {type(value).__name__}, expected {kind.__name__}")
    return value


def _parse_shards(split: str, content: dict[str, Any]) -> tuple[Shard, ...]:
    shards = []
    for index, entry in enumerate(_typed(content, "shards", list)):
        if not isinstance(entry, dict):
            raise _DefectError(f"{split} shard {index} is {type(entry).__name__}, expected dict")
        shard = Shard(**{field: _typed(entry, field, kind) for field, kind in _SHARD.items()})
        # An exact match leaves no room for '/', '..', URLs or `pipe:`.
        if shard.file != f"{split}-{index:06d}.tar":
            raise _DefectError(
                f"shard file {shard.file!r}, expected '{split}-{index:06d}.tar' in the manifest's folder"
            )
        if not _SHA256.fullmatch(shard.sha256):  # it names the shard's file in a cache
            raise _DefectError(f"{shard.file}: sha256 {shard.sha256[:70]!r}, expected 64 of 0-9 a-f")
        if shard.count < 1 or shard.bytes < 1:
            raise _DefectError(f"{shard.file}: {shard.count} clips in {shard.bytes} bytes")
        shards.append(shard)
    return tuple(shards)


def _parse_clips(split: str, content: dict[str, Any], shards: Sequence[Shard]) -> Clips:
    columns = _typed(content, "clips", dict)
    names = _typed(columns, "names", list)
    counts = [shard.count for shard in shards]
    if len(names) != sum(counts):
        raise _DefectError(f"{len(names)} {split} clips are named, but the shards hold {sum(counts)}")
    if not all(isinstance(name, str) for name in names):
        raise _DefectError(f"{split} clip names are not all text")
    arrays: dict[str, Any] = {}
    kinds: dict[str, type] = dict.fromkeys(INTEGER_COLUMNS, np.int64) | dict.fromkeys(FLAG_COLUMNS, np.bool_)
    for name, kind in kinds.items():
        values = _typed(columns, name, list)
        if len(values) != len(names):
            raise _DefectError(f"{split} {name} has {len(values)} entries, expected {len(names)}")
        # Without a type NumPy infers one, which shows values that do not belong (text, fractions, null).
        try:
            array = np.array(values) if values else np.empty(0, kind)
        except ValueError:  # lists among them
            array = np.empty(0)
        if array.shape != (len(names),) or array.dtype != kind:
            raise _DefectError(f"{split} {name} are not all of type {kind.__name__.rstrip('_')}")
        arrays[name] = array
    return Clips(names=tuple(names), shards=np.repeat(np.arange(len(counts)), counts), **arrays)


def _check_clips(split: str, clips: Clips, shards: Sequence[Shard], row_bytes: int, classes: int) -> None:
    if not len(clips):
        return
    ends = clips.offsets + clips.lengths
    room = np.array([shard.bytes for shard in shards])[clips.shards]
    # The next clip's start, within a shard; the file's end after its last clip.
    limit = np.append(np.where(np.diff(clips.shards) == 0, clips.offsets[1:], room[:-1]), room[-1])
    checks = {
        f"a number of frames or bodies outside 1..{MOST}": (np.minimum(clips.frames, clips.bodies) < 1)
        | (np.maximum(clips.frames, clips.bodies) > MOST),
        "a length that does not fit its shape": clips.lengths != clips.frames * clips.bodies * row_bytes,
        "an offset outside its shard": (clips.offsets < 0) | (clips.offsets > room),
        "an end beyond its shard or the next clip's start": ends > np.minimum(limit, room),
        f"a label outside 0..{classes - 1}": (clips.labels < 0) | (clips.labels >= classes),
        "a CRC-32 of more than 32 bits": (clips.crc32 < 0) | (clips.crc32 >> 32 != 0),
        "both held out and in the test split": clips.holdout & (split == "test"),
        "called a repeat in the training split": clips.repeats & (split == "train"),
    }
    for what, wrong in checks.items():
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            raise _DefectError(f"clip {clips.names[first]} of {shards[clips.shards[first]].file} has {what}")
