"""What is inspected: a trained network beside the part of the data that its score is told on, and what it says of it.

Every module here takes a `Subject`. What is costly and serves several of them (the outputs, what leaves each layer) is
computed once and kept.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from pellucid.data import Dataset, Part, Prepared, Targets
from pellucid.inspection.grid import grid_of
from pellucid.inspection.looking import Looked, look
from pellucid.network.looks import attention_looks
from pellucid.network.network import Network, forward
from pellucid.network.rows import pad_rows, power_of_two
from pellucid.network.trace import Traced, block_rows, operations, trace
from pellucid.outcome import streams
from pellucid.train.loss import Loss
from pellucid.train.metric import Metric

MOST_ROWS = 2_000  # rows that outputs are computed for, where nobody gives those of the whole part
TOKENS = 320  # of a text that a language model reads
PARTS = ("test", "validation", "train")


@dataclass(frozen=True, eq=False)
class Subject:
    """name, part: what is looked at.   rows: [m], which rows of the part `outputs` [m, ...] (through the link) are of;
    None for a language model, whose outputs at every step may not fit into memory.   raw: the part's set as it came,
    where it is known; `part.rows` are its rows.   loss: stands for the metric where there is none.
    """

    network: Network
    prepared: Prepared
    name: str
    part: Part
    rows: np.ndarray
    outputs: np.ndarray | None
    metric: Metric | None = None
    loss: Loss | None = None
    raw: Dataset | None = None

    @classmethod
    def of(
        cls, network: Network, prepared: Prepared, *, metric: Metric | None = None, loss: Loss | None = None,
        dataset: Dataset | None = None, outputs: dict[str, np.ndarray] | None = None,
    ) -> "Subject":  # fmt: skip
        """The test part if there is one, else validation, else training.

        outputs: of whole parts, by name, where they are known.
        """
        name = next(n for n in PARTS if (part := getattr(prepared, n)) is not None and len(part))
        part = getattr(prepared, name)
        rows = np.arange(len(part))
        found = (outputs or {}).get(name)
        if found is None and not prepared.targets.tokens:
            rows = strided(len(part), MOST_ROWS)
            found = network._forward(part.x[rows])
        own = None if dataset is None or name == "train" else getattr(dataset, name)
        raw = own if own is not None else dataset
        if raw is not None and len(raw) <= int(np.max(part.rows)):
            raw = None
        return cls(network, prepared, name, part, rows, found, metric, loss, raw)

    @property
    def targets(self) -> Targets:
        return self.prepared.targets

    @property
    def y(self) -> np.ndarray:
        """The targets of `rows`, encoded."""
        return self.part.y[self.rows]

    @property
    def weight(self) -> np.ndarray | None:
        return None if self.part.weight is None else self.part.weight[self.rows]

    @property
    def labels(self) -> list[str]:
        return [str(label) for label in self.targets.classes]

    @cached_property
    def grid(self) -> tuple[int, ...] | None:
        """(height, width) or (height, width, 3) where examples are images, or rows of pixels."""
        return grid_of(self.prepared.features)

    @cached_property
    def traced(self) -> Traced:
        return trace(self.network.layer, self.network.example())

    @cached_property
    def operations(self) -> int:
        """Of one example's forward pass."""
        return max(operations(self.network.layer, self.network.example()), 1)

    @cached_property
    def looked(self) -> Looked:
        return look(self.network, self.prepared, self.name, self.grid is not None, self.operations)

    @cached_property
    def read(self) -> "Read":
        """A piece of text that a language model has read, from the start of the part."""
        steps = self.part.x.shape[1]
        ids, following = (np.asarray(v[: max(TOKENS // steps, 1)]) for v in (self.part.x, self.part.y))
        if streams(self.network, self.targets):  # it reads on and on: one long row; else windows that stand alone
            ids, following = (v.reshape(1, -1)[:, :TOKENS] for v in (ids, following))
        return Read(ids, following, *attention_looks(self.network, ids))

    def raw_outputs(self, x: np.ndarray) -> np.ndarray:
        """Outputs before the link, in blocks of the one shape that `Network.predict` uses."""
        params, state = self.network._weights()
        size = min(block_rows(self.network.layer, self.network.example()), power_of_two(len(x)))
        out = []
        for start in range(0, len(x), size):
            block, n = pad_rows(x[start : start + size], size)
            out.append(np.asarray(forward(self.network.layer, params, state, block, None))[:n])
        return np.concatenate(out)


class Read(NamedTuple):
    """ids, following: [n, steps], each token and the one behind it.   logits: [n, steps, vocabulary], what the network
    said of the latter.   looks: see `attention_looks`."""

    ids: np.ndarray
    following: np.ndarray
    logits: np.ndarray
    looks: dict[str, np.ndarray]


def strided(n: int, most: int) -> np.ndarray:
    """At most `most` of n rows, evenly apart.

    >>> strided(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def rounded(value: Any, digits: int = 4) -> Any:
    """A float with so many significant digits: a page shows no more, and a file is half as large."""
    value = float(value)
    return float(f"{value:.{digits}g}") if np.isfinite(value) else value
