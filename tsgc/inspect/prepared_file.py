"""A prepared HDF5 as text: what it is, the report of its preparation, and its contents."""

from collections import Counter
from pathlib import Path

import numpy as np

from pipelines.errors import TsgcError
from pipelines.prepared.histogram import bars, named_bars
from pipelines.prepared.report import Report, read_report
from pipelines.prepared.store import Store, open_store

SPLIT_NAMES = {0: "train", 1: "test", -1: "unused"}


def is_store(path: Path) -> bool:
    """Whether a file is a prepared one, by its name."""
    return path.is_file() and path.suffix in (".h5", ".hdf5")


def store_lines(path: Path) -> list[str]:
    """Lines about a prepared file. Raises TsgcError where it is damaged; its report may be missing."""
    with open_store(path) as store:
        return [*about_store(store), *report_lines(path, store), *counts(store)]


def about_store(store: Store) -> list[str]:
    """Lines of the file's own description, and its size."""
    info = store.info
    frames, rows = int(store.num_frames.sum()), int(store.offsets[-1])
    aligned = f", aligned ({info.alignment})" if info.alignment else ""
    return [
        f"{store.path}: {info.dataset}, {info.preset} preset{aligned}",
        f"skeleton {info.skeleton}, {info.channels} in {info.units}, {info.fps} frames a second,"
        f" absent second body: {info.absent_body}",
        f"{len(store):,} clips, {frames:,} frames, {rows:,} body-frames,"
        f" {store.path.stat().st_size / 1e6:,.1f} MB; made by tsgc {info.tool_version},"
        f" raw clips {info.source_digest[:12]}",
    ]


def report_lines(path: Path, store: Store) -> list[str]:
    """The report that `tsgc prepare` left beside the file."""
    beside = path.with_name(f"{path.stem}.report.json")
    if not beside.is_file():
        return [f"report: none ({beside} is not there)"]
    try:
        report = read_report(beside)
    except TsgcError as error:
        return [f"report: {error}"]
    if (report.source_digest, report.preset) != (store.info.source_digest, store.info.preset):
        return [f"report: {beside} is of another preparation"]
    return _report(report, int(store.offsets[-1]))


def _report(report: Report, rows: int) -> list[str]:
    lines = ["preparation:", f"  {report.found:,} clips found, {report.read:,} read, {report.kept:,} kept"]
    if report.other:
        lines.append(f"  {report.other:,} of another data set, ignored")
    lines += [f"  dropped: {len(clips):,}, {reason}" for reason, clips in sorted(report.dropped.items())]
    lines += [f"  {line}" for line in report.rule_lines() or ["no rule took anything"]]
    lines.append(f"  {report.lost:,} of {report.seen:,} body-frames lost")
    lines.append(f"  {rows - (report.seen - report.lost):,} of {rows:,} stored body-frames are absent bodies")
    if report.unseen_clips:
        lines.append(f"  not seen: {report.unseen_line()}")
    if report.against_official():
        lines.append(f"  {report.against_official()}")
    lines += [f"  warning: {line}" for line in report.warnings]
    if report.worst:
        lines += ["clips that lost most:", *(f"  {loss.line()}" for loss in report.worst)]
    return lines


def counts(store: Store) -> list[str]:
    """Bars of lengths, bodies, classes, splits and every per-clip number."""
    lines = ["frames a clip:", *bars(_counted(store.num_frames))]
    lines += ["bodies a clip:", *bars(_counted(store.num_bodies))]
    for name, split in store.splits.items():
        found = {SPLIT_NAMES.get(code, str(code)): n for code, n in sorted(_counted(split).items())}
        lines += [f"split {name}:", *named_bars(found)]
    for name, values in store.fields.items():
        if name.removeprefix("split_") in store.splits:
            continue  # shown above, in words
        found = {str(value): n for value, n in sorted(_counted(values).items())}
        lines += [f"{name}:", *named_bars(found)]
    classes = _counted(store.labels)
    names = {f"{label} {store.info.class_names[label]}": n for label, n in sorted(classes.items())}
    lines += ["classes:", *named_bars(names)]
    absent = [name for label, name in enumerate(store.info.class_names) if label not in classes]
    return [*lines, f"  without a clip: {len(absent)} classes"] if absent else lines


def _counted(values: np.ndarray) -> Counter[int]:
    return Counter(values.tolist())
