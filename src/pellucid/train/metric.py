"""What a metric is: what a person reads as a score. The whole contract:

    metric(outputs, y, weight)                         # NumPy, the whole part at once -> float
    sums = metric.update(metric.zeros(), outputs, y, weight)   # additive metrics only: jnp, inside a compiled block
    metric.result(sums_of_all_blocks_added)            # -> float

Outputs come *after the loss's link*: they are probabilities or values, never logits. Which output belongs to which
target follows from the shapes: [n, C] beside y [n] are classes (the largest wins); [n, 1] or [n] beside y [n] is one
yes-or-no unit (yes above 1/2) or one value; [n, k] beside y [n, k] are k labels or values; [n, steps, k] beside
y [n, steps] are sequences with a target at every step, of which each counts as an example (not where y is NaN, or a
class below 0).
"""

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import jax.numpy as jnp
import numpy as np

from pellucid.errors import PellucidWarning, SettingError
from pellucid.spec import Spec


class Metric(Spec, family="metric"):
    """Settings only; see the top of this file for the contract."""

    higher_is_better: ClassVar[bool] = True
    additive: ClassVar[bool] = False  # whether it is a function of sums over examples, and can be streamed
    sums: ClassVar[int] = 2  # how many an additive metric keeps
    reproducible: ClassVar[bool] = True

    def __call__(self, outputs: Any, y: Any, weight: Any = None) -> float:
        """The score of these outputs; `weight` [n] counts examples more or less. NaN, warned of, where undefined."""
        outputs, y, weight = as_numpy(outputs, y, weight)
        if not len(y):
            return undefined(self, "there are no examples")
        return float(self.score(outputs, y, weight))

    def score(self, outputs: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
        """The score, from arrays that are NumPy and not empty."""
        return self.result(self.totals(np, outputs, y, weight))

    def zeros(self) -> tuple[Any, ...]:
        """The sums before the first example. They take the shape of the targets' columns at the first `update`."""
        return tuple(jnp.zeros(()) for _ in range(self.sums))

    def update(self, sums: tuple[Any, ...], outputs: Any, y: Any, weight: Any) -> tuple[Any, ...]:
        """The sums with one more block of examples in them; weight 0 leaves an example out. Works under `jit`."""
        return tuple(a + b for a, b in zip(sums, self.totals(jnp, outputs, y, weight), strict=True))

    def totals(self, xp: Any, outputs: Any, y: Any, weight: Any) -> tuple[Any, ...]:
        """The sums over these examples, by `xp` (numpy or jax.numpy). Additive metrics define it, and `result`."""
        raise SettingError(f"the metric {self.name!r} is no sum over examples and cannot be streamed")

    def result(self, sums: tuple[Any, ...]) -> float:
        """The score, from the sums over all examples."""
        raise NotImplementedError  # abstract

    @classmethod
    def of(cls, value: Any) -> Self:
        """As for every spec; a function `f(outputs, y) -> float` on NumPy arrays is accepted too."""
        if callable(value) and not isinstance(value, Metric | type) and issubclass(CustomMetric, cls):
            return CustomMetric(value)
        return super().of(value)


@dataclass(frozen=True, eq=False)
class CustomMetric(Metric):
    """A person's own function `f(outputs, y) -> float`; lower is better where it has `higher_is_better = False`.

    >>> worst = Metric.of(lambda outputs, y: np.abs(outputs - y).max())
    >>> worst([1.0, 2.0], [1.0, 5.0]), worst.reproducible
    (3.0, False)
    """

    function: Any
    reproducible: ClassVar[bool] = False

    def check(self):
        object.__setattr__(self, "name", getattr(self.function, "__name__", "custom"))
        object.__setattr__(self, "higher_is_better", bool(getattr(self.function, "higher_is_better", True)))

    def score(self, outputs, y, weight):
        value = np.asarray(self.function(outputs, y))
        if value.size != 1:
            raise SettingError(
                "a metric function must give one number", where=self.name, got=f"shape {list(value.shape)}"
            )
        return float(value.reshape(()))

    def to_json(self, full=False):
        raise SettingError(
            "a metric that is a function cannot be written down",
            where=self.name,
            fix="make it a @register-ed subclass of Metric, or use one of: " + ", ".join(sorted(Metric.registry)),
        )

    def __eq__(self, other):
        return isinstance(other, CustomMetric) and self.function is other.function

    def __hash__(self):
        return hash((CustomMetric, id(self.function)))


def as_numpy(outputs: Any, y: Any, weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    outputs, y = np.asarray(outputs), np.asarray(y)
    outputs = outputs.astype(np.float64) if outputs.dtype != np.float64 else outputs
    if len(outputs) != len(y):
        raise SettingError("outputs and targets differ in number", expected=f"{len(y)} rows", got=len(outputs))
    return outputs, y, np.ones(len(y)) if weight is None else np.asarray(weight, np.float64)


def step_by_step(xp: Any, outputs: Any, y: Any, weight: Any) -> tuple[Any, Any, Any]:
    """Sequences with a target at every step, outputs [n, steps, k] beside y [n, steps], as examples that are steps,
    [n * steps, k] beside [n * steps]. Steps without a target (NaN, or a class below 0) have weight 0."""
    if y.ndim < 2 or y.ndim != outputs.ndim - 1:
        return outputs, y, weight
    real = ~xp.isnan(y) if xp.issubdtype(y.dtype, xp.floating) else y >= 0
    y = xp.where(real, y, xp.zeros((), y.dtype)).reshape(-1)
    weight = (weight.reshape(-1, *(1 for _ in real.shape[1:])) * real).reshape(-1).astype(weight.dtype)
    return outputs.reshape(-1, outputs.shape[-1]), y, weight


def undefined(metric: Metric, why: str) -> float:
    warnings.warn(f"{metric.name} is not defined here: {why}", PellucidWarning, stacklevel=4)
    return float("nan")
