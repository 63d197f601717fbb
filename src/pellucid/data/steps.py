"""Targets at every step of sequences: y [n, steps] beside x [n, steps, d].

A step without a target (it only fills up a shorter sequence, or its target is not known) holds None or NaN while raw;
encoded, it holds -1 where there are classes and NaN where there are numbers, and no loss or metric counts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pellucid.data.arrays import missing
from pellucid.data.lazy import Rows
from pellucid.data.sequences import Sequences

BLOCK = 4096  # sequences that are looked at together: of a set larger than memory


def targets_each_step(x: Any, y: Any) -> bool:
    """Whether raw targets are one for each step: as many columns as there are steps of numbers (bytes are images).

    >>> targets_each_step(np.zeros((5, 4, 2)), np.zeros((5, 4))), targets_each_step(np.zeros((5, 4, 2)), np.zeros(5))
    (True, False)
    """
    if not isinstance(y, np.ndarray) or y.ndim != 2:
        return False
    if isinstance(x, Sequences):
        return True
    return isinstance(x, np.ndarray | Rows) and x.ndim == 3 and x.dtype != np.uint8 and x.shape[1] == y.shape[1]


def stacked(values: Any) -> Any:
    """A list of targets [steps] of different lengths as one array [n, steps], filled up with None; else `values`.

    >>> stacked([[1, 2, 3], [4]]).tolist()
    [[1, 2, 3], [4, None, None]]
    """
    if not isinstance(values, list | tuple) or not all(isinstance(v, np.ndarray | list | tuple) for v in values):
        return values
    rows = [np.asarray(v) for v in values]
    if len({len(v) for v in rows if v.ndim}) < 2 or any(v.ndim != 1 for v in rows):
        return values
    out = np.full((len(rows), max(map(len, rows))), None, object)
    for place, v in zip(out, rows, strict=True):
        place[: len(v)] = v.tolist()
    return without_objects(out)


def only_real(x: Any, y: np.ndarray) -> np.ndarray:
    """The targets [n, steps] without those of steps that only fill up, which x [n, steps, d] marks by NaN alone."""
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or not np.isnan(x[:, -1]).any():
        return y
    filler = np.concatenate([np.isnan(x[i : i + BLOCK]).all(axis=2) for i in range(0, len(x), BLOCK)])
    if y.dtype.kind == "f":
        return np.where(filler, np.nan, y)
    out = y.astype(object)
    out[filler] = None
    return out


def known(y: np.ndarray) -> np.ndarray:
    """Which of the targets [n, steps] there are."""
    return ~missing(y.reshape(-1)).reshape(y.shape)


def last_steps(y: np.ndarray, lengths: Sequence[int] | np.ndarray, steps: int) -> np.ndarray:
    """Targets [n, longest] as [n, steps]: of sequences that are too long the last steps, as the encoder keeps them.

    >>> last_steps(np.array([[1.0, 2, 3], [4, 5, np.nan]]), [3, 2], 2).tolist()
    [[2.0, 3.0], [4.0, 5.0]]
    """
    lengths = np.asarray(lengths)
    kept = np.minimum(lengths, steps)
    place = (lengths - kept)[:, None] + np.arange(steps)
    real = np.arange(steps) < kept[:, None]
    out = np.take_along_axis(y, np.where(real, place, 0), axis=1)
    if real.all():
        return out
    out = out if out.dtype.kind == "f" else out.astype(object)
    out[~real] = np.nan if out.dtype.kind == "f" else None
    return out


def without_objects(y: np.ndarray) -> np.ndarray:
    """Numbers with gaps as floats, where they were floats before."""
    found = [v for v in y.reshape(-1).tolist() if v is not None]
    if found and all(isinstance(v, float) for v in found):
        return np.array([np.nan if v is None else v for v in y.reshape(-1).tolist()]).reshape(y.shape)
    return y
