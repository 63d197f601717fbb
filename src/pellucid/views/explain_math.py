"""The mathematics that `explain` shows, in NumPy float64 and written apart from the network's own: that is the point.

Each activation and each loss stands here with its formula, its derivative, and both as text.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pellucid.errors import NetworkError
from pellucid.network.activations import SELU_ALPHA, SELU_SCALE

Array = np.ndarray
TINY = 1e-7  # as the losses keep probabilities away from 0 and 1


@dataclass(frozen=True)
class Bend:
    """An activation: f(z), its derivative f'(z), and how both are written."""

    formula: str
    slope: str
    f: Callable[[Any, Array], Array]
    df: Callable[[Any, Array], Array]


def sigmoid(z: Array) -> Array:
    e = np.exp(-np.abs(z))  # never of a large positive number
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def softmax(z: Array) -> Array:
    """Over the last axis."""
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softplus(z: Array) -> Array:
    return np.logaddexp(z, 0.0)


def normal_cdf(z: Array) -> Array:
    return np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)), otypes=[float])(z)


def _elu(z: Array, alpha: float) -> Array:
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def _elu_slope(z: Array, alpha: float) -> Array:
    return np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0)))


def _gelu(layer: Any, z: Array) -> Array:
    if not layer.approximate:
        return z * normal_cdf(z)
    return 0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def _gelu_slope(layer: Any, z: Array) -> Array:
    if not layer.approximate:
        return normal_cdf(z) + z * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    c = math.sqrt(2 / math.pi)
    t = np.tanh(c * (z + 0.044715 * z**3))
    return 0.5 * (1 + t) + 0.5 * z * (1 - t**2) * c * (1 + 3 * 0.044715 * z**2)


BENDS: dict[str, Bend] = {
    "identity": Bend("z", "1", lambda s, z: z, lambda s, z: np.ones_like(z)),
    "relu": Bend("max(0, z)", "1 where z > 0, else 0", lambda s, z: np.maximum(z, 0), lambda s, z: (z > 0) * 1.0),
    "sigmoid": Bend(
        "1 / (1 + e^-z)", "f(z) · (1 - f(z))", lambda s, z: sigmoid(z), lambda s, z: sigmoid(z) * sigmoid(-z)
    ),
    "tanh": Bend("tanh z", "1 - f(z)²", lambda s, z: np.tanh(z), lambda s, z: 1 - np.tanh(z) ** 2),
    "leaky_relu": Bend(
        "z where z > 0, else slope · z", "1 where z > 0, else slope",
        lambda s, z: np.where(z > 0, z, s.slope * z), lambda s, z: np.where(z > 0, 1.0, s.slope),
    ),
    "elu": Bend(
        "z where z > 0, else α (e^z - 1)", "1 where z > 0, else α e^z",
        lambda s, z: _elu(z, s.alpha), lambda s, z: _elu_slope(z, s.alpha),
    ),
    "selu": Bend(
        "1.0507 · elu(z, 1.6733)", "1.0507 where z > 0, else 1.7581 e^z",
        lambda s, z: SELU_SCALE * _elu(z, SELU_ALPHA), lambda s, z: SELU_SCALE * _elu_slope(z, SELU_ALPHA),
    ),
    "gelu": Bend("z · Φ(z)", "Φ(z) + z · φ(z)", _gelu, _gelu_slope),
    "silu": Bend(
        "z · sigmoid(z)", "s + z s (1 - s), s = sigmoid(z)", lambda s, z: z * sigmoid(z),
        lambda s, z: sigmoid(z) + z * sigmoid(z) * sigmoid(-z),
    ),
    "softplus": Bend("log(1 + e^z)", "sigmoid(z)", lambda s, z: softplus(z), lambda s, z: sigmoid(z)),
}  # fmt: skip


@dataclass
class LossWalk:
    """A loss of one example: outputs o, what the link makes of them, the target, L, and dL/do."""

    name: str
    outputs: Array
    linked: Array
    target: Array
    value: float
    gradient: Array
    link: str  # what turns o into `linked`, as text
    formula: str
    slope: str
    parts: list["LossWalk"] = field(default_factory=list)  # of a joint loss
    start: int = 0
    steps: list["LossWalk | None"] = field(default_factory=list)  # of a loss at every step; None: only fills up


