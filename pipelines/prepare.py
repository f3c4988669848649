"""Raw clips -> one HDF5: find, read and clean in parallel, write in name order."""

import hashlib
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path

from pipelines.cleaning.align import reader
from pipelines.datasets.table import default_preset, open_dataset
from pipelines.errors import TsgcError, UsageError
from pipelines.exclude import Exclusion, read_exclusion
from pipelines.files import refuse_existing
from pipelines.interrupts import held
from pipelines.prepared.report import EXCLUDED, MALFORMED, NO_BODIES, SHOWN, UNKNOWN, Report, examples
from pipelines.prepared.store import Clip, Info, tool_version
from pipelines.prepared.writer import COMPRESSION, StoreWriter
from pipelines.reading.passed_over import passed_over
from pipelines.reading.sources import find_clips
from pipelines.skeleton_definition import definition_of
from pipelines.spec import PRESETS, Dataset, Raw
from pipelines.workers.read_task import Outcome, RawClip, read_task
from pipelines.workers.run_tasks import run_tasks

MAX_BAD = 0.01  # share of clips; with more, something is wrong with the data, not with a clip
LISTED = 200  # bad clips that an error lists
TASK_CLIPS = 16  # clips a worker takes at once; some 4 MB of text

Progress = Callable[[int, int], None]
"""Called with the clips done and the clips there are."""

Run = Callable[[Sequence[Sequence[Sequence[Raw]]]], Generator[list[Outcome], None, None]]
"""Tasks, each some clips' files, to their outcomes, in order: `read_task` of each."""


