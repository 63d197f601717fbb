"""The remedies that the watchers' trials try, in the recipe's words, whatever library carries them out. NumPy only.

Those that change what the layers compute, or where they begin, have their weights drawn anew and say so; all others go
on from where the model is.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.doctor.finding import Finding, Remedy

BENDING = ("sigmoid", "tanh", "softplus")
ADAPTIVE = ("adam", "adamw", "nadam", "radam", "adamax", "rmsprop", "adagrad", "adadelta", "lion", "muon", "lamb")
NEAR = 0.5  # inputs within so much of mean 0, and within a factor of 1 + 2 * NEAR of deviation 1, are standardised

LEAKY = Remedy({"activation": "leaky_relu"}, "leaky ReLU in place of ReLU")
NORM = Remedy({"norm": "layer"}, "normalised between the layers, weights drawn anew")
CLIP = Remedy({"clip_norm": 1.0}, "the gradient's norm clipped at 1")
MOMENTUM = Remedy({"optimizer": "momentum:0.01,0.9"}, "SGD with momentum 0.9, rate 0.01")
ADAM = Remedy({"optimizer": "adam:0.001"}, "Adam, rate 0.001")
NO_DECAY = Remedy({"weight_decay": 0.0}, "no weight decay")
STANDARDIZE = Remedy({"standardize": True}, "standardised inputs, weights drawn anew")


@dataclass(frozen=True)
class Change:
    """A remedy, and what carries it out on a copy of the model. anew: the weights are drawn anew before it."""

    remedy: Remedy
    apply: Callable[[Any], None]
    anew: bool = False


def relu(name: str) -> Remedy:
    """name: of the activation that it stands in for."""
    return Remedy({"activation": "relu"}, f"ReLU in place of {name}, He's weights drawn anew")


def initial(bends: bool) -> Remedy:
    """Glorot's weights where activations bend (sigmoid, tanh), He's for those that fold."""
    name, author = ("glorot_uniform", "Glorot") if bends else ("he_normal", "He")
    return Remedy({"initial": name}, f"{author}'s initial weights, drawn anew")


def rate(now: float, factor: float) -> Remedy:
    """
    >>> rate(0.5, 0.1)
    Remedy(settings={'learning_rate': 0.05}, text='a learning rate 10 times smaller')
    >>> rate(1e-5, 1234.5).text
    'a learning rate 1,230 times larger'
    """
    times = float(f"{factor if factor > 1 else 1 / factor:.3g}")
    said = f"{times:,.10g} times {'larger' if factor > 1 else 'smaller'}"
    return Remedy({"learning_rate": float(f"{now * factor:.3g}")}, f"a learning rate {said}")


def factors(now: float, findings: Iterable[Finding]) -> list[float]:
    """By what the learning rate is to be multiplied: as alarms name it first, then a tenth and ten.

    >>> factors(0.5, [])
    [0.1, 10.0]
    """
    named = [r.settings["learning_rate"] for f in findings if f.alarm for r in f.remedies if [*r.settings] == [
        "learning_rate"]]  # fmt: skip
    found = [float(v) / now for v in named if isinstance(v, float | int) and now > 0]
    return list(dict.fromkeys([*(float(f"{f:.2g}") for f in found), 0.1, 10.0]))


def are_standardised(mean: np.ndarray, deviation: np.ndarray) -> bool:
    """Whether inputs of these means and deviations, of each feature, need no scaling, or cannot be scaled.

    >>> are_standardised(np.array([0.1, -0.3]), np.array([1.2, 0.0])), are_standardised(np.array([50.0]), np.ones(1))
    (True, False)
    """
    moved = float(np.abs(mean).max(initial=0.0))
    some = deviation[deviation > 0]
    spread = float(np.abs(np.log(some)).max(initial=0.0))
    if not math.isfinite(moved + spread):
        return True
    return moved < NEAR and spread < math.log1p(2 * NEAR)
