"""A table as a `Dataset`: which columns are targets, which say group, time or weight; the rest are features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from pellucid.data.dataset import Dataset
from pellucid.data.frames import series_values
from pellucid.data.lazy_table import LazyTable
from pellucid.data.reading import Reading
from pellucid.data.sequences import Cut, cut_table
from pellucid.data.table_texts import only_text, pair_columns, text_column
from pellucid.errors import DataError, SettingError, nearest

TARGET_NAMES = ("target", "label", "labels", "class", "y", "species", "outcome", "output")
PLAIN = Reading()


def from_table(
    table: Any,
    target: Any,
    columns: dict[str, Any],
    *,
    name: str = "table",
    source: str = "",
    notes: Any = (),
    reading: Reading = PLAIN,
) -> Dataset:
    """A `Dataset` from a table (of polars, or a `LazyTable` that stays on disk): the target, group and weight columns
    are taken out, the rest are features, or one of them is the text that is read, or the rows are the steps of
    sequences, as `reading` says."""
    where = source or name
    notes = list(notes)
    if reading.task == "pairs" and target is not False:
        text, target = pair_columns(table, reading.text, target, where)
        reading = replace(reading, text=text)
    named = [c for c in (*columns.values(), reading.text) if isinstance(c, str)]
    targets = _target_columns(table, target, where, notes, named)
    if reading.each_step and (not reading.sequences or reading.window is not None):
        raise SettingError(
            "each_step is for the sequences of a table", where="each_step", expected="sequences, and no window",
            fix="--sequences --group COLUMN, or leave --each-step out",
        )  # fmt: skip
    if reading.sequences or reading.window is not None:
        return _sequences(table, targets, columns, reading, Dataset(np.zeros((1, 1)), name=name, source=source), notes)
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
    x: Any = table.drop(taken)
    if not x.width:
        raise DataError(
            "no feature is left", where=where, expected="a column besides the target", got=", ".join(table.columns)
        )
    text = reading.text
    if text is None and targets and not isinstance(table, LazyTable):
        text = only_text(x)
    if text is not None:
        x = _text_alone(x, text, reading, where, notes)
    return Dataset(
        series_values(text_column(x, text, where)) if text is not None else x,
        _target_values(table, targets),
        name=name,
        source=source,
        feature_names=tuple(x.columns),
        notes=tuple(notes),
        target=tuple(targets) or None,
        **vectors,
    )


def _target_values(table: pl.DataFrame | LazyTable, targets: list[str]) -> Any:
    if isinstance(table, LazyTable) and targets:
        return table.values(targets[0]) if len(targets) == 1 else table.select(targets).read()
    return None if not targets else table.select(targets) if len(targets) > 1 else series_values(table[targets[0]])


def _text_alone(x: pl.DataFrame, text: str, reading: Reading, where: str, notes: list[str]) -> pl.DataFrame:
    """The table with the column that is read, and nothing else."""
    _require(x, text, "text", where)
    if reading.text is None:
        notes.append(f"column {text!r} is text, and is read: nothing else in the table is a feature")
    elif x.width > 1:
        others = [c for c in x.columns if c != text]
        shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        notes.append(f"column {text!r} is the text that is read; the others are left out: {shown}")
    return x.select(text)


def _sequences(
    table: pl.DataFrame, targets: list[str], columns: dict[str, Any], reading: Reading, base: Dataset, notes: list[str]
) -> Dataset:
    """The rows of a table as steps: a target for each sequence, or for each window the row behind it."""
    where = base.source or base.name
    given = {role: column for role, column in columns.items() if column is not None}
    if wrong := next((role for role, column in given.items() if not isinstance(column, str)), None):
        raise SettingError(f"{wrong} must name a column, for the rows are steps", where=wrong)
    if reading.sequences and reading.window is not None:
        raise SettingError("sequences and window are two ways to cut a table", where="window", fix="leave one out")
    if reading.sequences and "group" not in given:
        raise SettingError(
            "sequences need a group", where="group", expected="the column that says to which sequence a row belongs",
            fix="--group COLUMN (and --time COLUMN); one long series is cut with --window N",
        )  # fmt: skip
    if reading.each_step and len(targets) > 1:
        raise SettingError(
            "each step has one target", where="each_step", got=", ".join(targets), fix="name one: --target COLUMN"
        )
    if any(given.get(role) in targets for role in given):
        raise DataError("the target has another role, too", where=where, got=", ".join(targets))
    cut = Cut(given.get("group"), given.get("time"), reading.window)
    weights = given.get("weight")
    if weights is not None:
        _require(table, weights, "weight", where)
    steps = table if weights is None else table.drop(weights)
    x, y, last, said = cut_table(steps, cut, where, tuple(targets), reading.each_step)
    time = None
    if cut.window is not None:  # a series is split in time order, by the moment of the target
        time = last if cut.time is None else _role_values(table[cut.time], "time", where)[last]
    return replace(
        base,
        x=x,
        y=y if y is None or isinstance(y, np.ndarray) else _target_values(y, targets),
        weight=None if weights is None else _role_values(table[weights], "weight", where)[last],
        time=time,
        feature_names=tuple(x.table.columns),
        notes=(*notes, *said),
        target=tuple(targets) or None,
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