def loss_walk(loss: Any, o: Array, y: Any) -> LossWalk:
    """L and dL/do for the outputs o [k] of one example and its encoded target y (a class number, or numbers [k])."""
    walk = WALKS.get(loss.name)
    if walk is None:
        raise NetworkError(
            f"explain does not know the loss {loss.name!r}", expected=f"one of {', '.join(sorted(WALKS))}",
            fix="train with one of these, or ask jax.grad itself",
        )  # fmt: skip
    y = np.asarray(y)
    return walk(loss, o, y) if o.ndim == 1 else _each_step(walk, loss, o, y)


def _each_step(walk: Callable[[Any, Array, Array], LossWalk], loss: Any, o: Array, y: Array) -> LossWalk:
    """A loss at every step, o [steps, k] and y [steps] class numbers: L is the mean over the real steps (y >= 0)."""
    if loss.name != "cross_entropy" or y.shape != o.shape[:1] or y.dtype.kind not in "iu":
        raise NetworkError(
            "explain follows a loss at every step only where it is the cross-entropy of a class",
            expected=f"cross_entropy and {len(o)} class numbers", got=f"{loss.name} and targets of shape {y.shape}",
        )  # fmt: skip
    steps = [walk(loss, row, at) if at >= 0 else None for row, at in zip(o, y, strict=True)]
    real = [one for one in steps if one is not None]
    n, none = max(len(real), 1), np.zeros(o.shape[1])

    def stacked(name: str) -> Array:
        return np.array([none if one is None else getattr(one, name) for one in steps])

    return LossWalk(
        loss.name, o, stacked("linked"), stacked("target"), sum(one.value for one in real) / n,
        stacked("gradient") / n, real[0].link if real else "", f"L = 1/{n} Σ L_t over {n} steps, L_t = -Σ y · log p",
        f"dL/do_t = (p - y) / {n}", steps=steps,
    )  # fmt: skip


def _aligned(o: Array, y: Array) -> Array:
    """The target as numbers of the outputs' shape: class numbers beside several outputs become one-hot."""
    if y.ndim == 0 and len(o) > 1:
        return np.eye(len(o))[int(y)]
    return y.astype(np.float64).reshape(o.shape)


def _squared(loss: Any, o: Array, y: Array) -> LossWalk:
    t, k = _aligned(o, y), len(o)
    mean = "" if k == 1 else f"1/{k} Σ "
    return LossWalk(
        loss.name, o, o, t, float(((o - t) ** 2).mean()), 2 * (o - t) / k, "", f"L = {mean}(y - o)²",
        "dL/do = 2 (o - y)" + ("" if k == 1 else f" / {k}"),
    )  # fmt: skip


def _absolute(loss: Any, o: Array, y: Array) -> LossWalk:
    t, k = _aligned(o, y), len(o)
    mean = "" if k == 1 else f"1/{k} Σ "
    return LossWalk(
        loss.name, o, o, t, float(np.abs(o - t).mean()), np.sign(o - t) / k, "", f"L = {mean}|y - o|",
        "dL/do = sign(o - y)" + ("" if k == 1 else f" / {k}"),
    )  # fmt: skip


def _huber(loss: Any, o: Array, y: Array) -> LossWalk:
    t, k, d = _aligned(o, y), len(o), loss.delta
    r = o - t
    each = np.where(np.abs(r) <= d, r**2 / 2, d * (np.abs(r) - d / 2))
    formula = f"L = (y - o)²/2 where |y - o| <= {d:g}, else {d:g} · (|y - o| - {d / 2:g})"
    slope = f"dL/do = o - y, kept within ±{d:g}" + ("" if k == 1 else f", divided by {k}")
    return LossWalk(loss.name, o, o, t, float(each.mean()), np.clip(r, -d, d) / k, "", formula, slope)


