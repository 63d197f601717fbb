"""What an optimizer is: how weights change, given the gradient; a spec that builds an optax transformation.

    @register
    class Momentum(Optimizer):
        learning_rate: float = 0.01
        momentum: float = 0.9
        def rule(self, n):                          # n: the numbers, perhaps traced -> what comes before the rate
            return optax.trace(n["momentum"])

Structure is static, numbers are traced: `structure()` is the spec with its numbers taken out (so that two that differ
in numbers only share one compiled program), `numbers()` are these, and `transform(numbers)` puts both together, inside
`jit` if need be. No optimizer's state depends on a number when it starts.

All of them can clip gradients, decay weights and accumulate gradients. The order in an update: average over the
accumulated batches, clip each value, clip the norm, add L2 decay and L1, the rule, add decoupled decay, times
-learning rate.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
import optax

from pellucid.errors import SettingError
from pellucid.spec import Spec

Numbers = Mapping[str, Any]  # name -> float or (traced) scalar

# what a setting of this name must satisfy, in every optimizer that has it
_NOT_NEGATIVE = ("learning_rate", "weight_decay", "l1")
_FRACTIONS = ("momentum", "decay", "b1", "b2")
_POSITIVE = ("clip_norm", "clip_value", "eps")
_COUNTS = ("accumulate", "steps")


@dataclass(frozen=True)
class Optimizer(Spec, family="optimizer"):
    """Settings that all have; see the top of this file for the contract.

    weight_decay: pulls weights towards 0, but only arrays with two axes or more: biases and the gains of normalisation
    are left alone. AdamW, Lion and Muon shrink the weight itself, w -= rate * decay * w (decoupled: Loshchilov & Hutter
    2019); the others add decay * w to the gradient (L2).
    l1: adds l1 * sign(w) to the gradient of the same arrays: the loss grows by l1 * sum |w|, and weights that are of no
    use become next to 0. Tibshirani 1996.
    clip_value, clip_norm: the largest absolute value of each gradient, and the largest norm of all together.
    accumulate: batches whose gradients are averaged into one update; equals one batch that many times as large (where
    the batches weigh the same). Updates that are incomplete when training ends are not made. (One batch in
    several parts is the run's own `accumulate`: see `train/accumulate.py`.)
    """

    learning_rate: float | None = None
    weight_decay: float = field(default=0.0, kw_only=True)
    l1: float = field(default=0.0, kw_only=True)
    clip_norm: float | None = field(default=None, kw_only=True)
    clip_value: float | None = field(default=None, kw_only=True)
    accumulate: int = field(default=1, kw_only=True)

    default_batch: ClassVar[int | Literal["all"]] = 32
    default_updates: ClassVar[int] = 4_000
    decoupled: ClassVar[bool] = False
    reproducible: ClassVar[bool] = True

    def check(self):
        for name, value in ((f.name, getattr(self, f.name)) for f in fields(self)):
            if value is None:
                continue
            if name in _NOT_NEGATIVE and not 0 <= value < math.inf:
                self.refuse(name, "a number >= 0")
            if name in _FRACTIONS and not 0 <= value < 1:
                self.refuse(name, "a number in [0, 1)")
            if name in _POSITIVE and not value > 0:
                self.refuse(name, "a number > 0")
            if name in _COUNTS and value < 1:
                self.refuse(name, "a whole number >= 1")

    def rule(self, n: Numbers) -> optax.GradientTransformation:
        """What makes this optimizer itself: gradients -> directions, before the learning rate."""
        raise NotImplementedError  # abstract

    def numbers(self) -> dict[str, float]:
        """The settings that may change without compiling anew: every float.

        >>> Optimizer(0.1, clip_norm=2).numbers()
        {'learning_rate': 0.1, 'weight_decay': 0.0, 'l1': 0.0, 'clip_norm': 2.0}
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, float)}

    def structure(self) -> Self:
        """The same optimizer with each number replaced by a canonical one; what is off (None, and a weight decay
        or L1 of 0, which would read every weight once more for nothing) stays off.

        >>> Optimizer(0.1).structure() == Optimizer(0.3).structure() != Optimizer(0.1, clip_norm=1.0).structure()
        True
        """
        defaults = {f.name: f.default if isinstance(f.default, float) else 1.0 for f in fields(self)}
        canonical = {name: defaults[name] for name in self.numbers()}
        pulls = {name: 1.0 if getattr(self, name) else 0.0 for name in ("weight_decay", "l1")}
        return replace(self, **canonical | pulls)

    def transform(self, numbers: Numbers | None = None) -> optax.GradientTransformation:
        """The optax transformation, with these numbers (perhaps traced); its own where they are not given.

        >>> import pellucid.train.optimizers
        >>> weights = {"w": jnp.ones(2)}
        >>> tx = Optimizer.of("sgd").transform({"learning_rate": 0.5})
        >>> updates, state = tx.update({"w": jnp.array([1.0, -2.0])}, tx.init(weights), weights)
        >>> updates["w"].tolist()
        [-0.5, 1.0]
        """
        n = {**self.numbers(), **(numbers or {})}
        parts = [
            optax.clip(n["clip_value"]) if self.clip_value is not None else None,
            optax.clip_by_global_norm(n["clip_norm"]) if self.clip_norm is not None else None,
            decayed(n["weight_decay"]) if self.weight_decay and not self.decoupled else None,
            sparing(n["l1"]) if self.l1 else None,
            self.rule(n),
            decayed(n["weight_decay"]) if self.weight_decay and self.decoupled else None,
            optax.scale(-1.0 * n["learning_rate"]),
        ]
        chain = optax.chain(*[part for part in parts if part is not None])
        return accumulated(chain, self.accumulate) if self.accumulate > 1 else chain

    @classmethod
    def of(cls, value: Any) -> Self:
        """As for every spec; a raw optax transformation is accepted too."""
        if isinstance(value, optax.GradientTransformation) and issubclass(RawOptimizer, cls):
            return RawOptimizer(transformation=value)
        return super().of(value)


