"""Recurrent layers: a state h that is fed back, so that a network reads a sequence step by step.

All three share one loop. What a step adds is elementwise and lies in `bend`; around it stand two matrix products:

    z = x·w + b     of all steps at once, before the loop, for it needs no state
    r = h·u + v     inside the loop, from the state of the step before: the feedback connection
    h = bend(z, r, h)

A step that only fills up a shorter sequence (`ctx.valid` False) leaves the state as it was. Backpropagation through
time runs the loop in reverse; where only that is asked for (`ctx.reverse_only`), the loop does as little as it can.
Before it, what of the derivatives needs no gradient is found for all steps at once (`slopes`); it multiplies
(`bend_back`); after it, one product of all states with all gradients gives the gradients of u.
"""

import math
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp

from pellucid.errors import NetworkError
from pellucid.native import calls, usable
from pellucid.network.activations import Activation, ReLU, Tanh
from pellucid.network.dense import suits
from pellucid.network.initial import Blocks, Constant, GlorotUniform, Initializer, Orthogonal, Zeros
from pellucid.network.layer import Context, Layer, Param, layer

Gates = tuple[jax.Array, ...]  # an array [..., width] for each: to cut up a wide one in every step would cost more
State = tuple[jax.Array, ...]  # h [batch, width] first, then what else a cell keeps


class Recurrent(Layer):
    """A layer of `width` units with feedback. x: [batch, steps, n] -> y: [batch, steps, width], or without `each_step`
    the state after the last real step, [batch, width].   backwards: reads the steps from the last to the first.
    x may be a pair (steps, first state [batch, width]): a decoder begins where its encoder ended.

    w: [n, gates * width], u: [width, gates * width] (orthogonal, gate by gate), b: [gates * width].
    """

    carries: ClassVar = True
    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1  # arrays that are kept from step to step

    width: int
    each_step: bool
    backwards: bool
    initial: Initializer
    recurrent_initial: Initializer

    def check(self):
        if self.width < 1:
            self.refuse("width", "a whole number >= 1")

    def bend(self, z: Gates, r: Gates, state: State) -> State:
        """The elementwise part of a step: [batch, width] for each gate, twice, and the state -> the next, h first."""
        raise NotImplementedError  # abstract

    def kept(self, z: Gates, r: Gates) -> Any:
        """What the way back needs of a step beside the state before it, such as the gates."""
        return z, r

    def slopes(self, kept: Any, before: State) -> Any:
        """What `bend_back` needs, from what was kept: of all steps at once (their axis stands before the others), which
        is quicker than step by step."""
        return kept, before

    def bend_back(self, dstate: State, slopes: Any) -> tuple[Gates, Gates, State]:
        """The gradients of z, r and the state before, from those of the next state: `bend` in reverse."""
        (z, r), before = slopes
        return jax.vjp(self.bend, z, r, before)[1](dstate)

    def reversed(self) -> "Recurrent":
        """The same layer, reading the other way."""
        return replace(cast(Any, self), backwards=not self.backwards)

    def declare(self, x):
        x = x[0] if isinstance(x, tuple) else x
        if len(x.shape) != 3:
            raise NetworkError(
                f"the layer {self.name!r} reads sequences", expected="shape [batch, steps, features]",
                got=list(x.shape), fix="give it sequences, or images with Steps() before, which makes rows into steps",
            )  # fmt: skip
        weights = {
            "w": Param((x.shape[2], self.gates * self.width), Blocks((self.initial,) * self.gates)),
            "u": Param((self.width, self.gates * self.width), Blocks((self.recurrent_initial,) * self.gates)),
            "b": Param((self.gates * self.width,), self._bias()),
        }
        return weights

    def operations(self, x, y):
        x = x[0] if isinstance(x, tuple) else x
        return 2 * x.shape[1] * (x.shape[2] + self.width) * self.gates * self.width

    def _bias(self) -> Initializer:
        return Zeros()

    def apply(self, p, x, ctx):
        ctx = ctx or Context()
        x, begin = x if isinstance(x, tuple) else (x, None)
        if self.backwards and ctx.streaming:
            raise NetworkError(
                "a layer that reads backwards cannot go on where a piece ended", where=ctx.path,
                fix="use forward layers where text is generated or state is carried over",
            )  # fmt: skip
        batch, steps, n = x.shape
        rows = x.swapaxes(0, 1).reshape(steps * batch, n)  # [batch, steps, n] -> [steps * batch, n]
        zero = jnp.zeros((batch, self.width), jnp.result_type(x, p["w"]))
        begin = zero if begin is None else begin
        first: State = (begin, *(zero for _ in range(self.states - 1)))
        first = jax.lax.stop_gradient(ctx.recall(first)) if ctx.streaming else first
        valid = None if ctx.valid is None else ctx.valid.swapaxes(0, 1)  # -> [steps, batch]
        native = self.kernel() is not None and usable(rows, *jax.tree.leaves((p, first)))
        hs, last = (self._native if native else self._gatewise)(p, rows, steps, first, valid, ctx)
        ctx.remember(last)
        return hs.swapaxes(0, 1) if self.each_step else last[0]  # [steps, batch, width] -> [batch, steps, width]

    def _gatewise(self, p, rows, steps: int, first: State, valid, ctx: Context) -> tuple[jax.Array, State]:
        """In plain JAX, an array for each gate: (h of every step, the last state)."""
        z = tuple(
            (rows @ w + b).reshape(steps, -1, self.width)
            for w, b in zip(self.split(p["w"]), self.split(p["b"]), strict=True)
        )
        if ctx.probes is not None:  # how large the gradient still is, so many steps back
            z = tuple(ctx.probes.tap_time(ctx.path, gate) for gate in z)
        run: Any = _swift if ctx.reverse_only else _plain
        return self._read(run, z, p, first, valid)

    def _read(self, run: Any, z: Gates, p, first: State, valid) -> tuple[jax.Array, State]:
        valid = None if valid is None else valid[..., None]
        if self.backwards:
            z, valid = jax.tree.map(lambda a: a[::-1], (z, valid))
        hs, last = run(self, z, self.split(p["u"]), self.recurrent_bias(p), first, valid)
        return hs[::-1] if self.backwards else hs, last

    def _native(self, p, rows, steps: int, first: State, valid, ctx: Context) -> tuple[jax.Array, State]:
        """By kernels, which take all gates side by side: the same."""
        how = calls.Reading(str(self.kernel()), self.backwards)
        by_kernel = suits(rows.shape[0], *p["w"].shape, most=math.inf)

        def product(rows, w, b):
            return rows @ w + b

        def swift_product(rows, w, b):
            return calls.dense(rows, w, b)

        fed = swift_product if by_kernel else product

        def tapped(z):
            z = z.reshape(steps, -1, self.gates * self.width)
            return z if ctx.probes is None else ctx.probes.tap_time(ctx.path, z, self.gates)

        if ctx.reverse_only:
            return calls.recur(tapped(fed(rows, p["w"], p["b"])), p["u"], p.get("v"), first, valid, how)

        def swift(z, p, first, valid):
            return calls.recurred(z, p["u"], p.get("v"), first, valid, how)

        def plain(z, p, first, valid):
            return self._read(_plain, self.split(z), p, first, valid)

        z = calls.aside(fed, product)(rows, p["w"], p["b"])
        return calls.aside(swift, plain)(tapped(z), {name: p[name] for name in p if name in ("u", "v")}, first, valid)

    def kernel(self) -> str | None:
        """The name of the native kernel for this cell (`native.calls.KINDS`); None: there is none."""
        return None

    def recurrent_bias(self, p: Any) -> Gates | None:
        """v of the formula above, where the cell has one."""
        return None

    def split(self, a: jax.Array) -> Gates:
        """[..., gates * width] -> one array [..., width] for each gate."""
        return tuple(jnp.split(a, self.gates, axis=-1))


