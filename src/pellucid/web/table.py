"""Columns of numbers that grow at their end, and that are thinned out to what a screen can show."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

MOST = 1_000  # points of a curve that are sent


def as_number(value: Any) -> float:
    """A number of a record, which writes "nan", "inf" and "-inf"; NaN where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


class Table:
    """Rows at steps. groups: {name: how many columns, or None for a single number}.

    >>> table = Table({"loss": None, "rms": 2})
    >>> table.add(0, {"loss": 0.5, "rms": [1, 2]}); table.add(1, {"loss": "inf"})
    >>> table.shown()
    {'step': [0, 1], 'loss': [0.5, 'inf'], 'rms': [[1.0, 'nan'], [2.0, 'nan']]}
    """

    def __init__(self, groups: Mapping[str, int | None]):
        self.groups = dict(groups)
        self._slices: dict[str, slice] = {}
        at = 0
        for name, width in self.groups.items():
            self._slices[name] = slice(at, at + (1 if width is None else width))
            at = self._slices[name].stop
        self._values = np.empty((64, at))
        self._steps = np.empty(64, np.int64)
        self.rows = 0

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """One more row; what is missing or has another width is NaN."""
        if self.rows == len(self._steps):
            self._steps = np.concatenate([self._steps, np.empty_like(self._steps)])
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
        row = self._values[self.rows]
        row.fill(np.nan)
        for name, where in self._slices.items():
            given = values.get(name)
            if isinstance(given, list | tuple):
                if len(given) == where.stop - where.start:
                    row[where] = [as_number(v) for v in given]
            elif self.groups[name] is None:
                row[where] = as_number(given)
        self._steps[self.rows] = step
        self.rows += 1

    def shown(self, since: int = 0, most: int | None = None) -> dict[str, list[Any]]:
        """{"step": [...], name: [...] or, where there are columns, [[...], ...]} of the rows from `since` on, thinned
        out to about `most` where that is given."""
        steps, values = self._steps[since : self.rows], self._values[since : self.rows]
        if most is not None and len(steps) > most:
            steps, values = thinned(steps, values, most)
        plain = plain_columns(values)
        out: dict[str, list[Any]] = {"step": steps.tolist()}
        for name, where in self._slices.items():
            columns = plain[where]
            out[name] = columns[0] if self.groups[name] is None else columns
        return out


def thinned(steps: np.ndarray, values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Stretches of rows become two rows each: the least and the largest of every column, in the order in which they
    came, at the stretch's first and last step; so no peak is lost. What is not finite stays in sight as NaN.

    steps: [n], values: [n, columns] -> about [most], [most, columns].

    >>> s, v = thinned(np.arange(100), np.where(np.arange(100) == 37, 9.0, 1.0)[:, None], 10)
    >>> len(s), float(v.max()), int(s[-1])
    (10, 9.0, 99)
    """
    edges = np.linspace(0, len(steps), max(most // 2, 1) + 1).round().astype(int)
    out_steps, out_values = [], []
    for first, last in itertools.pairwise(edges):
        if last == first:
            continue
        block = values[first:last]
        bad = ~np.isfinite(block)
        low, high = np.where(bad, np.inf, block), np.where(bad, -np.inf, block)
        falls = low.argmin(0) > high.argmax(0)  # the largest came first
        least, most_ = low.min(0), high.max(0)
        pair = np.stack([np.where(falls, most_, least), np.where(falls, least, most_)])
        pair[:, bad.all(0)] = np.nan
        pair[1, bad.any(0)] = np.nan
        if last - first == 1:
            pair = pair[:1]
        out_values.append(pair)
        out_steps.append(steps[[first, last - 1][: len(pair)]])
    return np.concatenate(out_steps), np.concatenate(out_values)


def plain_columns(values: np.ndarray) -> list[list[Any]]:
    """[n, columns] as lists by column, what is not finite in the record's words."""
    columns = values.T.tolist()
    for column, place in zip(*np.nonzero(~np.isfinite(values.T)), strict=True):
        value = columns[column][place]
        columns[column][place] = "nan" if value != value else "inf" if value > 0 else "-inf"
    return columns
