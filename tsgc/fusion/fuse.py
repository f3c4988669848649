"""Fusion of streams: one set of scores from several, clips matched by name."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from pipelines.errors import TsgcError, UsageError
from tsgc.evaluation.scores import Scores, hits
from tsgc.fusion.calibrate import fit_mixture, fit_scales, log_softmax

EXAMPLES = 3  # clips named in an error


def add_logits(streams: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """The weighted sum of logits, sum_i w_i logits_i."""
    return np.tensordot(weights, np.stack(streams), 1)


def mix_probabilities(streams: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """The logarithm of the mixture sum_i w_i softmax(logits_i), the weights scaled to sum to 1.

    A logarithm, because small probabilities vanish in float32; its softmax is the mixture again.
    """
    used = [(stream, weight) for stream, weight in zip(streams, weights / weights.sum()) if weight > 0]
    return np.logaddexp.reduce([log_softmax(stream) + np.log(weight) for stream, weight in used])


FUSIONS: dict[str, Callable[[Sequence[np.ndarray], np.ndarray], np.ndarray]] = {
    "logits": add_logits,
    "softmax": mix_probabilities,
    "calibrated": mix_probabilities,  # its logits are divided by their temperatures before
}
LEARNERS: dict[str, Callable[[Sequence[np.ndarray], np.ndarray], np.ndarray]] = {
    "logits": fit_scales,
    "softmax": fit_mixture,
    "calibrated": fit_mixture,
}
"""Functions that learn the weights of least cross-entropy, for each fusion."""


def fuse(streams: Sequence[Scores], weights: Sequence[float] | None = None, method: str = "logits") -> Scores:
    """One set of scores from several, clips matched by name; equal weights by default.

    `method` is a key of FUSIONS. Raises TsgcError for streams of different clips, labels or classes, and
    UsageError for weights that are negative, all 0 or not one for each stream.
    """
    if not streams:
        raise TsgcError("nothing to fuse: no streams given")
    given = np.ones(len(streams)) if weights is None else np.asarray(weights, np.float64)
    if len(given) != len(streams):
        raise UsageError(f"{len(given)} weights for {len(streams)} streams; give one each, in their order")
    if not np.isfinite(given).all() or (given < 0).any() or not given.any():
        raise UsageError(f"weights {given.tolist()}: expected numbers of 0 or more, not all 0")
    first = streams[0]
    logits = FUSIONS[method]([match_clips(first, other).logits for other in streams], given)
    return replace(first, logits=logits.astype(np.float32))


def match_clips(first: Scores, other: Scores) -> Scores:
    """The other stream with its clips in the first one's order.

    Raises TsgcError where clips, labels or classes are not the same.
    """
    name = f"{other.source.benchmark} {stream_name(other)}"
    if other.logits.shape[1] != first.logits.shape[1]:
        raise TsgcError(
            f"{name}: {other.logits.shape[1]} classes, the first stream has {first.logits.shape[1]}"
        )
    place = match_names(first.names, other.names, name, "the first stream")
    if (other.labels[place] != first.labels).any():
        raise TsgcError(f"{name}: labels differ from the first stream's; is it of the same data set?")
    return replace(first, logits=other.logits[place], source=other.source)


def match_names(wanted: np.ndarray, found: np.ndarray, name: str, whose: str) -> np.ndarray:
    """The index in `found` of each of the `wanted` names (N,); TsgcError where the names differ."""
    place = {clip: index for index, clip in enumerate(found.tolist())}
    missing = [clip for clip in wanted.tolist() if clip not in place]
    surplus = sorted(set(place).difference(wanted.tolist()))
    if missing or surplus:
        raise TsgcError(
            f"{name}: {len(found)} clips, {whose} has {len(wanted)}; {_examples(missing, 'lacking')},"
            f" {_examples(surplus, 'surplus')}; were both scored on the same split?"
        )
    return np.array([place[clip] for clip in wanted.tolist()], np.int64)


def _examples(clips: Sequence[str], what: str) -> str:
    such = f" ({', '.join(clips[:EXAMPLES])}{', ...' if len(clips) > EXAMPLES else ''})" if clips else ""
    return f"{len(clips)} {what}{such}"


def stream_name(scores: Scores) -> str:
    """Modality and variant, as people name a stream."""
    return f"{scores.source.modality} {scores.source.variant}"


def learn_weights(streams: Sequence[Scores], method: str = "logits") -> np.ndarray:
    """Weights (S,) of 0 or more, 1 on average, learned on these very clips.

    They have the least cross-entropy; where they get fewer clips right than equal weights, those are taken.
    """
    first = streams[0]
    learned = LEARNERS[method]([match_clips(first, other).logits for other in streams], first.labels)
    equal = np.ones(len(streams))
    if not learned.any():
        return equal
    learned = learned * (len(streams) / learned.sum())
    right = [
        hits(fuse(streams, list(each), method).logits, first.labels)[0].sum() for each in (learned, equal)
    ]
    return learned if right[0] >= right[1] else equal