def _advance(cell: Recurrent, z: Gates, r: Gates, state: State, valid) -> State:
    new = cell.bend(z, r, state)
    return new if valid is None else tuple(jnp.where(valid, n, o) for n, o in zip(new, state, strict=True))


def feed_back(h: jax.Array, u: Gates, v: Gates | None) -> Gates:
    """r = h·u + v, gate by gate. h: [batch, width], u: [width, width], v: [width] -> [batch, width]."""
    return tuple(h @ a for a in u) if v is None else tuple(h @ a + b for a, b in zip(u, v, strict=True))


def _plain(cell: Recurrent, z: Gates, u: Gates, v: Gates | None, first: State, valid):
    """The loop as it is written: (h of every step [steps, batch, width], the last state)."""

    def step(state, now):
        z, valid = now
        state = _advance(cell, z, feed_back(state[0], u, v), state, valid)
        return state, state[0]

    last, hs = jax.lax.scan(step, first, (z, valid))
    return hs, last


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _swift(cell: Recurrent, z, u, v, first: State, valid):
    """The same, with a reverse pass of its own and no forward mode."""
    return _plain(cell, z, u, v, first, valid)


def _swift_forward(cell: Recurrent, z: Gates, u: Gates, v: Gates | None, first: State, valid):
    def step(state, now):
        z, valid = now
        r = feed_back(state[0], u, v)
        return _advance(cell, z, r, state, valid), (state, cell.kept(z, r))

    last, (before, kept) = jax.lax.scan(step, first, (z, valid))
    hs = jnp.concatenate([before[0][1:], last[0][None]])
    return (hs, last), (kept, before, u, v, valid)


