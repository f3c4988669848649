"""The `.npz` of the published code and of CTR-GCN: clips padded to one length, labels one-hot.

`x_train`, `y_train`, `x_test`, `y_test`: x (N, T, M * V * C) with zeros after each clip's last frame and in
the place of a second body, y (N, K). Clips have no names in it; here they are called `train_0`, ...,
`test_0`, ..., as the published score files call them.
"""

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import IO

import numpy as np

from pipelines.cleaning.centre import present_bodies
from pipelines.cleaning.missing import seen_joints
from pipelines.datasets.arrays import (
    ArrayClip,
    class_names,
    finish,
    keep_present,
    listed_dataset,
    numbers,
    one_file,
    read_arrays,
    some,
    the_file,
)
from pipelines.errors import BAD_NPY, TsgcError
from pipelines.reading.sources import BAD_MEMBER
from pipelines.skeleton import COCO_17, NTU_25, NW_UCLA_20, OPENPOSE_18, Skeleton
from pipelines.spec import TEST, TRAIN, Dataset, Identity, Prepared

# By numbers a frame: bodies x joints x 3. The field keeps x, y and the score of 2D key points.
LAYOUTS: dict[int, tuple[int, Skeleton, str]] = {
    bodies * skeleton.num_joints * 3: (bodies, skeleton, channels)
    for bodies in (1, 2)
    for skeleton, channels in ((NTU_25, "xyz"), (NW_UCLA_20, "xyz"), (COCO_17, "xys"), (OPENPOSE_18, "xys"))
}
UNITS = {"xyz": "metres", "xys": "as in the file"}
SPLITS = {"train": TRAIN, "test": TEST}
FILES = ("NTU60_CS", "NTU60_CV", "NTU120_CSub", "NTU120_CSet")
# How the field names such files: NTU60_CS.npz, NTU120_CSet.npz.
BENCHMARKS = {"CS": "xsub", "CSub": "xsub", "CV": "xview", "CSet": "xset"}

AGCN = (
    "one .npy, as 2s-AGCN's train_data_joint.npy (N, C, T, V, M) with its label pickle (names, labels);"
    " expected an .npz: np.savez(FILE, x_train=data.transpose(0, 2, 4, 3, 1).reshape(N, T, -1),"
    " y_train=labels, and x_test, y_test of val_data_joint.npy)"
)


@dataclass(frozen=True)
class Member:
    """One array in the file."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    """Byte of its numbers in the unpacked member."""
    modified: int
    """When the file was modified, in nanoseconds: while workers live, another file may take its name."""


@dataclass(frozen=True)
class NpzClip:
    """One row of an x array, read when asked for: x of NTU-120 is 20 GB."""

    member: Member
    row: int

    @property
    def source(self) -> str:
        return f"{self.member.path}/{self.member.name}[{self.row}]"

    def read(self) -> bytes:
        """The clip without its padding, (T, M * V * C), as `.npy`."""
        member = self.member
        size = math.prod(member.shape[1:]) * member.dtype.itemsize
        try:
            stream = _open_member(member.path, member.name, member.modified)
            stream.seek(member.start + self.row * size)
            data = stream.read(size)
        except (OSError, *BAD_MEMBER) as error:
            raise TsgcError(f"{self.source}: cannot be read ({error}); get the file again") from error
        if len(data) != size:
            raise TsgcError(f"{self.source}: the file ends here; it is cut, get it again")
        return ArrayClip("", (depad(np.frombuffer(data, member.dtype).reshape(member.shape[1:])),)).read()


def depad(frames: np.ndarray) -> np.ndarray:
    """Frames up to the last that is not all 0: (T, D) -> (fewer, D)."""
    seen = np.flatnonzero((frames != 0).any(axis=1))
    return frames[: seen[-1] + 1 if len(seen) else 0]


@lru_cache(maxsize=2)
def _open_member(path: Path, name: str, _modified: int) -> IO[bytes]:
    """An array's bytes, kept open: clips follow one another in the file."""
    return zipfile.ZipFile(path).open(f"{name}.npy")


