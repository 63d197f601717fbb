"""The layers of a feed-forward network: Input, Flatten, Dense, Output, Dropout, Embed."""

import dataclasses
import math
from typing import Any, ClassVar, Literal, cast

import jax
import jax.numpy as jnp

from pellucid.errors import NetworkError
from pellucid.native import calls, usable
from pellucid.network.activations import BEND_PAYS, native_bend
from pellucid.network.composite import replace_layers
from pellucid.network.draw import cheap_uniform
from pellucid.network.initial import Constant, GlorotUniform, Initializer, Normal, Zeros
from pellucid.network.layer import Context, Layer, Param, layer, width_of
from pellucid.network.precision import wide


@layer
class Input(Layer):
    """y = (x - mean) / scale: what arrives, and its standardisation, which so travels with the network.

    x: [batch, *shape], any number type -> y: the same shape, floating.
    per: "all" (one mean and scale), "channel" (one for each place on the last axis), "feature" (one for each number).
    `mean` and `scale` are running state, 0 and 1 until the data set them; no gradient moves them.
    shape, dtype: what the data had, without the batch axis; another shape raises a `NetworkError`. LeCun et al. 1998.
    padded: x is [batch, steps, n], and steps of NaN only fill up shorter sequences: they become 0, and the layers
    behind are told which steps are real (`ctx.valid`).

    >>> p = {"mean": jnp.array(100.0), "scale": jnp.array(50.0)}
    >>> Input().apply(p, jnp.array([[0, 200]], "uint8"), None).tolist()
    [[-2.0, 2.0]]
    """

    full_precision: ClassVar = True

    per: Literal["feature", "channel", "all"] = "all"
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    padded: bool = False

    def declare(self, x):
        if self.shape is not None and tuple(x.shape[1:]) != self.shape:
            raise NetworkError(
                "what arrives has another shape than the network was made for",
                where="Input",
                expected=f"[batch, {', '.join(map(str, self.shape))}]",
                got=list(x.shape),
                fix="give data with the features that the network was made for, or make the network anew",
            )
        kept = {"all": (), "channel": tuple(x.shape[1:][-1:]), "feature": tuple(x.shape[1:])}[self.per]
        return {"mean": Param(kept, "zeros", trained=False), "scale": Param(kept, "ones", trained=False)}

    def apply(self, p, x, ctx):
        x = wide(x) if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)
        y = (x - p["mean"]) * (1 / p["scale"])  # one division for all rows, not one for each number
        if not self.padded:
            return y
        real = ~jnp.isnan(x).all(axis=-1)  # [batch, steps, n] -> [batch, steps]
        if ctx is not None:
            ctx.valid = real
        return jnp.where(real[..., None], y, 0.0)


@layer
class Flatten(Layer):
    """x: [batch, a, b, ...] -> y: [batch, a * b * ...], in the order of the memory (the last axis fastest).

    >>> Flatten().apply({}, jnp.zeros((5, 8, 8)), None).shape
    (5, 64)
    """

    def apply(self, p, x, ctx):
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))  # -1 would fail on an empty batch


def weighted(x: jax.Array, w: jax.Array) -> jax.Array:
    """x·w over the last axis, x: [..., n], w: [n, width] -> [..., width].

    It is one product of two matrices: with more axes XLA, on the CPU, lays out a transposed copy for the gradient of w.

    >>> weighted(jnp.ones((2, 3, 4)), jnp.ones((4, 5))).shape
    (2, 3, 5)
    """
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return (rows @ w).reshape(*x.shape[:-1], w.shape[-1])


LEAST, MOST = 1e6, 2e8  # operations of a product: between them the kernels are quicker than XLA, and worth a call


def suits(rows: int, n: int, width: int, most: float = MOST) -> bool:
    """Whether [rows, n]·[n, width] is a product that a native kernel computes quicker."""
    return rows >= 8 and width >= 16 and LEAST <= 2 * rows * n * width <= most


def by_kernel(x: jax.Array, w: jax.Array, b: jax.Array | None, ctx: Context | None) -> bool:
    """Whether x·w + b is to be computed by a native kernel."""
    return ctx is not None and ctx.reverse_only and suits(math.prod(x.shape[:-1]), *w.shape) and usable(x, w, b)


def _native(x: jax.Array, w: jax.Array, b: jax.Array | None, bend: str = "identity") -> jax.Array:
    """x·w + b, bent by one of `calls.BENDS` at once, by a native kernel."""
    y = cast(jax.Array, calls.dense(x.reshape(-1, w.shape[0]), w, b, bend))
    return y.reshape(*x.shape[:-1], w.shape[1])


def affine(x: jax.Array, w: jax.Array, b: jax.Array | None, ctx: Context | None) -> jax.Array:
    """x·w + b over the last axis. x: [..., n], w: [n, width], b: [width] or None -> [..., width].

    >>> affine(jnp.ones((2, 4)), jnp.ones((4, 5)), jnp.ones(5), None)[0].tolist()
    [5.0, 5.0, 5.0, 5.0, 5.0]
    """
    if by_kernel(x, w, b, ctx):
        return _native(x, w, b)
    y = weighted(x, w)
    return y if b is None else y + b


