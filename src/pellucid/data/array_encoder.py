"""An array's fitted encoder: a check against the trained shape and type, and gaps filled for columns that had some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pellucid.data.arrays import as_array
from pellucid.data.moments import moments, row_chunks
from pellucid.data.reach import LARGEST_FLOAT32, float32_frame, in_frame
from pellucid.errors import DataError


@dataclass(frozen=True)
class ArrayEncoder:
    """`given` is the shape that arrives, without the batch axis; `uint8` stays, all else becomes float32.

    For `[n, d]`: columns `flagged` had gaps in training; they are filled with the medians, `fill` (of all columns,
    where the set has gaps at all), and each gets a column of 0 and 1 behind the rest. `offset` and `unit` bring columns
    that float32 could not hold into its reach. `padded`: sequences `[n, steps, d]`, shorter ones filled up with NaN.
    """

    given: tuple[int, ...]
    dtype: str
    given_names: tuple[str, ...] = ()
    flagged: tuple[int, ...] = ()
    fill: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()  # empty: none
    unit: tuple[float, ...] = ()
    padded: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.given[0] + len(self.flagged),) if self.flagged else self.given

    @property
    def width(self) -> int | None:
        return self.given[0] if len(self.given) == 1 else None

    @property
    def names(self) -> tuple[str, ...]:
        if len(self.given) != 1:
            return ()
        names = self.given_names or tuple(f"x{i + 1}" for i in range(self.given[0]))
        return (*names, *(f"{names[i]} missing" for i in self.flagged))

    @property
    def plain(self) -> tuple[bool, ...]:
        """Which columns are 0 and 1 and not standardised: the flags."""
        return (*(False for _ in range(self.given[0])), *(True for _ in self.flagged))

    @classmethod
    def fit(cls, x: np.ndarray, rows: np.ndarray, names: Any = None) -> tuple[ArrayEncoder, list[str]]:
        names = tuple(names) if names is not None and x.ndim == 2 else ()
        shape, dtype = x.shape[1:], "uint8" if x.dtype == np.uint8 else "float32"
        if x.ndim != 2 or x.dtype.kind != "f":
            padded = x.dtype.kind == "f" and x.ndim == 3 and bool(np.isnan(x[:, -1]).any())
            if padded:
                check_padded(x, "x")
                return cls(shape, dtype, padded=True), [_padding_note(x)]
            if x.dtype.kind == "f":
                refuse_gaps(x, "x", "images and other arrays with gaps cannot be imputed")
            return cls(shape, dtype, names), []
        return cls._fit_columns(x, rows, names)

    @classmethod
    def _fit_columns(cls, x: np.ndarray, rows: np.ndarray, names: tuple[str, ...]) -> tuple[ArrayEncoder, list[str]]:
        width = x.shape[1]
        named = cls((width,), "float32", names).names
        gaps = sum((~np.isfinite(x[part])).sum(axis=0) for part in row_chunks(rows, (width,)))
        flagged = tuple(int(i) for i in np.flatnonzero(gaps))
        notes = [_gap_note(named[i], x[rows, i]) for i in flagged]
        frames = _frames(x, rows)
        shifted = [named[i] for i, frame in enumerate(frames) if frame != (0.0, 1.0)]
        offset, unit = zip(*frames, strict=True) if shifted else ((), ())
        if shifted:
            notes.append(shifted_said(shifted))
        made = cls((width,), "float32", names, flagged, (), offset, unit)
        if flagged or not all(in_reach(made._framed(x[p])) for p in row_chunks(np.arange(len(x)), (width,))):
            made = replace(made, fill=tuple(_median(x[rows, i]) for i in range(width)))
        return made, notes

    def encode(self, x: Any, where: str, say: Callable[[str], None], *, lenient: bool = False) -> np.ndarray:
        """Rows as `float32` or `uint8 [n, *shape]`; gaps that training did not have raise, or are told if `lenient`."""
        x = as_array(x, where)
        if x.shape[1:] != self.given:
            hint = "add the batch axis: x[None]" if x.shape == self.given else None
            raise DataError(
                "the array does not fit what was trained",
                where=where,
                expected=f"shape (rows, {', '.join(str(n) for n in self.given)})",
                got=f"shape {x.shape}",
                fix=hint,
            )
        if self.dtype == "uint8":
            return _as_uint8(x, where)
        if self.padded:
            check_padded(x, where)
            return x.astype(np.float32)
        if x.dtype.kind != "f" and not self.offset:
            return x.astype(np.float32)
        return self._numbers(x, where, say if lenient else None)

    def _numbers(self, x: np.ndarray, where: str, say: Callable[[str], None] | None) -> np.ndarray:
        x = self._framed(x)
        if in_reach(x) and not self.flagged:
            return x.astype(np.float32, copy=False)
        return self._fill(x, ~(np.abs(x) <= LARGEST_FLOAT32), where, say)

    def _framed(self, x: np.ndarray) -> np.ndarray:
        return in_frame(x, np.array(self.offset), np.array(self.unit)) if self.offset else x

    def _fill(self, x: np.ndarray, gaps: np.ndarray, where: str, say: Callable[[str], None] | None) -> np.ndarray:
        if len(self.given) != 1:
            refuse_gaps(x, where, "the array has values that are not finite")
        fill = np.array(self.fill) if self.fill else np.full(self.given[0], np.nan)
        fill = self._framed(fill)
        stray = gaps.copy()
        stray[:, list(self.flagged)] = False
        if stray.any() and say is not None and self.fill:
            say(f"{int(stray.sum()):,} values of {where} are missing in features that had no gap in training")
        elif stray.any():
            row, column = (int(i) for i in np.argwhere(stray)[0])
            raise DataError(
                "the array has values that are not finite, in a column that had none in training",
                where=f"{where}, row {row + 1:,}, {self.names[column]!r}",
                expected="a finite number that float32 can hold",
                got=x[row, column],
                fix="fill them before, or train on data that has such gaps",
            )
        filled = np.where(gaps, fill, x)
        flags = gaps[:, list(self.flagged)]
        return np.concatenate([filled, flags], axis=1).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "array", **{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ArrayEncoder:
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "kind"}
        return cls(**fields)


def check_padded(x: np.ndarray, where: str) -> None:
    refuse_gaps(_real_steps(x, where), where, "sequences may end in steps of NaN alone, and hold no other gaps")


def _real_steps(x: np.ndarray, where: str) -> np.ndarray:
    """The steps [steps in all, d] of sequences [n, steps, d] that do not only fill up."""
    filler: np.ndarray = np.asarray(np.isnan(x).all(axis=2)) if x.dtype.kind == "f" else np.zeros(x.shape[:2], bool)
    wrong = np.flatnonzero(filler[:, 0] | (filler[:, :-1] & ~filler[:, 1:]).any(axis=1))
    if wrong.size:
        raise DataError(
            "a sequence is filled up at a wrong place",
            where=f"{where}, sequence {wrong[0] + 1:,}",
            expected="steps, and behind the last one nothing but NaN",
            got="no step at all" if filler[wrong[0]].all() else "steps of NaN before others",
        )
    return x[~filler]


def _padding_note(x: np.ndarray) -> str:
    lengths = x.shape[1] - np.isnan(x).all(axis=2).sum(axis=1)
    return f"sequences of {lengths.min()} to {lengths.max()} steps, filled up at the end, which the network is told"


def _as_uint8(x: np.ndarray, where: str) -> np.ndarray:
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind in "iu" and x.min() >= 0 and x.max() <= 255:
        return x.astype(np.uint8)
    raise DataError(
        "the values have another type than in training",
        where=where,
        expected="uint8, 0 to 255",
        got=f"{x.dtype}, {x.min():g} to {x.max():g}",
        fix="scale them to 0..255 and use x.astype('uint8')",
    )


def refuse_gaps(x: np.ndarray, where: str, problem: str, first: int = 0) -> None:
    """`DataError` where a value is not finite. first: the number of x's first row."""
    for start in range(0, len(x), 1024):
        bad = ~np.isfinite(x[start : start + 1024])
        if bad.any():
            place = np.argwhere(bad)[0]
            place[0] += start
            got = x[tuple(place)]
            place[0] += first
            raise DataError(
                problem, where=f"{where}, at {tuple(int(i) for i in place)}", expected="finite numbers", got=got
            )


