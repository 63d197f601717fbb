"""The kernels as functions of JAX arrays, with their gradients.

Two kinds, for the two ways a layer is run. Where gradients are asked for in reverse and nothing else (the training
step), the kernels' own way back is used (`jax.custom_vjp`). Everywhere else only the way forward is native, and under
any transformation but `jit` the plain function steps in, so that `jvp`, `hessian` and `vmap` work as ever (`aside`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Shape = tuple[int, ...]


def aside(swift: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """`swift` as it is called and compiled; `plain` where it is differentiated or batched."""
    batched = jax.custom_batching.custom_vmap(swift)

    @batched.def_vmap
    def _(size: int, mapped: Any, *args: Any) -> Any:
        axes = jax.tree.map(lambda yes: 0 if yes else None, mapped)
        out = jax.vmap(plain, in_axes=tuple(axes), axis_size=size)(*args)
        return out, jax.tree.map(lambda _: True, out)

    @jax.custom_jvp
    def called(*args: Any) -> Any:
        return batched(*args)

    @called.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        return jax.jvp(plain, primals, tangents)

    return called


def _call(name: str, results: Any, *args: Any, over: dict[int, int] | None = None, **settings: Any) -> Any:
    """over: results that may be written over an argument, {argument: result}; XLA copies what is still needed."""
    call = jax.ffi.ffi_call(
        f"pellucid_{name}", results, vmap_method="sequential", input_output_aliases=over,
    )  # fmt: skip
    return call(*args, **settings)


def _float32(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _or_empty(a: jax.Array | None) -> jax.Array:
    return jnp.zeros((0,), jnp.float32) if a is None else a


def _or_none(truths: jax.Array | None) -> jax.Array:
    return jnp.zeros((0,), bool) if truths is None else truths


# -- convolution ------------------------------------------------------------------------------------------------------


class Sliding(NamedTuple):
    """How a window slides, each (rows, columns). pads: zeros before."""

    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int]
    out: tuple[int, int]  # how often it stops

    @property
    def geometry(self) -> np.ndarray:
        return np.array([*self.stride, *self.dilation, *self.pads], np.int64)


def convolved(x: jax.Array, w: jax.Array, b: jax.Array | None, how: Sliding) -> jax.Array:
    """x: [batch, h, w, n], w: [rows, columns, n, width], b: [width] or None -> [batch, *how.out, width]."""
    shape = _float32(x.shape[0], *how.out, w.shape[-1])
    return _call("convolve", shape, x, w, _or_empty(b), geometry=how.geometry)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def convolve(x: jax.Array, w: jax.Array, b: jax.Array | None, how: Sliding) -> jax.Array:
    """`convolved`, with the kernels' own way back, and no forward mode."""
    return convolved(x, w, b, how)


def _convolve_forward(x: jax.Array, w: jax.Array, b: jax.Array | None, how: Sliding) -> Any:
    return convolved(x, w, b, how), (x, w, b is None)


def _convolve_back(how: Sliding, kept: Any, dy: jax.Array) -> Any:
    x, w, unbiased = kept
    dx = _call("convolve_dx", _float32(*x.shape), dy, w, geometry=how.geometry)  # dropped where nothing needs it
    dw, db = _call("convolve_dw", (_float32(*w.shape), _float32(w.shape[-1])), x, dy, geometry=how.geometry)
    return dx, dw, None if unbiased else db


convolve.defvjp(_convolve_forward, _convolve_back)


class Then(NamedTuple):
    """What a kernel takes in after its own layer: ReLU, and the largest of windows that lie side by side."""

    window: tuple[int, int] = (1, 1)  # (1, 1): none
    relu: bool = False

    @property
    def layers(self) -> int:
        return self.relu + (self.window != (1, 1))

    def out(self, places: tuple[int, int]) -> tuple[int, int]:
        """Height and width of what comes out, from those of what the layer itself gives."""
        return places[0] // self.window[0], places[1] // self.window[1]

    @property
    def geometry(self) -> np.ndarray:
        return np.array([*self.window, self.relu], np.int64)


