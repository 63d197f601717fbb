"""A table that a learner brought: bounded, read by Pellucid's own loader, and kept in memory for the session alone."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.data import Dataset, load
from pellucid.errors import DataError, SettingError, nearest

MOST_BYTES, MOST_ROWS, MOST_COLUMNS, MOST_CLASSES = 2 << 20, 10_000, 100, 10


@dataclass(frozen=True, eq=False)
class Table:
    """columns: names in order; numeric: those that hold numbers, which can be drawn by; frame: all rows, untouched."""

    name: str
    columns: tuple[str, ...]
    numeric: tuple[str, ...]
    frame: Any
    guess: str  # the column that the loader takes for the target

    def dataset(self, target: str, columns: tuple[str, ...]) -> Dataset:
        """The rows, with one column as the target and these as features. Raises `SettingError` for other names."""
        for name in (target, *columns):
            if name not in self.columns:
                raise SettingError(
                    f"the table has no column {name!r}", where=self.name, fix=nearest(name, self.columns)
                )
        if target in columns or not columns:
            raise SettingError("choose a target, and at least one other column to learn from", where=self.name)
        data = load(self.frame.select([*columns, target]), target=target)
        classes = self.frame[target].n_unique()
        if target not in self.numeric and classes > MOST_CLASSES:
            raise DataError(
                f"the target {target!r} has too many classes for the playground", where=self.name,
                expected=f"at most {MOST_CLASSES}", got=classes, fix="choose another target",
            )  # fmt: skip
        return data


def read_table(body: bytes, name: str) -> Table:
    """A table from the bytes of a CSV file. Raises `DataError` where it is too large or no table."""
    shown = Path(name.replace("\\", "/")).name[:80] or "table.csv"
    if len(body) > MOST_BYTES:
        raise DataError(
            "the table is too large for the playground", where=shown, expected=f"at most {MOST_BYTES >> 20} MB",
            got=f"{len(body) / 2**20:.1f} MB", fix=f"train on it with: pellucid train {shown}",
        )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="pellucid-") as folder:
        path = Path(folder) / ("table.tsv" if shown.lower().endswith((".tsv", ".tab")) else "table.csv")
        path.write_bytes(body)
        try:
            data = load(path, target=False)
            guess = load(path).target or ()
        except (DataError, SettingError) as error:
            raise _told(error, str(path), shown) from None
    frame = data.x
    if len(frame) > MOST_ROWS or not 2 <= frame.width <= MOST_COLUMNS:
        raise DataError(
            "the table is not of a size for the playground", where=shown,
            expected=f"at most {MOST_ROWS:,} rows, 2 to {MOST_COLUMNS} columns",
            got=f"{len(frame):,} rows, {frame.width} columns", fix=f"train on it with: pellucid train {shown}",
        )  # fmt: skip
    numeric = tuple(c for c, kind in frame.schema.items() if kind.is_numeric())
    return Table(shown, tuple(frame.columns), numeric, frame, guess[0] if guess else frame.columns[-1])


def _told(error: Any, path: str, name: str) -> DataError:
    """The loader's error with the file's own name in place of the temporary one."""
    parts = {k: v if v is None else str(v).replace(path, name) for k, v in error.parts.items()}
    return DataError(error.problem.replace(path, name), **parts)