def prepare_dataset(
    dataset: str,
    raw: Sequence[Path] | None,
    out: Path,
    *,
    data_root: Path,
    preset: str | None = None,
    name: str | None = None,
    form: str | None = None,
    jobs: int | None = None,
    dask: str | None = None,
    alignment: str = "",
    exclude: Path | None = None,
    compress: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Prepares a data set: raw folders or zips -> `out` (HDF5) and its report, `<stem>.report.json`.

    `raw`: where the clips lie (default: the data set's places under `data_root`); `name`: what a data set
    is called that its own files describe (default: as they say or are called); `preset`: how (default: the
    data set's, see `default_preset`); `form`: the format of your own recordings (default: found by looking at
    them); `jobs`: worker processes
    (default: one a core); `dask`: address of a Dask scheduler whose workers to use instead (they see the raw
    clips under the same paths); `alignment`: see `align.py`; `exclude`: a list of clip names to leave out;
    `compress`: a key of COMPRESSION. A bad clip is skipped and reported. The same raw clips give the
    same bytes, from folder or zip, at any `jobs`.
    Raises TsgcError: no clips, over 1 % of them bad, copies that differ, or an output that exists.
    """
    preset = preset or default_preset(dataset)
    if preset not in PRESETS:
        raise UsageError(f"preset {preset!r} does not exist for {dataset}; it has {', '.join(PRESETS)}")
    refuse_existing(out, overwrite)
    spec, locations = open_dataset(dataset, raw, data_root, name, form)
    read = reader(spec, preset, alignment)
    if compress and compress not in COMPRESSION:
        raise UsageError(f"compression {compress!r} is unknown; choose one of {', '.join(COMPRESSION)}")
    places = [str(path) for path in locations]
    report = Report(spec.name, preset, places, str(out), spec.official, spec.unusable, alignment=alignment)
    report.joint_names, report.channels, report.format = spec.skeleton.joints, spec.channels, spec.what
    report.note = spec.note
    found = spec.find() if spec.find else find_clips(locations, spec.suffix)
    chosen = read_exclusion(exclude, spec, found, locations) if exclude else Exclusion()
    report.exclusion = chosen.line
    report.passed_over = passed_over(spec.places or locations, found.values(), spec.lists)
    clips = choose_clips(spec, found, chosen.clips, report)
    run = partial(run_tasks, partial(read_task, read=read), jobs=jobs, dask=dask)
    with StoreWriter(out, file_info(spec, preset, alignment), spec.fields, compress) as writer:
        report.source_digest = store_clips(clips, run, writer, report, progress)
        with held():
            writer.finish(spec.splits(writer.fields()), report.source_digest)
            report.to_json(out.with_name(f"{out.stem}.report.json"))
    return report


def choose_clips(
    spec: Dataset, found: Mapping[str, Sequence[Raw]], excluded: frozenset[str], report: Report
) -> list[RawClip]:
    """The clips to read, by name; the others are counted in the report."""
    report.found = len(found)
    clips = []
    for name, files in found.items():
        if name in excluded:  # before its name is judged: a bad name can be excluded, too
            report.drop(EXCLUDED, name)
            continue
        try:
            identity = spec.identify(name)
        except TsgcError as error:
            report.drop(UNKNOWN, name, f"{files[0].source}: {error}")
            continue
        if identity is None:
            report.other += 1
        else:
            clips.append(RawClip(name, identity, files))
    if not clips:
        refuse_too_many_bad(report)
        raise TsgcError(f"{_places(report)}: no {spec.name} clip to read among {report.found:,} found")
    return clips


def file_info(spec: Dataset, preset: str, alignment: str = "") -> Info:
    """The file's description of itself; the digest of the raw clips is added at the end."""
    return Info(
        dataset=spec.name,
        preset=preset,
        skeleton=spec.skeleton.name,
        channels=spec.channels,
        units=spec.units,
        fps=spec.fps,
        absent_body=spec.absent_body if preset == "reference" else "zeros",
        class_names=spec.class_names,
        tool_version=tool_version(),
        alignment=alignment,
        reader=spec.reader,
        people=spec.people,
        up=spec.up,
        skeleton_definition=definition_of(spec.skeleton),
    )


def store_clips(
    clips: Sequence[RawClip], run: Run, writer: StoreWriter, report: Report, progress: Progress | None
) -> str:
    """Reads all clips, by `run`, and stores those that are usable; the digest of them all."""
    tasks = [clips[start : start + TASK_CLIPS] for start in range(0, len(clips), TASK_CLIPS)]
    digest = hashlib.sha256()
    with closing(run([[clip.files for clip in task] for task in tasks])) as outcomes:
        for done, (clip, outcome) in enumerate(zip(clips, chain.from_iterable(outcomes)), 1):
            digest.update(f"{clip.name}\0{outcome.digest}\n".encode())
            keep(clip, outcome, writer, report)
            if progress:
                progress(done, len(clips))
    refuse_too_many_bad(report)
    if not report.kept:
        raise TsgcError(f"{_places(report)}: no usable {report.dataset} clip among {report.found:,}")
    return digest.hexdigest()


def keep(clip: RawClip, outcome: Outcome, writer: StoreWriter, report: Report) -> None:
    """Stores a usable clip, and counts every other."""
    prepared = outcome.prepared
    report.read += 1
    report.duplicates += len(clip.files) - 1
    if prepared is None:
        report.drop(MALFORMED, clip.name, outcome.error)
    elif not len(prepared.joints):
        report.drop(NO_BODIES, clip.name)
    else:
        writer.append(
            Clip(
                name=clip.name,
                label=clip.identity.label,
                joints=prepared.joints,
                present=prepared.present,
                origin=prepared.origin,
                fields=clip.identity.fields,
                seen=prepared.joints_seen,
            )
        )
        report.count(clip.name, prepared)


def refuse_too_many_bad(report: Report) -> None:
    """Raises TsgcError, after all clips were read, where more than MAX_BAD of them are bad: a line each."""
    bad = report.bad()
    if len(bad) <= math.floor(MAX_BAD * report.total):
        return
    said = f"bad clips: {len(bad):,} of {report.total:,}, over {MAX_BAD:.0%}"
    advice = "mend them, or leave them out with --exclude LIST"
    if len(bad) <= SHOWN:
        raise TsgcError(f"{said}: {examples(bad)}; {advice}")
    more = [f"and {len(bad) - LISTED:,} more"] if len(bad) > LISTED else []
    raise TsgcError("\n".join([f"{said}; {advice}:", *(f"  {line}" for line in (*bad[:LISTED], *more))]))


def _places(report: Report) -> str:
    return ", ".join(report.raw)