def _swift_backward(cell: Recurrent, residuals, gradients):
    kept, before, u, v, valid = residuals
    dhs, dlast = gradients
    turned = [a.T for a in u]

    def step(dstate, now):
        dh, slopes, valid = now
        dstate = (dstate[0] + dh, *dstate[1:])
        dz, dr, dbefore = cell.bend_back(dstate, slopes)
        other = tuple(None if a is b else a for a, b in zip(dz, dr, strict=True))  # nothing is written down twice
        if valid is not None:  # what only fills up has changed nothing
            other, dr = jax.tree.map(lambda d: jnp.where(valid, d, 0.0), (other, dr))
            dbefore = tuple(jnp.where(valid, d, same) for d, same in zip(dbefore, dstate, strict=True))
        dh = sum((d @ a for d, a in zip(dr, turned, strict=True)), dbefore[0])
        return (dh, *dbefore[1:]), (dr, other)

    dfirst, (dr, other) = jax.lax.scan(step, dlast, (dhs, cell.slopes(kept, before), valid), reverse=True)
    dz = tuple(b if a is None else a for a, b in zip(other, dr, strict=True))
    rows = before[0].reshape(-1, cell.width)  # [steps, batch, width] -> [steps * batch, width]
    du = cell.split(rows.T @ jnp.concatenate([d.reshape(rows.shape) for d in dr], axis=-1))  # one product for all steps
    return dz, du, None if v is None else tuple(d.sum((0, 1)) for d in dr), dfirst, None


_swift.defvjp(_swift_forward, _swift_backward)


@layer("rnn")
class RNN(Recurrent):
    """h_t = f(x_t·w + h_{t-1}·u + b), f = tanh: the simple recurrent network. Elman 1990.

    x: [batch, steps, n] -> y: [batch, steps, width], or the last state [batch, width] without `each_step`.
    Its gradient is multiplied by u and f' once a step, so it vanishes or explodes with the length (Bengio et al. 1994).

    >>> p = {"w": jnp.array([[1.0]]), "u": jnp.array([[0.5]]), "b": jnp.zeros(1)}
    >>> RNN(1, activation="identity").apply(p, jnp.array([[[1.0], [0.0], [0.0]]]), None).ravel().tolist()
    [1.0, 0.5, 0.25]
    """

    width: int
    each_step: bool = True
    backwards: bool = False
    activation: Activation = Tanh()
    initial: Initializer = GlorotUniform()
    recurrent_initial: Initializer = Orthogonal()

    def kernel(self):
        return {Tanh(): "tanh", ReLU(): "relu"}.get(self.activation)

    def bend(self, z, r, state):
        return (self._activated(*self.kept(z, r)),)

    def kept(self, z, r):
        return (z[0] + r[0],)

    def bend_back(self, dstate, slopes):
        (a,), before = slopes
        da = jax.vjp(self._activated, a)[1](dstate[0])
        return da, da, (jnp.zeros_like(before[0]),)

    def _activated(self, a):
        return self.activation.apply({}, a, None)


@layer("lstm")
class LSTM(Recurrent):
    """Long short-term memory: a cell c that is added to and not multiplied, between gates.

        i, f, o = sigmoid(x_t·w + h_{t-1}·u + b)   input, forget and output gate;   g = tanh(...)   what is proposed
        c_t = f * c_{t-1} + i * g                  h_t = o * tanh(c_t)

    The columns of w, u and b are i, f, g, o, as in PyTorch. The forget gate's bias begins at `forget_bias`, so that the
    cell keeps what it holds until it learns to let go (Gers et al. 2000; Jozefowicz et al. 2015): the share
    sigmoid(forget_bias) a step, so ln T keeps it for about T steps (Tallec & Ollivier 2018). Hochreiter & Schmidhuber
    1997.
    x: [batch, steps, n] -> y: [batch, steps, width], or the last state [batch, width] without `each_step`.

    >>> layer = LSTM(3, each_step=False)
    >>> layer.declare(jax.ShapeDtypeStruct((1, 5, 2), "float32"))["w"].shape
    (2, 12)
    """

    gates: ClassVar = 4
    states: ClassVar = 2

    width: int
    each_step: bool = True
    backwards: bool = False
    initial: Initializer = GlorotUniform()
    recurrent_initial: Initializer = Orthogonal()
    forget_bias: float = 1.0

    def _bias(self):
        return Blocks((Zeros(), Constant(self.forget_bias), Zeros(), Zeros()))

    def kernel(self):
        return "lstm"

    def bend(self, z, r, state):
        i, f, g, o = self.kept(z, r)
        c = f * state[1] + i * g
        return o * jnp.tanh(c), c

    def kept(self, z, r):
        i, f, g, o = (a + b for a, b in zip(z, r, strict=True))
        return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)

    def slopes(self, kept, before):
        (i, f, g, o), c = kept, before[1]
        t = jnp.tanh(f * c + i * g)
        by = g * i * (1 - i), c * f * (1 - f), i * (1 - g * g)  # of the next c, by the sums that make i, f and g
        return by, t * o * (1 - o), o * (1 - t * t), f  # and of the next h, by o's and by the next c

    def bend_back(self, dstate, slopes):
        by, h_by_o, h_by_c, f = slopes
        dh, dc = dstate[0], dstate[1] + dstate[0] * h_by_c
        dz = (*(dc * slope for slope in by), dh * h_by_o)
        return dz, dz, (jnp.zeros_like(dh), dc * f)


