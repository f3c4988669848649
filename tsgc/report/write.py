"""`tsgc report`: run folders to the report's file."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.files import refuse_existing, write_atomic
from tsgc.console import Talker
from tsgc.report.gather import gather
from tsgc.report.page import report_page
from tsgc.report.section import Report
from tsgc.workspace.runs import newest_run, open_run, refuse_twice


def write_report(
    talker: Talker,
    folders: Sequence[Path],
    *,
    out: Path,
    ema: bool = False,
    clips: int = 0,
    overwrite: bool = False,
    data_root: Path,
    runs_root: Path,
) -> None:
    """Report on the runs in `folders` (default: the newest below `runs_root`) in the file `out`.

    `ema`: analyse the averaged weights. `clips`: how many animations of each run's worst clips to draw, from
    the shards under `data_root`. The page says what a run lacks. Raises TsgcError for a folder that is not a
    run or an `out` that exists, UsageError for the same run twice.
    """
    refuse_existing(out, overwrite)
    refuse_twice(folders, folders, "run", "given twice, it would be drawn twice")
    runs = [open_run(folder) for folder in folders] or [newest_run(runs_root)]
    report = Report(gather(runs, ema=ema), data_root, clips)
    page = report_page(report)
    data = page.html.encode()
    write_atomic(out, data)
    for run in report.runs:
        for said in run.missing:
            talker.warn(f"{run.run.title}: {said}")
    titles = ", ".join(run.run.title for run in report.runs)
    talker.line(f"report on {titles}: {out} ({len(data) / 1e6:.2f} MB)")
    if page.people:
        talker.line("It holds skeletons of recorded people: the data set's terms may forbid sharing it.")
