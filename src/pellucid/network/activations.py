"""Activations: the functions that bend a network, each also as a layer.

Without them a stack of dense layers is one dense layer. All are elementwise but softmax, keep shape and dtype, and stay
finite and right at ±1e4 in float32, gradients included. A branch that is not taken must not overflow either: its
gradient would be inf * 0 = NaN, so `elu` clips its argument before the exponential.
"""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from pellucid.native import calls, usable
from pellucid.network.layer import Context, Layer, layer
from pellucid.network.pool import relu_pooled
from pellucid.network.precision import wide

BEND_PAYS = 1 << 14  # numbers to bend by a native kernel; fewer are done before it is called
SELU_ALPHA = 1.6732632423543772  # the fixed point of mean 0 and variance 1, Klambauer et al. 2017
SELU_SCALE = 1.0507009873554805


def identity(x: jax.Array) -> jax.Array:
    """f(x) = x. Range (-inf, inf), gradient 1. The activation of a linear neuron and of regression's output.

    >>> identity(jnp.array([-2.0, 3.0])).tolist()
    [-2.0, 3.0]
    """
    return x


def relu(x: jax.Array) -> jax.Array:
    """f(x) = max(0, x), the rectified linear unit. Range [0, inf).

    Gradient: 1 where x > 0, else 0 (at 0 too). NaN stays NaN. Nair & Hinton 2010.

    >>> relu(jnp.array([-2.0, 0.0, 3.0])).tolist()
    [0.0, 0.0, 3.0]
    """
    return jnp.where(x <= 0, 0.0, x)  # not jnp.maximum, whose gradient at 0 is 1/2; not x > 0, which hides NaN


def sigmoid(x: jax.Array) -> jax.Array:
    """f(x) = 1 / (1 + e^-x), the logistic function. Range (0, 1).

    Gradient: f(x) (1 - f(x)), at most 1/4, which is why deep stacks of it learn slowly. Rumelhart et al. 1986.

    >>> sigmoid(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.5, 1.0]
    """
    return jax.nn.sigmoid(x)


def tanh(x: jax.Array) -> jax.Array:
    """f(x) = (e^x - e^-x) / (e^x + e^-x) = 2 / (1 + e^(-2x)) - 1. Range (-1, 1).

    Gradient: 1 - f(x)^2. It is not computed by the second formula: in float32 e^(-2x) overflows to infinity below
    x = -44, and the gradient of that formula is then infinity / infinity = NaN. LeCun et al. 1998.

    >>> tanh(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [-1.0, 0.0, 1.0]
    >>> literal = lambda x: 2 / (1 + jnp.exp(-2 * x)) - 1
    >>> float(jax.grad(literal)(-100.0)), float(jax.grad(tanh)(-100.0))
    (nan, 0.0)
    """
    return jnp.tanh(x)


def softmax(x: jax.Array) -> jax.Array:
    """f(x)_i = e^(x_i) / sum_j e^(x_j) over the last axis: positive, and sums to 1. Range (0, 1).

    Gradient: df_i / dx_j = f_i (1[i = j] - f_j). The maximum is subtracted first, which changes nothing but overflow.
    A loss on logits already holds it; softmax twice flattens the gradient. Bridle 1990.

    >>> softmax(jnp.array([1e4, 1e4, -1e4])).tolist()
    [0.5, 0.5, 0.0]
    """
    return jax.nn.softmax(wide(x), axis=-1).astype(x.dtype)


def leaky_relu(x: jax.Array, slope: float = 0.01) -> jax.Array:
    """f(x) = x where x > 0, else slope * x. Range (-inf, inf).

    Gradient: 1 where x > 0, else `slope`: a unit cannot die. Maas et al. 2013.

    >>> leaky_relu(jnp.array([-2.0, 3.0]), 0.25).tolist()
    [-0.5, 3.0]
    """
    return jnp.where(x <= 0, slope * x, x)


def elu(x: jax.Array, alpha: float = 1.0) -> jax.Array:
    """f(x) = x where x > 0, else alpha (e^x - 1). Range (-alpha, inf).

    Gradient: 1 where x > 0, else alpha e^x. Clevert et al. 2016.

    >>> elu(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [-1.0, 0.0, 10000.0]
    """
    negative = x <= 0
    return jnp.where(negative, alpha * jnp.expm1(jnp.where(negative, x, 0.0)), x)


def selu(x: jax.Array) -> jax.Array:
    """f(x) = s * elu(x, a), s = 1.0507, a = 1.6733. Range (-1.7581, inf).

    Gradient: s where x > 0, else s a e^x. With LeCun-normal weights, mean 0 and variance 1 are its fixed point:
    deep stacks normalise themselves. Klambauer et al. 2017.

    >>> [round(v, 4) for v in selu(jnp.array([-1e4, 0.0, 1.0])).tolist()]
    [-1.7581, 0.0, 1.0507]
    """
    return SELU_SCALE * elu(x, SELU_ALPHA)


def gelu(x: jax.Array, approximate: bool = False) -> jax.Array:
    """f(x) = x Phi(x), Phi the distribution function of the standard normal. Range [-0.17, inf).

    Phi(x) = erfc(-x / sqrt 2) / 2, which keeps its digits where 1 + erf(x / sqrt 2) cancels;
    with `approximate`, (1 + tanh(u)) / 2 = sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3), as GPT-2 has it.
    Gradient: Phi(x) + x phi(x), phi(x) = e^(-x^2/2) / sqrt(2 pi). Hendrycks & Gimpel 2016.

    >>> [round(v, 4) for v in gelu(jnp.array([-1.0, 0.0, 1.0])).tolist()]
    [-0.1587, 0.0, 0.8413]
    """
    if approximate:
        u = jnp.clip(x, -30, 30) if x.dtype == jnp.float16 else x  # beyond, the sigmoid is 0 or 1, and x³ overflows
        return x * jax.nn.sigmoid(2 * math.sqrt(2 / math.pi) * (u + 0.044715 * u * u * u))
    return 0.5 * x * jax.lax.erfc(-x * math.sqrt(0.5))