@layer("gru")
class GRU(Recurrent):
    """The gated recurrent unit: two gates, and no cell beside the state.

        r, s = sigmoid(x_t·w + h_{t-1}·u + b)      reset and update gate
        g = tanh(x_t·w + b + r * (h_{t-1}·u + v))  what is proposed
        h_t = (1 - s) * g + s * h_{t-1}

    The columns of w, u and b are r, s, g; v: [width]. The reset gate acts after the product, as in cuDNN and PyTorch,
    so that the product is one for all gates. Cho et al. 2014.
    x: [batch, steps, n] -> y: [batch, steps, width], or the last state [batch, width] without `each_step`.

    >>> layer = GRU(3)
    >>> sorted(layer.declare(jax.ShapeDtypeStruct((1, 5, 2), "float32")))
    ['b', 'u', 'v', 'w']
    """

    gates: ClassVar = 3

    width: int
    each_step: bool = True
    backwards: bool = False
    initial: Initializer = GlorotUniform()
    recurrent_initial: Initializer = Orthogonal()

    def declare(self, x):
        return {**super().declare(x), "v": Param((self.width,), "zeros")}

    def kernel(self):
        return "gru"

    def recurrent_bias(self, p):
        zero = jnp.zeros_like(p["v"])
        return zero, zero, p["v"]

    def bend(self, z, r, state):
        _, s, g, _ = self.kept(z, r)
        return ((1 - s) * g + s * state[0],)

    def kept(self, z, r):
        reset, s = jax.nn.sigmoid(z[0] + r[0]), jax.nn.sigmoid(z[1] + r[1])
        return reset, s, jnp.tanh(z[2] + reset * r[2]), r[2]

    def slopes(self, kept, before):
        reset, s, g, fed = kept
        by_g = (1 - s) * (1 - g * g)
        return by_g * fed * reset * (1 - reset), (before[0] - g) * s * (1 - s), by_g, by_g * reset, s

    def bend_back(self, dstate, slopes):
        dh = dstate[0]
        first, second, third, fed, same = (dh * slope for slope in slopes)
        return (first, second, third), (first, second, fed), (same,)


@layer
class Bidirectional(Layer):
    """One recurrent layer reads forwards, its twin backwards; what they say lies side by side. Schuster & Paliwal 1997.

    x: [batch, steps, n] -> y: [batch, steps, 2 * width], or [batch, 2 * width] where `part` gives its last state.

    >>> p = {"w": jnp.array([[1.0]]), "u": jnp.array([[0.5]]), "b": jnp.zeros(1)}
    >>> both = Bidirectional(RNN(1, activation="identity"))
    >>> both.apply({"forward": p, "backward": p}, jnp.array([[[1.0], [0.0]]]), None).tolist()
    [[[1.0, 1.0], [0.5, 0.0]]]
    """

    part: Recurrent

    def apply(self, p, x, ctx):
        ctx = ctx or Context()
        forward = ctx.call("forward", self.part, p, x)
        backward = ctx.call("backward", self.part.reversed(), p, x)
        return jnp.concatenate([forward, backward], axis=-1)


@layer
class Steps(Layer):
    """The first axis of each example as steps, all others as features: an image is read row by row.

    x: [batch, steps, a, b, ...] -> y: [batch, steps, a * b * ...].

    >>> Steps().apply({}, jnp.zeros((5, 28, 28, 3)), None).shape
    (5, 28, 84)
    """

    def apply(self, p, x, ctx):
        if x.ndim < 3:
            raise NetworkError(
                "there are no steps to read", expected="shape [batch, steps, ...]", got=list(x.shape),
                fix="give it images or sequences; for rows of numbers use a network such as mlp",
            )  # fmt: skip
        size = 1
        for n in x.shape[2:]:
            size *= n
        return x.reshape(x.shape[0], x.shape[1], size)
