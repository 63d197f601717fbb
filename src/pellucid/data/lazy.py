"""Rows of an array that stays on disk: read when they are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

LARGEST = 1 << 30  # bytes of images that are read into memory; larger sets stay on disk


class Rows:
    """Rows `index` of `array`, as an array would give them: `rows[3:5]`, `rows[[1, 7]]`.

    >>> rows = Rows(np.arange(20).reshape(10, 2), np.array([9, 0, 4]))
    >>> len(rows), rows.shape, rows[1:].tolist()
    (3, (3, 2), [[0, 1], [8, 9]])
    """

    def __init__(self, array: np.ndarray, index: np.ndarray):
        self.array, self.index = array, index

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.index), *self.array.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def ndim(self) -> int:
        return self.array.ndim

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: Any) -> np.ndarray:
        wanted = self.index[rows]
        if np.ndim(wanted) == 0:
            return np.asarray(self.array[wanted])
        order = np.argsort(wanted, kind="stable")  # in the order of the disk
        out = np.empty((len(wanted), *self.array.shape[1:]), self.array.dtype)
        out[order] = self.array[wanted[order]]
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)
