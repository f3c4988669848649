"""The prepared data set: one self-describing HDF5, written once, read clip by clip.

Layout (schema 1): `/joints` (rows, V, C) holds all clips' frames end to end, each frame its bodies
in order, so that clip i is `joints[offsets[i]:offsets[i+1]].reshape(num_frames[i], num_bodies[i], V, C)`.
Nothing is padded. Where some joint was not seen, `/seen` (rows, V) says which were.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from pipelines.skeleton_definition import find_skeleton

SCHEMA_VERSION = 1
READ_ROWS = 16384  # rows read at a time where a whole array is gone through; 5 MB for 25 joints

# Arrays of every file; any other array at the root is a per-clip field, such as `performers`.
PER_ROW = ("joints", "present")
SEEN = "seen"  # (rows, V) bool; only in files of clips in which some joint of a present body was not seen
PER_CLIP = ("labels", "names", "num_bodies", "num_frames", "origins")


@dataclass(frozen=True)
class Info:
    """What a prepared file says about itself: its root attributes."""

    dataset: str
    preset: str
    """Preset of the preparation: `reference` or `corrected`."""
    skeleton: str
    """Name of the body plan."""
    channels: str
    """`xyz`, `xyzs` or `xys`, s the detector's score."""
    units: str
    fps: float
    """Frames a second."""
    absent_body: str
    """What a loader puts in the place of a second body: `zeros` or `copy`."""
    class_names: tuple[str, ...]
    source_digest: str = ""
    """sha256 over the names and contents of the raw clips."""
    tool_version: str = ""
    reader: str = ""
    """What reads its raw clips, as `tsgc prepare` calls it; empty, and no attribute: what `dataset` names."""
    people: str = ""
    """`untracked` where raw clips give bodies in any order; empty, and no attribute, else."""
    up: str = ""
    """The axis that points up in raw clips, such as `z`; empty, and no attribute, for y."""
    alignment: str = ""
    """`spine-shoulders` where `--align` turned the clips (see `align.py`); empty, and no attribute, else."""
    skeleton_definition: str = ""
    """JSON of one's own skeleton (`skeleton_definition.py`); empty, and no attribute, for a known one."""
    schema_version: int = SCHEMA_VERSION

    @property
    def body(self) -> Skeleton:
        """The skeleton itself. Raises TsgcError where it is unknown."""
        return find_skeleton(self.skeleton, self.skeleton_definition)

    def attributes(self) -> dict[str, Any]:
        """The values as the file stores them."""
        return {key: value for key, value in asdict(self).items() if value or key not in OPTIONAL}


# Attributes that a file has only where they are not empty.
OPTIONAL = ("reader", "people", "up", "alignment", "skeleton_definition")
DIGEST = "content_digest"  # attribute beside those of Info; files of older versions have none


@dataclass(frozen=True)
class Clip:
    """One clip of T frames, M bodies, V joints and C channels."""

    name: str
    label: int
    joints: np.ndarray
    """(T, M, V, C) float32, centred."""
    present: np.ndarray
    """(T, M) bool: the body was seen in that frame."""
    origin: np.ndarray
    """(C,) float32: what centring subtracted."""
    fields: dict[str, int]
    seen: np.ndarray | None = None
    """(T, M, V) bool: joints that were seen, the others stand elsewhere; None: all of every present body."""


def tool_version() -> str:
    """The installed version of this project."""
    try:
        return metadata.version("tsgc")
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


class Store:
    """A prepared data set, open for reading; a context manager. Made by `open_store`.

    Clips are read when asked for; everything per clip is in memory.
    """

    def __init__(self, path: Path, file: h5py.File, info: Info) -> None:
        self.path = path
        self.info = info
        self._file = file
        self._joints, self._present = (file[name] for name in PER_ROW)
        self._seen = file.get(SEEN)
        self.offsets: np.ndarray = file["offsets"][()]
        self.num_frames: np.ndarray = file["num_frames"][()]
        self.num_bodies: np.ndarray = file["num_bodies"][()]
        self.labels: np.ndarray = file["labels"][()]
        self.origins: np.ndarray = file["origins"][()]
        self.names: list[str] = [name.decode() for name in file["names"][()]]
        self.splits: dict[str, np.ndarray] = {name: split[()] for name, split in file["splits"].items()}
        self.fields: dict[str, np.ndarray] = {name: file[name][()] for name in _field_names(file)}

    def __len__(self) -> int:
        return len(self.names)

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def digest(self) -> str | None:
        """The content digest that the file claims; None: it was written before there was one."""
        claimed = self._file.attrs.get(DIGEST)
        return claimed.decode() if isinstance(claimed, bytes) else claimed

    def arrays(self) -> Iterator[tuple[str, Iterator[np.ndarray]]]:
        """Every array's name, and its content in pieces of at most READ_ROWS."""
        names = [name for name in self._file if name != "splits"]
        for name in names + [f"splits/{name}" for name in self._file["splits"]]:
            array = self._file[name]
            yield name, (array[at : at + READ_ROWS] for at in range(0, max(1, len(array)), READ_ROWS))

    def clip(self, index: int) -> Clip:
        """Clip `index`, read from the file."""
        rows = slice(*self.offsets[index : index + 2])
        T, M = self.num_frames[index], self.num_bodies[index]
        joints = self._joints[rows]
        return Clip(
            name=self.names[index],
            label=int(self.labels[index]),
            joints=joints.reshape(T, M, *joints.shape[1:]),  # (T*M, V, C) -> (T, M, V, C)
            present=self._present[rows].reshape(T, M),
            origin=self.origins[index],
            fields={name: int(values[index]) for name, values in self.fields.items()},
            seen=None if self._seen is None else self._seen[rows].reshape(T, M, -1),
        )


