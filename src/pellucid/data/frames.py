"""pandas, polars and Arrow objects in: all become one polars table. pandas and pyarrow are never imported here."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from pellucid.data.distinct import different
from pellucid.errors import DataError


def as_table(x: Any, where: str = "the table") -> pl.DataFrame:
    """A pandas, polars or Arrow table as a polars table; column names become text and must differ.

    >>> as_table({"a": [1, 2]}).columns
    ['a']
    """
    root = type(x).__module__.split(".")[0]
    if isinstance(x, pl.DataFrame):
        return x
    if isinstance(x, pl.LazyFrame):
        return x.collect()
    if isinstance(x, pl.Series):
        return x.to_frame()
    if root == "pandas":
        return _from_pandas(x, where)
    try:
        return pl.DataFrame(x)
    except Exception as error:  # polars raises many kinds; a person needs the table's name
        raise DataError("the table cannot be read", where=where, got=f"{type(x).__name__}: {error}") from None


def column_values(values: Any) -> np.ndarray:
    """One column of a table as NumPy; text and gaps as objects, with None for what is missing."""
    if hasattr(values, "to_frame") and type(values).__module__.split(".")[0] == "pandas":
        values = _pandas_series("values", values)
    elif not isinstance(values, pl.Series):
        values = pl.Series("values", values)  # an Arrow array
    return series_values(values)


def series_values(series: pl.Series) -> np.ndarray:
    """A polars column as NumPy: numbers keep their type; text, and columns with gaps, become objects (None = missing).

    >>> series_values(pl.Series([1, None])).tolist()
    [1, None]
    """
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    if series.dtype.is_decimal():
        series = series.cast(pl.Float64)
    if series.dtype.is_float():
        return series.fill_null(float("nan")).to_numpy()
    if series.dtype == pl.String or series.null_count() or series.dtype.is_nested():
        values = np.empty(len(series), dtype=object)
        values[:] = series.to_list()
        return values
    return series.to_numpy()


def _from_pandas(frame: Any, where: str) -> pl.DataFrame:
    if not hasattr(frame, "columns"):  # a pandas Series
        frame = frame.to_frame(name=frame.name if frame.name is not None else "x")
    names = [str(name) for name in frame.columns]
    different(names, where)
    return pl.DataFrame([_pandas_series(name, frame.iloc[:, i], where) for i, name in enumerate(names)])


def _pandas_series(name: str, column: Any, where: str = "the table") -> pl.Series:
    kind = getattr(column.dtype, "kind", "O")
    if isinstance(column.dtype, np.dtype) and kind in "biuf":
        return pl.Series(name, column.to_numpy(), nan_to_null=True)  # pandas writes gaps as NaN
    if isinstance(column.dtype, np.dtype) and kind in "Mm":
        return pl.Series(name, column.to_numpy().astype(f"{kind}8[us]"))
    missing = column.isna().to_numpy()
    values = [None if gone else value for value, gone in zip(column.tolist(), missing, strict=True)]
    if str(column.dtype) == "category":
        values = [None if v is None else str(v) for v in values]
    try:
        return pl.Series(name, values, strict=True)
    except (TypeError, ValueError, pl.exceptions.PolarsError):
        kinds = sorted({type(v).__name__ for v in values if v is not None})
        raise DataError(
            f"column {name!r} mixes kinds of values",
            where=where,
            expected="one kind in a column",
            got=", ".join(kinds),
            fix=f"convert it, for instance with frame[{name!r}].astype(str)",
        ) from None


def hash_series(digest: Any, series: pl.Series) -> None:
    """Feed a column (name, type, gaps, values) to a hash; the same in every polars release."""
    digest.update(f"|{series.name}:{series.dtype}:{len(series)}:".encode())
    digest.update(np.packbits(series.is_null().to_numpy()).tobytes())
    if series.dtype in (pl.Categorical, pl.Enum) or series.dtype.is_decimal():
        series = series.cast(pl.String)
    if series.dtype == pl.String:
        text = series.fill_null("")
        digest.update(text.str.len_bytes().to_numpy().astype("<u8").tobytes())
        digest.update(str(text.str.join("").item()).encode())
    elif series.dtype.is_numeric() or series.dtype.is_temporal() or series.dtype == pl.Boolean:
        physical = series.to_physical().fill_null(0 if series.dtype != pl.Boolean else False)
        values = physical.to_numpy()
        digest.update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes())
    else:  # nested columns are never features: their text is enough
        digest.update(repr(series.to_list()).encode())
