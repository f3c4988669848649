"""Analysis of logits beyond accuracy: confusions, classes, calibration. Arrays in, arrays out."""

from dataclasses import dataclass

import numpy as np

from tsgc.fusion.calibrate import cross_entropy, log_softmax

BINS = 15  # of confidence; the usual number (Guo et al., 2017)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (N, K), float64."""
    return np.exp(log_softmax(logits))


def confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Counts (K, K), int64: [true class, predicted class]."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class Pair:
    """A confusion of two classes, in one direction."""

    true: int
    predicted: int
    count: int
    percent: float
    """Percent of the true class's clips."""
    back: int
    """Clips confused in the other direction."""


def confused_pairs(matrix: np.ndarray, most: int = 15) -> list[Pair]:
    """The most frequent confusions of a matrix (K, K), by count, then by share of the class."""
    totals = matrix.sum(1)
    off = matrix - np.diag(np.diag(matrix))
    share = off / np.maximum(totals, 1)[:, None]
    true, predicted = np.nonzero(off)
    order = np.lexsort((predicted, true, -share[true, predicted], -off[true, predicted]))[:most]
    return [
        Pair(t, p, int(off[t, p]), 100 * float(share[t, p]), int(off[p, t]))
        for t, p in zip(true[order].tolist(), predicted[order].tolist())
    ]


def class_accuracy(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percent right (K,) (NaN: no clips) and clips (K,) of each class of a confusion matrix."""
    totals = matrix.sum(1)
    with np.errstate(invalid="ignore"):
        return 100 * np.diag(matrix) / np.where(totals, totals, np.nan), totals


@dataclass(frozen=True)
class Calibration:
    """How well confidence, the probability of the predicted class, agrees with accuracy."""

    counts: np.ndarray
    """Clips of each bin, (BINS,)."""
    confidence: np.ndarray
    """Mean confidence of each bin, 0 to 1; NaN where it is empty."""
    accuracy: np.ndarray
    """Share of each bin that is right; NaN where it is empty."""
    ece: float
    """Expected calibration error: the mean gap between the two over all clips, percent."""
    mean_confidence: float
    """Percent."""
    nll: float
    """Mean negative log likelihood of the true class, nats."""


def calibrate(logits: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Calibration:
    """Reliability of softmax(logits (N, K)), N >= 1, in bins of equal width (Guo et al., 2017)."""
    probability = softmax(logits)
    confidence = probability.max(1)
    right = probability.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    filled = np.where(counts, counts, np.nan)
    mean_confidence = np.bincount(place, weights=confidence, minlength=bins) / filled
    accuracy = np.bincount(place, weights=right, minlength=bins) / filled
    gap = np.nansum(counts * np.abs(accuracy - mean_confidence)) / len(labels)
    return Calibration(
        counts=counts,
        confidence=mean_confidence,
        accuracy=accuracy,
        ece=100 * float(gap),
        mean_confidence=100 * float(confidence.mean()),
        nll=cross_entropy(logits, labels),
    )


def worst_clips(logits: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """Indices of the wrongly classified clips whose true class got the least probability, worst first."""
    true = softmax(logits)[np.arange(len(labels)), labels]
    wrong = np.flatnonzero(logits.argmax(1) != labels)
    return wrong[np.argsort(true[wrong], kind="stable")[:most]]
