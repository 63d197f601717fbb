"""The metrics: of classes (accuracy, top-k, balanced accuracy, F1, ROC AUC, the confusion matrix) and of values (R2,
mean absolute and root mean squared error). `metric.py` says what a metric is, and how outputs go with targets.
"""

import warnings
from typing import Any, ClassVar, Literal

import numpy as np

from pellucid.errors import PellucidWarning, SettingError
from pellucid.spec import register
from pellucid.train.metric import Metric, as_numpy, step_by_step, undefined


def _is_classes(outputs: Any, y: Any) -> bool:
    """Several outputs an example, of which one is right: [n, ..., C] beside [n, ...]."""
    return outputs.ndim == y.ndim + 1 and outputs.shape[-1] > 1


def _columns(outputs: Any, y: Any) -> tuple[Any, Any]:
    """Both as [n, k]."""
    if outputs.size != y.size:  # or broadcasting would compare each output with each target
        raise SettingError(
            "outputs and targets do not belong together", expected=f"{y.size} outputs for targets {list(y.shape)}",
            got=f"outputs {list(outputs.shape)}", fix="give the network one output for each target",
        )  # fmt: skip
    return outputs.reshape(outputs.shape[0], -1), y.reshape(y.shape[0], -1).astype(outputs.dtype)


def _over_rest(values: Any) -> Any:
    return values.reshape(values.shape[0], -1).mean(-1) if values.ndim > 1 else values


# -- classes ----------------------------------------------------------------------------------------------------------


@register
class Accuracy(Metric):
    """The part of the examples whose predicted class is the true one; over several labels, the mean over labels.

    >>> Accuracy()([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]], [0, 1, 1])
    0.6666666666666666
    """

    additive: ClassVar = True

    def totals(self, xp, outputs, y, weight):
        outputs, y, weight = step_by_step(xp, outputs, y, weight)
        if _is_classes(outputs, y):
            right = outputs.argmax(-1) == y
        else:
            outputs, y = _columns(outputs, y)
            right = (outputs > 0.5) == (y > 0.5)
        hits = _over_rest(right.astype(weight.dtype))
        return (weight * hits).sum(), weight.sum()

    def result(self, sums):
        hits, total = sums
        return float(hits / total) if total > 0 else undefined(self, "all weights are zero")


@register
class ExactMatch(Metric):
    """The part of the sequences in which every step is right; steps with y < 0 only fill up and do not count.

    outputs [n, steps, C] beside y [n, steps]. Of a decoder that was fed the true target it is also the part that it
    writes without a mistake by itself, for up to its first mistake it is fed the same.

    >>> ExactMatch()([[[0.9, 0.1], [0.2, 0.8]], [[0.9, 0.1], [0.2, 0.8]]], [[0, 1], [1, -1]])
    0.5
    """

    additive: ClassVar = True

    def totals(self, xp, outputs, y, weight):
        right = (outputs.argmax(-1) == y) | (y < 0)
        hits = right.reshape(right.shape[0], -1).all(-1).astype(weight.dtype)
        return (weight * hits).sum(), weight.sum()

    def result(self, sums):
        hits, total = sums
        return float(hits / total) if total > 0 else undefined(self, "all weights are zero")


@register
class TopK(Metric):
    """The part of the examples whose true class is among the k largest outputs. Of equal outputs the earlier is larger.

    >>> TopK(2)([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], [1, 2])
    0.5
    """

    k: int = 5
    additive: ClassVar = True

    def check(self):
        if self.k < 1:
            self.refuse("k", "a whole number >= 1")

    def totals(self, xp, outputs, y, weight):
        outputs, y, weight = step_by_step(xp, outputs, y, weight)
        if not _is_classes(outputs, y):
            raise SettingError(
                f"the metric {self.name!r} needs several classes",
                expected="outputs [n, C] with y [n]",
                got=f"outputs {list(outputs.shape)} with y {list(y.shape)}",
                fix="use accuracy",
            )
        y = y.astype("int32")[..., None]
        own = xp.take_along_axis(outputs, y, -1)
        earlier = xp.broadcast_to(xp.arange(outputs.shape[-1], dtype="int32"), outputs.shape) < y
        rank = ((outputs > own) | ((outputs == own) & earlier)).sum(-1)
        hits = _over_rest((rank < self.k).astype(weight.dtype))
        return (weight * hits).sum(), weight.sum()

    def result(self, sums):
        return Accuracy().result(sums)


