"""A linear probe on every layer: how well a linear model reads the targets off what leaves it. Alain & Bengio 2016.

The probe is ridge regression in closed form: on the numbers themselves, or on +1 for the true class and -1 for the
others, of which the largest answer wins. It learns on training rows and is scored on held-out ones; how strongly it is
held back is chosen on a fifth of the training rows. The first entry is the input itself.
"""

from typing import Any

import numpy as np

from pellucid.data import Targets
from pellucid.inspection.looking import LEAST
from pellucid.inspection.subject import Subject, rounded
from pellucid.threads import one_thread

PENALTIES = (1e-3, 1e-2, 1e-1)  # times the number of rows
MOST_CLASSES = 300


def separability(subject: Subject) -> dict[str, Any] | None:
    """{"target", "metric", "chance", "layers": [{"layer", "score", "features", "read"}], ...}; None for several targets
    of unlike kinds, for pairs of texts, and where there are too few rows.

    features: how many numbers the layer gives for an example; read: how many the probe read (larger outputs are folded,
    see `looking`).
    """
    targets = subject.targets
    classes = targets.width if targets.tokens else len(targets.classes)
    if targets.task in ("pairs", "mixed") or targets.kinds == {"binary"} or classes > MOST_CLASSES:
        return None
    looked = subject.looked
    split, total = looked.split, len(looked.y)
    if min(split, total - split) < LEAST:
        return None
    y = looked.y if not classes else looked.y.reshape(total).astype(np.int64)
    layers = []
    with one_thread():
        for path, values in looked.features.items():
            score = rounded(probe(values[:split], y[:split], values[split:], y[split:], classes))
            layers.append({"layer": path, "score": score, "features": looked.sizes[path], "read": values.shape[1]})
    return {
        "target": _target(subject.targets), "metric": "accuracy" if classes else "r2", "part": subject.name,
        "chance": rounded(_chance(y[:split], y[split:], classes)), "training": split, "held_out": total - split,
        "each": looked.each, "layers": layers,
    }  # fmt: skip


def _target(targets: Targets) -> str:
    """What is read off, in words."""
    if targets.tokens:
        return "the next token"
    names = [column.name for column in targets.columns]
    return repr(names[0]) if len(names) == 1 else "the targets"


def probe(x: np.ndarray, y: np.ndarray, held_x: np.ndarray, held_y: np.ndarray, classes: int) -> float:
    """The score on held-out rows of a linear model that is fitted to x [n, d], y [n] classes, or numbers [n] or [n, k]
    with classes 0: accuracy or R2.

    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]] * 5)
    >>> probe(x, (x[:, 0] > 1.5).astype(int), x, (x[:, 0] > 1.5).astype(int), 2)
    1.0
    """
    wanted = _one_against_all(y, classes) if classes else y.reshape(len(y), -1)
    x, held_x = _standardised(x.astype(np.float32), held_x.astype(np.float32))
    centre = wanted.mean(0, dtype=np.float64).astype(np.float32)
    wanted = (wanted - centre).astype(np.float32)
    square, right = x.T @ x, x.T @ wanted
    inner = np.arange(len(x)) % 5 == 4
    penalty = PENALTIES[1]
    if inner.sum() >= LEAST:
        rest = square - x[inner].T @ x[inner], right - x[inner].T @ wanted[inner]
        tried = {one: x[inner] @ _weights(*rest, one * len(x)) + centre for one in PENALTIES}
        penalty = max(tried, key=lambda one: _score(tried[one], y[inner], classes))
    return _score(held_x @ _weights(square, right, penalty * len(x)) + centre, held_y, classes)


def _one_against_all(y: np.ndarray, classes: int) -> np.ndarray:
    return np.where(np.arange(classes) == y[:, None], np.float32(1), np.float32(-1))


def _standardised(x: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both by the mean and spread of x; what is constant in x says nothing."""
    mean, scale = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    scale = np.where(scale > 1e-6 * np.maximum(np.abs(mean), 1e-30), scale, np.inf)
    return tuple(np.nan_to_num((one - mean) / scale).astype(np.float32) for one in (x, other))


def _weights(square: np.ndarray, right: np.ndarray, penalty: float) -> np.ndarray:
    return np.linalg.solve(square + np.float32(penalty) * np.eye(len(square), dtype=np.float32), right)


def _score(said: np.ndarray, y: np.ndarray, classes: int) -> float:
    if classes:
        return float((said.argmax(1) == y).mean())
    y = y.reshape(len(y), -1)
    rest, spread = ((y - said) ** 2).sum(0), ((y - y.mean(0)) ** 2).sum(0)
    return float(np.mean(1 - rest / np.where(spread > 0, spread, 1.0)))


def _chance(y: np.ndarray, held: np.ndarray, classes: int) -> float:
    """What always naming the most common class of the training rows gives; 0 for numbers."""
    return float((held == np.bincount(y, minlength=classes).argmax()).mean()) if classes else 0.0
