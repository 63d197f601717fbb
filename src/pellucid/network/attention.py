"""Attention: every step looks at the others, and takes from each as much as the two of them suit.

    q, k, v = x·w + b            query, key and value of each step, for each head
    a = softmax(q·kᵀ / sqrt(d))  how much each step takes from each other one
    y = (a·v)·out                what it took, of all heads together

A causal step looks at itself and at what came before. When text comes in pieces, keys and values are kept for the next
one, up to `context` steps. Bahdanau et al. 2015; Vaswani et al. 2017.
"""

import math
from typing import Any, ClassVar, Literal, cast

import jax
import jax.numpy as jnp

from pellucid.errors import NetworkError
from pellucid.native import calls, usable
from pellucid.network.dense import affine
from pellucid.network.draw import cheap_uniform
from pellucid.network.initial import GlorotUniform, Initializer, Normal, Zeros
from pellucid.network.layer import Context, Layer, Param, layer, width_of
from pellucid.network.precision import wide

HIDDEN = -1e9  # the score of what must not be looked at


def rotate(x: jax.Array, places: jax.Array) -> jax.Array:
    """Rotary positions: number i of the first half and number i of the second are turned, as a point of the plane, by
    place * 10000^(-2i/d), so that q·k depends on the distance of two steps and not on where they stand.

    x: [batch, steps, heads, d], d even; places: [steps] -> the same shape. Su et al. 2021 (halves as in GPT-NeoX).

    >>> x = jnp.ones((1, 2, 1, 2))
    >>> rotate(x, jnp.array([0, 1]))[0, 0, 0].tolist()
    [1.0, 1.0]
    """
    half = x.shape[-1] // 2
    dtype = wide(x).dtype  # 16 bits do not tell place 257 from 256
    speeds = 10_000.0 ** (-jnp.arange(half, dtype=dtype) / half)
    angles = places.astype(dtype)[:, None] * speeds  # [steps, d / 2]
    cos, sin = jnp.cos(angles).astype(x.dtype)[:, None, :], jnp.sin(angles).astype(x.dtype)[:, None, :]
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def attention_weights(q: jax.Array, k: jax.Array, seen: jax.Array | None) -> jax.Array:
    """softmax(q·kᵀ / sqrt(d)) over the keys: how much each step takes from each other one, [batch, heads, steps, keys];
    see `attend`.

    >>> attention_weights(jnp.zeros((1, 1, 1, 2)), jnp.ones((1, 2, 1, 2)), None).ravel().tolist()
    [0.5, 0.5]
    """
    scores = jnp.einsum("bqhd,bkhd->bhqk", q * (1 / math.sqrt(q.shape[-1])), k, preferred_element_type=wide(q).dtype)
    if seen is not None:
        scores = jnp.where(seen, scores, jnp.asarray(HIDDEN, scores.dtype))
    weights = jax.nn.softmax(scores, axis=-1)
    return weights if seen is None else jnp.where(seen, weights, jnp.zeros((), weights.dtype))


def attend(q: jax.Array, k: jax.Array, v: jax.Array, seen: jax.Array | None, keep: Any = None) -> jax.Array:
    """softmax(q·kᵀ / sqrt(d))·v, a step that may look at nothing giving 0.

    q: [batch, steps, heads, d], k, v: [batch, keys, heads, d]; seen: bool, [batch or 1, 1, steps or 1, keys]; keep: a
    function of the weights [batch, heads, steps, keys] (dropout) -> [batch, steps, heads, d].

    >>> one = jnp.ones((1, 1, 1, 2))
    >>> attend(one, one, 3 * one, None).ravel().tolist()
    [3.0, 3.0]
    """
    weights = attention_weights(q, k, seen).astype(v.dtype)
    if keep is not None:
        weights = keep(weights)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, v)