def open_store(path: Path, dataset: str | None = None) -> Store:
    """Opens a prepared file and checks it (sizes, not every value).

    Raises TsgcError: no such file, not a whole HDF5, another schema, a data set other than `dataset`,
    or arrays that do not fit together.
    """
    if path.is_dir():
        raise TsgcError(f"{path}: a folder; expected a file that `tsgc prepare` made")
    if not path.is_file():
        raise TsgcError(f"{path}: no such file; make it with `tsgc prepare`")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise TsgcError(f"{path}: not a whole HDF5 file ({error}); run `tsgc prepare` again") from error
    try:
        info = _read_info(path, file)
        if dataset not in (None, info.dataset):
            raise TsgcError(f"{path}: holds {info.dataset}, expected {dataset}")
        _check_arrays(path, file, info)
        return Store(path, file, info)
    except TsgcError:
        file.close()
        raise
    except Exception as error:  # in a damaged file, anything in HDF5 may fail
        file.close()
        raise _damaged(path, str(error)) from error


def _read_info(path: Path, file: h5py.File) -> Info:
    version = file.attrs.get("schema_version")
    if version is None:
        raise TsgcError(f"{path}: an HDF5 file, but not one made by `tsgc prepare` (no schema_version)")
    if version != SCHEMA_VERSION:
        raise TsgcError(
            f"{path}: schema version {version}, expected {SCHEMA_VERSION}; run `tsgc prepare` again"
        )
    names = [field.name for field in fields(Info) if field.name not in OPTIONAL or field.name in file.attrs]
    missing = [name for name in names if name not in file.attrs]
    if missing:
        raise _damaged(path, f"no attribute {', '.join(missing)}")
    values = {name: file.attrs[name] for name in names}
    values |= {key: value.decode() for key, value in values.items() if isinstance(value, bytes)}
    values |= {"schema_version": int(version), "fps": np.asarray(values["fps"]).item()}
    if not isinstance(values["fps"], int | float):
        raise _damaged(path, f"fps is {values['fps']!r}")
    info = Info(**(values | {"class_names": tuple(name.decode() for name in values["class_names"])}))
    try:
        find_skeleton(info.skeleton, info.skeleton_definition)
    except TsgcError as error:
        raise TsgcError(f"{path}: {error}; run `tsgc prepare` again") from None
    return info


def _field_names(file: h5py.File) -> list[str]:
    return [name for name in file if name not in (*PER_ROW, SEEN, *PER_CLIP, "offsets", "splits")]


def _check_arrays(path: Path, file: h5py.File, info: Info) -> None:
    """Raises TsgcError where the arrays do not fit together."""
    missing = [name for name in (*PER_ROW, *PER_CLIP, "offsets", "splits") if name not in file]
    if missing:
        raise _damaged(path, f"no {', '.join(missing)}")
    joints, offsets = file["joints"], file["offsets"][()]
    expected = (info.body.num_joints, len(info.channels))
    if joints.shape[1:] != expected:
        raise _damaged(path, f"joints of shape {joints.shape[1:]}, expected {expected}")
    clips = len(file["names"])
    per_clip = {name: file[name] for name in (*PER_CLIP, *_field_names(file))}
    per_clip |= {f"splits/{name}": split for name, split in file["splits"].items()}
    for name, array in per_clip.items():
        if len(array) != clips:
            raise _damaged(path, f"{name} has {len(array)} entries, expected {clips}")
    rows = file["num_frames"][()].astype(np.int64) * file["num_bodies"][()]
    if offsets[0] != 0 or not np.array_equal(np.diff(offsets), rows):
        raise _damaged(path, "offsets disagree with num_frames and num_bodies")
    if not offsets[-1] == len(joints) == len(file["present"]):
        raise _damaged(path, f"{len(joints)} rows of joints, expected {offsets[-1]}")
    if SEEN in file and file[SEEN].shape != (len(joints), info.body.num_joints):
        raise _damaged(
            path, f"{SEEN} of shape {file[SEEN].shape}, expected a joint each of {len(joints)} rows"
        )
    labels = file["labels"][()]
    if clips and not 0 <= labels.min() <= labels.max() < len(info.class_names):
        raise _damaged(path, f"labels outside 0..{len(info.class_names) - 1}")


def _damaged(path: Path, what: str) -> TsgcError:
    return TsgcError(f"{path}: damaged ({what}); run `tsgc prepare` again")
