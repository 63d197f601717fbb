"""Tables of one row a step as sequences: cut by a group column, or a long series into windows, in order of time.

Sequence i is `lengths[i]` rows of one table from row `starts[i]` on: windows overlap, and no row is stored twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.data.split import Split
from pellucid.errors import DataError, SettingError, nearest

if TYPE_CHECKING:
    import polars as pl

MARK = "\0sequence"  # a column's name that no file has


@dataclass(frozen=True)
class Cut:
    """How a table becomes sequences: a sequence for each value of `group`, sorted by `time`; or, with `window`, every
    run of so many steps (within each group, where there is one)."""

    group: str | None = None
    time: str | None = None
    window: int | None = None


@dataclass(frozen=True, eq=False)
class Sequences:
    """Raw sequences: rows of `table` in order, none stored twice. `ahead`: 1 where targets lie one row behind them."""

    table: pl.DataFrame
    starts: np.ndarray
    lengths: np.ndarray
    cut: Cut = Cut()
    ahead: int = 0

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(sequences, steps of the longest, columns)."""
        return len(self), int(self.lengths.max(initial=0)), self.table.width

    def __getitem__(self, rows: Any) -> Sequences:
        """These sequences, with the rows of the table that they and their targets use."""
        starts, lengths = self.starts[rows], self.lengths[rows]
        used = _covered(starts, lengths + self.ahead, self.table.height)
        place = np.cumsum(used) - 1
        return replace(self, table=self.table.filter(used), starts=place[starts], lengths=lengths)

    def rows_of(self, rows: np.ndarray) -> np.ndarray:
        """The numbers of the table's rows that these sequences hold, each once."""
        return np.flatnonzero(_covered(self.starts[rows], self.lengths[rows], self.table.height))

    def without_overlap(self, parts: Split) -> Split:
        """The parts without the windows that share a row, input or target, with a part that comes before."""
        taken = np.zeros(self.table.height, dtype=bool)
        kept = []
        for rows in (parts.train, parts.validation, parts.test):
            starts, spans = self.starts[rows], self.lengths[rows] + self.ahead
            before = np.concatenate([[0], np.cumsum(taken)])
            free = before[starts + spans] == before[starts]
            kept.append(rows[free])
            taken |= _covered(starts[free], spans[free], len(taken))
        for rows, left, name in zip((parts.validation, parts.test), kept[1:], ("validation", "test"), strict=True):
            if len(rows) and not len(left):
                raise DataError(
                    f"the series is too short: no window of {self.shape[1]} steps fits into the {name} part",
                    where="window",
                    expected=f"more than {self.shape[1]} rows in each part",
                    got=f"{len(rows)} rows",
                    fix=f"--window {max(1, (len(rows) - 1) // 2)}, or larger shares with --split",
                )
        return Split(*kept)


def cut_table(
    table: pl.DataFrame, cut: Cut, where: str, targets: tuple[str, ...] = (), each_step: bool = False
) -> tuple[Sequences, pl.DataFrame | np.ndarray | None, np.ndarray, list[str]]:
    """(sequences, their targets, the row of each target in the given table, notes).

    Gaps are filled with the last value known before them in the same sequence. A window's target is the row behind it;
    a sequence's is the last value that is known, or with `each_step` (one target) those of all steps as they are,
    [sequences, steps of the longest]. Without `targets` (rows to predict) windows go up to the last row.
    Raises `DataError` for a missing column, a group or time with gaps, and where nothing is a sequence.
    """
    from pellucid.data.frames import series_values

    codes, order = _order(table, cut, where)
    table, codes = table[order], codes[order]
    firsts = np.flatnonzero(np.diff(codes, prepend=-1))
    lengths = np.diff(np.append(firsts, len(codes)))
    notes = _describe(table, cut, codes, lengths, where)
    filled = _forward_filled(table, codes, notes)
    inputs = filled.drop([c for c in (cut.group, cut.time) if c is not None])
    ahead = int(bool(targets))
    if cut.window is None:
        last = firsts + lengths - 1
        y = filled.select(targets)[last] if targets else None
        if each_step and targets:
            y = laid_out(series_values(table[targets[0]]), firsts, lengths)
        notes += [_ragged(table, codes, name, where) for name in targets if not each_step]
        found = Sequences(inputs.drop(targets), firsts, lengths, cut)
    else:
        starts = _windows(firsts, lengths, cut.window, ahead, where)
        last = starts + cut.window - 1 + ahead
        y = table.select(targets)[last] if targets else None
        found = Sequences(inputs, starts, np.full(len(starts), cut.window), cut, ahead)
    if not found.table.width:
        raise DataError(
            "no feature is left", where=where, expected="a column besides target, group and time",
            got=", ".join(table.columns),
        )  # fmt: skip
    return found, y, order[last], [note for note in notes if note]


