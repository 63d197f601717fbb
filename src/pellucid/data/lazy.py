"""Rows of an array that stays on disk: read when they are asked for, by several threads at once.

They are read by `pread` and not through the memory map: pages of a map that were touched count as this process's
memory, and a file that was cut off meanwhile ends a process that touches its map by a signal.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from pellucid.data.mapped import map_of, place_of
from pellucid.errors import DataError

LARGEST = 1 << 30  # bytes of images that are read into memory; larger sets stay on disk
THREADS = min(4, os.cpu_count() or 1)  # a disk serves several requests better than one
STRETCH = 2 << 20  # bytes that a thread reads at a time
GAP = 8 << 10  # bytes between two rows that are cheaper to read along than to ask for anew
FEW = 8  # rows that lie near each other, for which it is worth it
SPAN = 4 << 20  # bytes that are asked for at once

Encode = Callable[[np.ndarray], np.ndarray]


class OnDisk:
    """Examples that are not in memory: `len`, and `take(rows)`, the same with some of its rows, nothing being read."""

    def __len__(self) -> int:
        raise NotImplementedError

    def take(self, rows: Any) -> Any:
        raise NotImplementedError

    def __getitem__(self, rows: Any) -> Any:
        raise NotImplementedError


class Rows(OnDisk):
    """Rows `index` (None: all) of `array`, as an array would give them: `rows[3:5]`, `rows[[1, 7]]`.

    encode: what makes of raw rows those that are given, of `form` (shape of one, dtype); None: given as they lie.

    >>> rows = Rows(np.arange(20).reshape(10, 2), np.array([9, 0, 4]))
    >>> len(rows), rows.shape, rows[1:].tolist(), rows.take([2, 0])[0].tolist()
    (3, (3, 2), [[0, 1], [8, 9]], [8, 9])
    """

    def __init__(
        self, array: np.ndarray, index: np.ndarray | None = None, encode: Encode | None = None,
        form: tuple[tuple[int, ...], np.dtype] | None = None,
    ):  # fmt: skip
        self.array, self.index, self.encode = array, index, encode
        self.form = form if form is not None else (array.shape[1:], array.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.form[0])

    @property
    def dtype(self) -> np.dtype:
        return self.form[1]

    @property
    def ndim(self) -> int:
        return 1 + len(self.form[0])

    @property
    def nbytes(self) -> int:
        """Of all rows as they are given: what they would take in memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.array) if self.index is None else len(self.index)

    def take(self, rows: Any) -> Rows:
        """The same with these of its rows only; nothing is read."""
        index = np.asarray(rows) if self.index is None else self.index[rows]
        if len(self.array) <= np.iinfo(np.int32).max:
            index = index.astype(np.int32)  # half the memory
        return Rows(self.array, index, self.encode, self.form)

    def through(self, encode: Encode, shape: tuple[int, ...], dtype: Any) -> Rows:
        """The same rows, encoded as they are read: to `shape` (of one of them) and `dtype`."""
        return Rows(self.array, self.index, encode, (tuple(shape), np.dtype(dtype)))

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, slice) and self.index is None:
            wanted: Any = np.arange(*rows.indices(len(self.array)))
        else:
            wanted = np.asarray(rows) if self.index is None else self.index[rows]
        if wanted.dtype == bool:
            wanted = np.flatnonzero(wanted)
        wanted = np.where(wanted < 0, wanted + len(self.array), wanted)
        return self._read(wanted) if np.ndim(wanted) else self._read(wanted[None])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def _read(self, wanted: np.ndarray) -> np.ndarray:
        """In the order of the disk, in stretches that the threads share."""
        rising = len(wanted) < 2 or bool((wanted[1:] >= wanted[:-1]).all())
        order = None if rising else np.argsort(wanted, kind="stable")
        out = _aligned((len(wanted), *self.form[0]), self.dtype)

        def fill(start: int, stop: int) -> None:
            places: Any = slice(start, stop) if order is None else order[start:stop]
            if order is None and self.encode is None:
                _raw(self.array, wanted[places], out[places])
                return
            raw = _raw(self.array, wanted[places])
            out[places] = raw if self.encode is None else self.encode(raw)

        size = max(1, STRETCH * len(wanted) // max(out.nbytes, 1))
        cuts = [*range(0, len(wanted), size), len(wanted)]
        if len(cuts) <= 3:
            for start, stop in pairwise(cuts):
                fill(start, stop)
        else:
            for _ in _pool().map(fill, cuts[:-1], cuts[1:]):
                pass
        return out


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An empty array that begins at a multiple of 64 bytes: JAX takes such a one over as it is, others are copied."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    room = np.empty(size + 64, np.uint8)
    start = -room.__array_interface__["data"][0] % 64
    return room[start : start + size].view(dtype).reshape(shape)


def _raw(array: np.ndarray, rising: np.ndarray, into: np.ndarray | None = None) -> np.ndarray:
    """Rows of an array, their numbers rising, in a new array or in `into`. Rows that lie near each other are one
    request to the disk, with what lies between them."""
    found = np.empty((len(rising), *array.shape[1:]), array.dtype) if into is None else into
    place = place_of(array) if hasattr(os, "preadv") else None
    if place is None:
        found[...] = array[rising]
    if place is None or not found.nbytes:
        return found
    path, offset = place
    rows = found.reshape(len(rising), -1).view(np.uint8)  # [n, bytes of a row]
    runs, spans = _plan(rising, rows.shape[1])
    file = _opened(path)
    try:
        _fill(file, rows, runs, rising[runs[:, 0]], offset, array)
        for start, stop in spans.tolist():
            first = int(rising[start])
            span = np.empty((int(rising[stop - 1]) + 1 - first, rows.shape[1]), np.uint8)
            _fill(file, span, np.array([[0, len(span)]]), np.array([first]), offset, array)
            np.take(span, rising[start:stop] - first, axis=0, out=rows[start:stop])
    finally:
        os.close(file)
    return found


def _plan(rising: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(runs of neighbours, spans of rows that merely lie near each other), each [n, 2]: places from and to. size: bytes
    of a row."""
    apart = np.diff(rising) != 1
    begins = rising.astype(np.int64) * size
    far = (np.diff(begins) > size + GAP) | (np.diff(begins // SPAN) != 0)
    spans = _cut(far)
    gaps = np.concatenate([[0], np.cumsum(apart)])
    loose = gaps[spans[:, 1] - 1] - gaps[spans[:, 0]] >= FEW  # of single runs, a few are as well asked for one by one
    spans = spans[loose]
    runs = _cut(apart | far)
    covered = np.zeros(len(rising) + 1, np.int8)
    np.add.at(covered, spans[:, 0], 1)
    np.add.at(covered, spans[:, 1], -1)
    return runs[covered.cumsum()[runs[:, 0]] == 0], spans


def _cut(between: np.ndarray) -> np.ndarray:
    """Stretches [n, 2] that end where `between`, of one place and the next, is true."""
    cuts = np.concatenate([[0], np.flatnonzero(between) + 1, [len(between) + 1]])
    return np.stack([cuts[:-1], cuts[1:]], axis=1)


def _fill(file: int, rows: np.ndarray, runs: np.ndarray, firsts: np.ndarray, offset: int, array: np.ndarray) -> None:
    """Read into rows[start:stop] of each run what lies at row `first` of the file; the loop that all time goes into."""
    view, size, read = rows.reshape(-1).data, rows.shape[1], os.preadv
    starts, stops = (runs * size).T.tolist()
    for start, stop, begin in zip(starts, stops, (offset + firsts.astype(np.int64) * size).tolist(), strict=True):
        got = read(file, (view[start:stop],), begin)
        while got < stop - start:  # one call may give less than it was asked for
            more = read(file, (view[start + got : stop],), begin + got)
            if more <= 0:
                raise _cut_off(array)
            got += more


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise DataError(
            "the data can no longer be read", where=path, expected="the file that the run began with",
            got=error.strerror, fix="put the file back, then resume the run",
        ) from None  # fmt: skip


def _cut_off(array: np.ndarray) -> DataError:
    path = str(getattr(map_of(array), "filename", ""))
    return DataError(
        "the file became shorter while it was read", where=path,
        expected=f"{array.nbytes:,} bytes of {array.dtype}, shape {array.shape}",
        got=f"{os.path.getsize(path):,} bytes",
        fix="put the whole file back, then resume the run",
    )  # fmt: skip


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="pellucid-rows")
