"""What is inspected: a trained network beside the part of the data that its score is told on, and what it says of it.

Every module here takes a `Subject`. What is costly and serves several of them (the outputs, what leaves each layer) is
computed once and kept.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from pellucid.data import Dataset, Part, Prepared, Targets
from pellucid.data.parts import strided
from pellucid.inspection.grid import grid_of
from pellucid.inspection.looking import Looked, look
from pellucid.network.looks import attention_looks
from pellucid.network.network import Network
from pellucid.network.trace import Traced, operations, trace
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


class Read(NamedTuple):
    """ids, following: [n, steps], each token and the one behind it.   logits: [n, steps, vocabulary], what the network
    said of the latter.   looks: see `attention_looks`."""

    ids: np.ndarray
    following: np.ndarray
    logits: np.ndarray
    looks: dict[str, np.ndarray]


def rounded(value: Any, digits: int = 4) -> Any:
    """A float with so many significant digits: a page shows no more, and a file is half as large."""
    value = float(value)
    return float(f"{value:.{digits}g}") if np.isfinite(value) else value
