"""One tar file, as stock WebDataset reads it, with where each clip's numbers lie."""

import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from webdataset.writer import TarWriter

from pipelines.prepared.store import Clip, Info
from shards.manifest import PAYLOAD, Shard, clip_digest

TAR_BLOCK = 512  # bytes; a member's header, and what its data is padded to


@dataclass(frozen=True)
class Written:
    """A shard written, and its clips' columns."""

    shard: Shard
    offsets: list[int]
    crc32: list[int]
    digests: list[bytes]
    """`clip_digest` of each, to find equal joints."""


def write_tar(path: Path, clips: Iterable[Clip], info: Info, about: Mapping[str, str]) -> Written:
    """Write clips as uncompressed USTAR: `<name>.cls`, `<name>.json`, `<name>.npy` each, in the order given.

    `about` is added to every clip's metadata. Equal clips give equal bytes.
    """
    offsets, checksums, digests = [], [], []
    # Owner, mode and time are fixed, so that they do not change the bytes.
    with (
        path.open("wb") as file,
        TarWriter(file, user="", group="", mode=0o644, mtime=0, encoder=False) as tar,
    ):
        tar.tarstream.format = tarfile.USTAR_FORMAT  # TarWriter takes a format but does not pass it on
        tar.tarstream.encoding = "utf-8"  # whatever the locale's is
        for clip in clips:
            joints = np.ascontiguousarray(clip.joints, PAYLOAD)
            npy = _npy(joints)
            metadata = orjson.dumps(_metadata(clip, info) | dict(about))
            tar.write({"__key__": clip.name, "cls": b"%d" % clip.label, "json": metadata, "npy": npy})
            # Members go in by extension, so the .npy comes last and its padded end is where tar is now.
            end = tar.tarstream.offset - _padding(len(npy))
            payload = memoryview(npy)[-joints.nbytes :]
            offsets.append(end - joints.nbytes)
            checksums.append(zlib.crc32(payload))
            digests.append(clip_digest(joints.shape[0], joints.shape[1], payload))
    with path.open("rb") as whole:
        sha256 = hashlib.file_digest(whole, "sha256").hexdigest()
    return Written(Shard(path.name, path.stat().st_size, sha256, len(offsets)), offsets, checksums, digests)


def _padding(size: int) -> int:
    """Zeros that follow a tar member of `size` bytes."""
    return -size % TAR_BLOCK


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def _metadata(clip: Clip, info: Info) -> dict[str, object]:
    """The clip's .json member: all that is known about it, for readers that have no manifest."""
    T, M = clip.joints.shape[:2]
    return {
        "name": clip.name, "label": clip.label, "class_name": info.class_names[clip.label], "frames": T,
        "bodies": M, "origin": clip.origin.tolist(), **clip.fields, "dataset": info.dataset,
        "preset": info.preset, "skeleton": info.skeleton, "channels": info.channels, "units": info.units,
        "fps": info.fps,
    }  # fmt: skip
