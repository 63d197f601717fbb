"""A table that stays in its Parquet files: one file or several of the same columns, read a column or a few rows at a
time. What it has of a polars table (`columns`, `table[name]`, `drop`, `head`) has the same meaning there.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pellucid.data.frames import hash_series, series_values
from pellucid.data.image_cache import Progress
from pellucid.data.lazy import OnDisk
from pellucid.data.parquet_footer import Group, row_groups
from pellucid.errors import DataError

BROKEN = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


class LazyTable(OnDisk):
    """Rows `index` (None: all) and columns `columns` of Parquet files that share one schema.

    Raises `DataError` for files that are damaged or cut off, and where their columns differ.
    """

    def __init__(
        self, files: Sequence[Path], say: Callable[[str], None] | None = None, progress: Progress | None = None
    ):
        self.files = tuple(files)
        self.say, self.progress = say or (lambda said: None), progress
        self.groups: list[list[Group]] = [row_groups(path) for path in self.files]
        self.schema = _one_schema(self.files)
        self.columns = list(self.schema)
        self.index: np.ndarray | None = None
        counts = [groups[-1].first + groups[-1].rows if groups else 0 for groups in self.groups]
        self.starts = [0, *np.cumsum(counts).tolist()]  # the first row of each file, and how many there are
        self.begun: Any = None  # the hash of all columns, once they were read
        self.whole: set[str] = set()  # columns of which it is known that no value is missing

    # -- what a table has ------------------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        return self.starts[-1] if self.index is None else len(self.index)

    @property
    def width(self) -> int:
        return len(self.columns)

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    def __len__(self) -> int:
        return self.height

    def take(self, rows: Any) -> LazyTable:
        rows = np.asarray(rows)
        return self._like(index=rows if self.index is None else self.index[rows])

    def drop(self, names: Sequence[str]) -> LazyTable:
        return self._like(columns=[name for name in self.columns if name not in names])

    def select(self, names: Sequence[str]) -> LazyTable:
        return self._like(columns=list(names))

    def head(self, rows: int) -> pl.DataFrame:
        return self[0:rows]

    def __getitem__(self, which: str | slice) -> Any:
        """A column by its name, or a slice of rows as a polars table: rows that lie side by side."""
        if isinstance(which, str):
            series = self._column(which)
            return series if self.index is None else series[self.index]
        rows = np.arange(*which.indices(self.height)) if self.index is None else self.index[which]
        return pl.concat([self._rows(int(row)) for row in rows]) if len(rows) else self._rows(0).clear()

    def get_columns(self) -> Iterator[pl.Series]:
        """One column after the other; when all were read, their hash is known, too."""
        digest = hashlib.sha256(b"|x:")
        for name in self.columns:
            series = self[name]
            hash_series(digest, series)
            yield series
        self.begun = digest

    def read(self) -> pl.DataFrame:
        """All of it, in memory."""
        return pl.DataFrame([self[name] for name in self.columns])

    def values(self, name: str) -> np.ndarray:
        """A column as NumPy; texts that are equal are one object."""
        series = self[name]
        if series.dtype not in (pl.String, pl.Categorical, pl.Enum):
            return series_values(series)
        text = series.cast(pl.String)
        levels = text.drop_nulls().unique().sort()
        codes = text.cast(pl.Enum(levels)).to_physical().cast(pl.Int64).fill_null(len(levels)).to_numpy()
        return np.array([*levels.to_list(), None], dtype=object)[codes]

    @cached_property
    def listing(self) -> str:
        """A digest of the files: names, sizes, times of change."""
        digest = hashlib.blake2b(digest_size=20)
        for path in self.files:
            stat = path.stat()
            digest.update(f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    @property
    def unpacked(self) -> int:
        """Bytes that it takes as a polars table in memory, and encoded for a network beside that, roughly."""
        sizes: dict[Any, int] = {
            pl.String: 16,
            pl.Boolean: 1,
            pl.Float32: 4,
            pl.Int32: 4,
            pl.Int16: 2,
            pl.Int8: 1,
            pl.UInt8: 1,
        }
        return self.height * sum(4 + sizes.get(dtype, 8) for dtype in self.schema.values())

    # -- reading ---------------------------------------------------------------------------------------------------

    def pieces(self, names: Sequence[str], most: int) -> Iterator[tuple[int, pl.DataFrame]]:
        """(first row, rows) of all files, row group by row group; of a group that takes more than `most` bytes, a few
        columns at a time."""
        for file, groups in enumerate(self.groups):
            for number, group in enumerate(groups):
                each = max(group.bytes, 8 * group.rows * len(self.schema)) / max(len(self.schema), 1)
                few = max(1, int(most / max(each, 1)))
                for start in range(0, len(names), few):
                    frame = self._group(file, number, names[start : start + few])
                    yield self.starts[file] + group.first, frame

    def _group(self, file: int, number: int, names: Sequence[str]) -> pl.DataFrame:
        group = self.groups[file][number]
        try:
            frame = self._scan(self.files[file]).slice(group.first, group.rows).select(names).collect()
        except BROKEN as error:
            raise self._damaged(file, number, names, error) from None
        if frame.height != group.rows:
            raise self._damaged(file, number, names, f"{frame.height:,} of its {group.rows:,} rows")
        return frame

    def _column(self, name: str) -> pl.Series:
        try:
            return pl.concat([self._scan(path).select(name).collect() for path in self.files])[name]
        except BROKEN as error:
            for file, groups in enumerate(self.groups):
                for number in range(len(groups)):
                    self._group(file, number, [name])
            raise DataError(
                "the column cannot be read", where=f"{self.files[0]}, column {name!r}", got=_first(error)
            ) from None

    def _rows(self, row: int) -> pl.DataFrame:
        file = bisect_right(self.starts, row) - 1
        try:
            return self._scan(self.files[file]).slice(row - self.starts[file], 1).select(self.columns).collect()
        except BROKEN as error:
            raise DataError("a row cannot be read", where=f"{self.files[file]}", got=_first(error)) from None

    def _scan(self, path: Path) -> pl.LazyFrame:
        return pl.scan_parquet(path, glob=False, hive_partitioning=False)

    def _damaged(self, file: int, number: int, names: Sequence[str], why: Any) -> DataError:
        """The error for a row group that cannot be read, with the column that is to blame."""
        path, group = self.files[file], self.groups[file][number]
        column = ""
        for name in names if len(names) > 1 else ():
            try:
                self._scan(path).slice(group.first, group.rows).select(name).collect()
            except BROKEN:
                column = f", column {name!r}"
                break
        if len(names) == 1:
            column = f", column {names[0]!r}"
        return DataError(
            "a row group cannot be read: the file is damaged",
            where=f"{path}, row group {number + 1} of {len(self.groups[file])} (rows {group.first + 1:,} to "
            f"{group.first + group.rows:,}){column}",
            expected="what was written", got=_first(why) if isinstance(why, BaseException) else why,
            fix="write the file again, or remove it if there are others",
        )  # fmt: skip

    def _like(self, columns: list[str] | None = None, index: np.ndarray | None = None) -> LazyTable:
        made = object.__new__(LazyTable)
        made.__dict__.update(self.__dict__)
        made.begun = None
        made.columns = self.columns if columns is None else columns
        made.index = self.index if index is None else index
        return made


def _one_schema(files: Sequence[Path]) -> dict[str, Any]:
    first: dict[str, Any] = {}
    for path in files:
        try:
            schema = dict(pl.read_parquet_schema(path))
        except BROKEN as error:
            raise DataError(
                "the file cannot be read", where=path, expected="a Parquet file", got=_first(error)
            ) from None
        first = first or schema
        if schema == first:
            continue
        for name in [*first, *(name for name in schema if name not in first)]:
            if schema.get(name) != first.get(name):
                raise DataError(
                    "the files differ in their columns", where=f"{path}, column {name!r}",
                    expected=f"{first.get(name, 'no such column')}, as in {os.path.basename(files[0])}",
                    got=str(schema.get(name, "no such column")),
                    fix="write the files with one schema, or leave this one out",
                )  # fmt: skip
    return first


def _first(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
