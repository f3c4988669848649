"""Raw clips in the order of a split."""

from pipelines.reading.sources import find_clips
from tsgc.evaluation.scores import read_scores

RAW = {"ntu60": "nturgbd_raw", "ntu60-corrected": "nturgbd_raw", "nw-ucla": "NW-UCLA"}


def raw_in_order(trained, run, recogniser):
    """The raw files of a run's test clips, in the order of its scores; and the scores."""
    scores = read_scores(run / "scores/last.npz")
    folder = trained / "data" / RAW[scores.source.benchmark.split("/")[0]]
    files = find_clips([folder], recogniser.format.suffixes[0])
    return [files[name][0] for name in scores.names], scores
