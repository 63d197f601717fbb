"""Table files in: CSV, TSV, Parquet, JSON-lines, each column with a type that was inferred and can be explained."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pellucid.data.delimited import read_delimited
from pellucid.data.utf8 import utf8
from pellucid.errors import DataError

SUFFIXES = (".csv", ".tsv", ".tab", ".parquet", ".pq", ".jsonl", ".ndjson")
# what stands for a gap in text tables (the list of pandas, plus "?" of the UCI archive)
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "NULL", "null", "None", "?")
DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y")
CLOCKS = ("%H:%M:%S%.f", "%H:%M")
LOOKS_LIKE_A_DATE = r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d{1,2}:\d{2}.*)?$"


def table_suffix(path: Path) -> str | None:
    """The suffix by which a file is a table (".csv.gz" counts as ".csv"), else None."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes = suffixes[:-1]
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES else None


def read_table(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """A table file with inferred types, and notes on what a person should be told.

    Text becomes whole numbers, numbers, true/false or dates where every value that is not missing is one.
    Raises `DataError` for empty, binary, ragged or wrongly encoded files.
    """
    suffix = table_suffix(path)
    if path.stat().st_size == 0:
        raise DataError("the file is empty", where=path, expected="a table with at least one row", got="0 bytes")
    if suffix in (".parquet", ".pq"):
        table, notes = _polars(pl.read_parquet, path, "a Parquet file"), []
    elif suffix in (".jsonl", ".ndjson"):
        table, notes = _read_json_lines(path), []
        text = [s for s in table.get_columns() if s.dtype == pl.String and _date_like(s)]
        table = table.with_columns([d for s in text if (d := _as_date(s, s.null_count())) is not None])
    else:
        table, notes = read_delimited(path)
        table, more = infer_types(table)
        notes += more
    if not table.height or not table.width:
        raise DataError("the table has no rows", where=path, expected="at least one row", got=f"shape {table.shape}")
    return table, notes


def infer_types(table: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Give each text column the narrowest type that holds all its values, and say what looked odd.

    >>> infer_types(pl.DataFrame({"a": ["1", "NA"], "b": ["x", "y"], "c": ["True", "false"]}))[0].dtypes
    [Int64, String, Boolean]
    """
    columns, notes = [], []
    for series in table.get_columns():
        typed, note = _infer(series) if series.dtype == pl.String else (series, None)
        columns.append(typed)
        if note:
            notes.append(note)
    return pl.DataFrame(columns), notes


def _infer(series: pl.Series) -> tuple[pl.Series, str | None]:
    text = series.str.strip_chars()
    text = text.set(text.is_in(MISSING).fill_null(False), None)
    gaps = text.null_count()
    if gaps == len(text):
        return text, None
    for dtype in (pl.Int64, pl.Float64):
        numbers = text.cast(dtype, strict=False)
        if numbers.null_count() == gaps:
            return numbers, None
    if (
        text.str.len_chars().max() in (4, 5)
        and text.str.to_lowercase().is_in(["true", "false"]).sum() == len(text) - gaps
    ):
        return (text.str.to_lowercase() == "true").alias(series.name), None
    if _date_like(text):
        dates = _as_date(text, gaps)
        if dates is not None:
            return dates, None
    return text, _odd(text, numbers, gaps)


def _odd(text: pl.Series, numbers: pl.Series, gaps: int) -> str | None:
    """A note for a text column that was probably meant to hold numbers."""
    known = len(text) - gaps
    comma = text.str.contains(r"^[-+]?\d{1,3}(\.?\d{3})*,\d+$")
    if known and (comma.sum() or 0) + (known - (numbers.null_count() - gaps)) >= 0.9 * known and comma.any():
        example = text.filter(comma.fill_null(False))[0]
        return (
            f"column {text.name!r} is read as text: values such as {example!r} have a comma in the number; "
            "write 12.5, not 12,5"
        )
    wrong = numbers.is_null() & text.is_not_null()
    if known >= 10 and wrong.sum() <= 0.1 * known:
        row = int(wrong.arg_max() or 0)
        return (
            f"column {text.name!r} is read as text: {int(wrong.sum()):,} of {known:,} values are no numbers, "
            f"the first is {text[row]!r} in row {row + 1:,}"
        )
    return None


def _date_like(text: pl.Series) -> bool:
    first = text.drop_nulls().head(1)
    return len(first) == 1 and bool(first.str.contains(LOOKS_LIKE_A_DATE)[0])


def _as_date(text: pl.Series, gaps: int) -> pl.Series | None:
    """The column as dates or times, if one format reads every value; months come first where both would do."""
    first = text.drop_nulls().head(1)
    formats = [(day, None) for day in DATES] + [(d, f"{b}{c}") for d in DATES for c in CLOCKS for b in " T"]
    for day, clock in formats:
        for values in (first, text):  # one value tells quickly whether the format is worth a try
            if clock is None:
                dates = values.str.to_date(day, strict=False)
            else:
                dates = values.str.to_datetime(day + clock, strict=False, time_unit="us")
            if dates.null_count() != (gaps if values is text else 0):
                break
        else:
            return dates
    zoned = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", strict=False, time_unit="us", time_zone="UTC")
    return zoned.dt.replace_time_zone(None) if zoned.null_count() == gaps else None


def _read_json_lines(path: Path) -> pl.DataFrame:
    text = utf8(path)
    try:
        return pl.read_ndjson(text, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            "the JSON lines cannot be read",
            where=_bad_json_line(text, path),
            expected="one object a line",
            got=_first(error),
        ) from None


def _bad_json_line(text: bytes, path: Path) -> str:
    import json

    for number, line in enumerate(text.splitlines(), 1):
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return f"{path}, line {number}"
        except ValueError:
            return f"{path}, line {number}"
    return str(path)


def _polars(read, path: Path, what: str) -> pl.DataFrame:
    try:
        return read(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError("the file cannot be read", where=path, expected=what, got=_first(error)) from None


def _first(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
