"""A table as a `Dataset`: which columns are targets, which say group, time or weight; the rest are features."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from pellucid.data.dataset import Dataset
from pellucid.data.frames import series_values
from pellucid.errors import DataError, nearest

TARGET_NAMES = ("target", "label", "labels", "class", "y", "species", "outcome", "output")


def from_table(
    table: pl.DataFrame,
    target: Any,
    columns: dict[str, Any],
    *,
    name: str = "table",
    source: str = "",
    notes: Any = (),
) -> Dataset:
    """A `Dataset` from a table: the target, group and weight columns are taken out, the rest are features."""
    where = source or name
    notes = list(notes)
    targets = _target_columns(table, target, where, notes, [c for c in columns.values() if isinstance(c, str)])
    taken = list(targets)
    vectors = {}
    for role, given in columns.items():
        if isinstance(given, str):
            _require(table, given, role, where)
            if given in targets:
                raise DataError(f"column {given!r} is the target and the {role} at once", where=where)
            vectors[role] = _role_values(table[given], role, where)
            taken.append(given)
            notes.append(f"column {given!r} is the {role} and no feature")
        elif given is not None:
            vectors[role] = given
    x = table.drop(taken)
    if not x.width:
        raise DataError(
            "no feature is left", where=where, expected="a column besides the target", got=", ".join(table.columns)
        )
    y = None if not targets else table.select(targets) if len(targets) > 1 else series_values(table[targets[0]])
    return Dataset(
        x,
        y,
        name=name,
        source=source,
        feature_names=tuple(x.columns),
        notes=tuple(notes),
        target=tuple(targets) or None,
        **vectors,
    )


def _role_values(series: pl.Series, role: str, where: str) -> np.ndarray:
    if series.null_count():
        row = int(series.is_null().arg_max() or 0)
        raise DataError(
            f"the {role} column has gaps",
            where=f"{where}, column {series.name!r}, row {row + 1:,}",
            expected="a value in each row",
            got=f"{series.null_count():,} missing",
        )
    if role == "weight" and not series.dtype.is_numeric():
        raise DataError(
            "the weight column holds no numbers", where=f"{where}, column {series.name!r}", got=str(series.dtype)
        )
    if role == "time" and series.dtype.is_temporal():
        series = series.to_physical()
    return series.cast(pl.String).to_numpy() if series.dtype == pl.String else series.to_numpy()


def _target_columns(table: pl.DataFrame, target: Any, where: str, notes: list[str], taken: list[str]) -> list[str]:
    if target is False:
        return []
    if target is not None:
        targets = [target] if isinstance(target, str) else list(target)
        for column in targets:
            _require(table, column, "target", where)
        if len(set(targets)) < len(targets):
            raise DataError("a target is named twice", where=where, got=", ".join(targets))
        return targets
    free = [c for c in table.columns if c not in taken]
    lower = {c.lower(): c for c in free}
    found = next((lower[n] for n in TARGET_NAMES if n in lower), None) or (free[-1] if free else None)
    if found is None:
        raise DataError("no column is left to be the target", where=where, got=", ".join(table.columns) or "no columns")
    notes.append(f"no target was named: column {found!r} was taken")
    return [found]


def _require(table: pl.DataFrame, column: str, role: str, where: str) -> None:
    if column not in table.columns:
        raise DataError(
            f"there is no column {column!r}",
            where=f"{where} ({role})",
            expected="a column of the table",
            got=repr(column),
            fix=nearest(column, table.columns),
        )
