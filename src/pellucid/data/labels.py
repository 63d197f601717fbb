"""Raw targets: as named columns, without gaps, in their own types; and whether they are classes or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pellucid.data.arrays import missing, to_numpy
from pellucid.data.dataset import Dataset
from pellucid.errors import DataError


def target_values(data: Dataset) -> list[tuple[str, np.ndarray]]:
    """The target columns by name, without the rows in which any of them is missing; of targets at every step of
    sequences, those of all steps that have one, one behind the other."""
    if data.each_step:
        flat = data.y.reshape(-1)
        return [((data.target or ("target",))[0], tidy(flat[~missing(flat)]))]
    raw = split_targets(data.y, data.target)
    keep = ~np.logical_or.reduce([missing(values) for _, values in raw])
    return [(name, tidy(values[keep])) for name, values in raw]


def split_targets(y: Any, names: Sequence[str] | None) -> list[tuple[str, np.ndarray]]:
    """Raw targets as named columns; "target", or "target 1", "target 2", where nothing names them."""
    if not isinstance(y, np.ndarray) and hasattr(y, "columns"):
        from pellucid.data.frames import as_table, series_values

        table = as_table(y)
        if names and set(names) <= set(table.columns):
            table = table.select(names)
        return [(s.name, series_values(s)) for s in table.get_columns()]
    y = to_numpy(y)
    if y.ndim == 1:
        return [((names or ("target",))[0], y)]
    labels = names if names and len(names) == y.shape[1] else [f"target {i + 1}" for i in range(y.shape[1])]
    return [(name, y[:, i]) for i, name in enumerate(labels)]


def tidy(values: np.ndarray) -> np.ndarray:
    """Objects that are all whole numbers, numbers or booleans as an array of that type; text stays objects."""
    if values.dtype != object or not len(values):
        return values
    kinds = {type(v.item() if isinstance(v, np.generic) else v) for v in values.tolist()}
    if kinds == {bool} or kinds == {int} or (kinds <= {int, float} and float in kinds):
        return np.array(values.tolist())
    return values


def column_kind(values: np.ndarray, task: str | None, several: bool, where: str) -> str:
    """ "class", "number" or "binary" (two values among several targets): what the values are, unless `task` says.

    Text and booleans are classes; whole numbers are when they have at most 10 values, or at most 20 and fewer than 5 %
    of the rows; other numbers are numbers.
    """
    if not len(values):
        raise DataError("the target has no values", where=where, expected="a value in some rows", got="all missing")
    if values.dtype.kind in "mMc" or (values.dtype == object and not is_text(values)):
        kinds = sorted({type(v).__name__ for v in values[:1000].tolist()})
        raise DataError(
            "this cannot be a target",
            where=where,
            expected="numbers, text, or true and false",
            got=f"values of type {', '.join(kinds)}",
        )
    distinct = len(np.unique(values))
    if task == "regression":
        if values.dtype.kind not in "iuf":
            raise DataError(
                "a regression needs numbers as its target", where=where, expected="numbers",
                got=f"{'text' if values.dtype == object else values.dtype}, such as {plain(values[0])!r}",
            )  # fmt: skip
        number = True
    elif task == "classification":
        number = False
    elif values.dtype.kind == "f":
        number = True
    else:
        few = distinct <= 10 or (distinct <= 20 and distinct < 0.05 * len(values))
        number = values.dtype.kind in "iu" and not few
    if distinct == 1:
        what = "the target has one value only" if number else "the target has one class only"
        raise DataError(
            f"{what}: there is nothing to learn", where=where, expected="at least two", got=repr(plain(values[0]))
        )
    if number:
        return "number"
    return "binary" if several and distinct == 2 else "class"


def is_text(values: np.ndarray) -> bool:
    return values.dtype == object and all(isinstance(v, str) for v in values.tolist())


def plain(value: Any) -> Any:
    """A NumPy scalar as Python's own; a float label that is whole as an int, so that 1.0 and 1 are one class."""
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value
