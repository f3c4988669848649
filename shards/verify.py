"""A shard set checked whole: every byte, every member, every claim of the manifest."""

import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from threading import Lock

import numpy as np
import orjson

from pipelines.errors import BAD_NPY, TsgcError
from shards.load_manifest import load_manifest
from shards.local_files import check_shard
from shards.manifest import FILE_NAME, PAYLOAD, SPLITS, Clips, Manifest, Shard, clip_digest

MEMBERS = ("cls", "json", "npy")  # of every clip, in this order
THREADS = 4  # hashing lets other threads run
# NumPy reads a header as Python, and Python up to 3.11.7 fails where threads take turns in that (gh-106905).
ONE_HEADER = Lock()


@dataclass
class _Found:
    """One shard's problems, and its clips' digests by name."""

    problems: list[str] = field(default_factory=list)
    digests: dict[str, bytes] = field(default_factory=dict)


def verify_shards(folder: Path, progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Everything wrong with a shard set, a line each, naming the shard; an empty list if nothing is.

    `progress(done, total)` counts shards.
    """
    try:
        manifest = load_manifest(folder)
    except TsgcError as error:
        return [str(error)]
    work = [(split, index) for split in SPLITS for index in range(len(manifest.shards[split]))]
    problems: list[str] = []
    digests: dict[str, dict[str, bytes]] = {split: {} for split in SPLITS}
    with ThreadPoolExecutor(THREADS) as pool:
        for done, ((split, _), found) in enumerate(zip(work, pool.map(_check, repeat(manifest), work)), 1):
            problems += found.problems
            digests[split] |= found.digests
            if progress:
                progress(done, len(work))
    problems += _wrong_repeats(manifest, digests)
    listed = {shard.file for shards in manifest.shards.values() for shard in shards} | {FILE_NAME}
    extra = sorted(path.name for path in manifest.folder.iterdir() if path.name not in listed)
    return problems + [f"{manifest.folder / name}: not in the manifest" for name in extra]


def _check(manifest: Manifest, which: tuple[str, int]) -> _Found:
    """One shard: its size, its bytes, its members."""
    split, index = which
    shard, clips = manifest.shards[split][index], manifest.clips[split]
    path, found = manifest.folder / shard.file, _Found()
    try:
        check_shard(manifest.folder, shard)
    except TsgcError as error:
        found.problems.append(str(error))
        if not path.is_file():
            return found
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                found.problems.append(f"{path}: its sha256 is not the manifest's")
        _check_members(path, manifest, shard, clips.select(clips.shards == index), found)
    except (tarfile.TarError, OSError) as error:
        found.problems.append(f"{path}: not a whole tar file ({error})")
    return found


def _check_members(path: Path, manifest: Manifest, shard: Shard, clips: Clips, found: _Found) -> None:
    """Walks the tar as any reader would, ignoring the manifest's offsets, and compares."""
    expected = [f"{name}.{extension}" for name in clips.names for extension in MEMBERS]
    with tarfile.open(path, "r:") as tar:
        position = 0
        for member in tar:
            if position == len(expected) or member.name != expected[position] or not member.isreg():
                wanted = expected[position] if position < len(expected) else "the end"
                found.problems.append(f"{path}: member {member.name!r} where {wanted} belongs")
                return
            clip, extension = divmod(position, len(MEMBERS))
            data = tar.extractfile(member).read()  # type: ignore[union-attr]
            if wrong := CHECKS[MEMBERS[extension]](manifest, clips, clip, data, member.offset_data):
                found.problems.append(f"{path}: clip {clips.names[clip]}: {wrong}")
            elif MEMBERS[extension] == "npy":
                payload = memoryview(data)[len(data) - int(clips.lengths[clip]) :]
                shape = int(clips.frames[clip]), int(clips.bodies[clip])
                found.digests[clips.names[clip]] = clip_digest(*shape, payload)
            position += 1
    if position < len(expected):
        found.problems.append(f"{path}: ends before {expected[position]}; {shard.count} clips were expected")


def _check_cls(manifest: Manifest, clips: Clips, clip: int, data: bytes, start: int) -> str | None:
    label = int(clips.labels[clip])
    return None if data == b"%d" % label else f"its .cls is {data[:20]!r}, the manifest says {label}"


def _check_json(manifest: Manifest, clips: Clips, clip: int, data: bytes, start: int) -> str | None:
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return f"its .json does not parse ({error})"
    expected = {
        "name": clips.names[clip],
        "label": int(clips.labels[clip]),
        "frames": int(clips.frames[clip]),
        "bodies": int(clips.bodies[clip]),
    }
    if not isinstance(content, dict) or any(content.get(key) != value for key, value in expected.items()):
        return f"its .json disagrees with the manifest ({expected})"
    return None


def _check_npy(manifest: Manifest, clips: Clips, clip: int, data: bytes, start: int) -> str | None:
    stream = io.BytesIO(data)
    try:
        np.lib.format.read_magic(stream)
        with ONE_HEADER:
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except BAD_NPY as error:
        return f"its .npy header does not parse ({error})"
    expected = (int(clips.frames[clip]), int(clips.bodies[clip]), manifest.num_joints, len(manifest.channels))
    if shape != expected or fortran or dtype != PAYLOAD:
        return f"its .npy holds {dtype} of shape {shape}, expected {PAYLOAD} of {expected}"
    header = stream.tell()
    if start + header != clips.offsets[clip] or len(data) - header != clips.lengths[clip]:
        return f"its numbers start at byte {start + header}, the manifest says {clips.offsets[clip]}"
    if zlib.crc32(memoryview(data)[header:]) != clips.crc32[clip]:
        return "its bytes do not match its CRC-32"
    return None


CHECKS = {"cls": _check_cls, "json": _check_json, "npy": _check_npy}


def _wrong_repeats(manifest: Manifest, digests: dict[str, dict[str, bytes]]) -> list[str]:
    """Test clips whose `repeats` is wrong, as far as the clips could be read."""
    clips = manifest.clips["test"]
    seen = set(digests["train"].values())
    if len(digests["train"]) < len(manifest.clips["train"]):
        return []
    return [
        f"{manifest.folder / FILE_NAME}: clip {name}: repeats is {bool(said)}, its joints say otherwise"
        for name, said in zip(clips.names, clips.repeats.tolist())
        if name in digests["test"] and (digests["test"][name] in seen) != said
    ]
