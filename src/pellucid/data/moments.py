"""Mean and standard deviation in float64, a chunk of rows at a time: no float copy of a whole set is ever made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

CHUNK = 1 << 17  # values at a time: 1 MB in float64, which stays in the processor's cache


def row_chunks(rows: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Row numbers in pieces of about `CHUNK` values, a row having `shape`."""
    step = max(1, CHUNK // max(1, int(np.prod(shape))))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def moments(chunks: Iterable[np.ndarray], per: str) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) per "feature" or "channel" (the last axis), or of "all" values together.

    Chan, Golub, LeVeque 1979: each chunk's (count, mean, sum of squared deviations) is merged into the running one.

    >>> moments([np.array([[1.0, 2.0]]), np.array([[3.0, 2.0]])], "feature")
    (array([2., 2.]), array([1., 0.]))
    """
    count, mean, squares = 0, np.float64(0.0), np.float64(0.0)
    for chunk in chunks:
        n, part, spread = _chunk_moments(chunk, per)
        delta = part - mean
        squares = squares + spread + delta**2 * (count * n / (count + n))
        mean = mean + delta * (n / (count + n))
        count += n
    return np.asarray(mean, np.float64), np.sqrt(squares / max(count, 1))


def _chunk_moments(chunk: np.ndarray, per: str) -> tuple[int, Any, Any]:
    columns = chunk.reshape(-1, 1) if per == "all" else chunk.reshape(-1, chunk.shape[-1])
    if chunk.dtype == np.uint8 and columns.shape[1] <= 8:  # counts of 256 values: exact, and faster than floats
        values = np.arange(256.0)[:, None]
        counts = np.stack([np.bincount(c, minlength=256) for c in columns.T], axis=1)  # [256, channels]
        mean = (counts * values).sum(axis=0) / len(columns)
        spread = (counts * np.square(values - mean)).sum(axis=0)
    else:
        mean = columns.mean(axis=0, dtype=np.float64)
        spread = np.square(columns - mean).sum(axis=0)  # float64, for mean is
    return (len(columns), mean[0], spread[0]) if per == "all" else (len(columns), mean, spread)
