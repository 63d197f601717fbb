"""How a table becomes numbers: one fitted encoder for each column, each a frozen dataclass that is its own JSON.

Contract: `outputs` names the columns of numbers an encoder makes, `standardised` says which of them are numbers to be
standardised (the rest are 0 or 1), `encode(series, where, say)` gives `[n, len(outputs)]` float64, raises `DataError`
for another type, and calls `say` with a sentence about values that training did not have. Statistics (medians, levels)
are those of the training rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import polars as pl

from pellucid.data.reach import LARGEST_FLOAT32, float32_frame, in_frame
from pellucid.errors import DataError

Say = Callable[[str], None]
MOST_LEVELS = 64
DATE_PARTS = ("year", "month", "day", "weekday", "hour", "minute", "second")


class ColumnEncoder(Protocol):
    kind: ClassVar[str]

    @property
    def name(self) -> str: ...

    @property
    def outputs(self) -> tuple[str, ...]: ...

    @property
    def standardised(self) -> tuple[bool, ...]: ...

    def encode(self, series: pl.Series, where: str, say: Say) -> np.ndarray: ...


@dataclass(frozen=True)
class NumberColumn:
    """A number: (value - offset) / unit, gaps filled with `fill`, and a column that flags gaps if training had some.

    Offset and unit are 0 and 1 but for columns that float32 could not hold: taken off here, in float64.
    """

    kind: ClassVar[str] = "number"
    name: str
    fill: float
    flag: bool = False
    offset: float = 0.0
    unit: float = 1.0

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.name, f"{self.name} missing") if self.flag else (self.name,)

    @property
    def standardised(self) -> tuple[bool, ...]:
        return (True, False)[: len(self.outputs)]

    @classmethod
    def fit(cls, series: pl.Series) -> NumberColumn:
        values = numbers(series, "training")
        known = values[np.isfinite(values)]
        offset, unit = float32_frame(known)
        return cls(series.name, float(np.median(known)), bool(len(known) < len(values)), offset, unit)

    def encode(self, series: pl.Series, where: str, say: Say) -> np.ndarray:
        values = numbers(series, where)
        scaled = in_frame(values, self.offset, self.unit)
        gaps = ~(np.abs(scaled) <= LARGEST_FLOAT32)  # NaN, infinite, or beyond float32
        if gaps.any():
            if not self.flag:
                say(_gaps(self.name, gaps, where, f"the median {self.fill:g}"))
            scaled[gaps] = (self.fill - self.offset) / self.unit
        return _with_flag(scaled[:, None], gaps, self.flag)


@dataclass(frozen=True)
class BooleanColumn:
    """True as 1, False as 0, gaps as the commoner of the two, flagged if training had some."""

    kind: ClassVar[str] = "boolean"
    name: str
    fill: float
    flag: bool = False

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.name, f"{self.name} missing") if self.flag else (self.name,)

    @property
    def standardised(self) -> tuple[bool, ...]:
        return (False,) * len(self.outputs)

    @classmethod
    def fit(cls, series: pl.Series) -> BooleanColumn:
        known = series.drop_nulls()
        return cls(series.name, float((known.sum() or 0) * 2 > len(known)), bool(series.null_count()))

    def encode(self, series: pl.Series, where: str, say: Say) -> np.ndarray:
        if series.dtype != pl.Boolean:
            known = series.drop_nulls()
            if not (series.dtype.is_numeric() and known.is_in([0, 1]).all()) and series.null_count() < len(series):
                raise wrong_type(self.name, where, "true or false", series)
        gaps = series.is_null().to_numpy()
        if gaps.any() and not self.flag:
            say(_gaps(self.name, gaps, where, "true" if self.fill else "false"))
        values = np.full(len(series), self.fill)
        if not gaps.all():
            values = series.cast(pl.Float64).fill_null(self.fill).to_numpy().copy()
        return _with_flag(values[:, None], gaps, self.flag)


@dataclass(frozen=True)
class CategoryColumn:
    """One-hot: a column of 0 and 1 for each level, one for gaps if training had some, and one for unknown levels."""

    kind: ClassVar[str] = "category"
    name: str
    levels: tuple[str, ...]
    flag: bool = False
    folded: int = 0  # levels of training that were too rare for a column of their own

    @property
    def outputs(self) -> tuple[str, ...]:
        gap = (f"{self.name} missing",) if self.flag else ()
        return (*(f"{self.name} = {level}" for level in self.levels), *gap, f"{self.name} unknown")

    @property
    def standardised(self) -> tuple[bool, ...]:
        return (False,) * len(self.outputs)

    @classmethod
    def fit(cls, series: pl.Series) -> CategoryColumn:
        known = series.cast(pl.String).drop_nulls()
        counts = known.value_counts(name="rows").sort(["rows", known.name], descending=[True, False])
        levels = counts[known.name].to_list()
        kept = tuple(sorted(levels[:MOST_LEVELS]))
        return cls(series.name, kept, bool(series.null_count()), len(levels) - len(kept))

    def encode(self, series: pl.Series, where: str, say: Say) -> np.ndarray:
        text = as_text(series, self.name, where)
        place = {level: i for i, level in enumerate(self.levels)}
        width = len(self.outputs)
        index = text.replace_strict(place, default=width - 1, return_dtype=pl.Int64).to_numpy().copy()
        gaps = text.is_null().to_numpy()
        if gaps.any():
            index[gaps] = width - 2 if self.flag else width - 1
            if not self.flag:
                say(_gaps(self.name, gaps, where, "the unknown slot"))
        unseen = (index == width - 1) & ~gaps
        if unseen.any() and not self.folded:
            found = text.filter(pl.Series(unseen)).unique(maintain_order=True).to_list()
            shown = ", ".join(repr(v) for v in found[:5]) + (f", ... ({len(found)} in all)" if len(found) > 5 else "")
            say(
                f"column {self.name!r}{at(where)}: {shown} did not occur in training; "
                f"{int(unseen.sum()):,} rows take its unknown slot"
            )
        hot = np.zeros((len(text), width))
        hot[np.arange(len(text)), index] = 1.0
        return hot


@dataclass(frozen=True)
class DateColumn:
    """A date or time as its parts (year, month, day, weekday, hour, ...), those that differ in training, as numbers."""

    kind: ClassVar[str] = "date"
    name: str
    parts: tuple[str, ...]
    fill: tuple[float, ...]
    flag: bool = False

    @property
    def outputs(self) -> tuple[str, ...]:
        names = tuple(f"{self.name} {part}" for part in self.parts)
        return (*names, f"{self.name} missing") if self.flag else names

    @property
    def standardised(self) -> tuple[bool, ...]:
        return (*(True for _ in self.parts), False)[: len(self.outputs)]

    @classmethod
    def fit(cls, series: pl.Series) -> DateColumn:
        known = series.drop_nulls()
        parts, fill = [], []
        for part in DATE_PARTS:
            values = date_part(known, part)
            if values is not None and np.ptp(values) > 0:
                parts.append(part)
                fill.append(float(np.median(values)))
        return cls(series.name, tuple(parts), tuple(fill), bool(series.null_count()))

    def encode(self, series: pl.Series, where: str, say: Say) -> np.ndarray:
        if series.null_count() == len(series):
            series = series.cast(pl.Datetime("us"), strict=False)
        if series.dtype == pl.Date:
            series = series.cast(pl.Datetime("us"))
        if not isinstance(series.dtype, pl.Datetime | pl.Time):
            raise wrong_type(self.name, where, "dates or times", series)
        gaps = series.is_null().to_numpy()
        columns = []
        for part, fill in zip(self.parts, self.fill, strict=True):
            values = date_part(series, part)
            if values is None:
                raise wrong_type(self.name, where, f"a date or time that has a {part}", series)
            columns.append(np.where(gaps, fill, values))
        if gaps.any() and not self.flag:
            say(_gaps(self.name, gaps, where, "the median date"))
        return _with_flag(np.stack(columns, axis=1) if columns else np.zeros((len(series), 0)), gaps, self.flag)


KINDS: dict[str, Any] = {c.kind: c for c in (NumberColumn, BooleanColumn, CategoryColumn, DateColumn)}


def column_to_json(column: ColumnEncoder) -> dict[str, Any]:
    fields = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(cast(Any, column)).items()}
    return {"kind": column.kind, **fields}


def column_from_json(data: dict[str, Any]) -> ColumnEncoder:
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "kind"}
    return KINDS[data["kind"]](**fields)


def numbers(series: pl.Series, where: str) -> np.ndarray:
    """A numeric column as float64, gaps as NaN; `DataError` with the row for anything else."""
    if series.dtype == pl.Boolean or series.dtype.is_numeric() or isinstance(series.dtype, pl.Duration):
        if isinstance(series.dtype, pl.Duration):
            series = series.dt.total_microseconds() / 1e6
        return series.cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()
    if series.null_count() == len(series):
        return np.full(len(series), np.nan)
    raise wrong_type(series.name, where, "numbers", series)


def as_text(series: pl.Series, name: str, where: str) -> pl.Series:
    if series.dtype.is_nested() or series.dtype.is_temporal():
        raise wrong_type(name, where, "text", series)
    return series.cast(pl.String)


def date_part(series: pl.Series, part: str) -> np.ndarray | None:
    """One part of a date or time as float64 (gaps as NaN), or None where the type has no such part."""
    if part in ("year", "month", "day", "weekday") and series.dtype == pl.Time:
        return None
    if part in ("hour", "minute", "second") and series.dtype == pl.Date:
        return None
    return getattr(series.dt, part)().cast(pl.Float64).fill_null(float("nan")).to_numpy()


def wrong_type(name: str, where: str, expected: str, series: pl.Series) -> DataError:
    got = "text" if series.dtype == pl.String else str(series.dtype)
    row = int(series.is_not_null().arg_max() or 0)
    fix = None
    if series.dtype == pl.String and expected == "numbers":
        bad = series.str.strip_chars().cast(pl.Float64, strict=False).is_null() & series.is_not_null()
        row = int(bad.arg_max() or 0) if bad.any() else row
        fix = "mend these values, or leave them empty where they are missing"
    return DataError(
        f"column {name!r} holds {got} where training had {expected}",
        where=f"{where or 'the table'}, column {name!r}, row {row + 1:,}",
        expected=expected,
        got=repr(series[row]),
        fix=fix,
    )


def _gaps(name: str, gaps: np.ndarray, where: str, fill: str) -> str:
    return (
        f"column {name!r}{at(where)}: {int(gaps.sum()):,} values are missing, as none were in training; "
        f"they are taken as {fill}"
    )


def at(where: str) -> str:
    return f" of {where}" if where else ""


def _with_flag(values: np.ndarray, gaps: np.ndarray, flag: bool) -> np.ndarray:
    return np.concatenate([values, gaps[:, None].astype(np.float64)], axis=1) if flag else values
