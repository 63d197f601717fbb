"""Rows in blocks of one shape, so that one compilation serves them all."""

import numpy as np


def pad_rows(rows: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """`rows` filled up to `size` rows (by repeats of the last), and how many are real: one shape, one compilation."""
    n = len(rows)
    if n == size:
        return rows, n
    if n == 0:
        return np.zeros((size, *rows.shape[1:]), rows.dtype), 0
    return np.concatenate([rows, np.repeat(rows[-1:], size - n, axis=0)]), n


def power_of_two(n: int) -> int:
    """The smallest power of two that is not below n."""
    return 1 << max(n - 1, 0).bit_length()
