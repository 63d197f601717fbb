"""Parquet files as a set: one file, or a folder of files with the same columns, in memory or left on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from pellucid.data.lazy_table import LazyTable
from pellucid.data.reading import Reading
from pellucid.data.stream import cannot_because, room, said
from pellucid.errors import DataError

SMALL = 32 << 20  # bytes of a file that is read without a look at what it would take


def read_parquet(path: Path, files: tuple[Path, ...], target: Any, reading: Reading) -> tuple[Any, list[str]]:
    """(a polars table, or a `LazyTable` where it is to stay on disk, notes).

    Rows to be predicted, texts and the steps of sequences are read into memory, as ever.
    Raises `DataError` for damaged files and files that differ in their columns, `SettingError` where streaming is asked
    for and cannot be.
    """
    if len(files) == 1 and not reading.stream and (reading.stream is False or files[0].stat().st_size < SMALL):
        from pellucid.data.tables import read_table

        return read_table(files[0])
    table = LazyTable(files, reading.say, reading.progress)
    if not table.height or not table.width:
        raise DataError("the table has no rows", where=path, expected="at least one row", got=f"shape {table.shape}")
    why = _why_not(table, target, reading)
    if why and reading.stream:
        raise cannot_because(path, why)
    if why or not (reading.stream or (reading.stream is None and table.unpacked > room())):
        return table.read(), []
    return table, [said(table.unpacked)]


def _why_not(table: LazyTable, target: Any, reading: Reading) -> str:
    """Why such a table has to be in memory; nothing where it need not."""
    if target is False:
        return "rows to be predicted"
    if reading.text is not None or reading.task == "pairs" or all(t == pl.String for t in table.schema.values()):
        return "text"
    return "the steps of sequences" if reading.sequences or reading.window is not None else ""
