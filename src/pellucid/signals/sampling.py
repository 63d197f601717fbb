"""Which elements of a tensor are looked at, and when: the same rules for Pellucid's own loop and for other people's."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

SAMPLE = 4096  # elements of a tensor that are looked at


def stride(shape: Sequence[int], axis: int = -1) -> int:
    """The step by which a flat tensor is sampled, so that at most `SAMPLE` elements are taken. It shares no factor with
    the axis of the units, so that all of them, and not every 32nd one for ever, are seen.

    >>> stride((64, 32)), stride((64, 128)), stride((1024, 128))
    (1, 3, 33)
    """
    n = math.prod(shape)
    if n <= SAMPLE:
        return 1
    found = -(-n // SAMPLE)
    while math.gcd(found, shape[axis]) != 1:
        found += 1
    return found


def is_measured(step: int, every: int) -> bool:
    """Steps 0, 1, 2, 4, 8, ... (most happens early) and then every so many.

    >>> [step for step in range(40) if is_measured(step, 10)]
    [0, 1, 2, 4, 8, 10, 20, 30]
    """
    return step % every == 0 or (step < every and step & (step - 1) == 0)


def moments(samples: Iterable[np.ndarray]) -> np.ndarray:
    """[count, sum, sum of squares, zeros, non-finite] over all of them.

    >>> moments([np.array([0.0, 3.0]), np.array([-1.0])]).tolist()
    [3.0, 2.0, 10.0, 1.0, 0.0]
    """
    total = np.zeros(5)
    for sample in samples:
        v = sample.astype(np.float64).reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.dot(v, v)
            wrong = 0 if np.isfinite(squares) else np.count_nonzero(~np.isfinite(v))
            total += np.array([v.size, v.sum(), squares, np.count_nonzero(v == 0), wrong])
    return total


def rank_share(rows: np.ndarray) -> float:
    """In how many directions the rows differ (participation ratio of the covariance), as a share of the possible.

    rows: [examples, units].   NaN where fewer than two rows or units tell nothing.

    >>> round(rank_share(np.eye(8)), 2), round(rank_share(np.outer(np.arange(8.0), np.ones(8))), 2)
    (1.0, 0.14)
    """
    rows = np.asarray(rows, np.float64)
    if min(rows.shape) < 2 or not np.isfinite(rows).all():
        return math.nan
    centred = rows - rows.mean(0)
    if len(rows) > rows.shape[1]:
        centred = centred.T
    small = np.einsum("ik,jk->ij", centred, centred)  # BLAS would wake its threads for this
    squares = np.square(small).sum()
    return float(np.trace(small) ** 2 / squares / min(len(rows) - 1, rows.shape[1])) if squares > 0 else math.nan
