"""Pooling: several neighbouring places become one, so that what follows sees more of the image at less cost."""

import functools
import itertools
import math
from typing import Any, ClassVar, Literal, cast

import jax
import jax.numpy as jnp
from jax import lax

from pellucid.errors import NetworkError
from pellucid.native import calls, usable
from pellucid.network.convolve import Padding, Sizes, Window, as_image, leave_steps, real_steps, window_of
from pellucid.network.layer import Context, Layer, layer, show_shape
from pellucid.network.precision import wide

MOST_PLACES = 255  # of a window that a kernel takes in: a byte tells which one held the largest


class _Pool(Layer):
    """What the two pools share: the window's settings."""

    size: Sizes
    stride: Sizes | None
    padding: Padding

    def check(self):
        for name in ("size", "stride"):
            value = getattr(self, name)
            if value == () or (value is not None and min(value if isinstance(value, tuple) else (value,)) < 1):
                self.refuse(name, "whole numbers >= 1")
        numbers = jax.tree.leaves(self.padding if isinstance(self.padding, tuple) else (self.padding,))
        least = min(self.size if isinstance(self.size, tuple) else (self.size,))
        if any(isinstance(n, int) and not 0 <= n < least for n in numbers):
            self.refuse("padding", f'"valid", "same", or whole numbers >= 0 and below the size ({least})')

    def operations(self, x, y):
        window = self.window(x, None)
        return math.prod(window.size) * math.prod(y.shape[1:])

    def window(self, x: Any, ctx: Any) -> Window:
        stride = self.size if self.stride is None else self.stride
        return window_of(self.name, x, ctx, self.size, stride, self.padding)

    def apply(self, p, x, ctx):
        window, valid = self.window(x, ctx), real_steps(x, ctx)
        image = as_image(x)
        mask = None if valid is None else as_image(valid[..., None])
        y = self.pooled(image, window, mask, ctx is not None and ctx.reverse_only)
        leave_steps(ctx, valid, window, self.padding == "same")
        return y[:, 0] if x.ndim == 3 else y

    def pooled(self, x: jax.Array, window: Window, mask: jax.Array | None, reverse_only: bool = False) -> jax.Array:
        """x: [batch, h, w, n] -> [batch, h', w', n]. mask: [batch, 1, w, 1], False where a step only fills up.
        reverse_only: as in `Context`."""
        raise NotImplementedError  # abstract


@layer
class MaxPool(_Pool):
    """The largest number in each window, channel by channel.

    x: [batch, h, w, n] -> y: [batch, h', w', n], or [batch, steps, n] -> [batch, steps', n].
    stride: by default the size.
    padding: "valid" drops what fills no window, h' = (h - size) / stride + 1 rounded down; "same" gives h / stride
    rounded up; or how many places on each side. What lies outside never wins.
    Gradient: to the largest, to the first of equals as in PyTorch. A window larger than the image raises a
    `NetworkError`. Weng et al. 1992, Ranzato et al. 2007.

    >>> MaxPool(2).apply({}, jnp.array([1.0, 5.0, 2.0, 3.0]).reshape(1, 4, 1), None).ravel().tolist()
    [5.0, 3.0]
    """

    size: Sizes = 2
    stride: Sizes | None = None
    padding: Padding = "valid"

    def pooled(self, x, window, mask, reverse_only=False):
        x = x if mask is None else _where(mask, x, -jnp.inf)
        if reverse_only and mask is None and usable(x):
            before = window.pads[0][0], window.pads[1][0]
            how = calls.Pooling(window.size, window.stride, before, window.out(x))
            return cast(jax.Array, calls.largest(x, how))
        y = tiled_max(x, window) if tiles(window) else _overlapping_max(x, window)
        return y if mask is None else _where(y == -jnp.inf, 0.0, y)  # a window without a real step


def relu_pooled(behind: Layer, x: Any, ctx: Context) -> jax.Array | None:
    """The output of ReLU and the `MaxPool` behind it by one kernel, which reads x once and keeps a byte for each number
    that comes out; None where it cannot: `behind` is something else, or the windows do not lie side by side."""
    if not isinstance(behind, MaxPool) or not ctx.reverse_only or real_steps(x, ctx) is not None:
        return None
    window = side_by_side(behind, x) if getattr(x, "ndim", 0) in (3, 4) and usable(x) else None
    if window is None:
        return None
    y = cast(jax.Array, calls.relu_largest(as_image(x), calls.Then(window.size, relu=True)))
    return y[:, 0] if x.ndim == 3 else y


def side_by_side(pool: MaxPool, x: Any) -> Window | None:
    """The window of a `MaxPool` on such an input (its shape counts), where the kernels can take it in."""
    try:
        window = pool.window(x, None)
    except NetworkError:  # it does not fit: the layer itself is to say so, by its own name
        return None
    return window if tiles(window) and window.places <= MOST_PLACES else None


