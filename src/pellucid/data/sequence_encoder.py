"""The fitted encoder of sequences of rows: a table's encoder for the rows, and how many steps there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from pellucid.data.dataset import frame_like
from pellucid.data.moments import moments
from pellucid.data.sequences import Cut, Sequences, cut_table
from pellucid.data.table_encoder import TableEncoder
from pellucid.data.token_encoder import check_context
from pellucid.errors import DataError

MOST_STEPS = 1_000  # unless a context is named


@dataclass(frozen=True)
class SequenceEncoder:
    """Sequences as float32 `[n, steps, d]`; shorter ones are filled up with NaN at the end if `padded`, of longer ones
    the last steps are kept. `cut` says how a new table becomes sequences."""

    rows: TableEncoder
    steps: int
    padded: bool
    cut: Cut
    kind: ClassVar[str] = "sequences"

    @property
    def names(self) -> tuple[str, ...]:
        return self.rows.names

    @property
    def shape(self) -> tuple[int, int]:
        return self.steps, len(self.rows.names)

    @classmethod
    def fit(cls, x: Sequences, rows: np.ndarray, context: int | None = None) -> tuple[SequenceEncoder, list[str]]:
        """Roles from the whole table, statistics from the rows of the training sequences."""
        columns, notes = TableEncoder.fit(x.table, x.rows_of(rows))
        longest = int(x.lengths.max())
        steps = min(longest, check_context(context) or MOST_STEPS)
        if x.cut.window is not None:
            steps = longest
        if steps < longest:
            notes.append(
                f"{int((x.lengths > steps).sum()):,} of {len(x):,} sequences are longer than {steps} steps: their last "
                f"{steps} are kept"
            )
        padded = bool((x.lengths < steps).any())
        if padded:
            notes.append(f"sequences shorter than {steps} steps are filled up at the end, which the network is told")
        return cls(columns, steps, padded, x.cut), notes

    def moments(self, x: Sequences, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scale of each feature over the training rows, each counted once; (0, 1) for columns of 0 and 1."""
        values = self.rows.encode(x.table[x.rows_of(rows)], "training", lambda note: None)
        mean, spread = moments([values], "channel")
        scale = np.where(spread <= 1e-12 * np.abs(mean), 1.0, spread)
        numbers = np.array(self.rows.standardised, dtype=bool)
        return np.where(numbers, mean, 0.0), np.where(numbers, scale, 1.0)

    def encode(self, x: Any, where: str, say: Callable[[str], None]) -> np.ndarray:
        """Sequences, or a table that is cut as the one of training was, as float32 `[n, steps, d]`."""
        if frame_like(x) or isinstance(x, dict):
            from pellucid.data.frames import as_table

            x = cut_table(as_table(x, where), self.cut, where)[0]
        if not isinstance(x, Sequences):
            raise DataError(
                "the network was trained on sequences of a table's rows", where=where,
                expected=f"a table with the columns {', '.join(self.rows.inputs[:8])}", got=f"shape {np.shape(x)}",
            )  # fmt: skip
        values = self.rows.encode(x.table, where, say)
        lengths = np.minimum(x.lengths, self.steps)
        starts = x.starts + x.lengths - lengths  # of those that are too long, the last steps
        step = np.arange(self.steps)
        real = step < lengths[:, None]  # [n, steps]
        if not self.padded and not real.all():
            short = int(np.argmin(real.all(axis=1)))
            raise DataError(
                "a sequence is shorter than those of training", where=f"{where}, sequence {short + 1:,}",
                expected=f"{self.steps} steps, as all had in training", got=f"{int(lengths[short])} steps",
            )  # fmt: skip
        out = values[np.where(real, starts[:, None] + step, 0)]  # [rows, d] -> [n, steps, d]
        out[~real] = np.nan
        return out

    def examples(self, table: Any) -> dict[str, list[Any]]:
        """What tells the sequences of a table apart: {group column: value}, and of windows the time of the last row
        ("row": its number, from 1, where there is no time)."""
        x, _, rows, _ = cut_table(table, self.cut, "the table")
        found = {} if self.cut.group is None else {self.cut.group: table[self.cut.group][rows].to_list()}
        if x.cut.window is not None:
            time = self.cut.time
            found |= {"row": (rows + 1).tolist()} if time is None else {time: table[time][rows].to_list()}
        return found

    def skipped(self, table: Any) -> np.ndarray:
        """How many steps at the beginning of each sequence of a table are too many, and left out."""
        from pellucid.data.frames import as_table

        return np.maximum(cut_table(as_table(table, "the table"), self.cut, "the table")[0].lengths - self.steps, 0)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "rows": self.rows.to_json(),
            "steps": self.steps,
            "padded": self.padded,
            "cut": asdict(self.cut),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SequenceEncoder:
        return cls(TableEncoder.from_json(data["rows"]), data["steps"], data["padded"], Cut(**data["cut"]))