class Join(NamedTuple):
    """A convolution and what follows it at once."""

    how: Sliding
    then: Then

    @property
    def geometry(self) -> np.ndarray:
        return np.concatenate([self.how.geometry, self.then.geometry, np.array(self.how.out, np.int64)])


def _joined(x: jax.Array, w: jax.Array, b: jax.Array | None, join: Join, keep: bool) -> tuple[jax.Array, jax.Array]:
    """(y [batch, h, w, width], which place of its window held it, uint8, or empty where it is not to be kept)."""
    shape = x.shape[0], *join.then.out(join.how.out), w.shape[-1]
    results = _float32(*shape), jax.ShapeDtypeStruct(shape if keep else (0,), jnp.uint8)
    y, places = _call("convolve_join", results, x, w, _or_empty(b), geometry=join.geometry)
    return y, places


def joined(x: jax.Array, w: jax.Array, b: jax.Array | None, join: Join) -> jax.Array:
    """As `convolved`, with what follows it."""
    return _joined(x, w, b, join, keep=False)[0]


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def convolve_join(x: jax.Array, w: jax.Array, b: jax.Array | None, join: Join) -> jax.Array:
    """`joined`, with the kernels' own way back: the gradient goes to the first of a window's largest."""
    return joined(x, w, b, join)


def _join_forward(x: jax.Array, w: jax.Array, b: jax.Array | None, join: Join) -> Any:
    y, places = _joined(x, w, b, join, keep=True)
    return y, (x, w, b is None, places)


def _join_back(join: Join, kept: Any, dy: jax.Array) -> Any:
    x, w, unbiased, places = kept
    dx = _call("convolve_join_dx", _float32(*x.shape), dy, places, w, geometry=join.geometry)
    results = _float32(*w.shape), _float32(w.shape[-1])
    dw, db = _call("convolve_join_dw", results, x, dy, places, geometry=join.geometry)
    return dx, dw, None if unbiased else db


convolve_join.defvjp(_join_forward, _join_back)


# -- dense layers -----------------------------------------------------------------------------------------------------


LARGE = 1 << 20  # numbers: of more, XLA's products are quicker
BENDS = ("identity", "relu", "tanh", "sigmoid", "gelu")  # as source/kernels.h numbers them; gelu by its tanh form


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def dense(x: jax.Array, w: jax.Array, b: jax.Array | None, bend: str = "identity") -> jax.Array:
    """x·w + b, bent by one of `BENDS` at once; a way back, and no forward mode.

    x: [rows, n], w: [n, width], b: [width] or None -> [rows, width].
    """
    return _dense(x, w, b, bend, keep=False)[0]


def _dense(x: jax.Array, w: jax.Array, b: jax.Array | None, bend: str, keep: bool) -> Any:
    """(y, what the way back is told: y, of gelu its slope, or nothing)"""
    shape = x.shape[0], w.shape[1]
    if bend == "identity" and x.shape[0] * w.shape[1] > LARGE:
        return x @ w if b is None else x @ w + b, _or_empty(None)
    if bend == "identity":
        return _call("dense", _float32(*shape), x, w, _or_empty(b)), _or_empty(None)
    return _with_told("dense_bend", shape, bend, keep, x, w, _or_empty(b))


def _with_told(name: str, shape: Shape, bend: str, keep: bool, *args: jax.Array) -> Any:
    results = _float32(*shape), _float32(*(shape if keep and bend == "gelu" else (0,)))
    y, slope = _call(name, results, *args, bend=np.int64(BENDS.index(bend)))
    return y, slope if bend == "gelu" else y


def _dense_forward(x: jax.Array, w: jax.Array, b: jax.Array | None, bend: str) -> Any:
    y, told = _dense(x, w, b, bend, keep=True)
    return y, (x, w, b is None, told)


