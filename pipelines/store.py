"""The prepared data set: one self-describing HDF5, written once, read clip by clip.

Layout (schema 1): `/joints` (rows, V, C) holds all clips' frames end to end, each frame its bodies
in order, so that clip i is `joints[offsets[i]:offsets[i+1]].reshape(num_frames[i], num_bodies[i], V, C)`.
Nothing is padded.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from pipelines.definition import find_skeleton
from pipelines.digest import ArrayDigest, content_digest, digest_array
from pipelines.errors import TsgcError
from pipelines.files import PatientFile, atomic_path
from pipelines.skeleton import Skeleton

SCHEMA_VERSION = 1
CHUNK_ROWS = 512  # rows a chunk; 150 kB for 25 joints: two or three chunks a clip, few seeks when streaming
BUFFER_ROWS = 32 * CHUNK_ROWS  # rows kept in memory before they are written; 5 MB for 25 joints
# Fixed, so that the bytes do not depend on the installed HDF5; 1.10 indexes growing arrays well.
LIBVER = ("v110", "v110")

# Arrays of every file; any other array at the root is a per-clip field, such as `performers`.
PER_ROW = ("joints", "present")
PER_CLIP = ("labels", "names", "num_bodies", "num_frames", "origins")


@dataclass(frozen=True)
class Info:
    """What a prepared file says about itself: its root attributes."""

    dataset: str
    preset: str
    """How it was prepared: `reference` or `corrected`."""
    skeleton: str
    """Name of the body plan."""
    channels: str
    """`xyz`, or `xys` with s the detector's score."""
    units: str
    fps: int
    """Frames a second."""
    absent_body: str
    """What a loader puts in the place of a second body: `zeros` or `copy`."""
    class_names: tuple[str, ...]
    source_digest: str = ""
    """sha256 over the names and contents of the raw clips."""
    tool_version: str = ""
    alignment: str = ""
    """`spine-shoulders` where `--align` turned the clips (see `align.py`); empty, and no attribute, else."""
    skeleton_definition: str = ""
    """JSON of a skeleton of its own (see `definition.py`); empty, and no attribute, for one named here."""
    schema_version: int = SCHEMA_VERSION

    @property
    def body(self) -> Skeleton:
        """The skeleton itself. Raises TsgcError where it is unknown."""
        return find_skeleton(self.skeleton, self.skeleton_definition)

    def attributes(self) -> dict[str, Any]:
        """As the file has them."""
        return {key: value for key, value in asdict(self).items() if value or key not in OPTIONAL}


OPTIONAL = ("alignment", "skeleton_definition")  # attributes that a file has only where they are not empty
DIGEST = "content_digest"  # attribute beside those of Info; files of older versions have none

# How `--compress` packs joints, as h5py names it (benchmarks/prepare.py --compress compares them).
COMPRESSION: dict[str, dict[str, Any]] = {
    "lzf": {"compression": "lzf", "shuffle": True},  # needs h5py to read, several times as fast as gzip
    "gzip": {"compression": "gzip", "compression_opts": 1, "shuffle": True},  # any HDF5 reads it
}


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


def tool_version() -> str:
    """The installed version of this project."""
    try:
        return metadata.version("tsgc")
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


