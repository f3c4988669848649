"""Fusion of streams: a weighted sum of raw logits."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipelines.errors import TsgcError
from tsgc.console import Talker
from tsgc.runs import newest_streams, open_run
from tsgc.scores import COLUMNS, Scores, accuracy_rows, read_scores, remarks, write_scores


def fuse(streams: Sequence[Scores], weights: Sequence[float] | None = None) -> Scores:
    """Weighted sum of the streams' logits, clips matched by name; equal weights by default.

    Streams that are not of the same clips, labels and classes raise TsgcError.
    """
    if not streams:
        raise TsgcError("nothing to fuse: no streams given")
    weights = [1.0] * len(streams) if weights is None else list(weights)
    if len(weights) != len(streams):
        raise TsgcError(f"{len(weights)} weights for {len(streams)} streams; give one each, in their order")
    if not np.isfinite(weights).all() or not any(weights):
        raise TsgcError(f"weights {weights}: expected finite numbers, not all 0")
    first = streams[0]
    aligned = [_align(first, other) for other in streams]
    logits = sum(np.float32(weight) * part for weight, part in zip(weights, aligned))
    return replace(first, logits=np.asarray(logits, np.float32))


def _align(first: Scores, other: Scores) -> np.ndarray:
    """The other stream's logits in the first's order of clips."""
    name = f"{other.source.benchmark} {other.source.variant} {other.source.modality}"
    if other.logits.shape[1] != first.logits.shape[1]:
        raise TsgcError(
            f"{name}: {other.logits.shape[1]} classes, the first stream has {first.logits.shape[1]}"
        )
    order = np.argsort(other.names, kind="stable")
    place = np.searchsorted(other.names[order], first.names)
    place = order[np.minimum(place, len(order) - 1)] if len(order) else np.zeros(len(first.names), int)
    missing = [str(clip) for clip, found in zip(first.names, other.names[place]) if clip != found]
    if missing or len(other.names) != len(first.names):
        example = f", such as {missing[0]}" if missing else ""
        raise TsgcError(
            f"{name}: {len(other.names)} clips, {len(missing)} of the first stream's {len(first.names)} are"
            f" not among them{example}; were both scored on the same split?"
        )
    if (other.labels[place] != first.labels).any():
        raise TsgcError(f"{name}: labels differ from the first stream's; is it of the same data set?")
    return other.logits[place]


def fuse_streams(
    talker: Talker,
    streams: Sequence[Path],
    *,
    weights: Sequence[float] | None,
    ema: bool,
    out: Path | None,
    runs_root: Path,
) -> Scores:
    """`tsgc ensemble`: fuse runs or score files, by default the newest benchmark's streams; print."""
    name = "last-ema" if ema else "last"
    if streams:
        paths = [path if path.suffix == ".npz" else open_run(path).scores(name) for path in streams]
    else:
        paths = [run.scores(name) for run in newest_streams(runs_root, name)]
    scores = [read_scores(path) for path in paths]
    fused = fuse(scores, weights)
    shares = weights or [1.0] * len(scores)
    rows = []
    for path, stream, share in zip(paths, scores, shares):
        source = stream.source
        talker.line(f"{source.modality} {source.variant}, {source.checkpoint}, weight {share:g}: {path}")
        rows += accuracy_rows(f"{source.modality} {source.variant} seed {source.seed}", stream)
    rows += accuracy_rows(f"fused, {len(scores)} streams", fused)
    first = scores[0].source
    talker.table(f"{first.benchmark}, {first.preset} preset, {first.split}", COLUMNS, rows)
    for said in remarks(scores):
        talker.line(said)
    if out is not None:
        write_scores(out, replace(fused, source=replace(first, variant="fused", modality="fused", seed=None)))
        talker.line(f"fused scores: {out}")
    return fused
