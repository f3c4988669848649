"""What a .wandb file of W&B's offline mode holds: W&B itself reads it in Go alone."""

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = 32 * 1024  # bytes; LevelDB's log format, records never cross a block
FILE_HEADER, RECORD_HEADER = 7, struct.Struct("<IHB")  # checksum, length, type
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class OfflineRun:
    id: str = ""
    project: str = ""
    group: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artefacts: list[str] = field(default_factory=list)
    """`type/name/file` of each."""
    axes: dict[str, str] = field(default_factory=dict)
    """Metric, or its pattern -> the metric it is drawn over."""
    preempting: bool = False
    exit_code: int | None = None


def read_offline_run(path: Path, patience: float = 60) -> OfflineRun:
    """The run that a .wandb file holds, once its end is there: W&B writes in a process of its own."""
    from google.protobuf.message import DecodeError

    until = time.monotonic() + patience
    while True:
        late = time.monotonic() > until
        try:
            found = _read(path)
        except (struct.error, DecodeError):  # cut off in a record
            if late:
                raise
        else:
            if late or found.exit_code is not None:
                return found
        time.sleep(0.2)


def _read(path: Path) -> OfflineRun:
    from wandb.proto import wandb_internal_pb2

    found = OfflineRun()
    for data in _records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        _READ.get(record.WhichOneof("record_type"), lambda *_: None)(found, record)
    return found


def _records(data: bytes) -> Iterator[bytes]:
    place, parts = FILE_HEADER, []
    assert data[:4] == b":W&B", "no .wandb file"
    while place < len(data):
        if BLOCK - place % BLOCK < RECORD_HEADER.size:  # filled up with zeros
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = RECORD_HEADER.unpack_from(data, place)
        place += RECORD_HEADER.size
        parts.append(data[place : place + length])
        place += length
        if kind in (FULL, LAST):
            yield b"".join(parts)
            parts = []


def _items(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def _run(found: OfflineRun, record: Any) -> None:
    found.id, found.project, found.group = record.run.run_id, record.run.project, record.run.run_group
    found.config |= _items(record.run.config.update)


def _metric(found: OfflineRun, record: Any) -> None:
    found.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric


def _artefact(found: OfflineRun, record: Any) -> None:
    files = [entry.path for entry in record.artifact.manifest.contents]
    found.artefacts += [f"{record.artifact.type}/{record.artifact.name}/{file}" for file in files]


_READ = {
    "run": _run,
    "history": lambda found, record: found.history.append(_items(record.history.item)),
    "summary": lambda found, record: found.summary.update(_items(record.summary.update)),
    "config": lambda found, record: found.config.update(_items(record.config.update)),
    "metric": _metric,
    "artifact": _artefact,
    "preempting": lambda found, record: setattr(found, "preempting", True),
    "exit": lambda found, record: setattr(found, "exit_code", record.exit.exit_code),
}