def _cross_entropy(loss: Any, o: Array, y: Array) -> LossWalk:
    e, k = loss.label_smoothing, len(o)
    q = np.eye(k)[int(y)] if y.ndim == 0 else y.astype(np.float64)
    q = (1 - e) * q + e / k
    if loss.from_probabilities:
        p = np.maximum(o, TINY)
        value, gradient = -(q * np.log(p)).sum(), np.where(o > TINY, -q / p, 0.0)
        return LossWalk(loss.name, o, o, q, float(value), gradient, "", "L = -Σ y · log p", "dL/dp = -y / p")
    shifted = o - o.max()
    log_p = shifted - np.log(np.exp(shifted).sum())
    value, gradient = -np.where(q > 0, q * log_p, 0.0).sum(), q.sum() * softmax(o) - q
    link = "p = softmax(o) = e^o / Σ e^o"
    return LossWalk(loss.name, o, softmax(o), q, float(value), gradient, link, "L = -Σ y · log p", "dL/do = p - y")


def _binary_cross_entropy(loss: Any, o: Array, y: Array) -> LossWalk:
    e, k = loss.label_smoothing, len(o)
    t = _aligned(o, y) * (1 - e) + e / 2
    mean, over = ("", "") if k == 1 else (f"1/{k} Σ ", f" / {k}")
    formula = f"L = {mean}-(y · log p + (1 - y) · log(1 - p))"
    if loss.from_probabilities:
        p = np.clip(o, TINY, 1 - TINY)
        value = (-t * np.log(p) - (1 - t) * np.log1p(-p)).mean()
        gradient = np.where((o > TINY) & (o < 1 - TINY), (p - t) / (p * (1 - p)), 0.0) / k
        return LossWalk(loss.name, o, o, t, float(value), gradient, "", formula, f"dL/dp = (p - y) / (p (1 - p)){over}")
    p = sigmoid(o)
    value = (t * softplus(-o) + (1 - t) * softplus(o)).mean()
    slope = f"dL/do = (p - y){over}" if over else "dL/do = p - y"
    return LossWalk(loss.name, o, p, t, float(value), (p - t) / k, "p = sigmoid(o) = 1 / (1 + e^-o)", formula, slope)


def _perceptron(loss: Any, o: Array, y: Array) -> LossWalk:
    if y.ndim == 0 and len(o) > 1:
        own = int(y)
        rival = int(np.argmax(np.where(np.arange(len(o)) == own, -np.inf, o)))
        wrong = o[rival] >= o[own]
        gradient = np.zeros_like(o)
        gradient[[rival, own]] = (1.0, -1.0) if wrong else (0.0, 0.0)
        value = float(o[rival] - o[own]) if wrong else 0.0
        slope = "dL/do = 1 for the best rival, -1 for the own class, where wrong; else 0"
        return LossWalk(
            loss.name, o, o, np.eye(len(o))[own], value, gradient, "", "L = max(0, best rival - own score)", slope
        )
    t = 2 * _aligned(o, y) - 1
    each = np.where(t * o <= 0, -t * o, 0.0)
    gradient = np.where(t * o <= 0, -t, 0.0)
    slope = "dL/do = -t where wrong, else 0"
    return LossWalk(
        loss.name, o, (o > 0) * 1.0, t, float(each.sum()), gradient, "", "L = max(0, -t · o), t = ±1", slope
    )


def _joint(loss: Any, o: Array, y: Array) -> LossWalk:
    parts, gradient, linked = [], np.zeros_like(o), np.array(o)
    for column, (part, start, stop) in enumerate(loss.parts):
        target = y[column]
        if stop - start > 1 or part.link == "softmax":
            target = np.int64(round(float(target)))
        walk = loss_walk(part, o[start:stop], target if np.ndim(target) == 0 and stop - start > 1 else [float(target)])
        walk.start = start
        gradient[start:stop], linked[start:stop] = walk.gradient, walk.linked
        parts.append(walk)
    value = sum(part.value for part in parts)
    return LossWalk(loss.name, o, linked, y, value, gradient, "", "L = the sum over the targets", "each its own", parts)


WALKS: dict[str, Callable[[Any, Array, Array], LossWalk]] = {
    "mean_squared_error": _squared,
    "mean_absolute_error": _absolute,
    "huber": _huber,
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy": _binary_cross_entropy,
    "perceptron": _perceptron,
    "joint": _joint,
}