def _order(table: pl.DataFrame, cut: Cut, where: str) -> tuple[np.ndarray, np.ndarray]:
    """(number of each row's sequence, in order of first appearance; the rows sorted by sequence, then by time)."""
    from pellucid.data.frames import series_values

    values = {}
    for role, name in (("group", cut.group), ("time", cut.time)):
        if name is None:
            values[role] = np.zeros(table.height, np.int64) if role == "group" else np.arange(table.height)
            continue
        if name not in table.columns:
            raise DataError(
                f"there is no column {name!r}", where=f"{where} ({role})", expected="a column of the table",
                got=", ".join(table.columns[:12]), fix=nearest(name, table.columns),
            )  # fmt: skip
        series = table[name]
        if series.null_count():
            row = int(series.is_null().arg_max() or 0)
            raise DataError(
                f"the {role} column has gaps", where=f"{where}, column {name!r}, row {row + 1:,}",
                expected="a value in each row", got=f"{series.null_count():,} missing",
            )  # fmt: skip
        values[role] = np.unique(series_values(series), return_inverse=True)[1]
    _, first, codes = np.unique(values["group"], return_index=True, return_inverse=True)
    codes = np.argsort(np.argsort(first))[codes.reshape(-1)]
    return codes, np.lexsort((values["time"], codes))


def _windows(firsts: np.ndarray, lengths: np.ndarray, window: int, ahead: int, where: str) -> np.ndarray:
    """The first row of each window of `window` steps that fits, with its target, into its series."""
    if window < 1:
        raise SettingError("a setting is out of range", where="window", expected="a whole number >= 1", got=window)
    counts = np.maximum(lengths - window - ahead + 1, 0)
    if not counts.any():
        longest = int(lengths.max())
        raise DataError(
            "the series is shorter than the window",
            where=where,
            expected=f"at least {window + ahead} rows" + (" in a group" if len(lengths) > 1 else ""),
            got=f"{longest} rows",
            fix=f"--window {max(1, longest // 4)}" if longest > 1 else "give a longer series",
        )
    return np.concatenate([first + np.arange(count) for first, count in zip(firsts, counts, strict=True)])


def _describe(table: pl.DataFrame, cut: Cut, codes: np.ndarray, lengths: np.ndarray, where: str) -> list[str]:
    """What a person should know of the cut; all sequences of one row are an error."""
    roles = [f"column {c!r} is the {r} and no feature" for r, c in (("group", cut.group), ("time", cut.time)) if c]
    notes = [*roles] if cut.time else [*roles, "the steps are taken in the order of the rows, for no time was named"]
    if cut.time is not None:
        same = int(
            (table[cut.time].shift(1) == table[cut.time]).fill_null(False).to_numpy()[1:][np.diff(codes) == 0].sum()
        )
        if same:
            notes.append(f"{same:,} rows have the same time as the one before in their sequence; they keep their order")
    if cut.window is not None:
        return notes
    if lengths.max() == 1:
        raise DataError(
            "each sequence has one row only",
            where=f"{where}, column {cut.group!r}",
            expected="several rows, the steps, with the same value",
            got=f"{len(lengths):,} different values in {table.height:,} rows",
            fix="name with --group the column that says to which sequence a row belongs",
        )
    short, long, single = int(lengths.min()), int(lengths.max()), int((lengths == 1).sum())
    steps = f"{long} steps" if short == long else f"{short} to {long} steps (median {int(np.median(lengths))})"
    notes.append(f"{len(lengths):,} sequences of {steps}")
    if single:
        notes.append(f"{single:,} sequences have a single row")
    return notes


def _forward_filled(table: pl.DataFrame, codes: np.ndarray, notes: list[str]) -> pl.DataFrame:
    """Gaps take the last value known before them in their sequence."""
    import polars as pl
    import polars.selectors as cs

    table = table.with_columns(cs.float().fill_nan(None))
    gaps = sum(s.null_count() for s in table.get_columns())
    if not gaps:
        return table
    marked = table.with_columns(pl.Series(MARK, codes))
    filled = marked.with_columns(pl.exclude(MARK).forward_fill().over(MARK)).drop(MARK)
    left = sum(s.null_count() for s in filled.get_columns())
    if left < gaps:
        notes.append(f"{gaps - left:,} missing values are filled with the last one known before them in their sequence")
    return filled


def _ragged(table: pl.DataFrame, codes: np.ndarray, name: str, where: str) -> str | None:
    """A note where a target changes within sequences."""
    import polars as pl

    if table[name].dtype.is_nested():
        raise DataError(
            "a target must be one value", where=f"{where}, column {name!r}", expected="a number or a label in each row",
            got=f"values of type {table[name].dtype}",
        )  # fmt: skip
    both = pl.DataFrame({"code": codes, "y": table[name]}).drop_nulls()
    different = int((both.group_by("code").agg(pl.col("y").n_unique())["y"] > 1).sum())
    if not different:
        return None
    return (
        f"target {name!r} changes within {different:,} sequences: the last value of each is taken "
        "(--each-step: each step has its own)"
    )


def laid_out(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """One value for each row of a table as [sequences, steps of the longest]."""
    step = np.arange(int(lengths.max(initial=0)))
    real = step < lengths[:, None]
    out = values[np.where(real, starts[:, None] + step, 0)]
    if real.all():
        return out
    out = out if out.dtype.kind == "f" else out.astype(object)
    out[~real] = np.nan if out.dtype.kind == "f" else None
    return out


def _covered(starts: np.ndarray, lengths: np.ndarray, rows: int) -> np.ndarray:
    """Which of `rows` rows lie in one of these stretches."""
    edges = np.zeros(rows + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + lengths, -1)
    return np.cumsum(edges[:-1]) > 0
