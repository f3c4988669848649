"""`tsgc report`: run folders to the report's file."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.errors import UsageError
from pipelines.files import refuse_existing, write_atomic
from tsgc.console import Silent, Talker
from tsgc.network.own.code import admit
from tsgc.report.gather import gather
from tsgc.report.page import report_page
from tsgc.report.section import Report
from tsgc.report.tables import TABLES, csv_text
from tsgc.workspace.runs import is_run, newest_run, open_run, refuse_twice


def write_report(
    runs: str | Path | Sequence[str | Path] = (),
    out: str | Path = "report.html",
    *,
    ema: bool = False,
    clips: int = 0,
    explain: int = 0,
    overwrite: bool = False,
    data_root: str | Path = "data",
    runs_root: str | Path = "runs",
    network: str | Sequence[str] | None = None,
    talker: Talker | None = None,
) -> Path:
    """Report on a run's folder, or on several compared (default: the newest below `runs_root`), in one file.

    A folder of seeds stands for all of them. Tables are written beside the page, as CSV.
    `ema`: analyse the averaged weights. `clips`: how many animations of each run's worst clips to draw, from
    the shards under `data_root`. `explain`: by how many clips of each class to show which joints speak for
    it; the network is run then. `network`: FILE.py:NAME or package.module:NAME of a network of your own,
    whose code may then run; without `runs`, the report is on the newest run of it. The page says what a run
    lacks, and so does the `talker` that the command has. Returns the page's file. Raises TsgcError for a
    folder that is not a run or a file that exists, UsageError for the same run twice and for an `out` that
    is no page.
    """
    admit(network)
    named = [runs] if isinstance(runs, (str, Path)) else runs
    out, talker = Path(out), talker or Silent()
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"{out}: a report is a page, with tables beside it; name it .html"
            " (the tables are .csv, a browser prints the page as .pdf)"
        )
    tables = {kind: out.with_name(f"{out.stem}-{kind}.csv") for kind in TABLES}
    for path in (out, *tables.values()):
        refuse_existing(path, overwrite)
    places = [place for folder in named for place in run_folders(Path(folder))]
    refuse_twice(places, places, "run", "given twice, it would be drawn twice")
    opened = [open_run(place) for place in places] or [newest_run(Path(runs_root), network)]
    report = Report(gather(opened, ema=ema), Path(data_root), clips, explain, talker.counting)
    page = report_page(report)
    data = page.html.encode()
    write_atomic(out, data)
    for kind, path in tables.items():
        write_atomic(path, csv_text(TABLES[kind](report)).encode())
    for run in report.runs:
        for said in run.missing:
            talker.warn(f"{run.run.title}: {said}")
    titles = ", ".join(run.run.title for run in report.runs)
    talker.line(f"report on {titles}: {out} ({len(data) / 1e6:.2f} MB)")
    talker.line(f"tables: {', '.join(map(str, tables.values()))}")
    if page.people:
        talker.line("It holds skeletons of recorded people: the data set's terms may forbid sharing it.")
    return out


def run_folders(folder: Path) -> list[Path]:
    """The run in a folder, or the seeds that lie in it, in order of their numbers."""
    seeds = [place for place in folder.glob("seed*") if is_run(place)] if not is_run(folder) else []
    return sorted(seeds, key=lambda place: (len(place.name), place.name)) or [folder]