def confusion_matrix(outputs: Any, y: Any, weight: Any = None, classes: int | None = None) -> np.ndarray:
    """[C, C]: row = true class, column = predicted class, cell = (weighted) number of examples.

    >>> confusion_matrix([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]], [0, 1, 1]).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    outputs, y, weight = step_by_step(np, *as_numpy(outputs, y, weight))
    if _is_classes(outputs, y):
        guess, size = outputs.argmax(-1), outputs.shape[-1]
    elif outputs.size == y.size == len(y):
        guess, size = (outputs.reshape(-1) > 0.5).astype(int), 2
    else:
        raise SettingError(
            "a confusion matrix needs one class an example",
            expected="outputs [n, C] with y [n]",
            got=f"outputs {list(outputs.shape)} with y {list(y.shape)}",
        )
    true = y.astype(int).reshape(-1)
    size = max(classes or 0, size, int(true.max(initial=-1)) + 1)
    return np.bincount(true * size + guess.reshape(-1), weight, minlength=size * size).reshape(size, size)


def _tables(outputs: np.ndarray, y: np.ndarray, weight: np.ndarray) -> list[np.ndarray]:
    """One confusion matrix, or with several labels one a label."""
    if _is_classes(outputs, y):
        return [confusion_matrix(outputs, y, weight)]
    outputs, y = _columns(outputs, y)
    return [confusion_matrix(o, t, weight) for o, t in zip(outputs.T, y.T, strict=True)]


@register
class BalancedAccuracy(Metric):
    """The mean recall of the classes that occur; several labels: the mean over labels. Brodersen et al. 2010.

    >>> BalancedAccuracy()([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]], [0, 1, 1])
    0.75
    """

    def score(self, outputs, y, weight):
        outputs, y, weight = step_by_step(np, outputs, y, weight)
        scores = []
        for table in _tables(outputs, y, weight):
            true = table.sum(1)
            scores.append((np.diagonal(table)[true > 0] / true[true > 0]).mean())
        return float(np.mean(scores))


@register("f1")
class F1(Metric):
    """2 * TP / (2 * TP + FP + FN), 0 where there is nothing to find. Van Rijsbergen 1979.

    average: "macro", the mean over the classes that occur in truth or prediction; "micro", from the counts of all
    classes together; "binary", of class 1. Several labels: each is a class, and its "yes" is what is looked for.

    >>> round(F1()([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]], [0, 1, 1]), 4)
    0.6667
    """

    average: Literal["macro", "micro", "binary"] = "macro"

    def score(self, outputs, y, weight):
        outputs, y, weight = step_by_step(np, outputs, y, weight)
        tables = _tables(outputs, y, weight)
        if self.average == "binary" and (len(tables) > 1 or len(tables[0]) != 2):
            raise SettingError("a binary F1 needs one target of two classes", fix="use f1:macro or f1:micro")
        counts = np.array([[np.diagonal(t), t.sum(0), t.sum(1)] for t in tables])  # [tables, 3, C]
        hits, found, true = counts[0] if len(tables) == 1 else counts[:, :, 1].T  # several labels: the "yes" of each
        if self.average == "binary":
            hits, found, true = hits[1:], found[1:], true[1:]
        if self.average == "micro":
            hits, found, true = (c.sum(keepdims=True) for c in (hits, found, true))
        both = found + true
        scores = np.divide(2 * hits, both, out=np.zeros_like(both), where=both > 0)
        occur = both > 0 if self.average == "macro" and len(tables) == 1 else slice(None)
        return float(scores[occur].mean())


@register("roc_auc")
class RocAuc(Metric):
    """The chance that a random positive example gets a larger output than a random negative one, ties counting half.

    Several classes: the mean over classes of one against the rest; several labels: the mean over labels. A class
    without positives or without negatives has none and is left out, with a warning. Fawcett 2006; Hand & Till 2001.

    >>> RocAuc()([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    0.75
    """

    def score(self, outputs, y, weight):
        outputs, y, weight = step_by_step(np, outputs, y, weight)
        if _is_classes(outputs, y):
            classes = [1] if outputs.shape[1] == 2 else range(outputs.shape[1])
            pairs = [(outputs[:, c], y == c) for c in classes]
        else:
            outputs, y = _columns(outputs, y)
            pairs = [(o, t > 0.5) for o, t in zip(outputs.T, y.T, strict=True)]
        areas = [_area(o, t, weight) for o, t in pairs]
        known = [a for a in areas if a is not None]
        if len(known) < len(areas):
            why = f"{len(areas) - len(known)} of {len(areas)} classes have no positive or no negative example"
            if not known:
                return undefined(self, why)
            warnings.warn(f"{self.name} leaves classes out: {why}", PellucidWarning, stacklevel=3)
        return float(np.mean(known))


def _area(outputs: np.ndarray, positive: np.ndarray, weight: np.ndarray) -> float | None:
    """The area under one ROC curve, by ranks (Mann & Whitney 1947)."""
    _, place = np.unique(outputs, return_inverse=True)
    pro = np.bincount(place, weight * positive)
    contra = np.bincount(place, weight * ~positive)
    if not pro.sum() or not contra.sum():
        return None
    below = np.cumsum(contra) - contra
    return float((pro * (below + contra / 2)).sum() / (pro.sum() * contra.sum()))


# -- values -----------------------------------------------------------------------------------------------------------


@register("r2")
class R2(Metric):
    """1 - sum (y - o)^2 / sum (y - mean y)^2; the mean over the targets' columns. A constant column counts 1 if it is
    met exactly, else 0. Streamed from sums of y and y^2, so y should be near standardised. Wright 1921.

    >>> R2()([1.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    0.5
    """

    additive: ClassVar = True
    sums: ClassVar = 4

    def totals(self, xp, outputs, y, weight):
        outputs, y, weight = step_by_step(xp, outputs, y, weight)
        outputs, y = _columns(outputs, y)
        w = weight[:, None]
        return weight.sum(), (w * y).sum(0), (w * y**2).sum(0), (w * (y - outputs) ** 2).sum(0)

    def result(self, sums):
        total, y, y2, residual = (np.atleast_1d(np.asarray(s, np.float64)) for s in sums)
        if not total.sum() > 0:
            return undefined(self, "all weights are zero")
        spread = y2 - y**2 / total
        flat = spread <= 1e-6 * y2  # what float32 sums leave of a constant
        return float(np.where(flat, residual <= 1e-6 * y2, 1 - residual / np.where(flat, 1, spread)).mean())

    def score(self, outputs, y, weight):
        outputs, y, weight = step_by_step(np, outputs, y, weight)
        outputs, y = _columns(outputs, y)
        shift = y.mean(0)  # float64 and centred: right for any unit
        return self.result(self.totals(np, outputs - shift, y - shift, weight))


@register
class MeanAbsoluteError(Metric):
    """mean |y - o|, over examples and the targets' columns, in the units of what is given.

    >>> MeanAbsoluteError()([1.0, 2.0], [1.0, 4.0])
    1.0
    """

    additive: ClassVar = True
    higher_is_better: ClassVar = False

    def totals(self, xp, outputs, y, weight):
        outputs, y, weight = step_by_step(xp, outputs, y, weight)
        outputs, y = _columns(outputs, y)
        return (weight * xp.abs(outputs - y).mean(-1)).sum(), weight.sum()

    def result(self, sums):
        return Accuracy().result(sums)


@register
class RootMeanSquaredError(Metric):
    """sqrt(mean (y - o)^2), the mean over the targets' columns, in the units of what is given.

    >>> RootMeanSquaredError()([1.0, 2.0], [1.0, 4.0])
    1.4142135623730951
    """

    additive: ClassVar = True
    higher_is_better: ClassVar = False

    def totals(self, xp, outputs, y, weight):
        outputs, y, weight = step_by_step(xp, outputs, y, weight)
        outputs, y = _columns(outputs, y)
        return (weight[:, None] * (outputs - y) ** 2).sum(0), weight.sum()

    def result(self, sums):
        squares, total = (np.asarray(s, np.float64) for s in sums)
        return float(np.sqrt(squares / total).mean()) if total > 0 else undefined(self, "all weights are zero")
