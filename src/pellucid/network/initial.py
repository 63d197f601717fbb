"""Initial weights. An initializer is a spec called with (key, shape, dtype); a weight's last axis is its outputs,
the one before it its inputs, and axes before those (a convolution's kernel) count towards both fans.

    Glorot: Var(w) = 2 / (fan_in + fan_out)     keeps the variance of tanh and linear layers, forward and backward
    He:     Var(w) = 2 / fan_in                 the same for ReLU, which passes half of the variance
    LeCun:  Var(w) = 1 / fan_in                 for SELU, and for inputs of unit variance
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from pellucid.errors import SettingError
from pellucid.network.draw import cheap_normal, cheap_uniform
from pellucid.spec import Spec, register


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of this shape.

    >>> fans((784, 100)), fans((3, 3, 16, 32)), fans((7,))
    ((784, 100), (144, 288), (7, 7))
    """
    if len(shape) < 2:
        size = int(shape[0]) if shape else 1
        return size, size
    receptive = math.prod(shape[:-2])
    return int(shape[-2] * receptive), int(shape[-1] * receptive)


class Initializer(Spec, family="initializer"):
    """Contract: `initializer(key, shape, dtype) -> array`, pure in `key`."""

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype) -> jax.Array:
        raise NotImplementedError  # abstract


@register
class Zeros(Initializer):
    """All zeros; right for biases. As weights it makes all units of a layer equal for ever (symmetry)."""

    def __call__(self, key, shape, dtype):
        return jnp.zeros(shape, dtype)


@register
class Ones(Initializer):
    """All ones; right for the gains of normalisation."""

    def __call__(self, key, shape, dtype):
        return jnp.ones(shape, dtype)


@register
class Constant(Initializer):
    """All equal to `value`."""

    value: float = 0.0

    def __call__(self, key, shape, dtype):
        return jnp.full(shape, self.value, dtype)


@register
class Normal(Initializer):
    """N(mean, std^2)."""

    std: float = 0.05
    mean: float = 0.0

    def check(self):
        if self.std < 0:
            self.refuse("std", "a number >= 0")

    def __call__(self, key, shape, dtype):
        return (self.mean + self.std * cheap_normal(key, shape)).astype(dtype)


@register
class Uniform(Initializer):
    """U(low, high)."""

    low: float = -0.05
    high: float = 0.05

    def check(self):
        if self.high < self.low:
            self.refuse("high", f"a number >= low ({self.low})")

    def __call__(self, key, shape, dtype):
        return _between(key, shape, dtype, self.low, self.high)


def _scaled(key, shape, dtype, variance: float, uniform: bool) -> jax.Array:
    """Zero mean and the given variance: U(-a, a) has a^2 / 3."""
    if uniform:
        bound = math.sqrt(3 * variance)
        return _between(key, shape, dtype, -bound, bound)
    return (math.sqrt(variance) * cheap_normal(key, shape)).astype(dtype)


def _between(key, shape, dtype, low: float, high: float) -> jax.Array:
    return (low + (high - low) * cheap_uniform(key, shape)).astype(dtype)


def _glorot(shape) -> float:
    fan_in, fan_out = fans(shape)
    return 2 / max(fan_in + fan_out, 1)


@register
class GlorotUniform(Initializer):
    """U(-a, a), a = sqrt(6 / (fan_in + fan_out)). Glorot & Bengio 2010.

    >>> w = GlorotUniform()(jax.random.key(0), (300, 100), "float32")
    >>> abs(float(w.var()) / (2 / 400) - 1) < 0.02
    True
    """

    def __call__(self, key, shape, dtype):
        return _scaled(key, shape, dtype, _glorot(shape), uniform=True)


@register
class GlorotNormal(Initializer):
    """N(0, 2 / (fan_in + fan_out)). Glorot & Bengio 2010."""

    def __call__(self, key, shape, dtype):
        return _scaled(key, shape, dtype, _glorot(shape), uniform=False)


@register
class HeUniform(Initializer):
    """U(-a, a), a = sqrt(6 / fan_in). He et al. 2015."""

    def __call__(self, key, shape, dtype):
        return _scaled(key, shape, dtype, 2 / max(fans(shape)[0], 1), uniform=True)


@register
class HeNormal(Initializer):
    """N(0, 2 / fan_in). He et al. 2015."""

    def __call__(self, key, shape, dtype):
        return _scaled(key, shape, dtype, 2 / max(fans(shape)[0], 1), uniform=False)


@register("lecun_uniform")
class LeCunUniform(Initializer):
    """U(-a, a), a = sqrt(3 / fan_in). LeCun et al. 1998."""

    def __call__(self, key, shape, dtype):
        return _scaled(key, shape, dtype, 1 / max(fans(shape)[0], 1), uniform=True)


@register("lecun_normal")
class LeCunNormal(Initializer):
    """N(0, gain^2 / fan_in). LeCun et al. 1998; the right one for SELU (Klambauer et al. 2017)."""

    gain: float = 1.0

    def __call__(self, key, shape, dtype):
        return self.gain * _scaled(key, shape, dtype, 1 / max(fans(shape)[0], 1), uniform=False)


@register
class Orthogonal(Initializer):
    """A random matrix with orthonormal rows or columns, times `gain`. Saxe et al. 2014.

    >>> w = Orthogonal()(jax.random.key(0), (5, 3), "float32")
    >>> bool(jnp.allclose(w.T @ w, jnp.eye(3), atol=1e-5))
    True
    """

    gain: float = 1.0

    def __call__(self, key, shape, dtype):
        rows, columns = math.prod(shape[:-1]), shape[-1] if shape else 1
        tall = cheap_normal(key, (max(rows, columns), min(rows, columns))).astype(dtype)
        q, r = jnp.linalg.qr(tall)
        q = q * jnp.sign(jnp.diagonal(r))  # without it the result would not be uniform (Mezzadri 2007)
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


@register
class Blocks(Initializer):
    """One initializer for each equal block of the last axis: the gates of a recurrent layer, whose weights lie side by
    side, are each drawn as if it stood alone.

    >>> Blocks((Zeros(), Ones()))(jax.random.key(0), (4,), "float32").tolist()
    [0.0, 0.0, 1.0, 1.0]
    """

    parts: tuple[Initializer, ...]

    def check(self):
        if not self.parts:
            self.refuse("parts", "at least one initializer")

    def __call__(self, key, shape, dtype):
        if shape[-1] % len(self.parts):
            raise SettingError(
                "the last axis cannot be divided into equal blocks", where="Blocks",
                expected=f"a multiple of {len(self.parts)}", got=shape[-1],
            )  # fmt: skip
        block = (*shape[:-1], shape[-1] // len(self.parts))
        drawn = [part(jax.random.fold_in(key, i), block, dtype) for i, part in enumerate(self.parts)]
        return jnp.concatenate(drawn, axis=-1)
