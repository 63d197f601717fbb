"""A table's fitted encoder: its column encoders in order, and which columns were left out, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from pellucid.data.columns import KINDS, MOST_LEVELS, ColumnEncoder, Say, column_from_json, column_to_json
from pellucid.data.roles import column_roles
from pellucid.errors import DataError, nearest

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
    def fit(cls, table: pl.DataFrame, rows: np.ndarray) -> tuple[TableEncoder, list[str]]:
        """Roles from the whole table, statistics from the training rows."""
        roles, left = column_roles(table)
        train = table[rows]
        columns, notes = [], []
        for name, role in roles.items():
            series = train[name]
            finite = series.filter(series.is_finite()) if series.dtype.is_float() else series.drop_nulls()
            if not len(finite):
                left[name] = "no finite value in the training rows"
            elif finite.n_unique() == 1 and len(finite) == len(series):
                left[name] = f"the same value, {finite[0]!r}, in each training row"
            else:
                column = KINDS[role].fit(series)
                columns.append(column)
                notes += _notes(column, series)
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
        absent = [name for name in self.inputs if name not in table.columns]
        if absent:
            rest = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
            raise DataError(
                f"column {absent[0]!r} is missing{rest}",
                where=where or "the table",
                expected=f"the columns of training: {', '.join(self.inputs[:12])}"
                + (", ..." if len(self.inputs) > 12 else ""),
                got=", ".join(table.columns[:12]) + (", ..." if len(table.columns) > 12 else ""),
                fix=nearest(absent[0], table.columns),
            )
        out = np.empty((table.height, len(self.names)), dtype=np.float32)
        start = 0
        for column in self.columns:
            values = column.encode(table[column.name], where, say)
            out[:, start : start + values.shape[1]] = values
            start += values.shape[1]
        return out

    def to_json(self) -> dict[str, Any]:
        return {"kind": "table", "columns": [column_to_json(c) for c in self.columns], "left_out": self.left_out}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TableEncoder:
        return cls(tuple(column_from_json(c) for c in data["columns"]), dict(data["left_out"]))


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
