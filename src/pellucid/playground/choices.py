"""What a learner has chosen: data, network, training. Frozen, checked, and short enough to stand in an address.

choices = Choices(data="spiral", widths=(8, 8))
written(choices)                # 'data=spiral&widths=8.8', what differs from the defaults
read("data=spiral&widths=8.8")  # the same again
"""

import math
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote

import msgspec

from pellucid.errors import SettingError, nearest
from pellucid.playground.made import SETS

FEATURES = ("x1", "x2", "x1^2", "x2^2", "x1*x2", "sin(x1)", "sin(x2)")
OWN, DIGITS = "own", "digits"
ACTIVATIONS = (
    "relu", "tanh", "sigmoid", "identity", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus",
)  # fmt: skip
# the names that a learner sees, and what stands behind them
INITIALS: dict[str, Any] = {
    "suited": None, "glorot": "glorot_uniform", "he": "he_normal", "lecun": "lecun_normal", "orthogonal": "orthogonal",
    "small": {"type": "normal", "std": 0.003}, "large": {"type": "normal", "std": 3.0}, "zeros": "zeros",
    "equal": {"type": "constant", "value": 0.3}, "negative": "he_normal",  # negative: biases of -10
}  # fmt: skip
LOSSES = ("suited", "cross_entropy", "binary_cross_entropy", "mean_squared_error", "mean_absolute_error", "huber")
OPTIMIZERS = (
    "gradient_descent", "sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam", "adamw", "lion", "muon",
)  # fmt: skip
NORMS = ("none", "batch", "layer")
MOST_LAYERS, MOST_UNITS, MOST_COLUMNS, MOST_FRAGMENT = 6, 16, 10, 4000
# what moves while a training goes on, without anything being compiled or begun anew
LIVE = ("learning_rate", "l1", "l2", "dropout")


class Choices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """activations, initials: one for all hidden layers, or one for each. batch 0: all training rows at once. drawn,
    columns, target: of an own table; its rows are no part of the choices."""

    data: str = "circles"
    features: tuple[str, ...] = ("x1", "x2")
    noise: float = 0.1
    label_noise: float = 0.0
    points: int = 300
    validation: float = 0.3
    target: str = ""
    columns: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    widths: tuple[int, ...] = (4, 2)
    activations: tuple[str, ...] = ("tanh",)
    initials: tuple[str, ...] = ("suited",)
    norm: str = "none"
    dropout: float = 0.0
    loss: str = "suited"
    optimizer: str = "sgd"
    learning_rate: float = 0.03
    batch: int = 10
    l1: float = 0.0
    l2: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, fine, expected in RULES:
            value = getattr(self, name)
            if not fine(value):
                raise SettingError("this cannot be chosen", where=name, expected=expected, got=_shown(value))
        for name, several in (("activations", self.activations), ("initials", self.initials)):
            if len(several) not in (1, len(self.widths)):
                raise SettingError(
                    "this cannot be chosen", where=name, expected="one for all layers, or one for each",
                    got=f"{len(several)} for {len(self.widths)} layers",
                )  # fmt: skip

    def replace(self, **changes: Any) -> "Choices":
        return msgspec.structs.replace(self, **changes)

    def activation(self, layer: int) -> str:
        return self.activations[layer if len(self.activations) > 1 else 0]

    def initial(self, layer: int) -> str:
        return self.initials[layer if len(self.initials) > 1 else 0]


def _between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: math.isfinite(value) and low <= value <= high


def _all_of(known: tuple[str, ...] | dict[str, Any], least: int = 1) -> Callable[[Any], bool]:
    return lambda values: len(values) >= least and len(set(values) & set(known)) == len(set(values))


def _names(most: int) -> Callable[[Any], bool]:
    return lambda values: len(values) <= most and all(0 < len(v) <= 200 for v in values)


RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("data", lambda v: v in (*SETS, OWN, DIGITS), "one of " + ", ".join((*SETS, OWN, DIGITS))),
    ("features", lambda v: _all_of(FEATURES)(v) and len(set(v)) == len(v), "some of " + ", ".join(FEATURES)),
    ("noise", _between(0, 1), "0 to 1"),
    ("label_noise", _between(0, 0.5), "0 to 0.5"),
    ("points", _between(20, 2000), "20 to 2000"),
    ("validation", _between(0.1, 0.9), "0.1 to 0.9"),
    ("target", lambda v: len(v) <= 200, "a column's name"),
    ("columns", _names(MOST_COLUMNS), f"at most {MOST_COLUMNS} columns' names"),
    ("drawn", _names(2), "at most two columns' names"),
    (
        "widths", lambda v: len(v) <= MOST_LAYERS and all(1 <= n <= MOST_UNITS for n in v),
        f"at most {MOST_LAYERS} layers of 1 to {MOST_UNITS} neurons",
    ),
    ("activations", _all_of(ACTIVATIONS), "of " + ", ".join(ACTIVATIONS)),
    ("initials", _all_of(INITIALS), "of " + ", ".join(INITIALS)),
    ("norm", lambda v: v in NORMS, "one of " + ", ".join(NORMS)),
    ("dropout", _between(0, 0.95), "0 to 0.95"),
    ("loss", lambda v: v in LOSSES, "one of " + ", ".join(LOSSES)),
    ("optimizer", lambda v: v in OPTIMIZERS, "one of " + ", ".join(OPTIMIZERS)),
    ("learning_rate", _between(0, 1000), "0 to 1000"),
    ("batch", _between(0, 2000), "1 to 2000, or 0 for all rows"),
    ("l1", _between(0, 10), "0 to 10"),
    ("l2", _between(0, 10), "0 to 10"),
    ("seed", _between(0, 2**31 - 1), "0 to 2147483647"),
)  # fmt: skip


def _shown(value: Any) -> str:
    return repr(value)[:120]


def made(settings: Any) -> Choices:
    """Choices from plain JSON values. Raises `SettingError` for unknown names, wrong types, values out of range."""
    if isinstance(settings, dict):
        for name in settings:
            if name not in Choices.__struct_fields__:
                raise SettingError(
                    f"there is no choice {str(name)[:60]!r}", fix=nearest(name, Choices.__struct_fields__)
                )
    try:
        return msgspec.convert(settings, Choices, strict=False)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, SettingError):
            raise error.__cause__ from None
        raise SettingError("this cannot be chosen", got=error) from error


def written(choices: Choices) -> str:
    """As it stands behind the # of an address: what differs from the defaults, several values with a dot between, or
    each by itself where they are names of columns.

    >>> written(Choices(widths=(8, 8), learning_rate=0.1)), read("widths=8.8") == Choices(widths=(8, 8))
    ('widths=8.8&learning_rate=0.1', True)
    """
    parts = []
    for name in Choices.__struct_fields__:
        value, default = getattr(choices, name), getattr(DEFAULT, name)
        if value == default:
            continue
        if name in ("columns", "drawn"):
            parts += [f"{name}={quote(v, safe='')}" for v in value]
        elif isinstance(value, tuple):
            parts.append(f"{name}={quote('.'.join(map(str, value)), safe='.()*^')}")
        else:
            parts.append(f"{name}={quote(f'{value:g}' if isinstance(value, float) else str(value), safe='')}")
    return "&".join(parts)


def read(fragment: str) -> Choices:
    """What `written` wrote; raises `SettingError` where it is something else."""
    if len(fragment) > MOST_FRAGMENT:
        raise SettingError("the address is too long", expected=f"at most {MOST_FRAGMENT} letters behind the #")
    found: dict[str, Any] = {}
    for name, text in parse_qsl(fragment, keep_blank_values=True, max_num_fields=60):
        default = getattr(DEFAULT, name, None)
        if name in ("columns", "drawn"):
            found.setdefault(name, []).append(text)
        elif isinstance(default, tuple):
            found[name] = [v for v in text.split(".") if v]
        else:
            found[name] = text
    return made(found)


DEFAULT = Choices()