def _dense_dw(x: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(xᵀ·dy, the sum of dy's rows). x: [rows, n], dy: [rows, width] -> [n, width], [width]."""
    n, width = x.shape[1], dy.shape[1]
    dw, db = _call("dense_dw", (_float32(n, width), _float32(width)), x, dy)
    return dw, db


def _dense_back(bend: str, kept: Any, dy: jax.Array) -> Any:
    x, w, unbiased, told = kept
    dz = SLOPES[bend](dy, told)
    dw, db = _dense_dw(x, dz)
    return dz @ w.T, dw, None if unbiased else db  # by XLA, which runs it beside the kernel: that is quicker than one


dense.defvjp(_dense_forward, _dense_back)

# the gradient of what a bend bends, from that of what it gives and what the way back is told
SLOPES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "identity": lambda dy, _: dy,
    "relu": lambda dy, y: jnp.where(y > 0, dy, 0.0),
    "tanh": lambda dy, y: dy * (1 - y * y),
    "sigmoid": lambda dy, y: dy * (y * (1 - y)),
    "gelu": lambda dy, slope: dy * slope,
}


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def bent(z: jax.Array, bend: str) -> jax.Array:
    """z bent by one of `BENDS`, to the bits of `dense` with it; a way back, and no forward mode. z: any shape."""
    return _with_told("bend", z.shape, bend, False, z)[0]


bent.defvjp(
    lambda z, bend: _with_told("bend", z.shape, bend, True, z), lambda bend, told, dy: (SLOPES[bend](dy, told),)
)


@jax.custom_vjp
def compared(x: jax.Array, w: jax.Array) -> jax.Array:
    """x·wᵀ. x: [rows, n], w: [width, n] -> [rows, width]; a way back, and no forward mode."""
    return x @ w.T


def _compared_back(kept: Any, dy: jax.Array) -> Any:
    x, w = kept
    return dy @ w, _dense_dw(dy, x)[0]


compared.defvjp(lambda x, w: (compared(x, w), (x, w)), _compared_back)


# -- pooling ----------------------------------------------------------------------------------------------------------


class Pooling(NamedTuple):
    """What window slides over an image, and how, each (rows, columns). pads: places before."""

    size: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int]
    out: tuple[int, int]

    @property
    def geometry(self) -> np.ndarray:
        return np.array([*self.size, *self.stride, *self.pads], np.int64)


def pooled(x: jax.Array, how: Pooling) -> jax.Array:
    """The largest of each window. x: [batch, h, w, n] -> [batch, *how.out, n]."""
    return _call("largest", _float32(x.shape[0], *how.out, x.shape[-1]), x, geometry=how.geometry)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def largest(x: jax.Array, how: Pooling) -> jax.Array:
    """`pooled`, with the kernel's own way back: the gradient goes to the first of a window's largest."""
    return pooled(x, how)


def _largest_back(how: Pooling, x: jax.Array, dy: jax.Array) -> Any:
    return (_call("largest_dx", _float32(*x.shape), x, dy, geometry=how.geometry),)


largest.defvjp(lambda x, how: (pooled(x, how), x), _largest_back)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def relu_largest(x: jax.Array, then: Then) -> jax.Array:
    """What `then` makes of x, for the way back a byte kept for each number that comes out.

    x: [batch, h, w, n] -> [batch, *then.out((h, w)), n].
    """
    return _relu_largest(x, then)[0]


def _relu_largest(x: jax.Array, then: Then) -> Any:
    shape = x.shape[0], *then.out((x.shape[1], x.shape[2])), x.shape[3]
    results = _float32(*shape), jax.ShapeDtypeStruct(shape, jnp.uint8)
    return _call("relu_largest", results, x, geometry=then.geometry)


def _relu_largest_forward(x: jax.Array, then: Then) -> Any:
    y, places = _relu_largest(x, then)
    return y, (places, x.shape)


def _relu_largest_back(then: Then, kept: Any, dy: jax.Array) -> Any:
    places, shape = kept
    return (_call("relu_largest_dx", _float32(*shape), dy, places, geometry=then.geometry),)


relu_largest.defvjp(_relu_largest_forward, _relu_largest_back)


# -- batch normalisation ----------------------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def batch_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, mask: jax.Array | None, epsilon: float, then: Then
) -> Any:  # fmt: skip
    """(x - mean) / sqrt(var + epsilon) * scale + bias, mean and biased variance over all axes but the last, and what
    follows. x: [batch, h, w, n] -> (y [batch, *then.out((h, w)), n], mean [n], var [n]). mask: [batch], which of them
    mean and variance are of.

    No gradient goes back through mean and var: they are for running averages.
    """
    return _batch_norm(x, scale, bias, mask, epsilon, then)[:3]


