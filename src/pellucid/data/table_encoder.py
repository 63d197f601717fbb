"""A table's fitted encoder: its column encoders in order, and which columns were left out, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from pellucid.data.columns import KINDS, MOST_LEVELS, ColumnEncoder, Say, column_from_json, column_to_json
from pellucid.data.lazy import OnDisk
from pellucid.data.roles import Facts, column_facts, settled
from pellucid.errors import DataError, nearest

if TYPE_CHECKING:
    from pellucid.data.lazy_table import LazyTable

LISTS = "a list in a cell is a sequence: write a row for each step (--sequences --group COLUMN), or an array to an .npz"


@dataclass(frozen=True)
class TableEncoder:
    columns: tuple[ColumnEncoder, ...]
    left_out: dict[str, str] = field(default_factory=dict)  # column: why

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for c in self.columns for name in c.outputs)

    @property
    def standardised(self) -> tuple[bool, ...]:
        return tuple(s for c in self.columns for s in c.standardised)

    @classmethod
    def fit(cls, table: pl.DataFrame | LazyTable, rows: np.ndarray) -> tuple[TableEncoder, list[str]]:
        """Roles from the whole table, statistics from the training rows; column by column, for it may be on disk."""
        facts: dict[str, Facts] = {}
        fitted: dict[str, _Fitted] = {}
        for series in table.get_columns():
            name, fact = series.name, column_facts(series)
            facts[name] = fact
            if fact.role is not None:
                fitted[name] = _fit_column(fact.role, series[rows])
            if isinstance(table, OnDisk) and table.index is None and _whole(series):
                table.whole.add(name)
        roles, left = settled(facts)
        columns, notes = [], []
        for name in roles:
            if fitted[name].column is None:
                left[name] = fitted[name].reason
            else:
                columns.append(fitted[name].column)
                notes += fitted[name].notes
        if not columns:
            raise DataError(
                "no column can be used as a feature",
                where="the table",
                expected="numbers, categories, dates, or true and false that differ between rows",
                got="; ".join(f"{name!r}: {reason}" for name, reason in left.items()),
                fix=LISTS if any("List(" in reason or "Array(" in reason for reason in left.values()) else None,
            )
        notes += [f"column {name!r} is left out: {reason}" for name, reason in left.items()]
        return cls(tuple(columns), left), notes

    def encode(self, table: pl.DataFrame, where: str, say: Say) -> np.ndarray:
        """The table as `float32 [n, d]`; what training did not have is told to `say`."""
        self.check(table.columns, where)
        out = np.empty((table.height, len(self.names)), dtype=np.float32)
        start = 0
        for column in self.columns:
            values = column.encode(table[column.name], where, say)
            out[:, start : start + values.shape[1]] = values
            start += values.shape[1]
        return out

    def check(self, columns: Sequence[str], where: str) -> None:
        """`DataError` where a column of training is missing."""
        absent = [name for name in self.inputs if name not in columns]
        if absent:
            rest = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
            raise DataError(
                f"column {absent[0]!r} is missing{rest}",
                where=where or "the table",
                expected=f"the columns of training: {', '.join(self.inputs[:12])}"
                + (", ..." if len(self.inputs) > 12 else ""),
                got=", ".join(columns[:12]) + (", ..." if len(columns) > 12 else ""),
                fix=nearest(absent[0], columns),
            )

    def to_json(self) -> dict[str, Any]:
        return {"kind": "table", "columns": [column_to_json(c) for c in self.columns], "left_out": self.left_out}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TableEncoder:
        return cls(tuple(column_from_json(c) for c in data["columns"]), dict(data["left_out"]))


class _Fitted(NamedTuple):
    column: Any
    reason: str  # why there is none
    notes: list[str]


def _fit_column(role: str, train: pl.Series) -> _Fitted:
    finite = train.filter(train.is_finite()) if train.dtype.is_float() else train.drop_nulls()
    if not len(finite):
        return _Fitted(None, "no finite value in the training rows", [])
    if finite.n_unique() == 1 and len(finite) == len(train):
        return _Fitted(None, f"the same value, {finite[0]!r}, in each training row", [])
    column = KINDS[role].fit(train)
    return _Fitted(column, "", _notes(column, train))


def _whole(series: pl.Series) -> bool:
    """Whether no value is missing, in a sense that any split would share."""
    return not series.null_count() and not (series.dtype.is_float() and not series.is_finite().all())


def _notes(column: Any, series: pl.Series) -> list[str]:
    notes = []
    gaps = series.null_count()
    if series.dtype.is_float():
        infinite = int(series.is_infinite().sum() or 0)
        gaps += int(series.is_nan().sum() or 0) + infinite
        if infinite:
            notes.append(f"column {column.name!r}: {infinite:,} infinite values are taken as missing")
    if gaps:
        how = {
            "number": "filled with the median",
            "boolean": "filled with the commoner value",
            "date": "filled with the median of each part",
            "category": "a level of their own",
        }[column.kind]
        notes.append(f"column {column.name!r}: {gaps:,} of {len(series):,} values are missing, {how} and flagged")
    if getattr(column, "folded", 0):
        notes.append(
            f"column {column.name!r}: {column.folded:,} rare levels beyond {MOST_LEVELS} share the unknown slot"
        )
    if getattr(column, "offset", 0.0):
        notes.append(
            f"column {column.name!r}: {column.offset:g} is taken off before float32, which could not hold the spread"
        )
    return notes
