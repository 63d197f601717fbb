"""NumPy arrays in: one check for everything array-like, and `.npz` files (never unpickled)."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.data.mapped import open_stored
from pellucid.errors import DataError

# the names under which people save the parts of a set
NPZ_PARTS = {
    "": ("", "_train"),
    "validation": ("_validation", "_val", "_valid"),
    "test": ("_test",),
}


def as_array(x: Any, where: str) -> np.ndarray:
    """Anything array-like as a numeric array with the rows first, `[n, ...]`, at least two-dimensional.

    Raises `DataError` for text, objects, complex numbers, sparse matrices and one-dimensional input.

    >>> as_array([[1, 2], [3, 4]], "x").shape
    (2, 2)
    """
    if hasattr(x, "toarray") and hasattr(x, "nnz"):
        raise DataError("sparse matrices are not supported", where=where, got=type(x).__name__, fix="use x.toarray()")
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise DataError(
            "the rows do not all have the same length", where=where, expected="one array [rows, features]", got=error
        ) from None
    if array.dtype == object:
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise DataError(
                "the array holds text or objects",
                where=where,
                expected="numbers",
                got="dtype object",
                fix="give a table (pandas, polars, a CSV file), whose text columns are encoded",
            ) from None
    if array.dtype.kind not in "biuf":
        raise DataError(
            "the array does not hold real numbers",
            where=where,
            expected="whole or floating-point numbers",
            got=f"dtype {array.dtype}",
            fix="give a table (pandas, polars, a CSV file), whose text and date columns are encoded",
        )
    if array.ndim < 2:
        raise DataError(
            "the features need a row for each example",
            where=where,
            expected="an array [rows, features] or [rows, height, width]",
            got=f"shape {array.shape}",
            fix="reshape your data: x.reshape(-1, 1) for one feature, x.reshape(1, -1) for one example",
        )
    if array.shape[0] == 0 or 0 in array.shape:
        raise DataError(
            "the data are empty", where=where, expected="at least one row and one feature", got=f"shape {array.shape}"
        )
    return array


def as_vector(values: Any, name: str, rows: int) -> np.ndarray:
    """One value for each row: `[rows]`. A column `[rows, 1]` is flattened.

    Raises `DataError` where the length differs.
    """
    vector = to_numpy(values)
    if vector.ndim == 2 and vector.shape[1] == 1:
        vector = vector[:, 0]
    if vector.ndim != 1 or len(vector) != rows:
        raise DataError(
            f"{name} needs one value for each row",
            where=name,
            expected=f"{rows:,} values",
            got=f"shape {vector.shape}",
        )
    return vector


def to_numpy(values: Any) -> np.ndarray:
    """An array, list, or a pandas, polars or Arrow column as NumPy; text becomes objects, missing text None."""
    if isinstance(values, np.ndarray):
        return values.astype(object) if values.dtype.kind in "US" else values
    if type(values).__module__.split(".")[0] in ("pandas", "polars", "pyarrow"):
        from pellucid.data.frames import column_values

        return column_values(values)
    array = np.asarray(values)
    if array.dtype.kind in "US":  # numpy would turn [1, "a"] into text: keep what the person gave
        array = np.asarray(values, dtype=object)
    return array


def missing(values: np.ndarray) -> np.ndarray:
    """Where a raw target column has no value: None or NaN."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype == object:
        return np.array([v is None or v != v for v in values.tolist()], dtype=bool)
    return np.zeros(len(values), dtype=bool)


def read_npz(path: Path, whole: bool = True) -> dict[str, dict[str, np.ndarray]]:
    """The parts of an `.npz` file: {"": {"x", "y", ...}, "validation": {...}, "test": {...}}, absent parts left out.

    Keys: `x` and `y` (or `X`, `Y`), alone or ended by `_train`, `_val`/`_valid`/`_validation`, `_test`;
    and `weight`, `group`, `time` in the same manner. Without `whole`, an `x` that lies there uncompressed (`np.savez`)
    is left in the file, as a memory map. Object arrays raise `DataError`: nothing is ever unpickled.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise DataError("the file is no .npz archive", where=path, expected="what np.savez writes")
    try:
        # opened here, for np.load leaves a file open that it cannot read
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            keys = list(archive.files)
            parts = {
                part: {field: _member(archive, key, path, whole or field != "x") for field, key in found.items()}
                for part, found in parts_of(keys).items()
            }
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise DataError("the .npz file cannot be read", where=path, expected="what np.savez wrote", got=error) from None
    if "" not in parts:
        raise DataError(
            "the .npz file has no features",
            where=path,
            expected="the keys x and y, or x_train, y_train, x_test, y_test",
            got=f"the keys {', '.join(keys) or '(none)'}",
            fix="save with np.savez(path, x=features, y=targets)",
        )
    return parts


def parts_of(keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """{part: {field: key}} of the names under which the arrays of a set are saved.

    >>> parts_of(["x_train", "y_train", "x_test", "other"])
    {'': {'x': 'x_train', 'y': 'y_train'}, 'test': {'x': 'x_test'}}
    """
    lower = {key.lower(): key for key in keys}
    found: dict[str, dict[str, str]] = {}
    for part, suffixes in NPZ_PARTS.items():
        mine = {
            field: lower[field + suffix]
            for suffix in reversed(suffixes)
            for field in ("x", "y", "weight", "group", "time")
            if field + suffix in lower
        }
        if "x" in mine:
            found[part] = mine
    return found


def _member(archive: Any, key: str, path: Path, whole: bool) -> np.ndarray:
    try:
        if not whole and (mapped := open_stored(path, key)) is not None:
            return mapped
        return archive[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise DataError("an array in the .npz file is damaged", where=f"{path}, key {key!r}", got=error) from None
        raise DataError(
            "the .npz file holds Python objects, which could run code when opened",
            where=f"{path}, key {key!r}",
            expected="an array of numbers or text",
            got="an object array",
            fix=f"save it with a plain dtype, such as {key}.astype(str) for labels",
        ) from None