def _batch_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, mask: jax.Array | None, epsilon: float, then: Then
) -> Any:  # fmt: skip
    batch, high, wide, n = x.shape
    shape = batch, *then.out((high, wide)), n
    places = jax.ShapeDtypeStruct(shape if then.layers else (0,), jnp.uint8)
    results = _float32(*shape), places, _float32(n), _float32(n)
    settings = {"geometry": then.geometry, "epsilon": np.float32(epsilon)}
    y, places, mean, var = _call("batch_norm", results, x, scale, bias, _or_none(mask), **settings)
    return y, mean, var, places


def _batch_norm_forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, mask: jax.Array | None, epsilon: float, then: Then
) -> Any:  # fmt: skip
    y, mean, var, places = _batch_norm(x, scale, bias, mask, epsilon, then)
    return (y, mean, var), (x, scale, mean, var, mask, places)


def _batch_norm_back(epsilon: float, then: Then, kept: Any, gradients: Any) -> Any:
    x, scale, mean, var, mask, places = kept
    results = _float32(*x.shape), _float32(x.shape[3]), _float32(x.shape[3])
    args = x, scale, mean, var, _or_none(mask), gradients[0], places
    found = _call("batch_norm_back", results, *args, geometry=then.geometry, epsilon=np.float32(epsilon))
    return (*found, None)


batch_norm.defvjp(_batch_norm_forward, _batch_norm_back)


# -- recurrence -------------------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """Which cell: its number in the library, its gates, and what it keeps beside h."""

    number: int
    gates: int
    cell: bool = False  # c, of the lstm
    fed: bool = False  # h·u + v of the proposal, of the gru


KINDS = {"tanh": Kind(0, 1), "relu": Kind(1, 1), "lstm": Kind(2, 4, cell=True), "gru": Kind(3, 3, fed=True)}


class Reading(NamedTuple):
    """A cell, and from which end it reads."""

    kind: str
    backwards: bool


def _run(z, u, v, first, valid, how: Reading, keep: bool) -> Any:
    """(h, c, gates, fed), each [steps, batch, ...], or empty where the cell has none or it is not to be kept."""
    kind, (steps, batch, wide), width = KINDS[how.kind], z.shape, u.shape[0]
    plane, none = (steps, batch, width), (0,)
    results = (
        _float32(*plane), _float32(*(plane if kind.cell else none)),
        _float32(*((steps, batch, wide) if keep else none)), _float32(*(plane if keep and kind.fed else none)),
    )  # fmt: skip
    empty = jnp.zeros(none, jnp.float32)
    args = z, u, empty if v is None else v, first[0], first[1] if kind.cell else empty, _or_none(valid)
    settings = {"cell": np.int64(kind.number), "backwards": np.bool_(how.backwards)}
    return _call("recur", results, *args, over={0: 2} if keep else None, **settings)


def _last(how: Reading, h: jax.Array, c: jax.Array) -> tuple[jax.Array, ...]:
    at = 0 if how.backwards else -1
    return (h[at], c[at]) if KINDS[how.kind].cell else (h[at],)


def recurred(z, u, v, first, valid, how: Reading) -> Any:
    """A recurrent layer over whole sequences, of which nothing is kept for a way back.

    z: [steps, batch, gates * width], x·w + b.   u: [width, gates * width].   v: [width], of the gru, else None.
    first: the state before the first step, (h,) or (h, c), [batch, width].   valid: [steps, batch] bool or None.
    -> h of every step [steps, batch, width], and the last state.
    """
    h, c, _, _ = _run(z, u, v, first, valid, how, keep=False)
    return h, _last(how, h, c)


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def recur(z, u, v, first, valid, how: Reading) -> Any:
    """`recurred`, with the kernels' own way back."""
    return recurred(z, u, v, first, valid, how)