@layer
class Dense(Layer):
    """y = x·w + b: `width` neurons, each a weighted sum of all inputs plus a bias. It acts on the last axis.

    x: [batch, ..., n] -> y: [batch, ..., width].   w: [n, width], b: [width].
    Gradients: dL/dw = x^T dL/dy, dL/db = sum of dL/dy over the batch, dL/dx = dL/dy w^T.
    The default weights are Glorot-uniform; the builders choose by the activation that follows. Rosenblatt 1958.

    >>> p = {"w": jnp.array([[1.0], [2.0]]), "b": jnp.array([0.5])}
    >>> Dense(1).apply(p, jnp.array([[3.0, 4.0]]), None).tolist()
    [[11.5]]
    """

    width: int
    bias: bool = True
    initial: Initializer = GlorotUniform()
    bias_initial: Initializer = Zeros()

    def check(self):
        if self.width < 1:
            self.refuse("width", "a whole number >= 1")

    def declare(self, x):
        bias = {"b": Param((self.width,), self.bias_initial)} if self.bias else {}
        return {"w": Param((width_of(x), self.width), self.initial), **bias}

    def apply(self, p, x, ctx):
        return affine(x, p["w"], p["b"] if self.bias else None, ctx)

    def join(self, p, x, ctx, behind):
        w, b, bend = p["w"], p["b"] if self.bias else None, native_bend(behind[0])
        if bend is None or not by_kernel(x, w, b, ctx):  # before sizes are compared, which may be symbols elsewhere
            return None
        several = BEND_PAYS <= math.prod(x.shape[:-1]) * self.width <= calls.LARGE  # one by one: as many and as large
        return (_native(x, w, b, bend), 1) if several else None


@layer
class Output(Layer):
    """The last `Dense` layer, whose width the data's targets decide: `resolve_output` fills it in.

    Its outputs are logits or standardised values; the loss owns the link (softmax, sigmoid, identity).
    x: [batch, ..., n] -> y: [batch, ..., width]. Applied while the width is open, it raises a `NetworkError`.

    >>> resolve_output(Output(), 3)
    Output(width=3, initial=GlorotUniform())
    """

    width: int | None = None
    initial: Initializer = GlorotUniform()

    def check(self):
        if self.width is not None and self.width < 1:
            self.refuse("width", "a whole number >= 1, or None until the data decide")

    def _dense(self) -> Dense:
        if self.width is None:
            raise NetworkError(
                "the output layer has no width yet",
                where="Output()",
                fix="write Output(3), or let fit set it from the data",
            )
        return Dense(self.width, initial=self.initial)

    def declare(self, x):
        return self._dense().declare(x)

    def apply(self, p, x, ctx):
        return self._dense().apply(p, x, ctx)


def resolve_output(top: Layer, width: int) -> Layer:
    """`top` with `width` filled into every `Output` in it whose width is open; without one, `top` as it is."""

    def resolve(part: Layer) -> Layer:
        if isinstance(part, Output) and part.width is None:
            return dataclasses.replace(part, width=width)
        return part

    return replace_layers(top, resolve)


@layer
class Dropout(Layer):
    """While training, each number is set to 0 with probability `rate`, the others grow by 1 / (1 - rate).

    So the expected value stays, and evaluation is the identity. x: any shape -> y: the same. Needs a random key.
    The rate is running state: changing it compiles nothing anew. It is exact to 2^-24. Srivastava et al. 2014.

    >>> Dropout(0.5).apply({}, jnp.ones(3), None).tolist()  # evaluation
    [1.0, 1.0, 1.0]
    """

    rate: float = 0.5

    def check(self):
        if not 0 <= self.rate < 1:
            self.refuse("rate", "a number >= 0 and < 1")

    def declare(self, x):
        return {"rate": Param((), Constant(self.rate), trained=False)}

    def apply(self, p, x, ctx):
        if ctx is None or not ctx.train:
            return x
        keep = 1 - p["rate"]
        kept = cheap_uniform(ctx.random(), x.shape) < keep
        return jnp.where(kept, wide(x) / jnp.maximum(keep, 1e-7), 0.0)


@layer
class Embed(Layer):
    """y = w[x]: a learned vector for each of `vocabulary` ids. ids x: [batch, ...] int -> y: [batch, ..., width].

    vocabulary None: the data's, filled in by `fit`. padding: id 0 only fills up shorter sequences; its vector is 0, and
    the layers behind are told which steps are real (`ctx.valid`).
    The gradient reaches the rows that were looked up. An id outside 0 ... vocabulary - 1 gives NaN, which shows,
    where clipping or wrapping would quietly give another id's vector. Numbers that are not integers raise a
    `NetworkError`. Bengio et al. 2003.

    >>> Embed(2, 3).apply({"w": jnp.arange(6.0).reshape(2, 3)}, jnp.array([1, 0]), None).tolist()
    [[3.0, 4.0, 5.0], [0.0, 1.0, 2.0]]
    """

    full_precision: ClassVar = True  # of a common token many gradients add up

    vocabulary: int | None
    width: int
    initial: Initializer = Normal(1.0)
    padding: bool = False

    def check(self):
        for name in ("vocabulary", "width"):
            if (value := getattr(self, name)) is not None and value < 1:
                self.refuse(name, "a whole number >= 1")

    def declare(self, x: Any):
        if self.vocabulary is None:
            raise NetworkError(
                "the embedding has no vocabulary yet", where=repr(self), fix="write Embed(65, 32), or let fit set it"
            )
        if not jnp.issubdtype(x.dtype, jnp.integer):
            raise NetworkError(
                "an embedding looks up whole numbers", where=repr(self), expected="integer ids", got=f"dtype {x.dtype}"
            )
        return {"w": Param((self.vocabulary, self.width), self.initial)}

    def operations(self, x, y):
        return 0  # rows are looked up

    def apply(self, p, x, ctx):
        found = p["w"].at[x].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
        if not self.padding:
            return found
        real = x > 0
        if ctx is not None:
            ctx.valid = real
        return jnp.where(real[..., None], found, 0.0)
