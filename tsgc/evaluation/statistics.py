"""The uncertainty of accuracies: bootstrap intervals, and McNemar's test of two classifiers."""

from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
SEED = 0
PERCENTILES = (2.5, 97.5)  # a 95 % interval
BLOCK = 100  # resamples held in memory at once


def bootstrap(
    labels: np.ndarray, top1: np.ndarray, top5: np.ndarray, resamples: int = RESAMPLES, seed: int = SEED
) -> np.ndarray:
    """95 % percentile intervals (R, 3, 2) of R classifiers' top-1, top-5 and mean-class accuracy, percent.

    `labels` (N,); `top1`, `top5` bool (N, R): which clips each gets right. All classifiers are judged on the
    same resamples of the clips, which depend only on N, `resamples` and `seed`.
    """
    if len(labels) == 0:
        return np.full((top1.shape[1], 3, 2), np.nan)
    order, starts = _alike(labels, np.hstack([top1, top5]))
    kinds = order[starts]
    rng = np.random.default_rng(seed)
    found = []
    for block in range(0, resamples, BLOCK):
        counts = []
        for _ in range(min(BLOCK, resamples - block)):
            drawn = np.bincount(rng.integers(len(labels), size=len(labels)), minlength=len(labels))
            counts.append(np.add.reduceat(drawn[order], starts))
        found.append(resampled(np.stack(counts), labels[kinds], top1[kinds], top5[kinds]))
    low, high = np.percentile(np.concatenate(found), PERCENTILES, axis=0)
    return np.stack([low, high], axis=-1)


def _alike(labels: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order of the clips (N,) that groups equal ones, and where each group starts in it (G,).

    Clips are equal in class and in their row of `right` (N, R). There are far fewer groups than clips to sum.
    """
    key = np.hstack([labels.astype(np.int64)[:, None].view(np.uint8), np.packbits(right, axis=1)])
    rows = np.ascontiguousarray(key).view(f"V{key.shape[1]}").ravel()
    _, kind, sizes = np.unique(rows, return_inverse=True, return_counts=True)
    return np.argsort(kind, kind="stable"), np.cumsum(sizes) - sizes


def resampled(counts: np.ndarray, labels: np.ndarray, top1: np.ndarray, top5: np.ndarray) -> np.ndarray:
    """Accuracies (B, R, 3) in percent where clip g counts `counts` (B, G) times.

    `labels` (G,), `top1` and `top5` bool (G, R). The mean over classes leaves out those without a clip.
    """
    total = counts.sum(1)[:, None]
    weights = counts.astype(np.float64)  # BLAS does not multiply integers
    by_class = np.zeros((len(counts), top1.shape[1]))
    classes = np.zeros((len(counts), 1))
    for label in np.unique(labels):
        here = labels == label
        size = counts[:, here].sum(1)[:, None]
        by_class += weights[:, here] @ top1[here] / np.maximum(size, 1)
        classes += size > 0
    return 100 * np.stack([weights @ top1 / total, weights @ top5 / total, by_class / classes], axis=-1)


@dataclass(frozen=True)
class McNemar:
    """How two classifiers differ, and the probability of that or more if neither were better."""

    first_only: int
    """Clips that only the first gets right."""
    second_only: int
    p: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's exact two-sided test of which clips two classifiers get right, bool (N,) each.

    If neither were better, either would be right with probability 1/2 on each clip on which they differ.
    """
    one, two = int((first & ~second).sum()), int((second & ~first).sum())
    tosses = one + two
    ways = tail = 1  # C(n, 0)
    for i in range(min(one, two)):
        ways = ways * (tosses - i) // (i + 1)  # C(n, i + 1)
        tail += ways
    return McNemar(one, two, min(1.0, 2 * tail / 2**tosses))


Z = 1.959963984540054  # standard deviations from the mean that 95 % of a normal distribution lie within


def wilson(right: float, total: int, z: float = Z) -> tuple[float, float]:
    """Wilson's 95 % interval, percent, of an accuracy of `right` of `total` clips (Wilson, 1927).

    Unlike a bootstrap's it has a width where all clips are right. NaN where there are no clips.
    """
    if not total:
        return float("nan"), float("nan")
    share = right / total
    middle = share + z**2 / (2 * total)
    half = z * (share * (1 - share) / total + z**2 / (4 * total**2)) ** 0.5
    scale = 100 / (1 + z**2 / total)
    return max(0.0, (middle - half) * scale), min(100.0, (middle + half) * scale)


def paired_difference(
    first: np.ndarray, second: np.ndarray, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float, float]:
    """How much more of the clips the second gets right, percent, with its 95 % bootstrap interval.

    `first`, `second` (N,): whether each clip is right, or the share of several seeds that are. Clips are
    resampled in pairs, so that clips that are hard for both widen nothing.
    """
    if len(first) == 0:
        return float("nan"), float("nan"), float("nan")
    values, counts = np.unique(second.astype(np.float64) - first, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(first), counts / len(first), size=resamples)
    low, high = np.percentile(100 * drawn @ values / len(first), PERCENTILES)
    return 100 * float(values @ counts) / len(first), float(low), float(high)