def in_reach(x: np.ndarray) -> bool:
    """Whether float32 can hold every value; False where a NaN is among them."""
    return bool(x.min() >= -LARGEST_FLOAT32 and x.max() <= LARGEST_FLOAT32)


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0


def _gap_note(name: str, values: np.ndarray) -> str:
    gaps, infinite = int((~np.isfinite(values)).sum()), int(np.isinf(values).sum())
    return gap_said(name, gaps, infinite, len(values))


def gap_said(name: str, gaps: int, infinite: int, rows: int) -> str:
    """What a person is told of a feature with gaps."""
    how = "taken as 0" if gaps == rows else "filled with the median and flagged"
    said = f" ({infinite:,} of them infinite)" if infinite else ""
    return f"feature {name!r}: {gaps:,} of {rows:,} values are missing{said}, {how}"


def shifted_said(names: list[str]) -> str:
    """What a person is told of features that float32 could not hold as they are."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"feature {names[0]!r}{more}: shifted or scaled before float32, which could not hold the spread"


def _frames(x: np.ndarray, rows: np.ndarray) -> list[tuple[float, float]]:
    """(offset, unit) of each column: a quick pass over all, a careful one over those that look odd or have gaps."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, spread = moments((x[part].astype(np.float64) for part in row_chunks(rows, x.shape[1:])), "feature")
        ordinary = (np.abs(mean) < 900 * spread) & (spread > 1e-29) & (np.abs(mean) + spread < 1e25)
    frames = [(0.0, 1.0)] * x.shape[1]
    for i in np.flatnonzero(~ordinary):
        column = x[rows, i].astype(np.float64)
        frames[i] = float32_frame(column[np.isfinite(column)])
    return frames
