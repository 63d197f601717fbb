"""Intervals for shares and means: Wilson's for shares, bootstrap over cases for the rest."""

from collections.abc import Sequence

import numpy as np

Z = 1.959964  # of 95 %


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share. Wilson 1927.

    >>> [round(v, 3) for v in wilson(0, 200)], [round(v, 3) for v in wilson(46, 53)]
    ([0.0, 0.019], [0.752, 0.935])
    """
    if not of:
        return 0.0, 1.0
    p, z = hits / of, Z
    centre = (p + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * (p * (1 - p) / of + z**2 / (4 * of**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def clustered(values: Sequence[tuple[str, float]], rounds: int = 2000) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean of (case, value): whole cases are drawn, since seeds of one case are alike.

    >>> clustered([("a", 1.0), ("b", 1.0)])
    (1.0, 1.0)
    """
    by: dict[str, list[float]] = {}
    for case, value in values:
        by.setdefault(case, []).append(value)
    if not by:
        return 0.0, 1.0
    sums, counts = np.array([sum(v) for v in by.values()]), np.array([len(v) for v in by.values()])
    drawn = np.random.default_rng(0).integers(0, len(by), (rounds, len(by)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def share(hits: int, of: int) -> str:
    """A share as a table shows it.

    >>> share(46, 53)
    '86.8 % (75.2 to 93.5; 46 of 53)'
    """
    if not of:
        return "-"
    low, high = wilson(hits, of)
    return f"{100 * hits / of:.1f} % ({100 * low:.1f} to {100 * high:.1f}; {hits} of {of})"
