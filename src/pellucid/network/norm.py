"""Normalisation: bring what passes between layers to mean 0 and variance 1, then let the network choose again."""

import math
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp

from pellucid.native import calls, usable
from pellucid.network.initial import Initializer, Ones
from pellucid.network.joined import followers
from pellucid.network.layer import Context, Layer, Param, layer, width_of
from pellucid.network.precision import wide

KERNEL_PAYS = 1 << 12  # numbers to normalise; fewer are done before a kernel is called


@layer
class LayerNorm(Layer):
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias, mean and (biased) variance over the last axis of each row.

    x: [batch, ..., n] -> y: the same. scale, bias: [n], each left out where switched off. The same in training and
    evaluation, whatever the batch. Ba et al. 2016.

    >>> y = LayerNorm(scale=False, bias=False).apply({}, jnp.array([[1.0, 3.0]]), None)
    >>> [round(v, 3) for v in y[0].tolist()]
    [-1.0, 1.0]
    """

    full_precision: ClassVar = True

    epsilon: float = 1e-5
    scale: bool = True
    bias: bool = True

    def check(self):
        if self.epsilon <= 0:
            self.refuse("epsilon", "a number > 0")

    def declare(self, x):
        n = width_of(x)
        scale = {"scale": Param((n,), "ones")} if self.scale else {}
        bias = {"bias": Param((n,), "zeros")} if self.bias else {}
        return {**scale, **bias}

    def apply(self, p, x, ctx):
        x, scale, bias = wide(x), p.get("scale"), p.get("bias")
        if ctx is not None and ctx.reverse_only and x.size >= KERNEL_PAYS and usable(x, scale, bias):
            return cast(jax.Array, calls.row_norm(x, scale, bias, self.epsilon))
        centred = x - x.mean(-1, keepdims=True)
        y = centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + self.epsilon)
        y = y if scale is None else y * scale
        return y if bias is None else y + bias


@layer("rms_norm")
class RMSNorm(Layer):
    """y = x / sqrt(mean of x² + epsilon) * scale, the mean over the last axis: LayerNorm without centring.

    x: [batch, ..., n] -> y: the same. scale: [n]. Zhang & Sennrich 2019.

    >>> RMSNorm(1e-12, scale=False).apply({}, jnp.array([[3.0, 4.0]]), None).round(3).tolist()
    [[0.849..., 1.131...]]
    """

    full_precision: ClassVar = True

    epsilon: float = 1e-5
    scale: bool = True

    def check(self):
        if self.epsilon <= 0:
            self.refuse("epsilon", "a number > 0")

    def declare(self, x):
        return {"scale": Param((width_of(x),), "ones")} if self.scale else {}

    def apply(self, p, x, ctx):
        x = wide(x)
        y = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + self.epsilon)
        return y * p["scale"] if self.scale else y


@layer
class BatchNorm(Layer):
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias, mean and variance of each place on the last axis.

    While training: of the batch, over all axes but the last, variance biased; rows that only fill up a batch
    (`ctx.mask` False) are left out. Evaluating: the running ones,
        running = momentum * running + (1 - momentum) * batch,
    whose variance is unbiased (n / (n - 1)), as in PyTorch, whose `momentum` is 1 minus this one.
    A batch of a single row has no variance: it gives y = bias and leaves the running variance as it was.
    x: [batch, ..., n] -> y: the same. scale, bias: [n]; mean, var: [n], running state. Ioffe & Szegedy 2015.

    >>> p = {"scale": jnp.ones(1), "bias": jnp.zeros(1), "mean": jnp.array([3.0]), "var": jnp.array([4.0])}
    >>> round(float(BatchNorm().apply(p, jnp.array([[5.0]]), None)[0, 0]), 4)
    1.0
    """

    full_precision: ClassVar = True

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_initial: Initializer = Ones()

    def check(self):
        if not 0 <= self.momentum <= 1:
            self.refuse("momentum", "a number from 0 to 1")
        if self.epsilon <= 0:
            self.refuse("epsilon", "a number > 0")

    def declare(self, x):
        n = (width_of(x),)
        return {
            "scale": Param(n, self.scale_initial),
            "bias": Param(n, "zeros"),
            "mean": Param(n, "zeros", trained=False),
            "var": Param(n, "ones", trained=False),
        }

    def join(self, p, x, ctx, behind):
        found = followers(behind, x.shape) if jnp.ndim(x) == 4 and self._by_kernel(p, x, ctx) else None
        if found is None:
            return None
        return self._normalised(p, x, ctx, found), found.layers

    def _by_kernel(self, p, x: jax.Array, ctx: Context) -> bool:
        suits = ctx.train and ctx.reverse_only and x.size >= KERNEL_PAYS
        return suits and usable(x, p["scale"], p["bias"])

    def _normalised(self, p, x: jax.Array, ctx: Context, then: calls.Then) -> jax.Array:
        """x: [batch, h, w, n], by the native kernel."""
        y, mean, var = cast(Any, calls.batch_norm(x, p["scale"], p["bias"], ctx.mask, self.epsilon, then))
        self._move(p, ctx, mean, var, self._count(x, ctx))
        return y

    def _count(self, x: jax.Array, ctx: Context) -> jax.Array:
        """How many numbers each mean and variance is of."""
        rows = jnp.float32(x.shape[0]) if ctx.mask is None else ctx.mask.sum().astype(jnp.float32)
        return rows * math.prod(x.shape[1:-1])

    def apply(self, p, x, ctx):
        x = wide(x)
        if ctx is not None and self._by_kernel(p, x, ctx):
            rows = x.reshape(x.shape[0], math.prod(x.shape[1:-1]), 1, x.shape[-1])
            return self._normalised(p, rows, ctx, calls.Then()).reshape(x.shape)
        mean, var = self._of_batch(p, x, ctx) if ctx is not None and ctx.train else (p["mean"], p["var"])
        return (x - mean) * (jax.lax.rsqrt(var + self.epsilon) * p["scale"]) + p["bias"]

    def _of_batch(self, p, x: jax.Array, ctx: Context) -> tuple[jax.Array, jax.Array]:
        """Mean and biased variance over the rows that count, which also move the running ones."""
        axes = tuple(range(x.ndim - 1))
        count = self._count(x, ctx)
        keep = True if ctx.mask is None else ctx.mask.reshape((-1,) + (1,) * (x.ndim - 1))  # [batch, 1, ..., 1]
        some = jnp.maximum(count, 1)
        mean = jnp.where(keep, x, 0.0).sum(axes) / some
        var = jnp.where(keep, jnp.square(x - mean), 0.0).sum(axes) / some
        self._move(p, ctx, mean, var, count)
        return mean, var

    def _move(self, p, ctx: Context, mean: jax.Array, var: jax.Array, count: jax.Array) -> None:
        """The running mean and variance, by those of a batch of `count` rows."""

        def moved(old, new, enough):
            mixed = self.momentum * old + (1 - self.momentum) * jax.lax.stop_gradient(new)
            return jnp.where(enough, mixed, old).astype(old.dtype)

        unbiased = var * (count / jnp.maximum(count - 1, 1))
        ctx.update(mean=moved(p["mean"], mean, count > 0), var=moved(p["var"], unbiased, count > 1))
