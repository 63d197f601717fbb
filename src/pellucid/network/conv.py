"""The layers of a convolutional network that hold weights, Conv and ConvTranspose; and two that hold none.

A sequence [batch, steps, n] and an image [batch, height, width, n] go through the same layers, which see by the number
of axes what arrives; a size, stride, ... is one whole number for every axis, or one for each.
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.errors import NetworkError
from pellucid.native import usable
from pellucid.network.convolve import (
    Padding,
    Sizes,
    Window,
    as_image,
    check_rank,
    convolve,
    convolve_native,
    convolve_transposed,
    leave_steps,
    real_steps,
    window_back,
    window_of,
)
from pellucid.network.initial import GlorotUniform, Initializer, Zeros
from pellucid.network.joined import convolve_joined, followers
from pellucid.network.layer import Layer, Param, layer, show_shape


class _Weighted(Layer):
    """What Conv and ConvTranspose share: their settings' checks, their weights, and the bias."""

    width: int
    size: Sizes
    stride: Sizes
    padding: Padding
    dilation: Sizes
    groups: int
    bias: bool
    initial: Initializer
    bias_initial: Initializer

    def check(self):
        for name in ("width", "size", "stride", "dilation", "groups"):
            value = getattr(self, name)
            if value == () or min(value if isinstance(value, tuple) else (value,)) < 1:
                self.refuse(name, "whole numbers >= 1")
        if self.width % self.groups:
            self.refuse("width", f"a multiple of groups={self.groups}")
        numbers = self.padding if isinstance(self.padding, tuple) else (self.padding,)
        if any(isinstance(n, int) and n < 0 for n in jax.tree.leaves(numbers)):
            self.refuse("padding", '"same", "valid", or whole numbers >= 0')

    def _kernel(self, x: Any) -> tuple[int, ...]:
        axes, n = check_rank(self.name, x), x.shape[-1]
        if n % self.groups:
            raise NetworkError(
                "the channels cannot be divided into groups of one size",
                expected=f"a multiple of groups={self.groups} channels", got=f"{n} channels, shape {show_shape(x)}",
                fix=f"give groups=1, or a divisor of {n}",
            )  # fmt: skip
        size = (self.size,) * axes if isinstance(self.size, int) else self.size
        return tuple(size)

    def _with_bias(self, w: tuple[int, ...]) -> dict[str, Param]:
        bias = {"b": Param((self.width,), self.bias_initial)} if self.bias else {}
        return {"w": Param(w, self.initial), **bias}

    def _finish(self, p: Any, x: Any, y: jax.Array) -> jax.Array:
        y = y[:, 0] if x.ndim == 3 else y
        return y + p["b"] if self.bias else y