@dataclass(frozen=True, eq=False)
class RawOptimizer(Optimizer):
    """A transformation made by optax itself. It has its own rate inside: `learning_rate` is None, no schedule applies.

    It is not in the registry and has no JSON: a run with it is not reproducible from its recipe alone.

    >>> raw = Optimizer.of(optax.sgd(0.1))
    >>> raw.learning_rate, raw.numbers(), raw.reproducible
    (None, {}, False)
    """

    transformation: Any = None
    name: ClassVar[str] = "optax"
    reproducible: ClassVar[bool] = False

    def check(self):
        if not isinstance(self.transformation, optax.GradientTransformation):
            self.refuse("transformation", "an optax.GradientTransformation")
        settings = {f.name: (getattr(self, f.name), f.default) for f in fields(self) if f.name != "transformation"}
        for name, (value, default) in settings.items():
            if value != default:
                self.refuse(name, "nothing: put it into the optax chain itself")

    def numbers(self):
        return {}

    def structure(self):
        return self

    def transform(self, numbers=None):
        return self.transformation

    def to_json(self, full=False):
        raise SettingError(
            "a raw optax transformation cannot be written down",
            fix="use one of: " + ", ".join(sorted(Optimizer.registry)),
        )

    def __eq__(self, other):
        return isinstance(other, RawOptimizer) and self.transformation is other.transformation

    def __hash__(self):
        return hash((RawOptimizer, id(self.transformation)))


def decayed(weight_decay: Any) -> optax.GradientTransformation:
    """u + weight_decay * w for arrays with at least two axes; others as they are."""

    def update(updates, params):
        if params is None:
            raise ValueError("weight decay needs the weights: update(gradients, state, weights)")
        return jax.tree.map(lambda u, w: u + weight_decay * w if w.ndim >= 2 else u, updates, params)

    return optax.stateless(update)


def sparing(l1: Any) -> optax.GradientTransformation:
    """u + l1 * sign(w) for arrays with at least two axes; others as they are."""

    def update(updates, params):
        if params is None:
            raise ValueError("L1 needs the weights: update(gradients, state, weights)")
        return jax.tree.map(lambda u, w: u + l1 * jnp.sign(w) if w.ndim >= 2 else u, updates, params)

    return optax.stateless(update)


class Accumulated(NamedTuple):
    """gathered: batches since the last update.   total: the sum of their gradients.   inner: the optimizer's state."""

    gathered: jax.Array
    total: Any
    inner: Any


def accumulated(inner: optax.GradientTransformation, every: int) -> optax.GradientTransformation:
    """`inner`, fed each `every` batches with their mean gradient; zero updates in between."""

    def init(params):
        return Accumulated(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params), inner.init(params))

    def update(updates, state, params=None):
        total = jax.tree.map(jnp.add, state.total, updates)
        zeros = jax.tree.map(jnp.zeros_like, total)

        def make(_):
            mean = jax.tree.map(lambda t: t / every, total)
            step, after = inner.update(mean, state.inner, params)
            return step, Accumulated(jnp.zeros_like(state.gathered), zeros, after)

        def wait(_):
            return zeros, Accumulated(state.gathered + 1, total, state.inner)

        return jax.lax.cond(state.gathered == every - 1, make, wait, None)

    return optax.GradientTransformation(init, update)
