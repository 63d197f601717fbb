"""The record of a run: an append log of JSON lines, one header and then one line a sample.

    {"kind": "header", "schema": 1, "layers": [...], "weights": [...], "kinds": [...], "shapes": [...], "setup": {...}}
    {"kind": "step", "step": 100, "loss": 0.3, "learning_rate": 0.001,
     "activation": {"mean": [...], "rms": [...], "zero": [...], "nonfinite": [...]},        one value a layer
     "gradient": {"mean": [...], "rms": [...], "zero": [...], "nonfinite": [...]},          the same
     "weight": {"gradient": [...], "update": [...], "rms": [...]},                          one value a weight
     "time": {"lstm1": [...]}}          of a recurrent layer: rms of the gradient, in 16 stretches of its steps
    {"kind": "chunk", "step": 500, "norm": [...],                                           one norm a weight
     "loss": {"mean": ..., "std": ..., "min": ..., "max": ..., "turns": ...},               of the chunk's steps
     "scale": 65536.0, "skipped": 2}       in float16: what the loss is multiplied by; steps not made since the start
    {"kind": "units", "step": 500, "dead": [...], "saturated": [...], "rank": [...]}        one value a layer
    {"kind": "epoch", "epoch": 1, "step": 500, "train": {...}, "sample": {...}, "validation": {...}}

kinds: the layer's kind ("dense", "relu", "lstm", ...), one a layer; shapes: one a weight. setup: what the run was
told, where known: task, loss, optimizer, learning_rate, batch, rows, updates (the budget), steps_per_epoch, classes,
trivial_loss (of the best constant answer), ... A log that leaves a key, a line or a whole kind of line out is still a
record. "units" is measured over a pass of (a sample of) the training set: dead, the share of units that are the same
for every example; saturated, the share of (unit, example) pairs whose slope is under 1 % of the activation's largest;
rank, in how many directions the examples' activations differ (participation ratio), as a share of the possible; "nan"
where a layer has no such thing. turns: the share of steps at which the loss changed its direction.

Rows are wide (arrays in the header's order): a tenth of the size of one object a value. Non-finite numbers are the
strings "nan", "inf" and "-inf". No clock is in it: equal runs write equal bytes, and clock values go elsewhere.
Steps count updates made before the sample. Numpy only: a PyTorch loop writes the same record.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.errors import RunError
from pellucid.files import disk_errors

SCHEMA = 1


def number(value: Any) -> float | str:
    """Six significant digits, which is more than a sampled statistic holds; non-finite ones as strings.

    >>> number(0.123456789), number(float("inf")), number(3)
    (0.123457, 'inf', 3.0)
    """
    value = float(value)
    if value != value:
        return "nan"
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    return float(f"{value:.6g}")


def numbers(values: Any) -> list[float | str]:
    return [number(v) for v in np.asarray(values, np.float64).reshape(-1).tolist()]


def spread(sums: np.ndarray) -> dict[str, list[float | str]]:
    """Readable statistics from additive ones. sums: [layers, 5]: count, sum, squares, zeros, non-finite."""
    sums = np.asarray(sums, np.float64)
    count = np.maximum(sums[:, 0], 1)
    return {
        "mean": numbers(sums[:, 1] / count),
        "rms": numbers(np.sqrt(sums[:, 2] / count)),
        "zero": numbers(sums[:, 3] / count),
        "nonfinite": numbers(sums[:, 4] / count),
    }


def of_losses(losses: Any) -> dict[str, float | str]:
    """What a chunk's line says of the losses of its steps. turns: the share of steps at which the loss, having risen,
    fell, or the other way round; "nan" of fewer than three.

    >>> of_losses([2.0, 1.0, 3.0, 2.0])["turns"], of_losses([2.0, 1.0])["turns"]
    (1.0, 'nan')
    """
    values = np.asarray(losses, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # of a run that diverges they may be infinite
        change = np.sign(np.diff(values))
        turns = (change[1:] * change[:-1] < 0).mean() if len(values) > 2 else np.nan
        found = [values.mean(), values.std(), values.min(), values.max(), turns]
    return dict(zip(("mean", "std", "min", "max", "turns"), numbers(found), strict=True))


class RecordWriter:
    """Appends lines; `offset` is where the next one goes, which a checkpoint remembers."""

    def __init__(self, path: Path, header: Mapping[str, Any] | None = None, *, offset: int | None = None):
        """A new record with this header, or, with `offset`, the old one cut there."""
        self.path = path
        with disk_errors(path):
            if offset is None:
                self._file = open(path, "wb")  # noqa: SIM115  (it stays open as long as the writer)
                self.append({"kind": "header", "schema": SCHEMA, **(header or {})})
            else:
                self._file = open(path, "r+b" if path.exists() else "w+b")  # noqa: SIM115
                self._file.truncate(offset)
                self._file.seek(offset)

    @property
    def offset(self) -> int:
        return self._file.tell()

    def append(self, line: Mapping[str, Any]) -> None:
        with disk_errors(self.path):
            self._file.write(json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n")

    def flush(self, sync: bool = False) -> None:
        with disk_errors(self.path):
            self._file.flush()
            if sync:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file, whatever state the disk is in: what a checkpoint promised is on it already."""
        with suppress(OSError):
            self._file.close()


@dataclass
class Record:
    """A record in memory: its header, and its lines by kind."""

    layers: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    shapes: list[list[int]] = field(default_factory=list)
    setup: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    chunks: list[dict[str, Any]] = field(default_factory=list)
    units: list[dict[str, Any]] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)

    def add(self, line: dict[str, Any]) -> None:
        """One more line of the log; kinds of lines that are not known are passed over."""
        kind = line.get("kind")
        if kind == "header":
            self.layers, self.weights, self.kinds = (_texts(line.get(key)) for key in ("layers", "weights", "kinds"))
            self.shapes = _shapes(line.get("shapes"))
            self.setup = dict(line["setup"]) if isinstance(line.get("setup"), dict) else {}
        elif kind in ("step", "chunk", "units", "epoch"):
            getattr(self, kind if kind == "units" else f"{kind}s").append(line)

    def series(self, group: str, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps [n], values [n, layers or weights]) of one statistic, e.g. `series("gradient", "rms")`."""
        steps = np.array([line["step"] for line in self.steps], np.int64)
        return steps, np.array([line[group][name] for line in self.steps], np.float64)  # reads "nan" and "inf"


def _shapes(values: Any) -> list[list[int]]:
    """Shapes of weights; [] where they are damaged, for half of them would be laid beside the wrong weights."""
    if not isinstance(values, list):
        return []
    good = all(isinstance(v, list) and all(isinstance(n, int) and n > 0 for n in v) for v in values)
    return values if good else []


def _texts(values: Any) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list | tuple) else []


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Every object of a JSON-lines log; a last line that a crash cut short is left out."""
    with open(path, "rb") as file:
        for count, raw in enumerate(file, 1):
            if not raw.endswith(b"\n"):
                return
            try:
                line = json.loads(raw)
                if isinstance(line, dict):
                    yield line
            except ValueError as error:
                raise RunError("a line of the record is damaged", where=f"{path}, line {count}", got=error) from error


def read_record(path: Path) -> Record:
    """The record of a run, finished or going."""
    if not path.is_file():
        raise RunError("there is no record here", where=path)
    record = Record()
    for line in read_lines(path):
        if line.get("kind") == "header" and line.get("schema") != SCHEMA:
            raise RunError(
                "the record was written by another version of Pellucid", where=path,
                expected=f"schema {SCHEMA}", got=f"schema {line.get('schema')}",
            )  # fmt: skip
        record.add(line)
    return record
