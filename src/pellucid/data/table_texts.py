"""Which columns of a table are texts to be read: one, to be judged, or two, of which one is written from the other."""

from __future__ import annotations

from typing import Any

import polars as pl

from pellucid.data.roles import column_roles
from pellucid.errors import DataError, SettingError


def only_text(table: pl.DataFrame) -> str | None:
    """The column of text that is the only one a network could learn from, or None.

    >>> only_text(pl.DataFrame({"id": [1, 2, 3], "name": ["Ada", "Alan", "Grace"]}))
    'name'
    """
    text = [s.name for s in table.get_columns() if s.dtype == pl.String]
    numbers = [s for s in table.get_columns() if s.dtype.is_float() or s.dtype.is_temporal() or s.dtype == pl.Boolean]
    if not text or any(s.null_count() < len(s) for s in numbers):
        return None
    roles, left = column_roles(table)
    if len(roles) == 1 and next(iter(roles.values())) == "number" and len(text) == 1:  # a counter that nothing outdoes
        name = next(iter(roles))
        alone = column_roles(pl.DataFrame([table[name], pl.Series("other", [0.5] * table.height)]))[0]
        roles = roles if name in alone else {}
    found = [name for name in text if name in left and not left[name].startswith("all values")]
    return found[0] if not roles and len(found) == 1 else None


def text_column(table: pl.DataFrame, name: str, where: str) -> pl.Series:
    """A column as text; `DataError` where it is empty or cannot be."""
    series = table[name]
    if series.dtype.is_nested() or series.dtype.is_temporal():
        raise DataError(
            "the column holds no text", where=f"{where}, column {name!r}", expected="text", got=str(series.dtype)
        )
    series = series.cast(pl.String)
    if (series.fill_null("").str.strip_chars() == "").all():
        raise DataError(
            "the column of text is empty", where=f"{where}, column {name!r}", expected="text in some rows",
            got=f"{len(series):,} rows without any",
        )  # fmt: skip
    return series


def pair_columns(table: pl.DataFrame, text: str | None, target: Any, where: str) -> tuple[str, str]:
    """(source, target): as they are named, or the two columns of text where there are just two."""
    if isinstance(target, list | tuple) and len(target) == 1:
        target = target[0]
    if isinstance(target, list | tuple):
        raise SettingError("pairs have one target", where="target", got=", ".join(target))
    free = [s.name for s in table.get_columns() if s.dtype == pl.String and s.name not in (text, target)]
    wanted = [text or None, target or None]
    if wanted.count(None) != len(free) and None in wanted:
        raise DataError(
            "it is not clear which columns are the pairs",
            where=where,
            expected="two columns of text, source and target",
            got=", ".join(table.columns[:12]),
            fix="name them: text=... (--text) is the source, target=... (--target) what is to be written",
        )
    source, written = (name or free.pop(0) for name in wanted)
    return source, written
