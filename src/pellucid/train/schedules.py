"""How the learning rate changes while training goes on: rate(step) = base rate * schedule.factor(step, total).

`step` counts updates from 0, `total` is the budget of the run; both may be traced, so that a longer budget compiles
nothing anew. Any schedule may begin with a linear warm-up (Goyal et al. 2017), after which its own curve runs over what
is left of the budget. Beyond `total` the factor stays as it ended: a finished schedule is never stretched.

`curve(t, n)` is all that a schedule defines: t in [0, 1] is the part of the budget gone since the warm-up, n the number
of updates since then.
"""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from pellucid.spec import Spec, register

Scalar = jax.Array | float | int


@dataclass(frozen=True)
class Schedule(Spec, family="schedule"):
    """Settings only. `warm_up`: updates, or a fraction of the budget where below 1; at update s of w the factor is
    (s + 1) / w of the curve's first value."""

    warm_up: float = field(default=0.0, kw_only=True)

    observes: ClassVar[bool] = False  # whether it wants to see the validation loss at each epoch's end

    def check(self):
        if not 0 <= self.warm_up < math.inf:
            self.refuse("warm_up", "a number of updates, or a fraction of the budget below 1")

    def curve(self, t: jax.Array, n: jax.Array, span: jax.Array) -> jax.Array:
        """The factor at part t of the `span` of updates that follow the warm-up, after n of them."""
        raise NotImplementedError  # abstract

    def factor(self, step: Scalar, total: Scalar) -> jax.Array:
        """What multiplies the base rate at update `step` of `total`, as a float32 scalar."""
        step, total = jnp.asarray(step, jnp.float32), jnp.asarray(total, jnp.float32)
        warm = updates(self.warm_up, total)
        span = jnp.maximum(total - warm, 1.0)
        since = jnp.clip(step - warm, 0.0, span)
        rising = jnp.minimum((step + 1) / jnp.maximum(warm, 1.0), 1.0)
        return jnp.where(step < warm, rising, 1.0) * self.curve(since / span, since, span)

    def begin(self) -> dict[str, Any]:
        """What `observe` remembers, before the first epoch: plain JSON values."""
        return {}

    def observe(self, state: dict[str, Any], validation_loss: float) -> tuple[dict[str, Any], float]:
        """The host's part, at an epoch's end: (what it remembers, loss) -> (the same, one further factor). Pure."""
        return state, 1.0


def updates(setting: float, total: jax.Array) -> jax.Array:
    """A setting that is a fraction of the budget below 1, and a number of updates from 1 up, in updates.

    >>> float(updates(0.1, jnp.float32(500))), float(updates(20, jnp.float32(500)))
    (50.0, 20.0)
    """
    return jnp.round(setting * total) if setting < 1 else jnp.asarray(setting, jnp.float32)


@register
class Constant(Schedule):
    """factor = 1.

    >>> [float(Constant(warm_up=4).factor(s, 100)) for s in (0, 1, 3, 50)]
    [0.25, 0.5, 1.0, 1.0]
    """

    def curve(self, t, n, span):
        return jnp.ones((), jnp.float32)


@register
class Step(Schedule):
    """factor = decay^floor(n / every): a fall by `decay` each time `every` updates (or that fraction of the budget) are
    over. The classic way to train deep networks (He et al. 2015).

    >>> [round(float(Step(every=0.5, decay=0.1).factor(s, 100)), 3) for s in (0, 49, 50, 99, 500)]
    [1.0, 1.0, 0.1, 0.1, 0.1]
    """

    every: float = 0.3
    decay: float = 0.1

    def check(self):
        super().check()
        if not 0 < self.every < math.inf:
            self.refuse("every", "a number of updates, or a fraction of the budget below 1")
        if not 0 < self.decay <= 1:
            self.refuse("decay", "a number in (0, 1]")

    def curve(self, t, n, span):
        every = jnp.maximum(updates(self.every, span), 1.0)
        return self.decay ** jnp.floor(jnp.minimum(n, span - 1) / every)  # no last fall at the very end


