"""What a loss is: the distance between what a network says and what is true. The whole contract:

    @register
    class MeanSquaredError(Loss):                 # a spec: settings only
        def per_example(self, outputs, y): ...    # [batch, ...] and targets -> [batch], pure and differentiable

`loss(outputs, y, weight)` is the weighted mean over the batch. A loss acts on the network's raw outputs (logits) and
owns the *link* that turns them into what a person reads: softmax for cross-entropy, sigmoid for binary cross-entropy,
nothing for the rest. `apply_link(outputs)` gives those probabilities or values.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp

from pellucid.errors import SettingError
from pellucid.spec import Spec


class Loss(Spec, family="loss"):
    """Settings only; see the top of this file for the contract."""

    link: ClassVar[Literal["identity", "softmax", "sigmoid"]] = "identity"
    reproducible: ClassVar[bool] = True

    def per_example(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        """One number an example: [batch, ...] and targets -> [batch]."""
        raise NotImplementedError  # abstract

    def scored(self) -> Self:
        """The loss that scores are told in: without what helps only training (label smoothing)."""
        return self

    def apply_link(self, outputs: jax.Array) -> jax.Array:
        """Raw outputs -> probabilities or values, in the same shape."""
        if self.link == "identity" or getattr(self, "from_probabilities", False):
            return outputs
        return jax.nn.softmax(outputs, axis=-1) if self.link == "softmax" else jax.nn.sigmoid(outputs)

    def __call__(self, outputs: jax.Array, y: jax.Array, weight: jax.Array | None = None) -> jax.Array:
        """sum(w * l) / sum(w) over the batch; the plain mean without weights; 0 where all weights are 0.

        >>> square = Loss.of(lambda outputs, y: (outputs - y) ** 2)
        >>> square(jnp.array([1.0, 5.0]), jnp.array([1.0, 3.0]), jnp.array([3.0, 1.0])).item()
        1.0
        """
        losses = self.per_example(outputs, y)
        if weight is None:
            return losses.mean()
        total = weight.sum()
        kept = jnp.where(weight > 0, losses, 0.0)  # a row that only fills up the batch may hold anything, NaN included
        return (weight * kept).sum() / jnp.where(total > 0, total, 1.0)

    @classmethod
    def of(cls, value: Any) -> Self:
        """As for every spec; a function `f(outputs, y) -> [batch]` (or a scalar) is accepted too."""
        if callable(value) and not isinstance(value, Loss | type) and issubclass(CustomLoss, cls):
            return CustomLoss(value)
        return super().of(value)


@dataclass(frozen=True, eq=False)
class CustomLoss(Loss):
    """A person's own function `f(outputs, y)`, giving [batch] or one scalar. Two are equal where the function is.

    It is not in the registry and has no JSON, so that a run with it is not reproducible from its recipe alone. Its link
    is the function's attribute `link`, where there is one. A scalar stands for every example alike, weights or not.

    >>> loss = Loss.of(lambda outputs, y: (outputs[:, 0] - y) ** 4)
    >>> loss(jnp.array([[3.0], [1.0]]), jnp.array([1.0, 1.0])).item(), loss.reproducible
    (8.0, False)
    """

    function: Any
    reproducible: ClassVar[bool] = False

    def check(self):
        link = getattr(self.function, "link", "identity")
        if link not in ("identity", "softmax", "sigmoid"):
            raise SettingError("a loss has an unknown link", got=repr(link), expected="identity, softmax or sigmoid")
        object.__setattr__(self, "link", link)
        object.__setattr__(self, "name", getattr(self.function, "__name__", "custom"))

    def per_example(self, outputs, y):
        losses = jnp.asarray(self.function(outputs, y))
        if losses.ndim and losses.shape != outputs.shape[:1]:
            raise SettingError(
                "a loss function gave an array of the wrong shape",
                where=self.name,
                expected=f"one number an example, shape [{outputs.shape[0]}], or a scalar",
                got=f"shape {list(losses.shape)}",
            )
        return jnp.broadcast_to(losses, outputs.shape[:1])

    def to_json(self, full=False):
        raise SettingError(
            "a loss that is a function cannot be written down",
            where=self.name,
            fix="make it a @register-ed subclass of Loss, or use one of: " + ", ".join(sorted(Loss.registry)),
        )

    def __eq__(self, other):
        return isinstance(other, CustomLoss) and self.function is other.function

    def __hash__(self):
        return hash((CustomLoss, id(self.function)))


def aligned(loss: Loss, outputs: jax.Array, y: jax.Array) -> jax.Array:
    """`y` in the shape and dtype of `outputs`.

    [n] beside [n, 1] gains its axis (broadcasting would silently make [n, n] of the two), and classes as integers
    beside several outputs become one-hot rows.
    """
    if y.shape == outputs.shape:
        return y.astype(outputs.dtype)
    if y.ndim == outputs.ndim - 1 and y.shape == outputs.shape[:-1]:
        if outputs.shape[-1] == 1:
            return y[..., None].astype(outputs.dtype)
        if not jnp.issubdtype(y.dtype, jnp.floating):
            return jax.nn.one_hot(y, outputs.shape[-1], dtype=outputs.dtype)
    if y.shape == (*outputs.shape, 1):
        return y[..., 0].astype(outputs.dtype)
    raise misfit(loss, outputs, y, f"targets of shape {list(outputs.shape)}, or class numbers without the last axis")


def misfit(loss: Loss, outputs: jax.Array, y: jax.Array, expected: str) -> SettingError:
    return SettingError(
        f"the loss {loss.name!r} cannot compare the outputs with the targets",
        where=f"outputs of shape {list(outputs.shape)}",
        expected=expected,
        got=f"targets of shape {list(y.shape)} and type {y.dtype}",
        fix="give the network as many outputs as the targets need, or choose another loss",
    )


def counted(outputs: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    """(y, which of its places count). Of targets [n, steps] at every step, those below 0 (classes) or NaN (numbers)
    only fill up a sequence, or are not known: they do not count, and become 0. None where all count."""
    if y.ndim < 2 or y.ndim != outputs.ndim - 1:
        return y, None
    real = ~jnp.isnan(y) if jnp.issubdtype(y.dtype, jnp.floating) else y >= 0
    return jnp.where(real, y, jnp.zeros((), y.dtype)), real


def over_rest(values: jax.Array, real: jax.Array | None = None) -> jax.Array:
    """The mean over all axes but the first: [n, ...] -> [n]; with `real` [n, steps] over the steps that count."""
    n = values.shape[0]
    if real is None:
        return values.reshape(n, -1).mean(-1) if values.ndim > 1 else values
    each = values.reshape(*real.shape, -1).mean(-1)
    total = jnp.where(real, each, 0.0).reshape(n, -1).sum(-1)
    return total / jnp.maximum(real.reshape(n, -1).sum(-1), 1).astype(values.dtype)
