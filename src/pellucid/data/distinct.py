"""Columns are found by their names, so no two may share one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pellucid.errors import DataError


def different(names: Sequence[str], where: str) -> None:
    """Raise `DataError` where two columns share a name."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(
            "two columns have the same name",
            where=where,
            expected="a different name for each column",
            got=", ".join(f"{name!r} {names.count(name)} times" for name in twice),
            fix="rename one of them",
        )