def silu(x: jax.Array) -> jax.Array:
    """f(x) = x sigmoid(x), also called swish. Range [-0.28, inf).

    Gradient: s + x s (1 - s), s = sigmoid(x). Elfwing et al. 2018, Ramachandran et al. 2017.

    >>> [round(v, 4) for v in silu(jnp.array([-1.0, 0.0, 1.0])).tolist()]
    [-0.2689, 0.0, 0.7311]
    """
    return x * jax.nn.sigmoid(x)


def softplus(x: jax.Array) -> jax.Array:
    """f(x) = log(1 + e^x), a smooth ReLU. Range (0, inf).

    Gradient: sigmoid(x). Computed as logaddexp(x, 0), which never forms e^x of a large x. Dugas et al. 2001.

    >>> [round(v, 4) for v in softplus(jnp.array([-1e4, 0.0, 1e4])).tolist()]
    [0.0, 0.6931, 10000.0]
    """
    return jnp.logaddexp(x, 0.0)


class Activation(Layer):
    """A layer without weights that applies one function of this file. `Activation.of("relu")` finds it by name."""

    family: ClassVar[str] = "activation"

    def by_kernel(self, x: jax.Array, ctx: Context | None) -> bool:
        """Whether a native kernel is to compute this function of x; as many are asked for where it joins others."""
        return ctx is not None and ctx.reverse_only and x.size >= BEND_PAYS and usable(x)


@layer
class Identity(Activation):
    """y = x. See `identity`."""

    def apply(self, p, x, ctx):
        return identity(x)


@layer("relu")
class ReLU(Activation):
    """y = max(0, x). See `relu`."""

    def apply(self, p, x, ctx):
        return relu(x)

    def join(self, p, x, ctx, behind):
        done = relu_pooled(behind[0], x, ctx)
        return None if done is None else (done, 1)


@layer
class Sigmoid(Activation):
    """y = 1 / (1 + e^-x). See `sigmoid`."""

    def apply(self, p, x, ctx):
        return calls.bent(x, "sigmoid") if self.by_kernel(x, ctx) else sigmoid(x)


@layer
class Tanh(Activation):
    """y = tanh x. See `tanh`."""

    def apply(self, p, x, ctx):
        return calls.bent(x, "tanh") if self.by_kernel(x, ctx) else tanh(x)


@layer
class Softmax(Activation):
    """y_i = e^(x_i) / sum_j e^(x_j) over the last axis. See `softmax`."""

    def apply(self, p, x, ctx):
        return softmax(x)


@layer("leaky_relu")
class LeakyReLU(Activation):
    """y = x where x > 0, else slope * x. See `leaky_relu`."""

    slope: float = 0.01

    def apply(self, p, x, ctx):
        return leaky_relu(x, self.slope)


@layer
class ELU(Activation):
    """y = x where x > 0, else alpha (e^x - 1). See `elu`."""

    alpha: float = 1.0

    def apply(self, p, x, ctx):
        return elu(x, self.alpha)


@layer
class SELU(Activation):
    """y = s * elu(x, a) with the self-normalising constants. See `selu`."""

    def apply(self, p, x, ctx):
        return selu(x)


@layer
class GELU(Activation):
    """y = x Phi(x). See `gelu`."""

    approximate: bool = False

    def apply(self, p, x, ctx):
        if self.approximate and self.by_kernel(x, ctx):
            return calls.bent(x, "gelu")
        return gelu(x, self.approximate)


@layer("silu")
class SiLU(Activation):
    """y = x sigmoid(x). See `silu`."""

    def apply(self, p, x, ctx):
        return silu(x)


@layer
class Softplus(Activation):
    """y = log(1 + e^x). See `softplus`."""

    def apply(self, p, x, ctx):
        return softplus(x)


def native_bend(layer: Layer) -> str | None:
    """What the native kernels call this activation (`pellucid.native.calls.BENDS`); None where they have it not.

    >>> native_bend(ReLU()), native_bend(GELU(approximate=True)), native_bend(GELU())
    ('relu', 'gelu', None)
    """
    if type(layer) is GELU:
        return "gelu" if layer.approximate else None
    names: dict[type[Layer], str] = {Identity: "identity", ReLU: "relu", Tanh: "tanh", Sigmoid: "sigmoid"}
    return names.get(type(layer))


def suited_initial(activation: Layer) -> str:
    """The name of the initializer for weights that feed `activation`.

    He keeps the variance through what passes about half of it (the ReLU family); LeCun is SELU's fixed point; Glorot
    serves what is linear around 0, and whatever is not known here. He et al. 2015, Glorot & Bengio 2010.

    >>> suited_initial(ReLU()), suited_initial(SELU()), suited_initial(Tanh())
    ('he_normal', 'lecun_normal', 'glorot_uniform')
    """
    if isinstance(activation, SELU):
        return "lecun_normal"
    if isinstance(activation, ReLU | LeakyReLU | ELU | GELU | SiLU | Softplus):
        return "he_normal"
    return "glorot_uniform"
