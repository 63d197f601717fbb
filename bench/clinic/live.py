"""Losses and optimizers that no recipe can hold: faults that can be made in code only, named so that a case is data."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

TINY = 1e-7


def naive_binary_cross_entropy(outputs, y):
    """-(y log p + (1 - y) log(1 - p)) of p = sigmoid(o), as it stands in a textbook: log 0 where p rounds to 0 or 1."""
    p = jax.nn.sigmoid(outputs.reshape(len(outputs), -1)[:, -1])
    return -(y * jnp.log(p) + (1 - y) * jnp.log(1 - p))


def naive_cross_entropy(outputs, y):
    """-log softmax, by exp without a shift: infinite from about 89."""
    e = jnp.exp(outputs)
    q = jax.nn.one_hot(y, outputs.shape[-1], dtype=outputs.dtype)
    return -(q * jnp.log(e / e.sum(-1, keepdims=True))).sum(-1)


def root_squared_error(outputs, y):
    """sqrt((o - y)^2): its derivative at 0 is 0 / 0."""
    return jnp.sqrt((outputs.reshape(len(outputs)) - y.reshape(len(y))) ** 2)


def broadcast_squared_error(outputs, y):
    """mean((o - y)^2) of o [n, 1] and y [n]: the difference is [n, n]."""
    return jnp.mean((outputs.reshape(-1, 1) - y.reshape(1, -1)) ** 2)


def keras_categorical(outputs, y):
    """Keras' categorical cross-entropy on whatever the network puts out: p / sum(p), kept 1e-7 from 0 and 1."""
    q = y if y.shape == outputs.shape else jax.nn.one_hot(y, outputs.shape[-1], dtype=outputs.dtype)
    p = outputs / jnp.maximum(outputs.sum(-1, keepdims=True), TINY)
    return -(q * jnp.log(jnp.clip(p, TINY, 1 - TINY))).sum(-1)


def keras_binary_one_hot_of_3(outputs, y):
    """Keras' binary cross-entropy of one output beside one-hot rows of three classes: they broadcast."""
    t = jax.nn.one_hot(y, 3, dtype=outputs.dtype)
    p = jnp.clip(outputs.reshape(len(outputs), 1), TINY, 1 - TINY)
    return -(t * jnp.log(p) + (1 - t) * jnp.log1p(-p)).mean(-1)


def poisson(outputs, y):
    """Keras' Poisson loss: o - y log(o + 1e-7)."""
    return (outputs - y * jnp.log(outputs + TINY)).mean(-1)


def halved_squared_error(outputs, y):
    """(o - y)^2 / 2."""
    return (outputs.reshape(len(outputs)) - y.reshape(len(y))) ** 2 / 2


LOSSES: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        naive_binary_cross_entropy, naive_cross_entropy, root_squared_error, broadcast_squared_error, keras_categorical,
        keras_binary_one_hot_of_3, poisson, halved_squared_error,
    )
}  # fmt: skip


def uphill_sgd(rate: float) -> optax.GradientTransformation:
    """A step along the gradient instead of against it."""
    return optax.scale(rate)


def uphill_adam(rate: float) -> optax.GradientTransformation:
    return optax.chain(optax.scale_by_adam(), optax.scale(rate))


def uphill_momentum(rate: float) -> optax.GradientTransformation:
    return optax.chain(optax.trace(0.9), optax.scale(rate))


_OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    f.__name__: f for f in (uphill_sgd, uphill_adam, uphill_momentum)
}


def find(word: str, name: str) -> Any:
    """The loss of this name, or the optimizer, `name:number,number`."""
    if word == "loss":
        return LOSSES[name]
    kind, _, numbers = name.partition(":")
    key = (kind, *(float(n) for n in numbers.split(",")))
    if key not in _MADE:  # the same object again, or nothing that was compiled could be used again
        _MADE[key] = _OPTIMIZERS[kind](*key[1:])
    return _MADE[key]


_MADE: dict[tuple[Any, ...], optax.GradientTransformation] = {}