@layer
class AvgPool(_Pool):
    """The mean of each window, channel by channel; places outside the image do not count.

    x: [batch, h, w, n] -> y: [batch, h', w', n], or [batch, steps, n] -> [batch, steps', n].
    stride: by default the size.
    padding: as in `MaxPool`. Gradient: shared equally. A window larger than the image raises a `NetworkError`.
    LeCun et al. 1989.

    >>> AvgPool(2).apply({}, jnp.array([1.0, 5.0, 2.0, 3.0]).reshape(1, 4, 1), None).ravel().tolist()
    [3.0, 2.5]
    """

    size: Sizes = 2
    stride: Sizes | None = None
    padding: Padding = "valid"

    def pooled(self, x, window, mask, reverse_only=False):
        x = wide(x)
        if mask is None and tiles(window):
            return _blocks(x, window).mean((2, 4))
        padded = window.pads != ((0, 0), (0, 0))
        if mask is None and not padded:
            return _sum(x, window) / window.places
        real = jnp.ones((1, *x.shape[1:3], 1), x.dtype) if mask is None else mask.astype(x.dtype)
        x = x if mask is None else _where(mask, x, 0.0)
        return _sum(x, window) / jnp.maximum(_sum(real, window), 1)


@layer
class GlobalPool(Layer):
    """The mean, or the largest, over all places: one number a channel, whatever the size of the image.

    x: [batch, ..., n] -> y: [batch, n]. Steps that only fill up a sequence do not count; a sequence without any real
    step gives 0. Lin et al. 2014.

    >>> GlobalPool().apply({}, jnp.array([[[1.0, 8.0], [3.0, 0.0]]]), None).tolist()
    [[2.0, 4.0]]
    """

    sums_up: ClassVar = True

    kind: Literal["mean", "max"] = "mean"

    def apply(self, p, x, ctx):
        if x.ndim < 3:
            raise NetworkError(
                "there is nothing to pool", where=ctx.path if ctx is not None and ctx.path else self.name,
                expected="shape [batch, ..., n] with an axis between", got=show_shape(x),
                fix="leave it out, or put it before the layer that flattens",
            )  # fmt: skip
        axes, valid = tuple(range(1, x.ndim - 1)), real_steps(x, ctx)
        x = wide(x) if self.kind == "mean" else x
        if valid is None:
            return x.mean(axes) if self.kind == "mean" else x.max(axes)
        real = valid[..., None]
        if self.kind == "mean":
            return jnp.sum(_where(real, x, 0.0), 1) / jnp.maximum(real.sum(1), 1).astype(x.dtype)
        return _where(real.any(1), jnp.max(_where(real, x, -jnp.inf), 1), 0.0)


def _where(condition: Any, a: Any, b: Any) -> jax.Array:
    return cast(jax.Array, jnp.where(condition, a, b))


def tiled_max(x: jax.Array, window: Window) -> jax.Array:
    """The largest of windows that lie side by side, in plain JAX. x: [batch, h, w, n] -> [batch, h', w', n]."""
    return _largest_of_block(_blocks(x, window))


def tiles(window: Window) -> bool:
    """Whether the windows lie side by side, so that a reshape separates them."""
    return window.stride == window.size and window.pads == ((0, 0), (0, 0))


def _blocks(x: jax.Array, window: Window) -> jax.Array:
    """[batch, h, w, n] -> [batch, h', size, w', size, n]; what fills no window is dropped."""
    (high, wide), (kh, kw) = window.out(x), window.size
    x = x[:, : high * kh, : wide * kw]
    return x.reshape(x.shape[0], high, kh, wide, kw, x.shape[-1])


@jax.custom_jvp
def _largest_of_block(x: jax.Array) -> jax.Array:
    """[batch, h', kh, w', kw, n] -> [batch, h', w', n]. JAX's own gradient shares among equals, at twice the cost."""
    return x.max((2, 4))


@_largest_of_block.defjvp
def _largest_of_block_jvp(primals, tangents):
    (x,), (moved,) = primals, tangents
    y, (kh, kw) = x.max((2, 4)), (x.shape[2], x.shape[4])
    places = list(itertools.product(range(kh), range(kw)))
    first = _first([x[:, :, u, :, v] for u, v in places], y)[:, :, None, :, None]
    shape = (1, 1, kh, 1, kw, 1)
    number = lax.broadcasted_iota(first.dtype, shape, 2) * kw + lax.broadcasted_iota(first.dtype, shape, 4)
    return y, jnp.sum(_where(first == number, moved, 0.0), (2, 4))


def _overlapping_max(x: jax.Array, window: Window) -> jax.Array:
    return _largest_of(tuple(window.views(window.pad(x, -jnp.inf), window.out(x))))


@jax.custom_jvp
def _largest_of(views: tuple[jax.Array, ...]) -> jax.Array:
    """The elementwise largest of several arrays."""
    return functools.reduce(jnp.maximum, views)


@_largest_of.defjvp
def _largest_of_jvp(primals, tangents):
    (views,), (moved,) = primals, tangents
    y = functools.reduce(jnp.maximum, views)
    first = _first(views, y)
    return y, functools.reduce(jnp.add, [_where(first == i, m, 0.0) for i, m in enumerate(moved)])


def _first(views, y: jax.Array) -> jax.Array:
    """Which of the views holds y; of several, the first."""
    dtype = jnp.int8 if len(views) <= 128 else jnp.int32
    first = jnp.full(y.shape, len(views) - 1, dtype)
    for i in reversed(range(len(views) - 1)):
        first = _where(views[i] == y, jnp.asarray(i, dtype), first)
    return first


def _sum(x: jax.Array, window: Window) -> jax.Array:
    views = window.views(window.pad(x), window.out(x))
    return functools.reduce(jnp.add, views)