def _recur_forward(z, u, v, first, valid, how: Reading) -> Any:
    h, c, gates, fed = _run(z, u, v, first, valid, how, keep=True)
    return (h, _last(how, h, c)), (u, v is None, first, valid, h, c, gates, fed)


def _recur_back(how: Reading, kept: Any, gradients: Any) -> Any:
    (u, unbiased, first, valid, h, c, gates, fed), (dh, dlast) = kept, gradients
    kind, empty = KINDS[how.kind], jnp.zeros((0,), jnp.float32)
    plane = _float32(*first[0].shape)
    results = (
        _float32(*gates.shape), _float32(*(gates.shape if kind.fed else (0,))), plane,
        plane if kind.cell else _float32(0),
    )  # fmt: skip
    args = (
        u, h, c, gates, fed, first[0], first[1] if kind.cell else empty, _or_none(valid), dh, dlast[0],
        dlast[1] if kind.cell else empty,
    )  # fmt: skip
    dz, dr, dh0, dc0 = _call(
        "recur_back", results, *args, over={3: 0}, cell=np.int64(kind.number), backwards=np.bool_(how.backwards)
    )
    dr = dr if kind.fed else dz
    if how.backwards:  # the state that each step began from
        before = jnp.concatenate([h[1:], first[0][None]])
    else:
        before = jnp.concatenate([first[0][None], h[:-1]])
    width = u.shape[0]
    rows, slopes = before.reshape(-1, width), dr.reshape(-1, u.shape[1])  # one product for all steps
    if before.size <= LARGE:
        du, total = _dense_dw(rows, slopes)
    else:  # what the kernel reads again for every few columns would come from the memory, and XLA's does not
        du, total = rows.T @ slopes, slopes.sum(0)
    return dz, du, None if unbiased else total[-width:], (dh0, dc0) if kind.cell else (dh0,), None


recur.defvjp(_recur_forward, _recur_back)


# -- layer normalisation ----------------------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def row_norm(x: jax.Array, scale: jax.Array | None, bias: jax.Array | None, epsilon: float) -> jax.Array:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, mean and biased variance of each row of the last axis; a way
    back, and no forward mode. x: [..., n], scale, bias: [n] or None -> [..., n]."""
    return _call("row_norm", _float32(*x.shape), x, _or_empty(scale), _or_empty(bias), epsilon=np.float32(epsilon))


def _row_norm_back(epsilon: float, kept: Any, dy: jax.Array) -> Any:
    x, scale, unbiased = kept
    n = x.shape[-1]
    results = _float32(*x.shape), _float32(0 if scale is None else n), _float32(0 if unbiased else n)
    dx, dscale, dbias = _call("row_norm_back", results, x, _or_empty(scale), dy, epsilon=np.float32(epsilon))
    return dx, None if scale is None else dscale, None if unbiased else dbias


row_norm.defvjp(
    lambda x, scale, bias, epsilon: (row_norm(x, scale, bias, epsilon), (x, scale, bias is None)), _row_norm_back
)


# -- attention --------------------------------------------------------------------------------------------------------


class Looking(NamedTuple):
    """How many heads look at once, and whether they see no later step."""

    heads: int
    causal: bool


def attended(mixed: jax.Array, how: Looking) -> jax.Array:
    """softmax(q·kᵀ / sqrt(d))·v, head by head. mixed: [batch, steps, 3 * heads * d], queries, then keys, then values
    -> [batch, steps, heads * d]."""
    batch, steps, wide = mixed.shape
    shape = _float32(batch, steps, wide // 3)
    return _call("attend", shape, mixed, heads=np.int64(how.heads), causal=np.bool_(how.causal))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def attend(mixed: jax.Array, how: Looking) -> jax.Array:
    """`attended`, with the kernels' own way back, and no forward mode."""
    return attended(mixed, how)


def _attend_back(how: Looking, mixed: jax.Array, dy: jax.Array) -> Any:
    shape = _float32(*mixed.shape)
    return (_call("attend_back", shape, mixed, dy, heads=np.int64(how.heads), causal=np.bool_(how.causal)),)


attend.defvjp(lambda mixed, how: (attended(mixed, how), mixed), _attend_back)