class StoreWriter:
    """Writes a store: `append` clips, then `finish`. As a context manager, it discards what is not finished.

    Clips go to a temporary file beside `path`, at most `BUFFER_ROWS` rows wait in memory, and `finish`
    renames. Equal clips in equal order give equal bytes. `compress`: one of COMPRESSION, for the joints.
    Raises TsgcError where it cannot write.
    """

    def __init__(
        self, path: Path, info: Info, field_names: Sequence[str], compress: str | None = None
    ) -> None:
        self.info = info
        self._packing = COMPRESSION[compress] if compress else {}
        self._digests = {name: ArrayDigest() for name in PER_ROW}
        self._field_names = tuple(field_names)
        self._columns: defaultdict[str, list] = defaultdict(list)
        self._buffer: list[tuple[np.ndarray, np.ndarray]] = []
        self._buffered = 0
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(path))
            self._disk = stack.enter_context(PatientFile(temporary))
            self._file = stack.enter_context(h5py.File(self._disk, "w", libver=LIBVER))
            self._create_row_arrays()
            self._open = stack.pop_all()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        error = error or RuntimeError("not finished")
        self._open.__exit__(type(error), error, trace)  # after finish() there is nothing left to close

    def append(self, clip: Clip) -> None:
        """Adds a clip; its joints may wait in memory."""
        T, M, V, C = clip.joints.shape
        rows = clip.joints.reshape(T * M, V, C)  # (T, M, V, C) -> (T*M, V, C)
        self._buffer.append((rows, clip.present.reshape(T * M)))
        self._buffered += len(rows)
        columns = {"names": clip.name, "labels": clip.label, "origins": clip.origin}
        columns |= {"num_frames": T, "num_bodies": M}
        columns |= {name: clip.fields[name] for name in self._field_names}
        for name, value in columns.items():
            self._columns[name].append(value)
        if self._buffered >= BUFFER_ROWS:
            self._flush()

    def fields(self) -> dict[str, np.ndarray]:
        """The per-clip integers of all clips so far, each int32 (N,), to compute splits from."""
        return {name: np.array(self._columns[name], np.int32) for name in self._field_names}

    def finish(self, splits: Mapping[str, np.ndarray], source_digest: str | None = None) -> None:
        """Writes what is per clip and gives the file its name.

        `splits`: benchmark -> int8 (N,), the main one first. `source_digest` replaces that of `info`:
        it is known only once every raw clip was read.
        """
        info = self.info if source_digest is None else replace(self.info, source_digest=source_digest)
        with self._open:
            self._flush()
            arrays = self._per_clip_arrays()
            self._file.create_group("splits", track_order=True)  # keeps the main benchmark first
            arrays |= {f"splits/{name}": np.asarray(split, np.int8) for name, split in splits.items()}
            for name, array in arrays.items():
                self._file.create_dataset(name, data=array, track_times=False)
            about = info.attributes()
            digests = {name: str(digest) for name, digest in self._digests.items()}
            digests |= {name: digest_array([array]) for name, array in arrays.items()}
            for key, value in (about | {DIGEST: content_digest(about, digests)}).items():
                self._file.attrs[key] = value if isinstance(value, int) else _fixed_text(value)

    def _create_row_arrays(self) -> None:
        shape_of_body = (self.info.body.num_joints, len(self.info.channels))
        shapes = {"joints": shape_of_body, "present": ()}
        types = {"joints": np.float32, "present": np.bool_}
        for name, shape in shapes.items():
            self._file.create_dataset(
                name, (0, *shape), types[name], maxshape=(None, *shape), chunks=(CHUNK_ROWS, *shape),
                track_times=False, **(self._packing if name == "joints" else {}),
            )  # fmt: skip

    def _flush(self) -> None:
        if not self._buffer:
            return
        for name, parts in zip(PER_ROW, zip(*self._buffer)):
            rows = np.concatenate(parts)
            array = self._file[name]
            array.resize(len(array) + len(rows), axis=0)
            array[-len(rows) :] = rows
            self._digests[name].add(rows)
        self._file.flush()
        self._disk.check()
        self._buffer.clear()
        self._buffered = 0

    def _per_clip_arrays(self) -> dict[str, np.ndarray]:
        columns = self._columns
        frames, bodies = (np.array(columns[name], np.int32) for name in ("num_frames", "num_bodies"))
        rows = frames.astype(np.int64) * bodies
        return {
            "offsets": np.concatenate([[0], np.cumsum(rows)]).astype(np.int64),
            "num_frames": frames,
            "num_bodies": bodies,
            "labels": np.array(columns["labels"], np.int32),
            "names": _fixed_text(columns["names"]),
            "origins": np.array(columns["origins"], np.float32).reshape(len(rows), len(self.info.channels)),
            **self.fields(),
        }


def _fixed_text(text: str | Sequence[str]) -> np.ndarray:
    """Text as a UTF-8 array of fixed width.

    HDF5 keeps text of variable width in a heap without checksums, and may hang where that is damaged.
    """
    encoded = text.encode() if isinstance(text, str) else [one.encode() for one in text]
    width = max(1, np.array(encoded, np.bytes_).itemsize)
    return np.array(encoded, h5py.string_dtype("utf-8", width))


class Store:
    """A prepared data set, open for reading; a context manager. Made by `open_store`.

    Clips are read when asked for; everything per clip is in memory.
    """

    def __init__(self, path: Path, file: h5py.File, info: Info) -> None:
        self.path = path
        self.info = info
        self._file = file
        self._joints, self._present = (file[name] for name in PER_ROW)
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
        """Every array's name, and its content in pieces of at most BUFFER_ROWS."""
        names = [name for name in self._file if name != "splits"]
        for name in names + [f"splits/{name}" for name in self._file["splits"]]:
            array = self._file[name]
            yield name, (array[at : at + BUFFER_ROWS] for at in range(0, max(1, len(array)), BUFFER_ROWS))

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
        )


def open_store(path: Path, dataset: str | None = None) -> Store:
    """Opens a prepared file and checks it (sizes, not every value).

    Raises TsgcError: no such file, not a whole HDF5, another schema, a data set other than `dataset`,
    or arrays that do not fit together.
    """
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
    values |= {name: int(values[name]) for name in ("fps", "schema_version")}
    info = Info(**(values | {"class_names": tuple(name.decode() for name in values["class_names"])}))
    try:
        find_skeleton(info.skeleton, info.skeleton_definition)
    except TsgcError as error:
        raise TsgcError(f"{path}: {error}; run `tsgc prepare` again") from None
    return info


def _field_names(file: h5py.File) -> list[str]:
    return [name for name in file if name not in (*PER_ROW, *PER_CLIP, "offsets", "splits")]


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
    labels = file["labels"][()]
    if clips and not 0 <= labels.min() <= labels.max() < len(info.class_names):
        raise _damaged(path, f"labels outside 0..{len(info.class_names) - 1}")


def _damaged(path: Path, what: str) -> TsgcError:
    return TsgcError(f"{path}: damaged ({what}); run `tsgc prepare` again")
