"""Writing a prepared data set: clips appended in bounded memory, a whole file or none."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from pipelines.files import PatientFile, atomic_path
from pipelines.interrupts import held
from pipelines.prepared.digest import ArrayDigest, content_digest, digest_array
from pipelines.prepared.store import DIGEST, PER_ROW, READ_ROWS, SEEN, Clip, Info

CHUNK_ROWS = 512  # rows a chunk; 150 kB for 25 joints: two or three chunks a clip, few seeks when streaming
BUFFER_ROWS = 32 * CHUNK_ROWS  # rows kept in memory before they are written; 5 MB for 25 joints
TYPES = {"joints": np.float32, "present": np.bool_, SEEN: np.bool_}
# Fixed, so that the bytes do not depend on the installed HDF5; 1.10 indexes growing arrays well.
LIBVER = ("v110", "v110")

# How `--compress` packs joints, as h5py names it (benchmarks/prepare.py --compress compares them).
COMPRESSION: dict[str, dict[str, Any]] = {
    "lzf": {"compression": "lzf", "shuffle": True},  # needs h5py to read, several times as fast as gzip
    "gzip": {"compression": "gzip", "compression_opts": 1, "shuffle": True},  # any HDF5 reads it
}


class StoreWriter:
    """Writes a store: `append` clips, then `finish`. As a context manager, it discards what is not finished.

    Clips go to a temporary file beside `path`, at most 2 * BUFFER_ROWS rows wait in memory, and `finish`
    renames. Equal clips in equal order give equal bytes. `compress`: one of COMPRESSION, for the joints.
    Raises TsgcError where it cannot write.
    """

    def __init__(
        self, path: Path, info: Info, field_names: Sequence[str], compress: str | None = None
    ) -> None:
        self.info = info
        self._packing = COMPRESSION[compress] if compress else {}
        self._digests: dict[str, ArrayDigest] = {}
        self._field_names = tuple(field_names)
        self._columns: defaultdict[str, list] = defaultdict(list)
        self._shapes: dict[str, tuple[int, ...]] = {
            "joints": (info.body.num_joints, len(info.channels)),
            "present": (),
        }
        self._buffer, self._spare = self._make_buffer(), self._make_buffer()
        self._buffered = 0
        self._writing: Future[None] | None = None
        with held(), ExitStack() as stack:  # HDF5 calls Python to write: no exception may pass through it
            temporary = stack.enter_context(atomic_path(path))
            self._disk = stack.enter_context(PatientFile(temporary))
            self._file = stack.enter_context(h5py.File(self._disk, "w", libver=LIBVER))
            self._beside = stack.enter_context(ThreadPoolExecutor(1))  # ends before the file is closed
            for name in PER_ROW:
                self._create_rows(name)
            self._open = stack.pop_all()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        error = error or RuntimeError("not finished")
        with held():
            self._open.__exit__(type(error), error, trace)  # after finish() there is nothing left to close

    def append(self, clip: Clip) -> None:
        """Adds a copy of a clip."""
        T, M, V, C = clip.joints.shape
        rows = {"joints": clip.joints.reshape(T * M, V, C), "present": clip.present.reshape(T * M)}
        if clip.seen is not None and SEEN not in self._shapes:
            self._add_seen()
        if SEEN in self._shapes:
            rows[SEEN] = _all_seen(rows["present"], V) if clip.seen is None else clip.seen.reshape(T * M, V)
        self._append_rows(rows)
        columns = {"names": clip.name, "labels": clip.label, "origins": clip.origin.copy()}
        columns |= {"num_frames": T, "num_bodies": M}
        columns |= {name: clip.fields[name] for name in self._field_names}
        for name, value in columns.items():
            self._columns[name].append(value)

    def fields(self) -> dict[str, np.ndarray]:
        """The per-clip integers of all clips so far, each int32 (N,), to compute splits from."""
        return {name: np.array(self._columns[name], np.int32) for name in self._field_names}

    def finish(self, splits: Mapping[str, np.ndarray], source_digest: str | None = None) -> None:
        """Writes what is per clip and gives the file its name.

        `splits`: benchmark -> int8 (N,), the main one first. `source_digest` replaces that of `info`:
        it is known only once every raw clip was read.
        """
        info = self.info if source_digest is None else replace(self.info, source_digest=source_digest)
        with held(), self._open:
            self._flush()
            self._wait()
            arrays = self._per_clip_arrays()
            self._file.create_group("splits", track_order=True)  # keeps the main benchmark first
            arrays |= {f"splits/{name}": np.asarray(split, np.int8) for name, split in splits.items()}
            for name, array in arrays.items():
                self._file.create_dataset(name, data=array, track_times=False)
            about = info.attributes()
            digests = {name: str(digest) for name, digest in self._digests.items()}
            digests |= {name: digest_array([array]) for name, array in arrays.items()}
            for key, value in (about | {DIGEST: content_digest(about, digests)}).items():
                self._file.attrs[key] = value if isinstance(value, int | float) else _fixed_text(value)

    def _create_rows(self, name: str) -> None:
        shape = self._shapes[name]
        self._file.create_dataset(
            name, (0, *shape), TYPES[name], maxshape=(None, *shape), chunks=(CHUNK_ROWS, *shape),
            track_times=False, **(self._packing if name != "present" else {}),
        )  # fmt: skip
        self._digests[name] = ArrayDigest()

    def _add_seen(self) -> None:
        """Begins `/seen`, at the first clip that needs it: of the rows before, all joints were."""
        self._wait()
        V = self.info.body.num_joints
        self._shapes[SEEN] = (V,)
        self._create_rows(SEEN)
        present = self._file["present"]
        for start in range(0, len(present), READ_ROWS):
            self._extend(SEEN, _all_seen(present[start : start + READ_ROWS], V))
        for buffer in (self._buffer, self._spare):
            buffer[SEEN] = np.empty((BUFFER_ROWS, V), np.bool_)
        waiting = slice(0, self._buffered)
        self._buffer[SEEN][waiting] = _all_seen(self._buffer["present"][waiting], V)

    def _make_buffer(self) -> dict[str, np.ndarray]:
        return {name: np.empty((BUFFER_ROWS, *shape), TYPES[name]) for name, shape in self._shapes.items()}

    def _append_rows(self, rows: dict[str, np.ndarray]) -> None:
        while count := len(rows["present"]):
            free = slice(self._buffered, min(self._buffered + count, BUFFER_ROWS))
            taken = free.stop - free.start
            for name, array in rows.items():
                self._buffer[name][free] = array[:taken]
            rows = {name: array[taken:] for name, array in rows.items()}
            self._buffered = free.stop
            if self._buffered == BUFFER_ROWS:
                self._flush()

    def _flush(self) -> None:
        """Hands the buffer to the writing thread, and goes on with the other one."""
        self._wait()
        rows = {name: array[: self._buffered] for name, array in self._buffer.items()}
        self._writing = self._beside.submit(self._write, rows)
        self._buffer, self._spare, self._buffered = self._spare, self._buffer, 0

    def _wait(self) -> None:
        """Waits until the last buffer is written; raises what went wrong."""
        if self._writing:
            self._writing.result()

    def _write(self, buffer: dict[str, np.ndarray]) -> None:
        for name, rows in buffer.items():
            self._extend(name, rows)
        self._file.flush()
        self._disk.check()

    def _extend(self, name: str, rows: np.ndarray) -> None:
        array = self._file[name]
        array.resize(len(array) + len(rows), axis=0)
        array[len(array) - len(rows) :] = rows
        self._digests[name].add(rows)

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


def _all_seen(present: np.ndarray, V: int) -> np.ndarray:
    """All V joints of every present body: (rows,) bool -> (rows, V)."""
    return np.repeat(present[:, None], V, axis=1)


def _fixed_text(text: str | Sequence[str]) -> np.ndarray:
    """Text as a UTF-8 array of fixed width.

    HDF5 keeps text of variable width in a heap without checksums, and may hang where that is damaged.
    """
    encoded = text.encode() if isinstance(text, str) else [one.encode() for one in text]
    width = max(1, np.array(encoded, np.bytes_).itemsize)
    return np.array(encoded, h5py.string_dtype("utf-8", width))
