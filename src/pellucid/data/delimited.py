"""CSV and TSV: read as text through polars, then given types here, so that what was inferred can be said and repeated.

The lines are checked first where something looks wrong, so that an error names the line a person has to mend.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import polars as pl

from pellucid.data.distinct import different
from pellucid.data.utf8 import utf8
from pellucid.errors import DataError

SEPARATORS = (",", ";", "\t", "|")


def read_delimited(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """A CSV or TSV file, every column still text, with notes on what was done about oddities."""
    text = utf8(path)
    header, separator = _header(text, path)
    notes: list[str] = []
    try:
        table = pl.read_csv(text, separator=separator, infer_schema=False, has_header=True, raise_if_empty=False)
    except pl.exceptions.PolarsError as error:
        _check_rows(text, separator, len(header), path)
        problem = str(error).splitlines()[0]
        raise DataError(
            "the table cannot be read",
            where=path,
            expected=f"rows of {len(header)} fields separated by {separator!r}, quotes in pairs",
            got=problem,
        ) from None
    if table.width != len(header):
        _check_rows(text, separator, len(header), path)
        raise DataError("the table cannot be read", where=path, expected=f"{len(header)} columns", got=table.width)
    table.columns = header
    if table.height and table[header[-1]].null_count():  # a row cut short leaves its last field empty
        _check_rows(text, separator, len(header), path)
    if table.width > 1:
        blank = pl.col(header[0]).str.strip_chars().fill_null("") == ""
        empty = table.select(pl.all_horizontal(blank, *(pl.col(name).is_null() for name in header[1:]))).to_series()
        if empty.any():
            table = table.filter(~empty)
            notes.append(f"{int(empty.sum()):,} empty lines were left out")
    unnamed = [name for i, name in enumerate(header) if name == f"column {i + 1}"]  # a separator at each line's end
    table = table.drop([name for name in unnamed if table[name].null_count() == table.height and table.width > 1])
    if not table.height:
        raise DataError(
            "the table has a header but no rows", where=path, expected="at least one row below the header", got="none"
        )
    if all(_is_number(name) for name in header):
        notes.append(
            f"the first line ({', '.join(header[:4])}{', ...' if len(header) > 4 else ''}) was read as the column "
            "names, yet it holds numbers: add a line of names if it is a row"
        )
    return table, notes


def _header(text: bytes, path: Path) -> tuple[list[str], str]:
    """The column names and the separator, judged by the first line that is not blank."""
    line = next(line for line in _lines(text) if line.strip())
    separator = "\t" if ".tsv" in path.suffixes or ".tab" in path.suffixes else ","
    if separator not in line:
        separator = max(SEPARATORS, key=line.count) if any(s in line for s in SEPARATORS) else separator
    names = [name.strip() for name in next(csv.reader(_lines(text.lstrip(b"\r\n")), delimiter=separator))]
    names = [name or f"column {i + 1}" for i, name in enumerate(names)]
    different(names, f"{path}, line 1")
    return names, separator


def _check_rows(text: bytes, separator: str, width: int, path: Path) -> None:
    """Raise `DataError` at the first row that has another number of fields than the header."""
    reader = csv.reader(_lines(text), delimiter=separator)
    try:
        for row in reader:
            if len(row) != width and any(field.strip() for field in row):
                raise DataError(
                    "a row has the wrong number of fields",
                    where=f"{path}, line {reader.line_num}",
                    expected=f"{width} fields, as in the header",
                    got=f"{len(row)}: {separator.join(row)[:60]}",
                    fix="put quotes around fields that hold the separator",
                )
    except csv.Error as error:
        raise DataError("the table cannot be read", where=f"{path}, line {reader.line_num}", got=error) from None


def _lines(text: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(text), encoding="utf-8", newline="")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
