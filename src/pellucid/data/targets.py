"""Targets: from labels and values to what a network's outputs are compared with, and back.

One column of classes is encoded as `int32 [n]`; numbers as standardised `float32 [n, k]`; several two-valued columns as
`float32 [n, k]` of 0 and 1 (multi-label); any mixture as `float32 [n, k]`, where each column owns a slice of outputs.
One column with a target at every step of sequences is `int32` or `float32 [n, steps]`; -1 or NaN do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pellucid.data.arrays import missing, to_numpy
from pellucid.data.dataset import Dataset
from pellucid.data.labels import column_kind, plain, split_targets, target_values, tidy
from pellucid.data.steps import only_real
from pellucid.errors import DataError, nearest

Label = str | int | float | bool
Place = Callable[[int], str]  # a place in an array of targets, in words


def in_row(i: int) -> str:
    return f"row {i + 1:,}"


@dataclass(frozen=True)
class TargetColumn:
    """One target: its kind ("class", "number", "binary", "token") and the outputs `[start:stop]` of the network it has.

    A "token" is the id of the next piece of text, at every step; the features' tokenizer knows the ids.
    Numbers are standardised as (y - mean) / scale. `classes` are the labels in their own type; whole-number labels that
    `class_names` gave names to are `coded`: label i means `classes[i]`.
    """

    name: str
    kind: str
    start: int
    stop: int
    classes: tuple[Label, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    coded: bool = False

    def encode(self, values: np.ndarray, where: str = "y", at: Place = in_row) -> np.ndarray:
        """Class indices `int32 [n]`, or standardised numbers `float32 [n]`; `DataError` names what does not fit, and
        where it stands, as `at` says of a place in `values`."""
        if self.kind == "token":
            return _ids(values, self.stop - self.start, where)
        if self.kind == "number":
            numbers = _numbers(values, self.name, where, at)
            return ((numbers - self.mean) / self.scale).astype(np.float32)
        return self._indices(values, where, at)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """The labels or values that the column's own outputs `[n, ..., stop - start]` mean."""
        if self.kind == "number":
            return outputs[..., 0].astype(np.float64) * self.scale + self.mean
        if self.kind == "token":
            return outputs.argmax(axis=-1)  # [n, steps, vocabulary] -> [n, steps]
        if outputs.shape[-1] == 1:  # one sigmoid output: the probability of the second class
            picked = (outputs[..., 0] > 0.5).astype(np.int64)
        else:
            picked = outputs.argmax(axis=-1)
        return self.labels[picked]

    @property
    def labels(self) -> np.ndarray:
        """The classes as an array: text as objects, numbers and booleans in their own type."""
        return np.array(self.classes, dtype=object if isinstance(self.classes[0], str) else None)

    def _indices(self, values: np.ndarray, where: str, at: Place) -> np.ndarray:
        if self.coded and values.dtype.kind in "iu":
            wrong = np.flatnonzero((values < 0) | (values >= len(self.classes)))
            if wrong.size:
                raise DataError(
                    "a label is out of range",
                    where=f"{where}, {self.name!r}, {at(int(wrong[0]))}",
                    expected=f"0 to {len(self.classes) - 1}, for the {len(self.classes)} class names",
                    got=values[wrong[0]],
                )
            return values.astype(np.int32)
        if values.dtype == object:  # text, or a mixture that cannot be sorted
            place = {v: i for i, v in enumerate(dict.fromkeys(values.tolist()))}
            found, inverse = list(place), np.array([place[v] for v in values.tolist()], dtype=np.int64)
        else:
            unique, inverse = np.unique(values, return_inverse=True)
            found = unique.tolist()
        index = {label: i for i, label in enumerate(self.classes)}
        native = [plain(v) for v in found]
        unknown = [v for v in native if v not in index]
        if unknown:
            shown = ", ".join(repr(v) for v in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
            raise DataError(
                f"label {unknown[0]!r} is not one of the classes that were trained",
                where=f"{where}, {self.name!r}, {at(int(np.argmax(inverse == native.index(unknown[0]))))}",
                expected=f"one of {', '.join(repr(c) for c in self.classes[:12])}"
                + (f", ... ({len(self.classes)} in all)" if len(self.classes) > 12 else ""),
                got=shown,
                fix=nearest(str(unknown[0]), [str(c) for c in self.classes]) if len(self.classes) <= 12 else None,
            )
        return np.array([index[v] for v in native], np.int32)[inverse.reshape(-1)]


@dataclass(frozen=True)
class Targets:
    """What a set's targets are, fitted on the training part.

    `loss` and `metric` are the defaults that suit: one column of classes "cross_entropy" and "accuracy"; numbers
    "mean_squared_error" and "r2"; several two-valued columns "binary_cross_entropy" and "accuracy"; mixtures "joint"
    and "loss"; tokens "cross_entropy" and "loss", or "exact_match" for pairs. `width` is the number of network outputs
    in all.

    >>> t = Targets.fit(Dataset([[0.0]] * 4, ["no", "yes", "no", "yes"]))
    >>> t.classes, t.encode(np.array(["yes", "no"])).tolist(), t.loss, t.width
    (('no', 'yes'), [1, 0], 'cross_entropy', 2)
    >>> t.decode(np.array([[0.1, 0.9]])).tolist()
    ['yes']
    """

    columns: tuple[TargetColumn, ...]
    pairs: bool = False  # of tokens: a text to be written from another, not the next token of the same
    steps: bool = False  # one column of classes or numbers, a target at every step of a sequence

    @property
    def kinds(self) -> set[str]:
        return {c.kind for c in self.columns}

    @property
    def task(self) -> str:
        if self.tokens:
            return "pairs" if self.pairs else "language"
        if self.kinds == {"number"}:
            return "regression"
        return "mixed" if "number" in self.kinds else "classification"

    @property
    def width(self) -> int:
        return self.columns[-1].stop

    @property
    def each_step(self) -> bool:
        """Whether there is a target for every step of a sequence."""
        return self.steps or self.tokens

    @property
    def tokens(self) -> bool:
        """Whether the targets are pieces of text, one at every step."""
        return self.kinds == {"token"}

    @property
    def loss(self) -> str:
        if self.kinds == {"number"}:
            return "mean_squared_error"
        if self.kinds == {"binary"}:
            return "binary_cross_entropy"
        return "cross_entropy" if len(self.columns) == 1 else "joint"

    @property
    def metric(self) -> str:
        if self.tokens:
            return "exact_match" if self.pairs else "loss"
        table = {"mean_squared_error": "r2", "cross_entropy": "accuracy", "binary_cross_entropy": "accuracy"}
        return table.get(self.loss, "loss")

    @property
    def classes(self) -> tuple[Label, ...]:
        """The labels of a single column of classes, in their own type; empty for any other target."""
        return self.columns[0].classes if len(self.columns) == 1 else ()

    @property
    def mean(self) -> np.ndarray:
        return np.array([c.mean for c in self.columns])

    @property
    def scale(self) -> np.ndarray:
        return np.array([c.scale for c in self.columns])

    @classmethod
    def fit(cls, data: Dataset, train: np.ndarray | None = None, where: str | None = None) -> Targets:
        """Kinds and classes from all rows of `data` whose targets are known, means and scales from rows `train`."""
        where = where or data.source or data.name
        columns: list[TargetColumn] = []
        start = 0
        raw = target_values(data)
        learned = raw if train is None or not data.each_step else target_values(data.take(train))
        for (name, values), (_, mine) in zip(raw, learned, strict=True):
            kind = column_kind(values, data.task, len(raw) > 1, f"{where}, target {name!r}")
            mine = mine if train is None or data.each_step else values[train]
            column = _fit_column(name, kind, values, mine, start, data, where)
            columns.append(column)
            start = column.stop
        return cls(tuple(columns), steps=data.each_step)

    def encode(self, y: Any, where: str = "y") -> np.ndarray:
        """Raw targets as the loss wants them: `int32 [n]` for one column of classes, else `float32 [n, k]`.

        Targets at every step are `int32` or `float32 [n, steps]`, -1 or NaN where there is none.
        Raises `DataError` for a label that was not trained, a value that is missing, or another number of columns.
        """
        if self.tokens:
            return self.columns[0].encode(np.asarray(y), where)
        if self.steps:
            return _encode_steps(self.columns[0], to_numpy(y), where)
        raw = split_targets(y, [c.name for c in self.columns])
        if len(raw) != len(self.columns):
            raise DataError(
                "the number of targets differs from training",
                where=where,
                expected=f"{len(self.columns)}: {', '.join(c.name for c in self.columns)}",
                got=len(raw),
            )
        encoded = []
        for column, (_, values) in zip(self.columns, raw, strict=True):
            gaps = missing(values)
            if gaps.any():
                raise DataError(
                    "a target is missing", where=f"{where}, {column.name!r}, row {int(gaps.argmax()) + 1:,}",
                    expected="a value in each row", got=f"{int(gaps.sum()):,} missing",
                )  # fmt: skip
            encoded.append(column.encode(tidy(values), where))
        if len(encoded) == 1 and self.columns[0].kind == "class":
            return encoded[0]
        return np.stack([e.astype(np.float32) for e in encoded], axis=1)  # k x [n] -> [n, k]

    def decode(self, outputs: np.ndarray) -> np.ndarray | dict[str, np.ndarray]:
        """Labels or values `[n]` from probabilities or standardised values `[n, width]`; several columns: a dict. Of
        every step: `[n, steps]` from `[n, steps, width]`."""
        outputs = np.asarray(outputs)
        if outputs.ndim == 1:
            outputs = outputs[:, None]
        if len(self.columns) == 1:
            return self.columns[0].decode(outputs)
        return {c.name: c.decode(outputs[:, c.start : c.stop]) for c in self.columns}

    def decode_steps(self, outputs: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Labels or values `[n, steps]` of encoded sequences x `[n, steps, d]`; None, or NaN among numbers, for steps
        that only fill up."""
        found = self.columns[0].decode(np.asarray(outputs))
        return only_real(x, found)

    def to_json(self) -> dict[str, Any]:
        columns = [{**asdict(c), "classes": list(c.classes)} for c in self.columns]
        return {"columns": columns} | {name: True for name in ("pairs", "steps") if getattr(self, name)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Targets:
        try:
            columns = tuple(TargetColumn(**{**c, "classes": tuple(c["classes"])}) for c in data["columns"])
            return cls(columns, data.get("pairs", False), data.get("steps", False))
        except (KeyError, TypeError) as error:
            raise DataError("the saved targets cannot be read", where="targets", got=error) from None


def _encode_steps(column: TargetColumn, y: np.ndarray, where: str) -> np.ndarray:
    """Targets [n, steps] as class indices or standardised numbers; -1 or NaN where there is none."""
    if y.ndim != 2:
        raise DataError(
            "the network answers at every step, and these targets are none of steps", where=f"{where}, {column.name!r}",
            expected="[rows, steps]", got=f"shape {y.shape}",
        )  # fmt: skip
    flat = y.reshape(-1)
    places = np.flatnonzero(~missing(flat))
    filler, dtype = (-1, np.int32) if column.kind == "class" else (np.nan, np.float32)
    out = np.full(len(flat), filler, dtype)

    def at(i: int) -> str:
        sequence, step = divmod(int(places[i]), y.shape[1])
        return f"sequence {sequence + 1:,}, step {step + 1:,}"

    if len(places):
        out[places] = column.encode(tidy(flat[places]), where, at)
    return out.reshape(y.shape)


def _fit_column(
    name: str, kind: str, values: np.ndarray, train: np.ndarray, start: int, data: Dataset, where: str
) -> TargetColumn:
    if kind == "number":
        known = values.astype(np.float64)
        if not np.isfinite(known).all():
            row = int(np.argmin(np.isfinite(known)))
            place = "" if data.each_step else f", row {row + 1:,}"
            raise DataError("a target is infinite", where=f"{where}, target {name!r}{place}", got=known[row])
        known = train.astype(np.float64)
        centre = float(known.mean())
        scale = float((known - centre).std())
        return TargetColumn(name, kind, start, start + 1, mean=centre, scale=scale if scale > 0 else 1.0)
    classes = tuple(plain(v) for v in np.unique(values).tolist())
    coded = False
    if data.class_names is not None and kind == "class":
        coded = values.dtype.kind in "iu"
        classes = data.class_names
    column = TargetColumn(name, kind, start, start + (1 if kind == "binary" else len(classes)), classes, coded=coded)
    column.encode(values, where)  # class names that do not cover the labels are told here
    return column


def _ids(values: np.ndarray, vocabulary: int, where: str) -> np.ndarray:
    """Token ids as they are; -1 where a step has no target."""
    if values.dtype.kind not in "iu" or values.min(initial=0) < -1 or values.max(initial=0) >= vocabulary:
        raise DataError(
            "these are no token ids", where=where, expected=f"whole numbers from -1 to {vocabulary - 1}",
            got=f"{values.dtype}" + (f", {values.min()} to {values.max()}" if values.dtype.kind in "iu" else ""),
        )  # fmt: skip
    return values


def _numbers(values: np.ndarray, name: str, where: str, at: Place) -> np.ndarray:
    if values.dtype.kind not in "iufb":
        raise DataError(
            "the target holds text where numbers were trained",
            where=f"{where}, {name!r}",
            expected="numbers",
            got=repr(plain(values[0])),
        )
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        row = int(np.argmin(np.isfinite(numbers)))
        raise DataError("a target is infinite", where=f"{where}, {name!r}, {at(row)}", got=numbers[row])
    return numbers