@register
class Exponential(Schedule):
    """factor = final^t: the same fall in every update, down to `final` at the end.

    >>> [round(float(Exponential(final=0.01).factor(s, 100)), 3) for s in (0, 50, 100, 500)]
    [1.0, 0.1, 0.01, 0.01]
    """

    final: float = 0.01

    def check(self):
        super().check()
        if not 0 < self.final <= 1:
            self.refuse("final", "a number in (0, 1]")

    def curve(self, t, n, span):
        return self.final**t


@register
class Cosine(Schedule):
    """factor = final + (1 - final) * (1 + cos(pi * t)) / 2. Loshchilov & Hutter 2017, one period.

    >>> [round(float(Cosine().factor(s, 100)), 3) for s in (0, 50, 100, 500)]
    [1.0, 0.5, 0.0, 0.0]
    """

    final: float = 0.0

    def check(self):
        super().check()
        if not 0 <= self.final <= 1:
            self.refuse("final", "a number in [0, 1]")

    def curve(self, t, n, span):
        return _swing(1.0, self.final, t)


@register
class OneCycle(Schedule):
    """Up from `start` to 1 while t < peak, then down to `final`, each along half a cosine. Smith 2018; the numbers are
    those of Howard's fast.ai (a 25th at the start, a 250,000th at the end).

    >>> [round(float(OneCycle().factor(s, 100)), 3) for s in (0, 15, 30, 65, 100)]
    [0.04, 0.52, 1.0, 0.5, 0.0]
    """

    peak: float = 0.3
    start: float = 0.04
    final: float = 4e-6

    def check(self):
        super().check()
        if not 0 < self.peak < 1:
            self.refuse("peak", "a fraction of the budget in (0, 1)")
        for name in ("start", "final"):
            if not 0 <= getattr(self, name) <= 1:
                self.refuse(name, "a number in [0, 1]")

    def curve(self, t, n, span):
        up = _swing(self.start, 1.0, t / self.peak)
        down = _swing(1.0, self.final, (t - self.peak) / (1 - self.peak))
        return jnp.where(t < self.peak, up, down)


def _swing(a: float, b: float, t: jax.Array) -> jax.Array:
    """From a at t = 0 to b at t = 1 along half a cosine."""
    return b + (a - b) * (1 + jnp.cos(jnp.pi * t)) / 2


@register
class ReduceOnPlateau(Schedule):
    """The rate falls by `decay` when the validation loss has not improved for more than `patience` epochs, down to
    `minimum`. Better means lower than the best so far by `threshold` of it; a loss that is not finite is never better.

    The fall is the host's: `observe` at each epoch's end gives the factor; `factor` itself knows the warm-up only.

    >>> schedule, factors = ReduceOnPlateau(decay=0.5, patience=1), []
    >>> state = schedule.begin()
    >>> for loss in (1.0, 0.9, 0.9, 0.9, 0.8):
    ...     state, factor = schedule.observe(state, loss)
    ...     factors.append(factor)
    >>> factors, state
    ([1.0, 1.0, 1.0, 0.5, 0.5], {'best': 0.8, 'waited': 0, 'factor': 0.5})
    """

    decay: float = 0.5
    patience: int = 5
    minimum: float = 1e-3
    threshold: float = 1e-4

    observes: ClassVar[bool] = True

    def check(self):
        super().check()
        if not 0 < self.decay < 1:
            self.refuse("decay", "a number in (0, 1)")
        if self.patience < 0:
            self.refuse("patience", "a whole number >= 0")
        if not 0 <= self.minimum <= 1:
            self.refuse("minimum", "a number in [0, 1]")
        if not 0 <= self.threshold < 1:
            self.refuse("threshold", "a number in [0, 1)")

    def curve(self, t, n, span):
        return jnp.ones((), jnp.float32)

    def begin(self):
        return {"best": None, "waited": 0, "factor": 1.0}  # None, not inf: the state goes into JSON

    def observe(self, state, validation_loss):
        best, waited, factor = state["best"], state["waited"] + 1, state["factor"]
        loss = float(validation_loss)
        if math.isfinite(loss) and (best is None or loss < best - self.threshold * abs(best)):
            best, waited = loss, 0
        if waited > self.patience:
            factor, waited = max(factor * self.decay, min(self.minimum, factor)), 0
        return {"best": best, "waited": waited, "factor": factor}, factor
