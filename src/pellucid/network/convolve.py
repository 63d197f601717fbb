"""Convolution as pure functions. What slides over an image is a `Window`; `convolve` lays weights on it.

    y[b, i, j, o] = sum over u, v, c of  x[b, i*stride + u*dilation, j*stride + v*dilation, c] * w[u, v, c, o]

(a cross-correlation, as everywhere in deep learning). A sequence is an image of height 1. On a GPU or TPU this is one
call of XLA's convolution. On the CPU XLA's is 20 to 5,000 times slower within a loop, and a training epoch is a loop;
there the shifted copies of the image are laid side by side and one matrix product does the rest (im2col), a few images
at a time, so that the copies stay in the processor's cache. Going backward they are made again, not kept: that costs
less than fetching them from memory, and memory stays bounded. All is plain JAX, so every transformation works.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import lax

from pellucid.errors import NetworkError
from pellucid.native import calls, on_cpu
from pellucid.network.layer import Context, show_shape

Pair = tuple[int, int]
Sizes = int | tuple[int, ...]
Padding = Literal["same", "valid"] | int | tuple[int | tuple[int, int], ...]
CACHED = 2 << 20  # bytes of shifted copies made at a time; 2 to 4 MiB measured best on a 14 x 14 x 32 image


class Window(NamedTuple):
    """What slides over an image: all in (height, width). pads: zeros (before, after) on each axis."""

    size: Pair
    stride: Pair = (1, 1)
    pads: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)

    @property
    def span(self) -> Pair:
        """From the first to the last place that the window touches."""
        return (self.size[0] - 1) * self.dilation[0] + 1, (self.size[1] - 1) * self.dilation[1] + 1

    @property
    def places(self) -> int:
        return self.size[0] * self.size[1]

    def steps(self, axis: int, length: Any) -> Any:
        """How often it fits on an axis of this length (a number or an array)."""
        return (length + sum(self.pads[axis]) - self.span[axis]) // self.stride[axis] + 1

    def out(self, x: jax.Array) -> Pair:
        """Height and width of what comes out of images x: [batch, h, w, n]."""
        return self.steps(0, x.shape[1]), self.steps(1, x.shape[2])

    def pad(self, x: jax.Array, value: float = 0.0) -> jax.Array:
        if self.pads == ((0, 0), (0, 0)):
            return x
        return jnp.pad(x, ((0, 0), *self.pads, (0, 0)), constant_values=value)

    def shifted(self, x: jax.Array, u: int, v: int, out: Pair) -> jax.Array:
        """Of padded images, what place (u, v) of the window sees at each of its stops: [batch, *out, n]."""
        at = (u * self.dilation[0], v * self.dilation[1])
        to = [a + (n - 1) * s + 1 for a, n, s in zip(at, out, self.stride, strict=True)]
        return lax.slice(x, (0, *at, 0), (x.shape[0], *to, x.shape[3]), (1, *self.stride, 1))

    def views(self, x: jax.Array, out: Pair) -> list[jax.Array]:
        """`shifted` for every place of the window, row by row."""
        return [self.shifted(x, u, v, out) for u in range(self.size[0]) for v in range(self.size[1])]


def as_image(x: Any) -> jax.Array:
    """A sequence [batch, steps, n] as an image of height 1; an image as it is."""
    return x[:, None] if x.ndim == 3 else x


# -- from settings to a window ----------------------------------------------------------------------------------------


def window_of(
    what: str, x: Any, ctx: Context | None, size: Sizes, stride: Sizes, padding: Padding, dilation: Sizes = 1
) -> Window:
    """The window that a layer's settings mean for such an input, [batch, steps, n] or [batch, h, w, n].

    padding "same": as many zeros as make the output's length ceil(length / stride), the odd one after. With stride 1
    this is PyTorch's and Keras's "same"; with others it is Keras's (PyTorch has none).
    A window larger than the padded image raises a `NetworkError`.
    """
    where = (ctx.path if ctx is not None else "") or what
    axes = check_rank(what, x)
    lengths = tuple(x.shape[1:-1])
    sizes, strides, dilations = (
        _each(value, axes, where, name) for value, name in ((size, "size"), (stride, "stride"), (dilation, "dilation"))
    )
    spans = [(k - 1) * d + 1 for k, d in zip(sizes, dilations, strict=True)]
    pads = _pads(padding, lengths, strides, spans, where)
    if any(n + sum(p) < s for n, p, s in zip(lengths, pads, spans, strict=True)):
        raise _too_large(what, where, x, spans, pads, [n + sum(p) for n, p in zip(lengths, pads, strict=True)])
    fill = 2 - axes  # a sequence is an image of height 1
    return Window(
        _pair((1,) * fill + sizes), _pair((1,) * fill + strides), _pair(((0, 0),) * fill + pads),
        _pair((1,) * fill + dilations),
    )  # fmt: skip


def window_back(
    what: str, x: Any, ctx: Context | None, size: Sizes, stride: Sizes, padding: Padding, dilation: Sizes
) -> tuple[Window, Pair]:
    """The window of the convolution whose transpose a layer's settings mean, and the height and width it comes from:
    (n - 1) * stride + span - padding on each axis, or n * stride with padding "same"."""
    where = (ctx.path if ctx is not None else "") or what
    axes = check_rank(what, x)
    strides, sizes = _each(stride, axes, where, "stride"), _each(size, axes, where, "size")
    spans = [(k - 1) * d + 1 for k, d in zip(sizes, _each(dilation, axes, where, "dilation"), strict=True)]
    pads = ((0, 0),) * axes if padding == "same" else _pads(padding, x.shape[1:-1], strides, spans, where)
    image = tuple(
        n * s if padding == "same" else (n - 1) * s + span - sum(p)
        for n, s, span, p in zip(x.shape[1:-1], strides, spans, pads, strict=True)
    )
    if min(image) < 1:
        raise NetworkError(
            "the padding takes away all that comes out", where=where, expected="at least one place on each axis",
            got=f"{list(image)} from shape {show_shape(x)}", fix="a smaller padding, or larger inputs",
        )  # fmt: skip
    whole = jax.ShapeDtypeStruct((x.shape[0], *image, 1), x.dtype)
    return window_of(what, whole, ctx, size, stride, padding, dilation), _pair((1,) * (2 - axes) + image)


def check_rank(what: str, x: Any) -> int:
    """1 for sequences, 2 for images, a `NetworkError` for anything else."""
    if len(x.shape) in (3, 4):
        return len(x.shape) - 2
    raise NetworkError(
        f"the layer {what!r} reads images or sequences",
        expected="shape [batch, height, width, channels] or [batch, steps, channels]", got=show_shape(x),
        fix="for rows of numbers use Dense layers (--network mlp); grey images need an axis of one channel",
    )  # fmt: skip


def _pair(values: Any) -> Any:
    first, second = values
    return first, second


def _each(value: Sizes, axes: int, where: str, name: str) -> tuple[int, ...]:
    values = (value,) * axes if isinstance(value, int) else value
    if len(values) != axes:
        raise NetworkError(
            f"{name} names another number of axes than arrive", where=where,
            expected=f"a whole number, or one for each of {axes} axes", got=f"{name}={value}",
            fix=f"give one number, or {axes}",
        )  # fmt: skip
    return tuple(values)


def _pads(padding: Padding, lengths, strides, spans, where: str) -> tuple[Pair, ...]:
    if padding == "valid":
        return ((0, 0),) * len(lengths)
    if isinstance(padding, str):
        totals = [max((-(-n // s) - 1) * s + span - n, 0) for n, s, span in zip(lengths, strides, spans, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    given = (padding,) * len(lengths) if isinstance(padding, int) else padding
    if len(given) != len(lengths):
        raise NetworkError(
            "padding names another number of axes than arrive", where=where,
            expected=f"a whole number, or one or a pair for each of {len(lengths)} axes", got=f"padding={padding}",
        )  # fmt: skip
    return tuple((p, p) if isinstance(p, int) else p for p in given)


def _too_large(what: str, where: str, x: Any, spans, pads, fits) -> NetworkError:
    shown = lambda numbers: " x ".join(map(str, numbers))  # noqa: E731
    padded = "" if not any(map(sum, pads)) else f" ({shown(fits)} with its padding)"
    kind = "image" if len(spans) == 2 else "sequence"
    return NetworkError(
        f"the window of {shown(spans)} is larger than the {kind} of {shown(x.shape[1:-1])}{padded}",
        where=where, expected=f"an {kind} of at least {shown(spans)}".replace("an seq", "a seq"),
        got=f"{what} on shape {show_shape(x)}",
        fix=f"a window of at most {shown(fits)}, padding, larger inputs, or fewer pooling layers before it",
    )  # fmt: skip


# -- padded sequences -------------------------------------------------------------------------------------------------


def real_steps(x: jax.Array, ctx: Context | None) -> jax.Array | None:
    """[batch, steps] bool where x is a batch of sequences some of which are filled up, else None."""
    valid = None if ctx is None else ctx.valid
    return valid if valid is not None and x.ndim == 3 and valid.shape == x.shape[:2] else None


def leave_steps(ctx: Context | None, valid: jax.Array | None, window: Window, same: bool) -> None:
    """Tell the layers behind which of the window's stops are real: those that the sequence alone would have had."""
    if ctx is None or valid is None or (same and window.stride == (1, 1)):
        return
    out = window.steps(1, valid.shape[1])
    length = valid.sum(1)  # [batch]; real steps come first
    kept = -(-length // window.stride[1]) if same else window.steps(1, length)
    ctx.valid = jnp.arange(out) < kept[:, None]  # -> [batch, out]


# -- the sum itself ---------------------------------------------------------------------------------------------------


def convolve(x: jax.Array, w: jax.Array, window: Window, groups: int = 1) -> jax.Array:
    """y as above. x: [batch, h, w, n], w: [*window.size, n / groups, width] -> y: [batch, h', w', width].

    groups: the channels fall into so many equal parts, each of which feeds its own part of the outputs.

    >>> x, w = jnp.arange(16.0).reshape(1, 4, 4, 1), jnp.ones((3, 3, 1, 1))
    >>> convolve(x, w, Window((3, 3)))[0, :, :, 0].tolist()
    [[45.0, 54.0], [81.0, 90.0]]
    """
    high, wide = window.out(x)
    copies = 0 if window.places == 1 or groups == x.shape[-1] > 1 else high * wide * window.places * x.shape[-1]
    return _in_parts(lambda part, w: _convolve(part, w, window, groups), x, w, copies)


def convolve_transposed(x: jax.Array, w: jax.Array, window: Window, image: Pair, groups: int = 1) -> jax.Array:
    """The transpose of `convolve` as a linear map of its input: what carries a gradient back through it.

    x: [batch, h', w', n], w: [*window.size, n, width / groups] -> y: [batch, *image, width], on which the window stops
    h' times w' times.
    """
    width = w.shape[-1] * groups
    kernel = w.swapaxes(2, 3)  # [.., n, width / groups] -> [.., width / groups, n]: what `convolve` reads

    def transposed(part: jax.Array, kernel: jax.Array) -> jax.Array:
        whole = jax.ShapeDtypeStruct((part.shape[0], *image, width), part.dtype)
        return jax.linear_transpose(lambda z: _convolve(z, kernel, window, groups), whole)(part)[0]

    return _in_parts(transposed, x, kernel, x.shape[1] * x.shape[2] * window.places * width)


def sliding(window: Window, x: jax.Array) -> calls.Sliding:
    """A window on images x, as the kernels read it."""
    return calls.Sliding(window.stride, window.dilation, (window.pads[0][0], window.pads[1][0]), window.out(x))


def convolve_native(x: jax.Array, w: jax.Array, b: jax.Array | None, window: Window, reverse_only: bool) -> jax.Array:
    """`convolve` plus b ([width] or None) by the native kernel; reverse_only: as in `Context`."""
    how = sliding(window, x)
    if reverse_only:
        return cast(jax.Array, calls.convolve(x, w, b, how))

    def plain(x: jax.Array, w: jax.Array, b: jax.Array | None) -> jax.Array:
        y = convolve(x, w, window)
        return y if b is None else y + b

    return calls.aside(lambda x, w, b: calls.convolved(x, w, b, how), plain)(x, w, b)


def _in_parts(f: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, w: jax.Array, copies: int) -> jax.Array:
    """f(x, w), on the CPU a few images at a time; copies: numbers that f lays out for one image on the way."""
    batch, most = x.shape[0], max(CACHED // max(copies * x.dtype.itemsize, 1), 1)
    if not on_cpu() or batch <= most:
        return f(x, w)
    size = _chunk(batch, most)
    again = jax.checkpoint(f, prevent_cse=False)  # a scan's body needs no barrier
    whole = batch - batch % size
    y = lax.map(lambda part: again(part, w), x[:whole].reshape(-1, size, *x.shape[1:]))
    y = y.reshape(whole, *y.shape[2:])
    return y if whole == batch else jnp.concatenate([y, again(x[whole:], w)])


def _chunk(batch: int, most: int) -> int:
    """A number of images up to `most` that divides the batch; `most` itself where only a far smaller one would."""
    size = next(n for n in range(most, 0, -1) if batch % n == 0)
    return size if 2 * size > most else most


def _convolve(x: jax.Array, w: jax.Array, window: Window, groups: int) -> jax.Array:
    if not on_cpu():
        return lax.conv_general_dilated(
            x, w, window.stride, window.pads, rhs_dilation=window.dilation, feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
    if groups == 1:
        return _by_product(x, w, window)
    return (_depthwise if groups == x.shape[-1] else _grouped)(x, w, window, groups)


def _by_product(x: jax.Array, w: jax.Array, window: Window) -> jax.Array:
    """The shifted copies side by side, times the weights: one matrix product."""
    out = window.out(x)
    views = window.views(window.pad(x), out)
    patches = views[0] if len(views) == 1 else jnp.concatenate(views, axis=-1)  # -> [batch, h', w', places * n]
    flat = patches.reshape(-1, patches.shape[-1]) @ w.reshape(-1, w.shape[-1])
    return flat.reshape(x.shape[0], *out, w.shape[-1])


def _depthwise(x: jax.Array, w: jax.Array, window: Window, groups: int) -> jax.Array:
    """Every channel on its own: elementwise products, which XLA fuses into one loop."""
    out, times = window.out(x), w.shape[-1] // groups
    taps = w.reshape(window.places, groups, times)
    views = window.views(window.pad(x), out)
    y = reduce(jnp.add, [view[..., None] * tap for view, tap in zip(views, taps, strict=True)])
    return y.reshape(x.shape[0], *out, w.shape[-1])  # [batch, h', w', groups, times] -> [batch, h', w', width]


def _grouped(x: jax.Array, w: jax.Array, window: Window, groups: int) -> jax.Array:
    """A batch of matrix products, one for each group."""
    out, each = window.out(x), x.shape[-1] // groups
    patches = jnp.stack(window.views(window.pad(x), out), axis=3)  # -> [batch, h', w', places, n]
    patches = patches.reshape(-1, window.places, groups, each)
    kernel = w.reshape(window.places, each, groups, -1)
    return jnp.einsum("rpgc,pcgo->rgo", patches, kernel).reshape(x.shape[0], *out, w.shape[-1])
