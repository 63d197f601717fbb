"""Medians of the columns of an array that is read in pieces: exact, and never more of it in memory than a piece.

Floating-point numbers are ordered as whole numbers are once the sign is turned around. The median is narrowed down
digit by digit, 16 bits at a time: each pass over the rows counts, for every column, how often each value of the next
digit occurs among the numbers that begin as the median does. Counts add, so pieces may come in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

DIGIT = 16  # bits
AT_ONCE = 256  # columns, whose counters take 128 MiB


def medians(pieces: Callable[[], Iterable[np.ndarray]], width: int) -> list[float]:
    """The median of the finite values of each column [n, width] of floats; 0 where there is none.

    pieces: gives the rows anew each time it is called.   Of an even count, the mean of the two in the middle, in the
    array's own precision, as `numpy.median` does.

    >>> medians(lambda: [np.array([[1.0, 5.0]]), np.array([[9.0, np.nan], [2.0, 8.0]])], 2)
    [2.0, 6.5]
    """
    found: list[float] = []
    for start in range(0, width, AT_ONCE):
        stop = min(start + AT_ONCE, width)
        found += _medians(lambda a=start, b=stop: (piece[:, a:b] for piece in pieces()), stop - start)
    return found


def _medians(pieces: Callable[[], Iterable[np.ndarray]], width: int) -> list[float]:
    counts, dtype = np.zeros(width, np.int64), np.dtype(np.float64)
    for piece in pieces():
        counts += np.isfinite(piece).sum(axis=0)
        dtype = piece.dtype
    ranks = [np.maximum(counts - 1, 0) // 2, counts // 2]
    low, high = (_at_rank(pieces, np.minimum(rank, np.maximum(counts - 1, 0)), dtype) for rank in ranks)
    middle = np.mean(np.stack([low, high]), axis=0)
    return [float(value) if count else 0.0 for value, count in zip(middle, counts, strict=True)]


def _at_rank(pieces: Callable[[], Iterable[np.ndarray]], rank: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The value of each column that so many others are below of."""
    bits = dtype.itemsize * 8
    prefix, left = np.zeros(len(rank), np.uint64), rank.copy()
    for shift in range(bits - DIGIT, -1, -DIGIT):
        counts = np.zeros((len(rank), 1 << DIGIT), np.int64)
        for piece in pieces():
            keys = _keys(piece)
            for i in range(len(rank)):
                column = keys[np.isfinite(piece[:, i]), i]
                if shift + DIGIT < bits:
                    column = column[column >> np.uint64(shift + DIGIT) == prefix[i]]
                digit = (column >> np.uint64(shift)) & np.uint64((1 << DIGIT) - 1)
                counts[i] += np.bincount(digit.astype(np.int64), minlength=1 << DIGIT)
        running = counts.cumsum(axis=1)
        digits = (running <= left[:, None]).sum(axis=1).clip(0, (1 << DIGIT) - 1)
        left = left - np.where(digits > 0, running[np.arange(len(rank)), digits - 1], 0)
        prefix = (prefix << np.uint64(DIGIT)) | digits.astype(np.uint64)
    return _values(prefix, dtype)


def _keys(values: np.ndarray) -> np.ndarray:
    """Whole numbers (uint64) that are ordered as the floats are."""
    bits = values.dtype.itemsize * 8
    raw = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}").astype(np.uint64)
    sign = np.uint64(1) << np.uint64(bits - 1)
    whole = np.uint64((1 << bits) - 1)
    return np.where(raw & sign, raw ^ whole, raw | sign)


def _values(keys: np.ndarray, dtype: np.dtype) -> np.ndarray:
    bits = dtype.itemsize * 8
    sign, whole = np.uint64(1) << np.uint64(bits - 1), np.uint64((1 << bits) - 1)
    raw = np.where(keys & sign, keys ^ sign, keys ^ whole)
    return raw.astype(f"u{dtype.itemsize}").view(dtype)
