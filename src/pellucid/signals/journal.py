"""A record that is written from outside: what a watcher of somebody else's training loop hears, in the right lines.

    journal = Journal(every=100)
    journal.begin(layers, weights, kinds, setup, shapes)
    journal.step({"step": 0, "activation": ..., ...})       # what was measured in a step
    journal.log(updates=1, loss=0.7)                         # what the loop tells, as often as it likes
    journal.chunk(100, norms)                                # every so many steps
    journal.close(); journal.record

A loop may tell a loss at each step, before or after its update, now and then, or once an epoch together with the
validation's. Losses may be arrays on a device: they are read (`read`) only when a chunk ends, all together.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pellucid.signals.record import Record, RecordWriter, number, numbers, of_losses
from pellucid.signals.sampling import is_measured

MOST_LINES = 2_000  # of each kind; after that every second one is left out, and half as many are measured


def _floats(values: Sequence[Any]) -> list[float]:
    return [float(v) for v in values]


class Journal:
    """Gathers losses, and writes lines into `record` and, with `out`, into a file."""

    def __init__(self, every: int, out: Path | None = None, read: Callable[[Sequence[Any]], list[float]] = _floats):
        self.every, self.out, self.read = every, out, read
        self._record, self._writer, self._offset = Record(), None, 0
        self._steps: list[dict[str, Any]] = []  # of this chunk, until its losses are read
        self._told: list[tuple[int, Any]] = []  # (step, loss) of this chunk, perhaps still on the device
        self._loose: list[tuple[int, float]] = []  # of loops that tell no validation: (updates, loss) of each call
        self._chunk: list[float] = []  # the losses of this chunk that were read
        self._sum, self._count = 0.0, 0  # of the losses since the last epoch's line
        self._before: bool | None = None  # whether a loss is told before its update
        self._last = 0  # updates at the last call of `log`
        self.begun = self.told = self.validated = False

    @property
    def record(self) -> Record:
        """What is known so far."""
        self.flush()
        record = self._record
        if self.validated or not (self._loose or record.chunks):
            return record
        return Record(**{**vars(record), "epochs": record.epochs + self._closing()})

    def is_measured(self, step: int) -> bool:
        return is_measured(step, self.every)

    def begin(
        self, layers: list[str], weights: list[str], kinds: list[str], setup: Mapping[str, Any],
        shapes: Sequence[Sequence[int]] = (),
    ) -> None:  # fmt: skip
        """The head of the record. shapes: of the weights, in Pellucid's layouts."""
        told = {key: value for key, value in setup.items() if value is not None}
        if told.get("loss") == "cross_entropy" and told.get("classes", 0) > 1:
            told.setdefault("trivial_loss", math.log(told["classes"]))  # of equally many of each
        header = {"layers": layers, "weights": weights, "kinds": kinds, "shapes": [[*map(int, s)] for s in shapes]}
        header["setup"] = told
        self._record.add({"kind": "header", **header})
        if self.out is not None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self._writer = RecordWriter(self.out, header)
        self.begun = True

    def step(self, line: dict[str, Any]) -> None:
        self._steps.append({"kind": "step", **line})

    def units(self, line: dict[str, Any]) -> None:
        self.flush()
        self._append({"kind": "units", **line})

    def log(
        self, updates: int, loss: Any = None, train: Mapping[str, Any] | None = None,
        validation: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """What the loop tells after so many updates. loss: of a batch, or the mean since the last call where that is
        long ago. validation: scores, with which an epoch ends."""
        since, self._last = updates - self._last, updates
        if since <= 1 and self.told and not validation and self._before is not None and loss is not None:
            self._told.append((updates if self._before else updates - 1, loss))  # the common call
            return
        self.told |= loss is not None or bool(validation)
        if self._before is None and loss is not None:
            self._before = updates == 0
        if loss is not None and (since <= 1 or not validation):
            self._told.append((updates if self._before else max(updates - 1, 0), loss))
        if validation:
            self.epoch(updates, loss if since > 1 else None, train or {}, validation)
        elif loss is not None and since > 1 and not self.validated:
            self._loose = _thinned([*self._loose, (updates, self.read([loss])[0])])

    def chunk(self, step: int, norms: Any = None) -> None:
        """A chunk of steps has ended. norms: of each weight, where they are known."""
        line: dict[str, Any] = {"kind": "chunk", "step": step}
        if norms is not None:
            line["norm"] = numbers(norms)
        self.flush()
        if self._chunk:
            line["loss"] = of_losses(self._chunk)
        self._chunk = []
        self._append(line)
        if max(len(self._record.steps), len(self._record.chunks)) > MOST_LINES:
            self.every *= 2
            steps, chunks = self._record.steps, self._record.chunks
            steps[:] = [line for line in steps if is_measured(line["step"], self.every)]
            chunks[:] = _thinned(chunks, MOST_LINES // 2)

    def flush(self) -> None:
        """Write the steps measured so far, each with its loss."""
        values = self.read([loss for _, loss in self._told]) if self._told else []
        by_step: dict[int, list[float]] = {}
        for (step, _), value in zip(self._told, values, strict=True):
            by_step.setdefault(step, []).append(value)  # several batches may be gathered for one update
        means = {step: sum(values) / len(values) for step, values in by_step.items()}
        for line in self._steps:
            if line["step"] in means:
                line["loss"] = number(means[line["step"]])
            self._append(line)
        self._told, self._steps = [], []
        self._sum, self._count = self._sum + sum(means.values()), self._count + len(means)
        self._chunk += means.values()

    def close(self) -> None:
        """Write what is left, and close the file; it opens again where more is told."""
        self.flush()
        if not self.validated:
            for line in self._closing():
                self._append(line)
            self._loose, self.validated = [], True
        if self._writer is not None:
            self._offset = self._writer.offset
            self._writer.close()
            self._writer = None

    def epoch(self, updates: int, loss: Any, train: Mapping[str, Any], validation: Mapping[str, Any]) -> None:
        """An epoch has ended. loss: the mean over it; None: of the losses told since the last one."""
        self.flush()
        self.validated = True
        own = self.read([*train.values(), *validation.values()])
        scores = dict(zip([*train, *(f"validation_{name}" for name in validation)], own, strict=True))
        if loss is not None:
            mean: float | None = self.read([loss])[0]
        else:
            mean = self._sum / self._count if self._count else None
        learned = {} if mean is None else {"loss": number(mean)}
        line = {
            "kind": "epoch", "epoch": len(self._record.epochs) + 1, "step": updates,
            "train": learned | {name: number(scores[name]) for name in train},
            **({"validation": {n: number(scores[f"validation_{n}"]) for n in validation}} if validation else {}),
        }  # fmt: skip
        self._append(line)
        self._sum, self._count = 0.0, 0

    def _closing(self) -> list[dict[str, Any]]:
        """In place of epochs, where no validation was told: each call with a loss, or the chunks' means."""
        pairs: list[tuple[int, Any]] = list(self._loose)
        if not pairs:
            pairs = [(line["step"], line["loss"]["mean"]) for line in self._record.chunks if "loss" in line]
        return [
            {"kind": "epoch", "epoch": count, "step": step, "train": {"loss": number(loss)}}
            for count, (step, loss) in enumerate(pairs, 1)
        ]

    def _append(self, line: dict[str, Any]) -> None:
        self._record.add(line)
        if self.out is not None and self.begun:
            if self._writer is None:
                self._writer = RecordWriter(self.out, offset=self._offset)
            self._writer.append(line)
            self._writer.flush()


def _thinned(lines: list[Any], most: int = MOST_LINES) -> list[Any]:
    return lines[1::2] if len(lines) > most else lines
