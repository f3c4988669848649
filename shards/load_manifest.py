"""`manifest.json` read and checked, from a folder or a URL.

Everything that a reader relies on is checked once, here; shards themselves are checked by the reader (size,
CRC-32) and whole by `verify.py`.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np
import orjson

from pipelines.errors import TsgcError
from pipelines.skeleton_definition import find_skeleton
from shards.manifest import (
    FILE_NAME,
    FLAG_COLUMNS,
    HEAD,
    INTEGER_COLUMNS,
    MOST,
    OPTIONAL,
    PAYLOAD,
    SCHEMA_VERSION,
    SPLITS,
    Clips,
    Manifest,
    Shard,
    check_names,
)
from shards.remote import check_url, is_url, join_url, read_remote, safe

_SHA256 = re.compile(r"[0-9a-f]{64}")
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
    head = {name: _typed(content, name, kind) for name, kind in HEAD.items()}
    head["class_names"] = tuple(head["class_names"])
    if head["num_joints"] < 1 or not head["channels"]:
        raise _DefectError(f"{head['num_joints']} joints, channels {head['channels']!r}")
    head |= {name: _typed(content, name, str) for name in OPTIONAL if name in content}
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


def _typed(content: dict[str, Any], name: str, kind: type | UnionType) -> Any:
    value = content.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        expected = getattr(kind, "__name__", kind)
        raise _DefectError(f"{name} is {type(value).__name__}, expected {expected}")
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
