"""A set of examples as it came: before any split and before any preprocessing is fitted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.data.arrays import as_array, as_vector, to_numpy
from pellucid.data.distinct import different
from pellucid.data.lazy import OnDisk, Rows
from pellucid.data.moments import row_chunks
from pellucid.data.sequences import Sequences
from pellucid.data.steps import only_real, stacked, targets_each_step
from pellucid.errors import DataError, SettingError, nearest
from pellucid.shown import Shown

if TYPE_CHECKING:
    import polars as pl

TASKS = ("classification", "regression", "mixed", "language", "pairs")


@dataclass(frozen=True, eq=False)
class Dataset(Shown):
    """Examples and their targets, raw: text labels stay text, images stay `uint8`.

    `x` is a table (polars, pandas and Arrow are accepted), an array `[n, ...]` with the rows first, a list of texts, or
    a list of sequences `[steps, d]`, of which shorter ones are filled up with NaN; `y` holds one target for each row
    (`[n]`), several (`[n, k]` or a table), one for each step of sequences (`[n, steps]`, or a list of `[steps]`), or is
    None for rows that are to be predicted, and for the text of a language model (`task="language"`).
    `weight` says how much a row counts, `group` which rows belong together, `time` what the rows are ordered by.
    `validation` and `test` are the set's own parts, if it has any.

    Raises `DataError` where lengths differ, weights are negative, or `x` does not hold numbers.

    >>> data = Dataset([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0], name="xor")
    >>> len(data), data.x.shape
    (4, (4, 2))
    """

    # np.ndarray | pl.DataFrame | Sequences once made, or what stays on disk (lazy.OnDisk); texts are objects [n]
    x: Any
    y: Any = None  # np.ndarray | pl.DataFrame | None once made
    name: str = "data"
    source: str = ""
    task: str | None = None
    weight: Any = None
    group: Any = None
    time: Any = None
    validation: Dataset | None = None
    test: Dataset | None = None
    feature_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    target: tuple[str, ...] | None = None  # the names of the target columns
    names: tuple[str, ...] | None = None  # of the rows: the files of images
    content: str | None = None  # a digest of x, where one is known already

    def __post_init__(self) -> None:
        put = lambda field, value: object.__setattr__(self, field, value)  # noqa: E731  (the dataclass is frozen)
        if self.task is not None and self.task not in TASKS:
            raise SettingError(f"unknown task {self.task!r}", where="task", fix=nearest(self.task, TASKS))
        put("x", _features(self.x, self.name))
        put("y", _targets(self.y, self.x, self.name))
        for field in ("group", "time", "weight"):
            if getattr(self, field) is not None:
                put(field, as_vector(getattr(self, field), field, len(self.x)))
        if self.weight is not None:
            put("weight", _weights(self.weight))
        for field in ("feature_names", "class_names", "notes", "target"):
            if getattr(self, field) is not None:
                put(field, tuple(getattr(self, field)))
        _check_names(self)

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        if is_texts(self.x):
            length = sum(len(text or "") for text in self.x.tolist())
            return f"Dataset({self.name}: {len(self):,} text{'s' * (len(self) > 1)} of {length:,} characters)"
        size = " x ".join(str(n) for n in self.x.shape[1:]) or "1"
        targets = f"; target {', '.join(self.target)}" if self.target else ""
        return f"Dataset({self.name}: {len(self):,} rows, {size} features{targets})"

    @property
    def each_step(self) -> bool:
        """Whether there is a target for every step of sequences: y is [n, steps]."""
        return targets_each_step(self.x, self.y)

    def take(self, rows: np.ndarray) -> Dataset:
        """The same set with only these rows (and without its own validation and test parts)."""
        pick = lambda v: None if v is None else v[rows]  # noqa: E731
        return replace(
            self,
            x=self.x.take(rows) if isinstance(self.x, OnDisk) else self.x[rows],
            y=pick(self.y),
            weight=pick(self.weight),
            group=pick(self.group),
            time=pick(self.time),
            validation=None,
            test=None,
            names=None if self.names is None else tuple(self.names[i] for i in np.arange(len(self))[rows]),
            content=None,
        )

    def fingerprint(self) -> str:
        """A SHA-256 of everything that training can see: values, types, column names, and the set's own parts.

        >>> a, b = Dataset([[1.0]], [0]), Dataset([[1.0]], [1])
        >>> a.fingerprint() == Dataset([[1.0]], [0]).fingerprint() != b.fingerprint()
        True
        """
        begun = getattr(self.x, "begun", None)  # the hash of a table's columns, where they were read already
        digest = hashlib.sha256() if begun is None else begun.copy()
        _hash_dataset(digest, self, () if begun is None else ("x",))
        return "sha256:" + digest.hexdigest()


def is_table(x: Any) -> bool:
    """True for a polars table, False for an array and for sequences: what `Dataset` holds is one of these."""
    return not isinstance(x, np.ndarray | Sequences | Rows)


def is_texts(x: Any) -> bool:
    """True for an array of texts `[n]` (Python strings; None where one is missing)."""
    if not isinstance(x, np.ndarray) or x.dtype != object or x.ndim != 1:
        return False
    values = x.tolist()
    return all(v is None or isinstance(v, str) for v in values) and any(v is not None for v in values)


def frame_like(x: Any) -> bool:
    """True for a pandas, polars or Arrow object, found out without importing any of them."""
    if isinstance(x, np.ndarray):
        return False
    return type(x).__module__.split(".")[0] in ("pandas", "polars", "pyarrow") or hasattr(x, "__arrow_c_stream__")


def _features(x: Any, name: str) -> np.ndarray | pl.DataFrame | Sequences | OnDisk:
    if isinstance(x, Sequences | OnDisk):
        return x
    if (texts := _texts(x)) is not None:
        return texts
    if not frame_like(x):
        return as_array(_filled_up(x), f"x of {name!r}")
    from pellucid.data.frames import as_table

    table = as_table(x, f"x of {name!r}")
    if not table.height or not table.width:
        raise DataError(
            "the table is empty",
            where=f"x of {name!r}",
            expected="at least one row and one column",
            got=f"{table.height} rows, {table.width} columns",
        )
    return table


def _filled_up(x: Any) -> Any:
    """A list of sequences [steps, d] of different lengths as one array [n, steps, d], ended by NaN; else x itself."""
    if not isinstance(x, list | tuple) or not all(isinstance(v, np.ndarray) and v.ndim == 2 for v in x):
        return x
    lengths, widths = {len(v) for v in x}, {v.shape[1] for v in x}
    if len(lengths) < 2 or len(widths) > 1 or any(v.dtype.kind not in "biuf" for v in x):
        return x
    out = np.full((len(x), max(lengths), *widths), np.nan, np.result_type(np.float32, *{v.dtype for v in x}))
    for row, v in zip(out, x, strict=True):
        row[: len(v)] = v
    return out


def _texts(x: Any) -> np.ndarray | None:
    """One text, or a list or array of them, as an array of objects; None for everything else."""
    if isinstance(x, str):
        x = [x]
    if isinstance(x, np.ndarray) and x.ndim == 1 and x.dtype.kind in "UT":
        x = x.tolist()
    if isinstance(x, list | tuple) and any(isinstance(v, str) for v in x[:1000]):
        made = np.empty(len(x), dtype=object)
        made[:] = x
        return made if is_texts(made) else None
    return x if isinstance(x, np.ndarray) and is_texts(x) else None


def _targets(y: Any, x: Any, name: str) -> np.ndarray | pl.DataFrame | None:
    if y is None:
        return None
    rows = len(x)
    if frame_like(y) and hasattr(y, "columns"):  # a table; a column has no columns
        from pellucid.data.frames import as_table, series_values

        table = as_table(y, f"y of {name!r}")
        y = table if table.width > 1 else series_values(table.to_series())
    else:
        y = to_numpy(stacked(y))
        if y.ndim in (2, 3) and y.shape[-1] == 1:
            y = y[..., 0]
        if y.ndim not in (1, 2):
            raise DataError(
                "y has the wrong shape", where=name, got=y.shape,
                expected="[rows] or [rows, targets]; beside sequences [rows, steps, features], also [rows, steps]",
            )  # fmt: skip
    if len(y) != rows:
        raise DataError(
            "x and y differ in length",
            where=name,
            expected=f"a target for each of the {rows:,} rows of x",
            got=f"{len(y):,} targets",
        )
    return only_real(x, y) if targets_each_step(x, y) else y


def _weights(weight: np.ndarray) -> np.ndarray:
    try:
        weight = weight.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError("the weights are no numbers", where="weight", got=f"dtype {weight.dtype}") from None
    wrong = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if wrong.size:
        raise DataError(
            "weights must be finite and not negative",
            where=f"weight, row {wrong[0]}",
            expected="0 or more",
            got=weight[wrong[0]],
        )
    if not weight.any():
        raise DataError("every weight is 0", where="weight", expected="at least one row that counts")
    return weight


def _check_names(data: Dataset) -> None:
    if data.feature_names is not None and isinstance(data.x, np.ndarray | Rows) and data.x.ndim == 2:
        different(data.feature_names, f"feature_names of {data.name!r}")
        if len(data.feature_names) != data.x.shape[1]:
            raise DataError(
                "feature_names and x differ in length",
                where=data.name,
                expected=f"{data.x.shape[1]} names",
                got=f"{len(data.feature_names)} names",
            )


def _hash_dataset(digest: Any, data: Dataset, done: tuple[str, ...] = ()) -> None:
    for field in ("x", "y", "weight", "group", "time")[len(done) :]:
        digest.update(f"|{field}:".encode())
        _hash_values(digest, getattr(data, field) if field != "x" or data.content is None else np.array([data.content]))
    digest.update(repr((data.task, data.feature_names, data.class_names)).encode())
    for field in ("validation", "test"):
        part = getattr(data, field)
        digest.update(f"|{field}:{part is not None}".encode())
        if part is not None:
            _hash_dataset(digest, part)


def _hash_values(digest: Any, values: Any) -> None:
    if values is None:
        digest.update(b"none")
    elif isinstance(values, Rows):
        digest.update(f"{values.dtype.newbyteorder('<').str}{values.shape}".encode())
        for part in row_chunks(np.arange(len(values)), values.shape[1:]):
            little = np.ascontiguousarray(values[part], dtype=values.dtype.newbyteorder("<"))
            digest.update(little.view(np.uint8).data)
    elif isinstance(values, Sequences):
        for part in (values.table, values.starts, values.lengths):
            _hash_values(digest, part)
    elif is_table(values):
        from pellucid.data.frames import hash_series

        for series in values.get_columns():
            hash_series(digest, series)
    elif values.dtype == object:
        digest.update(f"{values.shape}".encode())
        for value in values.ravel().tolist():
            text = f"{type(value).__name__}:{value}".encode()
            digest.update(len(text).to_bytes(8, "little") + text)
    else:
        little = values.dtype.newbyteorder("<")
        digest.update(f"{little.str}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values, dtype=little).view(np.uint8).data)
