"""Numbers learned from held-out scores: a stream's temperature, and the weights of a fusion."""

from collections.abc import Sequence

import numpy as np

STEPS = 100  # of Newton's method; it takes about 10
LARGEST = 100.0  # limit of a scale: where all held-out clips are right, the best scale is infinite
BLOCK = 4096  # clips whose products are held in memory at once
EM_STEPS = 2000
SETTLED = 1e-10  # a gradient, or a change of a weight, up to this counts as none


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of softmax over the last axis, float64, of logits (..., K)."""
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean of -log p(label) for logits (N, K), in nats."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T of least cross-entropy of softmax(logits / T), between 0.01 and 100 (Guo et al., 2017)."""
    return float(1 / fit_scales([logits], labels, low=1 / LARGEST)[0])


def fit_scales(streams: Sequence[np.ndarray], labels: np.ndarray, low: float = 0.0) -> np.ndarray:
    """Scales w (S,) of least cross-entropy of softmax(sum_i w_i logits_i), each from `low` to LARGEST.

    The cross-entropy is convex in w, so Newton's method with projection onto the box (Bertsekas, 1982)
    finds the minimum from any start. It starts at equal scales that sum to 1.
    """
    scales = np.full(len(streams), 1 / len(streams))
    loss, slope, curve = _derivatives(streams, labels, scales)
    for _ in range(STEPS):
        held = ((scales <= low) & (slope > 0)) | ((scales >= LARGEST) & (slope < 0))
        free = np.flatnonzero(~held)
        if not len(free) or np.abs(slope[free]).max() < SETTLED:
            break
        # The small ridge divides the weight evenly among streams that are equal.
        part = curve[np.ix_(free, free)]
        part = part + np.eye(len(free)) * (1e-9 + 1e-8 * np.trace(part) / len(free))
        step = np.zeros_like(scales)
        step[free] = np.linalg.solve(part, slope[free])
        length = 1.0
        while length > SETTLED:
            tried = np.clip(scales - length * step, low, LARGEST)
            fused = sum(scale * stream for scale, stream in zip(tried, streams))
            if cross_entropy(np.asarray(fused), labels) <= loss - 1e-4 * slope @ (scales - tried):
                break
            length /= 2
        else:
            break
        scales = tried
        loss, slope, curve = _derivatives(streams, labels, scales)
    return scales


def _derivatives(
    streams: Sequence[np.ndarray], labels: np.ndarray, scales: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Cross-entropy of the scaled sum, its gradient (S,) and its Hessian (S, S)."""
    count = len(scales)
    loss, slope, curve = 0.0, np.zeros(count), np.zeros((count, count))
    for start in range(0, len(labels), BLOCK):
        block = np.stack([stream[start : start + BLOCK] for stream in streams]).astype(
            np.float64
        )  # (S, N, K)
        here = labels[start : start + BLOCK]
        rows = np.arange(len(here))
        log_p = log_softmax(np.tensordot(scales, block, 1))  # (N, K)
        loss -= log_p[rows, here].sum()
        mean = (np.exp(log_p) * block).sum(-1)  # (S, N): mean of each stream's logits under p
        slope += (mean - block[:, rows, here]).sum(1)
        spread = ((block - mean[..., None]) * np.exp(log_p / 2)).reshape(count, -1)
        curve += spread @ spread.T
    return loss / len(labels), slope / len(labels), curve / len(labels)


def fit_mixture(streams: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Weights (S,) that sum to 1, of least cross-entropy of sum_i w_i softmax(logits_i).

    Expectation maximisation: no step increases the cross-entropy, which has one minimum.
    """
    rows = np.arange(len(labels))
    chances = np.stack([np.exp(log_softmax(stream)[rows, labels]) for stream in streams], axis=1)  # (N, S)
    weights = np.full(len(streams), 1 / len(streams))
    for _ in range(EM_STEPS):
        parts = chances * weights + np.finfo(np.float64).tiny
        improved = (parts / parts.sum(1, keepdims=True)).mean(0)
        settled = np.abs(improved - weights).max() < SETTLED
        weights = improved
        if settled:
            break
    return weights