def open_npz(locations: Sequence[Path], name: str) -> Dataset:
    """The data set in one `.npz`. Raises TsgcError: not one file, arrays missing or of another shape."""
    path = the_file(locations, ".npz").absolute()
    if path.suffix.lower() == ".npy":
        raise TsgcError(f"{path}: {AGCN}")
    x = {split: _member(path, f"x_{split}") for split in SPLITS}
    labels = {split: read_labels(path, f"y_{split}", x[split].shape) for split in SPLITS}
    sizes = {member.shape[-1] for member in x.values()}
    if len(sizes) > 1 or not sizes <= LAYOUTS.keys():
        expected = ", ".join(f"{size} ({layout[0]} x {layout[1].name})" for size, layout in LAYOUTS.items())
        raise TsgcError(
            f"{path}: {' and '.join(map(str, sizes))} numbers a frame, expected one of {expected}"
        )
    bodies, skeleton, channels = LAYOUTS[sizes.pop()]
    count = max(classes for _, classes in labels.values())
    benchmark = BENCHMARKS.get(path.stem.rpartition("_")[2], "official")
    field = f"split_{benchmark}"
    clips = {
        f"{split}_{row}": Identity(int(label), {field: code})
        for split, code in SPLITS.items()
        for row, label in enumerate(labels[split][0])
    }
    found = {
        f"{split}_{row}": [NpzClip(member, row)]
        for split, member in x.items()
        for row in range(member.shape[0])
    }
    return listed_dataset(
        NPZ,
        name,
        skeleton=skeleton,
        class_names=class_names(count, skeleton is NTU_25),
        clips=clips,
        found=found,
        benchmarks=[benchmark],
        read=partial(read, bodies=bodies, skeleton=skeleton, channels=channels),
        suffix=".npz",
        channels=channels,
        units=UNITS[channels],
    )


def _member(path: Path, name: str) -> Member:
    """Where an array lies. Raises TsgcError: not a whole `.npz`, no such array, no numbers (N, T, D)."""
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{name}.npy" not in archive.namelist():
                there = some(sorted(archive.namelist())) or "nothing"
                raise TsgcError(
                    f"{path}: no array {name}, expected x_train, y_train, x_test, y_test; has {there}"
                )
            with archive.open(f"{name}.npy") as stream:
                version = np.lib.format.read_magic(stream)
                header = {(1, 0): np.lib.format.read_array_header_1_0}.get(
                    version, np.lib.format.read_array_header_2_0
                )
                shape, is_fortran, dtype = header(stream)
                start = stream.tell()
            size = archive.getinfo(f"{name}.npy").file_size
    except (OSError, *BAD_NPY, *BAD_MEMBER) as error:
        raise TsgcError(f"{path}: {name}: not a whole .npz ({error}); get the file again") from error
    if is_fortran or dtype.kind not in "fiu":
        raise TsgcError(
            f"{path}: {name} is {dtype}{' in columns' if is_fortran else ''}, expected plain numbers"
        )
    if math.prod(shape) * dtype.itemsize != size - start:
        raise TsgcError(f"{path}: {name} says {shape} {dtype} in {size - start} bytes; get the file again")
    return Member(path, name, shape, dtype, start, path.stat().st_mtime_ns)


def read_labels(path: Path, name: str, x_shape: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """Classes (N,) and their number, of one-hot rows (N, K) or of numbers (N,).

    Raises TsgcError: another number of clips than x (N, T, D), or rows that are not one-hot.
    """
    member = _member(path, name)
    if len(x_shape) != 3:
        raise TsgcError(f"{path}: x of shape {x_shape}, expected (clips, frames, numbers)")
    if len(member.shape) not in (1, 2) or member.shape[0] != x_shape[0]:
        raise TsgcError(f"{path}: {name} of shape {member.shape}, expected {x_shape[0]} clips as in x")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            y = arrays[name]
    except (OSError, *BAD_NPY, *BAD_MEMBER) as error:
        raise TsgcError(f"{path}: {name}: cannot be read ({error}); get the file again") from error
    if y.ndim == 1:
        if y.dtype.kind not in "iu" or (len(y) and y.min() < 0):
            raise TsgcError(f"{path}: {name} holds {y.dtype}, expected classes from 0")
        return y.astype(np.int64), int(y.max()) + 1 if len(y) else 0
    wrong = np.flatnonzero(((y != 0).sum(axis=1) != 1) | (y.sum(axis=1) != 1))
    if len(wrong):
        raise TsgcError(f"{path}: row {wrong[0]} of {name} is not one-hot, expected a single 1")
    return y.argmax(axis=1), y.shape[1]


def read(source: str, data: bytes, bodies: int, skeleton: Skeleton, channels: str, preset: str) -> Prepared:
    """A clip as it is in the file, already centred; bodies that are never there dropped. Raises TsgcError.

    The reference preset takes every joint of a body that is not all 0 as seen.
    """
    (frames,) = read_arrays(data)
    clip = numbers(source, frames).reshape(len(frames), bodies, skeleton.num_joints, 3)
    if preset == "reference":
        known = ~np.isnan(clip).any(axis=3)
        seen = known & present_bodies(np.nan_to_num(clip))[..., None]
    else:
        seen = seen_joints(clip, channels, skeleton)
    return finish(keep_present(clip, seen), skeleton, channels, Dataset.fps, preset, centred=True)


NPZ = one_file(
    "npz", [f"{name}.npz" for name in FILES], ".npz", open_npz,
    preset="reference",  # whose very output these files are
)  # fmt: skip
