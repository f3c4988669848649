"""`manifest.json`: what a shard set holds and where each clip's numbers lie in it.

Per-clip values are columns, so that 100,000 clips load in a fraction of a second. `load_manifest` reads and
checks the file.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType

import numpy as np
import orjson
from numpy.typing import NDArray

from pipelines.names import LONGEST, RULE, is_safe
from pipelines.skeleton import Skeleton
from pipelines.skeleton_definition import find_skeleton
from shards.remote import safe

SCHEMA_VERSION = 1
FILE_NAME = "manifest.json"
SPLITS = {"train": 0, "test": 1}  # name -> code in a prepared file's `/splits/<benchmark>`
PAYLOAD = np.dtype("<f4")
MOST = 1 << 20  # frames or bodies of a clip; keeps every product of sizes within 64 bits
CLIP_NAME = rf"[A-Za-z0-9_-]{{1,{LONGEST}}}"
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
    """`xyz`, `xyzs` or `xys`, s the detector's score."""
    units: str
    fps: float
    """Frames a second."""
    absent_body: str
    """What stands for a body that a clip lacks: `zeros` or `copy` (of the first)."""
    class_names: tuple[str, ...]
    seed: int
    """Seed of the order in which clips were written."""
    tool_version: str
    source_digest: str
    """sha256 over the names and contents of the raw clips."""
    shards: Mapping[str, tuple[Shard, ...]]
    """Split -> its tar files."""
    clips: Mapping[str, Clips]
    """Split -> its clips."""
    reader: str = ""
    """What reads its raw clips, as `tsgc prepare` calls it; empty, and not stored: what `dataset` names."""
    people: str = ""
    """`untracked` where raw clips give bodies in any order; empty, and not stored, else."""
    up: str = ""
    """The axis that points up in raw clips; empty, and not stored, for y."""
    alignment: str = ""
    """`spine-shoulders` where `--align` turned the clips; empty, and not stored, else."""
    skeleton_definition: str = ""
    """JSON of a skeleton of its own; empty, and not stored, for one that is named in `SKELETONS`."""
    folder: Path = Path()
    """Folder of the shards; not stored."""
    url: str = ""
    """URL of the shards, if they are not in a folder here; not stored."""
    digest: str = ""
    """sha256 of the manifest file, which has every shard's own in it: names the data of a run."""

    @property
    def body(self) -> Skeleton:
        """The skeleton itself."""
        return find_skeleton(self.skeleton, self.skeleton_definition)

    @property
    def location(self) -> str:
        """Folder or URL of the shards, as errors name it."""
        return safe(self.url) if self.url else str(self.folder)

    @property
    def max_bodies(self) -> int:
        """Most bodies in any clip of either split."""
        return max((int(clips.bodies.max()) for clips in self.clips.values() if len(clips)), default=0)

    def to_json(self) -> bytes:
        """The bytes of `manifest.json`."""
        head = {name: getattr(self, name) for name in HEAD}
        head |= {name: getattr(self, name) for name in OPTIONAL if getattr(self, name)}
        splits = {
            split: {
                "shards": self.shards[split],
                "clips": {name: getattr(clips, name) for name in ("names", *INTEGER_COLUMNS, *FLAG_COLUMNS)},
            }
            for split, clips in self.clips.items()
        }
        content = {"schema_version": SCHEMA_VERSION, **head, "splits": splits}
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"


# Fields of the file and their types in JSON; the optional ones are text, and left out where they are empty.
HEAD: dict[str, type | UnionType] = {
    "dataset": str, "benchmark": str, "preset": str, "skeleton": str, "num_joints": int, "channels": str,
    "units": str, "fps": int | float, "absent_body": str, "class_names": list, "seed": int,
    "tool_version": str, "source_digest": str,
}  # fmt: skip
OPTIONAL = ("reader", "people", "up", "alignment", "skeleton_definition")


def find_shard_sets(root: Path) -> list[Path]:
    """Folders `<root>/<name>/<benchmark>` that hold a manifest, sorted; unfinished (hidden) ones left out."""
    return sorted(
        file.parent
        for file in root.glob(f"*/*/{FILE_NAME}")
        if not any(part.startswith(".") for part in file.relative_to(root).parts)
    )


def clip_digest(frames: int, bodies: int, payload: bytes | memoryview) -> bytes:
    """The same for two clips exactly if their joints are equal; `payload`: the clip's float32 bytes."""
    return hashlib.sha256(b"%d %d " % (frames, bodies) + payload).digest()


def check_names(names: Sequence[str]) -> str | None:
    """What is wrong with clip names, if anything: a character that is not allowed, or a name twice."""
    together = "\n".join(names)  # one match for all plain names: a loop takes 10 times as long
    if names and (together.count("\n") >= len(names) or not _NAMES.fullmatch(together)):
        bad = next((name for name in names if not is_safe(name)), None)
        if bad is not None:
            return f"clip name {bad!r} is not made of {RULE}"
    if len(set(names)) != len(names):
        return f"clip name {Counter(names).most_common(1)[0][0]} comes twice"
    return None
