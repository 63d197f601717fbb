"""The loss of the best answer that looks at no input: the yardstick below which learning begins."""

from functools import partial
from typing import Any

import jax
import numpy as np

from pellucid.data import Part
from pellucid.network.compiling import compiled
from pellucid.train.loss import Loss
from pellucid.train.losses import Joint

ROWS = 20_000  # of the training part that are looked at
TINY = 1e-7


def trivial_loss(loss: Loss, part: Part, width: int, on: Part | None = None) -> float | None:
    """The mean loss on `part` of a network of `width` outputs that says the same to every example: the share of each
    class, the mean or the median. on: another part to score it on. None where it cannot be told (a loss of a person's
    own that refuses it, ...).

    >>> y = np.array([0, 0, 1, 1], np.int32)
    >>> round(trivial_loss(Loss.of("cross_entropy"), Part(np.zeros((4, 1)), y, None, np.arange(4)), 2), 4)
    0.6931
    """
    scored = part if on is None else on
    weight = None if scored.weight is None else np.asarray(scored.weight[:ROWS])
    try:
        constants = _constants(loss, np.asarray(part.y[:ROWS]), width)
        found = [_scored(loss, constant, np.asarray(scored.y[:ROWS]), weight) for constant in constants]
    except Exception:  # whatever a foreign loss may raise: then it is not known, and nothing is judged by it
        return None
    finite = [value for value in found if np.isfinite(value)]
    return min(finite) if finite else None


def _scored(loss: Loss, constant: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
    outputs = np.broadcast_to(constant.astype(np.float32), (*(y.shape if _ids(y) else y.shape[:1]), len(constant)))
    losses = np.asarray(_per_example(loss, outputs, y), np.float64)
    return float(np.average(losses, weights=weight))


@partial(compiled, effort="little", static_argnames=("loss",))
def _per_example(loss: Loss, outputs: Any, y: Any) -> jax.Array:
    return loss.per_example(outputs, y)


def _constants(loss: Loss, y: np.ndarray, width: int) -> list[np.ndarray]:
    """Candidates for the best constant output, [width] each."""
    if isinstance(loss, Joint):
        parts = []
        for column, (part, start, stop) in enumerate(loss.parts):
            target = y[:, column]
            target = target.astype(np.int64) if stop - start > 1 or part.link == "softmax" else target
            parts.append(_constants(part, target, stop - start)[0])
        return [np.concatenate(parts)]
    if _ids(y) and width > 1:
        share = np.bincount(y[y >= 0].ravel(), minlength=width)[:width] / max((y >= 0).sum(), 1)
        return [_raw(loss, share)]
    columns = y.reshape(len(y), -1).astype(np.float64)
    if columns.shape[1] != width:
        columns = columns[:, :1].repeat(width, 1)
    return [_raw(loss, columns.mean(0)), _raw(loss, np.median(columns, 0))]


def _ids(y: Any) -> bool:
    return np.issubdtype(y.dtype, np.integer)


def _raw(loss: Loss, value: np.ndarray) -> np.ndarray:
    """The raw output that the loss's link makes into `value`."""
    if getattr(loss, "from_probabilities", False) or loss.link == "identity":
        return value
    value = np.clip(value, TINY, 1 - TINY)
    return np.log(value) if loss.link == "softmax" else np.log(value / (1 - value))