@layer
class Conv(_Weighted):
    """y[i, j] = sum over u, v of  x[i*stride + u*dilation, j*stride + v*dilation] · w[u, v]  + b: `width` small
    patterns, each looked for everywhere.

    x: [batch, h, w, n] -> y: [batch, h', w', width].   w: [size, size, n / groups, width], b: [width].
    x: [batch, steps, n] -> y: [batch, steps', width].   w: [size, n / groups, width].
    padding: "same": zeros all round, so that h' = h / stride rounded up, an odd zero after; "valid": none, so that
    h' = (h - s) / stride + 1 rounded down, s = (size - 1) * dilation + 1; or how many zeros on each side: 1, or (1, 2)
    for height and width, or ((1, 1), (0, 2)) for before and after.
    groups: the channels fall into so many parts, each with outputs of its own; groups=n is a depthwise convolution.
    Steps of a sequence that only fill it up count as zeros. A window larger than the image raises a `NetworkError`.
    Gradients: dL/dw sums patch^T dL/dy over all places, dL/dx is the transposed convolution of dL/dy. Fukushima 1980,
    LeCun et al. 1989.

    >>> p = {"w": jnp.array([1.0, 0.0, -1.0]).reshape(3, 1, 1), "b": jnp.zeros(1)}
    >>> Conv(1, padding="valid").apply(p, jnp.array([1.0, 4.0, 9.0, 16.0]).reshape(1, 4, 1), None).ravel().tolist()
    [-8.0, -12.0]
    """

    width: int
    size: Sizes = 3
    stride: Sizes = 1
    padding: Padding = "same"
    dilation: Sizes = 1
    groups: int = 1
    bias: bool = True
    initial: Initializer = GlorotUniform()
    bias_initial: Initializer = Zeros()

    def declare(self, x):
        return self._with_bias((*self._kernel(x), x.shape[-1] // self.groups, self.width))

    def apply(self, p, x, ctx):
        window = self._window(x, ctx)
        valid = real_steps(x, ctx)
        x = x if valid is None else jnp.where(valid[..., None], x, 0.0)
        kernel = p["w"].reshape(*window.size, *p["w"].shape[-2:])
        image, reverse_only = as_image(x), ctx is not None and ctx.reverse_only
        leave_steps(ctx, valid, window, self.padding == "same")
        b = p["b"] if self.bias else None
        if self.groups == 1 and usable(image, kernel, b):
            y = convolve_native(image, kernel, b, window, reverse_only)
            return y if image is x else y[:, 0]
        return self._finish(p, x, convolve(image, kernel, window, self.groups))

    def _window(self, x: Any, ctx: Any) -> Window:
        return window_of(self.name, x, ctx, self.size, self.stride, self.padding, self.dilation)

    def join(self, p, x, ctx, behind):
        window, image = self._window(x, ctx), as_image(x)
        kernel, b = p["w"].reshape(*window.size, *p["w"].shape[-2:]), p["b"] if self.bias else None
        shape = x.shape[0], *window.out(image), self.width
        found = followers(behind, shape if x.ndim == 4 else shape[:1] + shape[2:])
        if found is None or self.groups != 1 or real_steps(x, ctx) is not None or not usable(image, kernel, b):
            return None
        y = convolve_joined(image, kernel, b, window, found, ctx.reverse_only)
        return (y if image is x else y[:, 0]), found.layers


@layer
class ConvTranspose(_Weighted):
    """The transpose of `Conv` as a linear map, plus b: each input lays its pattern, times itself, on the output.

        y = sum over i, j, u, v of  x[i, j] · w[u, v]  at place (i*stride + u*dilation, j*stride + v*dilation)

    x: [batch, h, w, n] -> y: [batch, h', w', width].   w: [size, size, n, width / groups], b: [width].
    x: [batch, steps, n] -> y: [batch, steps', width].   w: [size, n, width / groups].
    padding: "same": h' = h * stride; "valid": h' = (h - 1) * stride + size; or how many places to cut off on each side.
    A stride above 1 enlarges: the learned counterpart of `Upsample`. Zeiler et al. 2010; Dumoulin & Visin 2016.

    >>> p = {"w": jnp.array([1.0, 2.0]).reshape(2, 1, 1), "b": jnp.zeros(1)}
    >>> ConvTranspose(1, 2, stride=2).apply(p, jnp.array([1.0, 10.0]).reshape(1, 2, 1), None).ravel().tolist()
    [1.0, 2.0, 10.0, 20.0]
    """

    width: int
    size: Sizes = 3
    stride: Sizes = 1
    padding: Padding = "same"
    dilation: Sizes = 1
    groups: int = 1
    bias: bool = True
    initial: Initializer = GlorotUniform()
    bias_initial: Initializer = Zeros()

    def declare(self, x):
        return self._with_bias((*self._kernel(x), x.shape[-1], self.width // self.groups))

    def operations(self, x, y):
        kernel = self.declare(x)["w"].shape
        return 2 * math.prod(kernel) * math.prod(x.shape[1:-1])

    def apply(self, p, x, ctx):
        window, image = window_back(self.name, x, ctx, self.size, self.stride, self.padding, self.dilation)
        kernel = p["w"].reshape(*window.size, *p["w"].shape[-2:])
        return self._finish(p, x, convolve_transposed(as_image(x), kernel, window, image, self.groups))


@layer
class Grey(Layer):
    """Grey images that come without an axis of channels get one.

    x: [batch, h, w] -> y: [batch, h, w, 1].

    >>> Grey().apply({}, jnp.zeros((5, 28, 28)), None).shape
    (5, 28, 28, 1)
    """

    def operations(self, x, y):
        return 0

    def apply(self, p, x, ctx):
        if x.ndim != 3:
            raise NetworkError(
                "these are no images without channels", where=(ctx.path if ctx is not None else "") or self.name,
                expected="shape [batch, height, width]", got=show_shape(x), fix="leave Grey() out",
            )  # fmt: skip
        return x[..., None]


@layer
class Upsample(Layer):
    """The image or sequence enlarged `factor` times along each of its axes, without weights.

    x: [batch, h, w, n] -> y: [batch, factor * h, factor * w, n], or [batch, steps, n] -> [batch, factor * steps, n].
    method "nearest": every number repeated; "linear": on the line between the two nearest centres of pixels, the
    border's value beyond the last (as PyTorch's bilinear with align_corners=False).

    >>> Upsample(2).apply({}, jnp.array([1.0, 3.0]).reshape(1, 2, 1), None).ravel().tolist()
    [1.0, 1.0, 3.0, 3.0]
    >>> Upsample(2, "linear").apply({}, jnp.array([1.0, 3.0]).reshape(1, 2, 1), None).ravel().tolist()
    [1.0, 1.5, 2.5, 3.0]
    """

    factor: int = 2
    method: Literal["nearest", "linear"] = "nearest"

    def check(self):
        if self.factor < 1:
            self.refuse("factor", "a whole number >= 1")

    def apply(self, p, x, ctx):
        valid = real_steps(x, ctx)
        for axis in range(1, 1 + check_rank(self.name, x)):
            if self.method == "nearest":
                x = jnp.repeat(x, self.factor, axis=axis)
            else:
                weights = jnp.asarray(_between(x.shape[axis], self.factor), x.dtype)
                x = jnp.moveaxis(jnp.tensordot(weights, x, (1, axis)), 0, axis)
        if ctx is not None and valid is not None:
            ctx.valid = jnp.repeat(valid, self.factor, axis=1)
        return x


def _between(n: int, factor: int) -> np.ndarray:
    """[factor * n, n]: how much of each old place is in each new one."""
    at = np.clip((np.arange(factor * n) + 0.5) / factor - 0.5, 0, n - 1)
    return np.maximum(1 - np.abs(at[:, None] - np.arange(n)), 0)
