"""What each column of a table is for: number, true/false, category, date, or nothing a network can use, and why.

Roles follow from the structure of the whole table (types, whether values repeat), never from training statistics.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import polars as pl

ID_NAME = re.compile(
    r"^(id|index|idx|row|nr|no|key|uuid|guid|unnamed.*|column \d+|row.?(id|number|nr)|.*[_ .-]id|.*[a-z]Id)$"
)


def column_roles(table: pl.DataFrame) -> tuple[dict[str, str], dict[str, str]]:
    """({column: role}, {column left out: reason}); roles are "number", "boolean", "category" and "date".

    >>> table = pl.DataFrame({"id": [7, 8, 9], "size": [2.5, 1.5, 2.5], "kind": ["a", "b", "a"]})
    >>> column_roles(table)
    ({'size': 'number', 'kind': 'category'}, {'id': 'whole numbers that count the rows, like an index'})
    """
    return settled({series.name: column_facts(series) for series in table.get_columns()})


class Facts(NamedTuple):
    """What one column tells: its role if it has one, why it would be left out, and why it looks like a counter."""

    role: str | None
    reason: str | None
    counter: str | None


def column_facts(series: pl.Series) -> Facts:
    role, reason = _role(series)
    return Facts(role, reason, _counter(series) if reason is None and role == "number" else None)


def settled(facts: dict[str, Facts]) -> tuple[dict[str, str], dict[str, str]]:
    """The roles of all columns, as `column_roles` gives them: where nothing else is left, a counter is the feature."""
    roles = {name: fact.role for name, fact in facts.items() if fact.role is not None}
    left = {name: fact.reason for name, fact in facts.items() if fact.reason is not None}
    counters = {name: fact.counter for name, fact in facts.items() if fact.counter is not None}
    for name, reason in counters.items():
        if len(roles) > len(counters):
            del roles[name]
            left[name] = reason
    return roles, left


def _role(series: pl.Series) -> tuple[str | None, str | None]:
    dtype = series.dtype
    if series.null_count() == len(series):
        return None, "all values are missing"
    if dtype == pl.Boolean:
        return "boolean", None
    if dtype.is_numeric() or isinstance(dtype, pl.Duration):
        return "number", None
    if dtype.is_temporal():
        return "date", None
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        reason = _text(series.cast(pl.String).drop_nulls())
        return (None, reason) if reason else ("category", None)
    return None, f"values of type {dtype} are no features"


def _text(known: pl.Series) -> str | None:
    """Why a text column is no category: identifiers do not repeat, free text has many words."""
    distinct = known.n_unique()
    words = (known.str.count_matches(r"\s+").mean() or 0) + 1  # type: ignore[operator]
    if words >= 4 and distinct > max(20, 0.2 * len(known)):
        return "free text"
    if distinct == len(known) and len(known) > 2:
        return "text that is different in each row, like a name or an identifier"
    if distinct > 0.9 * len(known) and len(known) >= 100:
        return "text that is different in nearly each row, like a name or an identifier"
    return None


def _counter(series: pl.Series) -> str | None:
    """Why a column of whole numbers tells rows apart and nothing else."""
    if not series.dtype.is_integer() or series.null_count() or len(series) < 3 or series.n_unique() < len(series):
        return None
    if int(series.max()) - int(series.min()) == len(series) - 1:  # type: ignore[arg-type]
        return "whole numbers that count the rows, like an index"
    if ID_NAME.match(series.name.strip().lower()) or ID_NAME.match(series.name.strip()):
        steps = series.cast(pl.Int64, strict=False).diff().drop_nulls()
        if len(steps) and ((steps > 0).all() or (steps < 0).all()):
            return "whole numbers that only rise or fall, with the name of an identifier"
    return None
