"""Histograms as text."""

from collections.abc import Mapping

BINS = 12  # at most; more values are put together
WIDTH = 40  # characters of the longest bar


def bars(counts: Mapping[int, int]) -> list[str]:
    """One line a value or range of values: its count and a bar, the longest WIDTH characters."""
    if not counts:
        return ["  none"]
    low, high = min(counts), max(counts)
    width = -(-(high - low + 1) // BINS)
    binned: dict[str, int] = {}
    for start in range(low, high + 1, width):
        end = min(start + width - 1, high)
        name = str(start) if width == 1 else f"{start}-{end}"
        binned[name] = sum(n for value, n in counts.items() if start <= value <= end)
    return named_bars(binned)


def named_bars(counts: Mapping[str, int]) -> list[str]:
    """One line a name, in the order given."""
    names = max((len(name) for name in counts), default=0)
    most = max(counts.values(), default=0)
    digits = len(f"{most:,}")
    return [
        f"  {name:>{names}} {n:>{digits},} {'#' * -(-n * WIDTH // most) if most else ''}".rstrip()
        for name, n in counts.items()
    ]


def spread(counts: Mapping[int, int]) -> str:
    """Least, median and most of a distribution of whole numbers."""
    total, below = sum(counts.values()), 0
    for value in sorted(counts):
        below += counts[value]
        if 2 * below >= total:
            return f"{min(counts):,} to {max(counts):,}, median {value:,}"
    return "none"