def _parts(mixed: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values, each [batch, steps, heads, d], from [batch, steps, 3, heads, d]."""
    return mixed[:, :, 0], mixed[:, :, 1], mixed[:, :, 2]


@layer
class Attention(Layer):
    """Multi-head self-attention. x: [batch, steps, n] -> y: [batch, steps, n].

    heads: so many looks at once, each `head_width` wide (n / heads by default).   causal: no step sees a later one.
    rotary: positions by rotating queries and keys (see `rotate`).   dropout: of the weights, while training.
    context: how many steps are kept for the pieces that follow; needed to stream.
    Steps that only fill up a sequence (`ctx.valid` False) are not looked at.
    w: [n, 3 * heads * d] (queries, keys, values), b; out: [heads * d, n], out_bias. Vaswani et al. 2017.

    >>> x = jax.random.normal(jax.random.key(0), (1, 4, 6))
    >>> p = {"w": jnp.eye(6, 18), "b": jnp.zeros(18), "out": jnp.eye(6), "out_bias": jnp.ones(6)}
    >>> Attention(2).apply(p, x, None)[0, 0].tolist()  # the values are 0 here
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """

    caches: ClassVar = True

    heads: int = 4
    causal: bool = False
    rotary: bool = False
    dropout: float = 0.0
    bias: bool = True
    head_width: int | None = None
    context: int | None = None
    initial: Initializer = GlorotUniform()
    out_initial: Initializer = GlorotUniform()

    def check(self):
        for name in ("heads", "head_width", "context"):
            if (value := getattr(self, name)) is not None and value < 1:
                self.refuse(name, "a whole number >= 1")
        if not 0 <= self.dropout < 1:
            self.refuse("dropout", "a share >= 0 and < 1")

    def _width(self, n: int) -> int:
        """Of one head."""
        if self.head_width is None and n % self.heads:
            raise NetworkError(
                "the width cannot be divided among the heads", expected=f"a multiple of {self.heads}", got=n,
                fix=f"{self.heads * max(round(n / self.heads), 1)} units, or another number of heads",
            )  # fmt: skip
        d = self.head_width or n // self.heads
        if self.rotary and d % 2:
            raise NetworkError("rotary positions turn pairs of numbers", expected="heads of an even width", got=d)
        return d

    def declare(self, x):
        if len(x.shape) != 3:
            raise NetworkError("attention looks at steps", expected="shape [batch, steps, n]", got=list(x.shape))
        n = width_of(x)
        inner = self.heads * self._width(n)
        bias = {"b": Param((3 * inner,), Zeros()), "out_bias": Param((n,), Zeros())} if self.bias else {}
        return {"w": Param((n, 3 * inner), self.initial), "out": Param((inner, n), self.out_initial), **bias}

    def operations(self, x, y):
        steps, n = x.shape[1:]
        inner = self.heads * self._width(n)
        return 2 * steps * n * 4 * inner + 4 * steps * steps * inner

    def apply(self, p, x, ctx):
        ctx = ctx or Context()
        batch, steps, n = x.shape
        mixed = self._asked(p, x, ctx)
        if ctx.streaming:
            y = self._go_on(ctx, *_parts(mixed))
        else:
            y = self._attend(ctx, self._placed(mixed))
        y = y.reshape(batch, steps, self.heads * self._width(n))
        return affine(y, p["out"], p["out_bias"] if self.bias else None, ctx)

    def look(self, p, x, valid: jax.Array | None = None) -> jax.Array:
        """How much each step takes from each other one: [batch, heads, steps, steps], rows adding up to 1."""
        q, k, _ = _parts(self._placed(self._asked(p, x, None)))
        return attention_weights(q, k, self._seen(x.shape[1], valid))

    def _asked(self, p, x, ctx: Context | None) -> jax.Array:
        """Queries, keys and values: [batch, steps, 3, heads, d]."""
        batch, steps, n = x.shape
        mixed = affine(x, p["w"], p["b"] if self.bias else None, ctx)  # one product: [batch, steps, 3 * heads * d]
        return mixed.reshape(batch, steps, 3, self.heads, self._width(n))

    def _placed(self, mixed: jax.Array) -> jax.Array:
        """The same, queries and keys rotated where positions are rotary."""
        if not self.rotary:
            return mixed
        q, k, v = _parts(mixed)
        places = jnp.arange(q.shape[1])
        return jnp.stack([rotate(q, places), rotate(k, places), v], axis=2)

    def _seen(self, steps: int, valid: jax.Array | None) -> jax.Array | None:
        """Which steps may be looked at: [batch or 1, 1, steps or 1, steps], None for all."""
        seen = jnp.tril(jnp.ones((steps, steps), bool))[None, None] if self.causal else None
        if valid is None:
            return seen
        real = valid[:, None, None, :]
        return real if seen is None else seen & real

    def _attend(self, ctx: Context, mixed: jax.Array) -> jax.Array:
        (q, k, v), steps = _parts(mixed), mixed.shape[1]
        drops = ctx.train and self.dropout > 0
        if not drops and ctx.valid is None and usable(mixed):
            return self._by_kernel(mixed, ctx.reverse_only)
        if jax.default_backend() != "cpu" and not drops:  # fused, where the accelerator has it
            lengths = None if ctx.valid is None else ctx.valid[:, None, None, :]
            y = jax.nn.dot_product_attention(q, k, v, mask=lengths, is_causal=self.causal)
            return y if ctx.valid is None else jnp.where(ctx.valid.any(-1)[:, None, None, None], y, 0)
        seen = self._seen(steps, ctx.valid)
        return attend(q, k, v, seen, (lambda a: self._drop(ctx, a)) if drops else None)

    def _by_kernel(self, mixed: jax.Array, reverse_only: bool) -> jax.Array:
        batch, steps, _, heads, d = mixed.shape
        how, flat = calls.Looking(heads, self.causal), mixed.reshape(batch, steps, 3 * heads * d)
        if reverse_only:
            return cast(jax.Array, calls.attend(flat, how))

        def plain(flat: jax.Array) -> jax.Array:
            q, k, v = _parts(flat.reshape(*flat.shape[:-1], 3, heads, d))
            return attend(q, k, v, self._seen(steps, None)).reshape(*flat.shape[:-1], heads * d)

        return calls.aside(lambda flat: calls.attended(flat, how), plain)(flat)

    def _drop(self, ctx: Context, weights: jax.Array) -> jax.Array:
        kept = cheap_uniform(ctx.random(), weights.shape) >= self.dropout
        return jnp.where(kept, weights / (1 - self.dropout), 0.0)

    def _go_on(self, ctx: Context, q, k, v) -> jax.Array:
        """New steps look at those before them, which lie in the cache, and at each other."""
        if self.context is None or not self.causal:
            raise NetworkError(
                "attention can go on piece by piece only where it is causal and knows its context",
                where=ctx.path, expected="Attention(causal=True, context=N)", got=repr(self),
            )  # fmt: skip
        batch, steps, heads, d = q.shape
        empty = jnp.zeros((batch, self.context, heads, d), k.dtype)
        before = ctx.recall({"k": empty, "v": empty, "length": jnp.zeros((), jnp.int32)})
        length = before["length"]
        places = length + jnp.arange(steps)
        if self.rotary:
            q, k = rotate(q, places), rotate(k, places)
        keys = jax.lax.dynamic_update_slice(before["k"], k, (0, length, 0, 0))
        values = jax.lax.dynamic_update_slice(before["v"], v, (0, length, 0, 0))
        ctx.remember({"k": keys, "v": values, "length": length + steps})
        seen = jnp.arange(self.context)[None, :] <= places[:, None]  # [steps, context]
        return attend(q, keys, values, seen[None, None])


@layer
class Positions(Layer):
    """y = x + a vector for each place, without which attention could not tell one order from another.

    kind "learned": w [context, n]. "sinusoidal": sin(place / 10000^(2i/n)) and cos of the same, side by side; nothing
    is learned. x: [batch, steps, n] -> y: the same; more steps than `context` raise a `NetworkError`.
    Vaswani et al. 2017.

    >>> Positions("sinusoidal", 8).apply({}, jnp.zeros((1, 2, 2)), None)[0, 0].tolist()
    [0.0, 1.0]
    """

    caches: ClassVar = True

    kind: Literal["learned", "sinusoidal"] = "learned"
    context: int = 512
    initial: Initializer = Normal(0.02)

    def check(self):
        if self.context < 1:
            self.refuse("context", "a whole number >= 1")

    def declare(self, x):
        if x.shape[1] > self.context:
            raise NetworkError(
                "there are more steps than places", expected=f"at most {self.context} steps", got=x.shape[1],
                fix=f"give shorter sequences, or train with --context {x.shape[1]}",
            )  # fmt: skip
        return {"w": Param((self.context, width_of(x)), self.initial)} if self.kind == "learned" else {}

    def apply(self, p, x, ctx):
        steps, n = x.shape[1:]
        first = jnp.zeros((), jnp.int32)
        if ctx is not None and ctx.streaming:
            first = ctx.recall(first)
            ctx.remember(first + steps)
            if self.kind == "learned":
                return x + jax.lax.dynamic_slice_in_dim(p["w"], first, steps)
        if self.kind == "learned":
            return x + p["w"][:steps]
        return x + sinusoids((first + jnp.arange(steps)).astype(wide(x).dtype), n).astype(x.dtype)


def sinusoids(places: jax.Array, n: int) -> jax.Array:
    """[steps] -> [steps, n]: sines at even numbers, cosines at odd ones.

    >>> sinusoids(jnp.array([0, 1]), 2)[1].round(3).tolist()
    [0.841..., 0.540...]
    """
    places = places.astype(jnp.float32) if jnp.issubdtype(places.dtype, jnp.integer) else places
    speeds = 10_000.0 ** (-2 * jnp.arange((n + 1) // 2, dtype=places.dtype) / n)
    angles = places[:, None] * speeds
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(len(places), -1)[:, :n]
