"""What the doctor knows of a run: its record, and nothing else. Plain numbers, whoever wrote them.

Every question to a record goes through a `Case`, which answers with NumPy arrays and with "not known" (empty arrays,
None, NaN) where a log does not tell: so a truncated record, one without validation, one of another tool's, or one with
steps out of order is read as far as it goes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pellucid.signals.record import Record

BENDS = ("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "sigmoid", "tanh", "softmax")
WEIGHTY = ("dense", "output", "conv", "conv_transpose", "rnn", "lstm", "gru", "embed")
RECURRENT = ("rnn", "lstm", "gru")


@dataclass(frozen=True)
class Series:
    """One value at each of some steps, in order. values: [n], or [n, layers]."""

    steps: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def finite(self) -> "Series":
        """Without what is not finite; of one value a step only."""
        good = np.isfinite(self.values)
        return Series(self.steps[good], self.values[good])


class Case:
    """A run, as its record tells it; `result` (as in result.json) where it is finished and was compared with others."""

    def __init__(self, record: Record, result: Mapping[str, Any] | None = None):
        self.record, self.result = record, result or {}

    # -- what it was told -----------------------------------------------------------------------------------------

    def told(self, key: str, default: Any = None) -> Any:
        """A value of the header's setup."""
        return self.record.setup.get(key, default)

    @property
    def trivial(self) -> float | None:
        """The loss of the best constant answer, where it is known."""
        return self.figure("trivial_loss")

    def figure(self, key: str) -> float | None:
        """A number of the header's setup; None where it is not told, or is none."""
        return _number(self.told(key))

    def names(self, key: str) -> tuple[str, ...]:
        """Texts of the header's setup; () where there are none."""
        given = self.told(key)
        return tuple(text for text in given if isinstance(text, str)) if isinstance(given, list | tuple) else ()

    def spec(self, key: str) -> dict[str, Any] | None:
        """A thing of the header's setup as a recipe names it, `{"type": "mlp", ...}`; None where it is not told."""
        given = self.told(key)
        return given if isinstance(given, dict) and isinstance(given.get("type"), str) else None

    @cached_property
    def kinds(self) -> list[str]:
        """The kind of each layer, "" where it is not known."""
        given = list(self.record.kinds)[: len(self.record.layers)]
        return given + [""] * (len(self.record.layers) - len(given))

    def layers(self, *kinds: str) -> list[int]:
        """The places of the layers of these kinds, in forward order."""
        return [i for i, kind in enumerate(self.kinds) if kind in kinds]

    # -- what happened --------------------------------------------------------------------------------------------

    @cached_property
    def last_step(self) -> int:
        lines = (*self.record.steps, *self.record.chunks, *self.record.epochs)
        return max((step for line in lines if (step := _step(line)) is not None), default=0)

    def losses(self, part: str) -> Series:
        """Loss of a part at each epoch's end: "validation", "sample" (the training set, scored), "train" (the mean
        while learning)."""
        return self.scores(part, "loss")

    def scores(self, part: str, name: str) -> Series:
        return _series((_step(line, "epoch"), _of(line, part, name)) for line in self.record.epochs)

    @cached_property
    def training(self) -> Series:
        """The training loss, epoch by epoch: scored where it was, else the mean while learning."""
        scored = self.losses("sample")
        return scored if len(scored) else self.losses("train")

    @cached_property
    def validation(self) -> Series:
        return self.losses("validation")

    @cached_property
    def batch_losses(self) -> Series:
        """The loss of single batches, at the measured steps."""
        return _series((_step(line), line.get("loss")) for line in self.record.steps)

    @cached_property
    def rates(self) -> Series:
        """The learning rate at the measured steps."""
        return _series((_step(line), line.get("learning_rate")) for line in self.record.steps)

    def signal(self, group: str, name: str) -> Series:
        """One statistic of every layer (`activation`, `gradient`) or weight (`weight`) at the measured steps,
        [n, layers]."""
        width = len(self.record.weights if group == "weight" else self.record.layers)
        return _wide(self.record.steps, lambda line: _of(line, group, name), width)

    def through_time(self, layer: str) -> Series:
        """The gradient's size at some steps back in time of a recurrent layer, the first step first, [n, places]."""
        rows = [row for line in self.record.steps if isinstance(row := _of(line, "time", layer), list)]
        width = len(rows[0]) if rows else 0
        return _wide(self.record.steps, lambda line: _of(line, "time", layer), width)

    def units(self, name: str) -> Series:
        """ "dead", "saturated" or "rank" of every layer, after each pass, [n, layers]."""
        return _wide(self.record.units, lambda line: line.get(name), len(self.record.layers))

    def chunk_figure(self, name: str) -> Series:
        """ "scale" or "skipped" of each chunk: of a run in float16."""
        return _series((_step(line), line.get(name)) for line in self.record.chunks)

    def chunk_loss(self, name: str) -> Series:
        """ "mean", "std", "min", "max" or "turns" of the losses of each chunk's steps."""
        return _series((_step(line), _of(line, "loss", name)) for line in self.record.chunks)

    @cached_property
    def update_ratios(self) -> Series:
        """How far an update moves each weight, beside its own size: rms(update) / rms(weight), [n, weights]."""
        update, weight = aligned(self.signal("weight", "update"), self.signal("weight", "rms"))
        with np.errstate(divide="ignore", invalid="ignore"):
            return Series(update.steps, np.where(weight.values > 0, update.values / weight.values, np.nan))


def median(values: np.ndarray) -> float:
    """Of what is finite; NaN where nothing is."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def aligned(*several: Series) -> list[Series]:
    """These series at the steps that all of them have: a line may hold the one and lack the other."""
    common = several[0].steps
    for one in several[1:]:
        common = np.intersect1d(common, one.steps)
    return [Series(common, one.values[np.isin(one.steps, common)]) for one in several]


def _number(value: Any) -> float | None:
    """Numbers may be written as "nan", "inf" and "-inf"; what is no number at all is not known (None)."""
    if not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def known(of: Mapping[str, Any], key: Any) -> float | None:
    """A number of a plain dict; None where there is none."""
    return _number(of.get(key))


def _step(line: Mapping[str, Any], other: str = "step") -> int | None:
    value = _number(line.get("step", line.get(other)))
    return None if value is None or not abs(value) < 2**53 else int(value)


def _of(line: Mapping[str, Any], group: str, name: str) -> Any:
    found = line.get(group)
    return found.get(name) if isinstance(found, dict) else None


def _series(pairs: Iterable[tuple[int | None, Any]]) -> Series:
    """In the order of steps, the last value where a step comes twice; without what is not known."""
    found = {step: one for step, value in pairs if step is not None and (one := _number(value)) is not None}
    steps = sorted(found)
    return Series(np.array(steps, np.int64), np.array([found[s] for s in steps], np.float64))


def _wide(lines: list[dict[str, Any]], pick: Any, width: int) -> Series:
    found: dict[int, list[float]] = {}
    for line in lines:
        values, step = pick(line), _step(line)
        if isinstance(values, list) and len(values) == width and step is not None:
            found[step] = [float("nan") if (one := _number(v)) is None else one for v in values]
    steps = sorted(found)
    values = np.array([found[s] for s in steps], np.float64).reshape(len(steps), width)
    return Series(np.array(steps, np.int64), values)
