"""The encoder of an array that stays on disk: fitted a piece at a time, with statistics that add.

What is fitted is what `ArrayEncoder.fit` finds of the same array in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pellucid.data.array_encoder import ArrayEncoder, check_padded, gap_said, in_reach, refuse_gaps, shifted_said
from pellucid.data.lazy import Rows
from pellucid.data.medians import medians
from pellucid.data.moments import moments, row_chunks

PIECE = 32 << 20  # bytes that are looked at together


def fit_streamed(x: Rows, rows: np.ndarray, names: tuple[str, ...]) -> tuple[ArrayEncoder, list[str]]:
    """The encoder of `x` [n, ...], statistics being those of `rows`, and notes on what was done."""
    shape, dtype = x.shape[1:], "uint8" if x.dtype == np.uint8 else "float32"
    if x.dtype.kind == "f" and x.ndim == 2:
        return _fit_columns(x, rows, names)
    if x.dtype.kind != "f":
        return ArrayEncoder(shape, dtype, names if x.ndim == 2 else ()), []
    padded = x.ndim == 3 and any(np.isnan(piece[:, -1]).any() for _, piece in pieces(x))
    lengths = []
    for start, piece in pieces(x):
        if padded:
            check_padded(piece, f"x, from row {start + 1:,} on")
            lengths.append(x.shape[1] - np.isnan(piece).all(axis=2).sum(axis=1))
        else:
            refuse_gaps(piece, "x", "images and other arrays with gaps cannot be imputed", start)
    if not padded:
        return ArrayEncoder(shape, dtype), []
    steps = np.concatenate(lengths)
    note = f"sequences of {steps.min()} to {steps.max()} steps, filled up at the end, which the network is told"
    return ArrayEncoder(shape, dtype, padded=True), [note]


def stray_gaps(x: Rows, encoder: ArrayEncoder, where: str) -> list[str]:
    """What is said of values that are missing in columns that had none in training: they are filled like the others."""
    if not encoder.fill:
        return []
    count, steady = 0, np.setdiff1d(np.arange(encoder.given[0]), encoder.flagged)
    for _, piece in pieces(x):
        count += int((~np.isfinite(piece[:, steady])).sum())
    if not count:
        return []
    return [f"{count:,} values of {where} are missing in features that had no gap in training"]


def pieces(x: Rows, rows: np.ndarray | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first one, rows) in pieces of some megabytes."""
    rows = np.arange(len(x)) if rows is None else rows
    size = max(1, PIECE // max(1, int(np.prod(x.shape[1:])) * x.dtype.itemsize))
    for start in range(0, len(rows), size):
        yield start, x[rows[start : start + size]]


def _fit_columns(x: Rows, rows: np.ndarray, names: tuple[str, ...]) -> tuple[ArrayEncoder, list[str]]:
    width = x.shape[1]
    seen = _look(x, rows)
    named = ArrayEncoder((width,), "float32", names).names
    flagged = tuple(int(i) for i in np.flatnonzero(seen.gaps))
    notes = [gap_said(named[i], int(seen.gaps[i]), int(seen.infinite[i]), len(rows)) for i in flagged]
    frames = _frames(x, rows, seen)
    shifted = [named[i] for i, frame in enumerate(frames) if frame != (0.0, 1.0)]
    offset, unit = zip(*frames, strict=True) if shifted else ((), ())
    if shifted:
        notes.append(shifted_said(shifted))
    made = ArrayEncoder((width,), "float32", names, flagged, (), offset, unit)
    if flagged or not all(in_reach(made._framed(piece)) for _, piece in pieces(x)):
        made = replace(made, fill=tuple(medians(lambda: (piece for _, piece in pieces(x, rows)), width)))
    return made, notes


@dataclass
class _Seen:
    """Of each column: values that are not finite, those that are infinite, mean and spread of all (NaN with gaps)."""

    gaps: np.ndarray
    infinite: np.ndarray
    mean: np.ndarray
    spread: np.ndarray


def _look(x: Rows, rows: np.ndarray) -> _Seen:
    width = x.shape[1]
    gaps, infinite = np.zeros(width, np.int64), np.zeros(width, np.int64)

    def watched() -> Iterator[np.ndarray]:
        for part in row_chunks(rows, x.shape[1:]):
            chunk = x[part]
            bad = ~np.isfinite(chunk)
            if bad.any():
                gaps.__iadd__(bad.sum(axis=0))
                infinite.__iadd__(np.isinf(chunk).sum(axis=0))
            yield chunk.astype(np.float64)

    with np.errstate(over="ignore", invalid="ignore"):
        mean, spread = moments(watched(), "feature")
    return _Seen(gaps, infinite, mean, spread)


def _frames(x: Rows, rows: np.ndarray, seen: _Seen) -> list[tuple[float, float]]:
    """(offset, unit) of each column, as `float32_frame` finds them; only those that look odd are looked at again."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, spread = seen.mean, seen.spread
        ordinary = (np.abs(mean) < 900 * spread) & (spread > 1e-29) & (np.abs(mean) + spread < 1e25)
    frames = [(0.0, 1.0)] * x.shape[1]
    odd = np.flatnonzero(~ordinary)
    if not odd.size:
        return frames

    def finite() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for _, piece in pieces(x, rows):
            values = piece[:, odd].astype(np.float64)
            known = np.isfinite(values)
            yield np.where(known, values, 0.0), known

    largest, count = np.zeros(len(odd)), np.zeros(len(odd), np.int64)
    for values, known in finite():
        largest, count = np.maximum(largest, np.abs(values).max(axis=0)), count + known.sum(axis=0)
    unit = np.where(largest > 0, largest, 1.0)  # so that nothing overflows on the way
    centre = sum((values / unit).sum(axis=0) for values, _ in finite()) / np.maximum(count, 1)
    squares = sum((np.square(values / unit - centre) * known).sum(axis=0) for values, known in finite())
    spreads = np.sqrt(squares / np.maximum(count, 1)) * largest
    for i, column in enumerate(odd):
        frames[column] = _frame(float(centre[i] * largest[i]), float(spreads[i]), float(largest[i]))
    return frames


def _frame(mean: float, spread: float, largest: float) -> tuple[float, float]:
    """See `reach.float32_frame`."""
    offset = mean if spread > 0 and abs(mean) > 1000 * spread else 0.0
    odd = largest > 1e30 or 0 < spread < 1e-30
    return offset, (spread if spread > 0 else largest) if odd else 1.0
