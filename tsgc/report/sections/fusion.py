"""The fusion of the runs with equal weights."""

from collections.abc import Sequence
from typing import Any

from pipelines.errors import TsgcError
from tsgc.evaluation.published import nearest_published
from tsgc.evaluation.statistics import RESAMPLES
from tsgc.fusion import comparison
from tsgc.fusion.fuse import fuse, match_clips
from tsgc.fusion.scored_streams import ScoredStream
from tsgc.report.gather import Gathered
from tsgc.report.section import Report, Section, section


def fusion(report: Report) -> Section | None:
    found = fused_runs(report.runs)
    if found is None:
        return None
    first, streams = report.groups[0].first, [run.run.config.modality for run in report.runs]
    known = nearest_published(first.run.benchmark, first.network, " + ".join(streams), len(streams))
    return section("fusion", "Fusion", fusion=found, known=known)


def fused_runs(gathered: Sequence[Gathered]) -> dict[str, Any] | None:
    """The fusion of the runs with equal weights, compared as by `tsgc ensemble`; None for a single run."""
    if len(gathered) < 2:
        return None
    scored = [(run, run.main_scores) for run in gathered if run.main_scores is not None]
    if len(scored) < 2:
        return {"problem": f"Only {len(scored)} of these runs has scores; fusion takes two or more."}
    try:
        first = scored[0][1]
        streams = [ScoredStream(run.label, run.run.folder, match_clips(first, part)) for run, part in scored]
        fused = fuse([stream.scores for stream in streams])
    except TsgcError as error:
        return {"problem": f"These runs cannot be fused: {error}."}
    rows = comparison.comparison_rows(streams, fused, [1.0] * len(streams), "logits")
    return {
        "problem": "",
        "titles": [row.title for row in rows],
        "parts": comparison.judge(rows, fused),
        "preset": fused.source.preset,
        "resamples": RESAMPLES,
    }
