"""From choices to data: the rows to learn from, their places in the plane that is drawn, and the way back from that
plane to what the network takes in.

Made sets lie in the plane themselves. Of an own table two columns span it, all others held at their typical value. Of
digits it is spanned by their two principal components (Pearson 1901), around the mean image.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pellucid.data import Dataset, load
from pellucid.data.features import Features
from pellucid.data.split import split_rows
from pellucid.data.targets import Targets
from pellucid.errors import DataError, SettingError, nearest
from pellucid.playground.choices import DIGITS, OWN, Choices
from pellucid.playground.made import RANGE, SETS, features
from pellucid.playground.tables import Table

MARGIN = 0.08  # of a column's range, around the rows
Encode = Callable[[np.ndarray, Features], np.ndarray]


@dataclass(frozen=True)
class Axis:
    """One side of the plane."""

    name: str
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Scene:
    """dataset: the training rows, with validation as its own part. at, validation_at: their places [n, 2]. encode: from
    places [m, 2] to what the network takes in, given the fitted features."""

    dataset: Dataset
    axes: tuple[Axis, Axis]
    at: np.ndarray
    validation_at: np.ndarray
    encode: Encode
    note: str = ""


def scene_of(choices: Choices, table: Table | None = None) -> Scene:
    """The data that are chosen. table: the learner's own, where `data` is "own"."""
    if choices.data == OWN:
        return _own(choices, table)
    if choices.data == DIGITS:
        return _digits(choices)
    g = np.random.Generator(np.random.Philox(choices.seed))
    x, y = SETS[choices.data](choices.points, choices.noise, g)
    task = "classification" if y.dtype.kind == "i" else "regression"
    data = Dataset(
        features(x, choices.features), y, name=choices.data, task=task, feature_names=choices.features, target=("y",)
    )
    axes = Axis("x1", -RANGE, RANGE), Axis("x2", -RANGE, RANGE)
    return _split(choices, data, x, axes, lambda places, _: features(places, choices.features))


def _split(choices: Choices, data: Dataset, at: np.ndarray, axes: Any, encode: Encode, note: str = "") -> Scene:
    """Divided by the seed; labels are made noisy in the training part alone, so that validation tells the truth."""
    targets = Targets.fit(data, where=data.name)
    classes = targets.encode(data.y) if targets.loss == "cross_entropy" else None
    rows = split_rows(len(data), (choices.validation, 0.0), seed=choices.seed, classes=classes)
    train, validation = data.take(rows.train), data.take(rows.validation)
    g = np.random.Generator(np.random.Philox(key=np.array([choices.seed, 1], np.uint64)))
    train = replace(train, y=noisy(np.asarray(train.y), choices.label_noise, classes is not None, g))
    whole = replace(train, validation=validation, task=targets.task)
    return Scene(whole, axes, at[rows.train], at[rows.validation], encode, note)


def noisy(y: np.ndarray, share: float, classes: bool, g: np.random.Generator) -> np.ndarray:
    """Of this share of the labels another class; numbers are moved by twice their spread times the share.

    >>> noisy(np.array([0, 1, 0, 1]), 0.5, True, np.random.Generator(np.random.Philox(0))).tolist()
    [1, 1, 0, 0]
    """
    if not share:
        return y
    if not classes:
        return y + g.normal(0, 2 * share * float(np.std(y.astype(np.float64))), len(y))
    known, place = np.unique(y, return_inverse=True)
    rows = g.permutation(len(y))[: round(share * len(y))]
    place[rows] = (place[rows] + g.integers(1, len(known), len(rows))) % len(known)
    return known[place]


# -- own tables -----------------------------------------------------------------------------------------------------


def _own(choices: Choices, table: Table | None) -> Scene:
    if table is None:
        raise DataError("there is no table yet", where="data", fix="choose a CSV file of yours, or another set")
    target = choices.target or table.guess
    others = [c for c in table.columns if c != target]
    columns = choices.columns or tuple(others[:10])
    note = "" if len(columns) == len(others) else f"{len(columns)} of {len(others)} columns are learned from"
    data = table.dataset(target, columns)
    drawn = _drawn(choices, table, columns)
    numbers = np.stack([data.x[c].cast(float).fill_null(np.nan).to_numpy() for c in drawn], 1)  # -> [rows, 2]
    axes = tuple(_axis(name, numbers[:, i]) for i, name in enumerate(drawn))
    typical = {c: _typical(data.x[c]) for c in data.x.columns}

    def encode(places: np.ndarray, fitted: Features) -> np.ndarray:
        import polars as pl

        kinds = data.x.schema
        columns = {c: pl.repeat(typical[c], len(places), dtype=kinds[c], eager=True) for c in data.x.columns}
        for i, name in enumerate(drawn):
            kind = kinds[name] if kinds[name].is_float() else pl.Float64
            columns[name] = pl.Series(name, places[:, i], dtype=kind)
        return fitted.transform(pl.DataFrame(columns))

    return _split(choices, data, numbers, axes, encode, note)


def _drawn(choices: Choices, table: Table, columns: tuple[str, ...]) -> tuple[str, str]:
    """Two columns of numbers; where there is one alone, it serves twice."""
    numeric = [c for c in columns if c in table.numeric]
    for name in choices.drawn:
        if name not in numeric:
            raise SettingError(
                f"{name!r} cannot span the picture", where=table.name, expected="columns of numbers that are learned",
                fix=nearest(name, numeric),
            )  # fmt: skip
    if not numeric:
        raise DataError("no column of numbers is left to draw by", where=table.name, fix="choose other columns")
    found = list(dict.fromkeys((*choices.drawn, *numeric)))[:2]
    return found[0], found[-1]


def _axis(name: str, values: np.ndarray) -> Axis:
    known = values[np.isfinite(values)]
    if not len(known):
        raise DataError(f"the column {name!r} holds no numbers", fix="draw by another")
    low, high = float(known.min()), float(known.max())
    wide = (high - low) or abs(high) or 1.0
    return Axis(name, low - MARGIN * wide, high + MARGIN * wide)


def _typical(column: Any) -> Any:
    """The median of numbers, the most frequent of everything else."""
    if column.dtype.is_numeric():
        middle = column.median()
        return middle if column.dtype.is_float() or middle is None else round(middle)
    known = column.drop_nulls()
    return known.mode().sort()[0] if len(known) else None


# -- digits ---------------------------------------------------------------------------------------------------------


def _digits(choices: Choices) -> Scene:
    data = load("digits")
    g = np.random.Generator(np.random.Philox(choices.seed))
    data = data.take(np.sort(g.permutation(len(data))[: choices.points]))
    x = np.asarray(data.x, np.float64)
    centre = x.mean(0)
    along = np.linalg.svd(x - centre, full_matrices=False)[2][:2]  # -> [2, 64]
    at = (x - centre) @ along.T
    axes = tuple(_axis(f"principal component {i + 1}", at[:, i]) for i in range(2))

    def encode(places: np.ndarray, fitted: Features) -> np.ndarray:
        return fitted.transform(np.clip(centre + places @ along, 0, 16))

    return _split(choices, data, at, axes, encode)
