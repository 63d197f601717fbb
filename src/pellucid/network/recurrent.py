"""Recurrent layers: a state h that is fed back, so that a network reads a sequence step by step.

All three share one loop. What a step adds is elementwise and lies in `bend`; around it stand two matrix products:

    z = x·w + b     of all steps at once, before the loop, for it needs no state
    r = h·u + v     inside the loop, from the state of the step before: the feedback connection
    h = bend(z, r, h)

A step that only fills up a shorter sequence (`ctx.valid` False) leaves the state as it was. Backpropagation through
time runs the loop in reverse; where only that is asked for (`ctx.reverse_only`), the gradients of u are not summed up
step by step but found by one product of all states with all gradients, after the loop.
"""

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp

from pellucid.errors import NetworkError
from pellucid.network.activations import Activation, Tanh
from pellucid.network.initial import Blocks, Constant, GlorotUniform, Initializer, Orthogonal, Zeros
from pellucid.network.layer import Context, Layer, Param, layer

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

    def bend(self, z: jax.Array, r: jax.Array, state: State) -> State:
        """The elementwise part of a step: [batch, gates * width] twice, and the state -> the next state, h first."""
        raise NotImplementedError  # abstract

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
        batch, steps, n = x.shape
        z = x.swapaxes(0, 1).reshape(steps * batch, n) @ p["w"] + p["b"]  # [batch, steps, n] -> [steps * batch, g]
        z = z.reshape(steps, batch, -1)
        valid = None if ctx.valid is None else ctx.valid.swapaxes(0, 1)[..., None]  # -> [steps, batch, 1]
        if self.backwards:
            if ctx.streaming:
                raise NetworkError(
                    "a layer that reads backwards cannot go on where a piece ended", where=ctx.path,
                    fix="use forward layers where text is generated or state is carried over",
                )  # fmt: skip
            z, valid = z[::-1], None if valid is None else valid[::-1]
        zero = jnp.zeros((batch, self.width), z.dtype)
        begin = zero if begin is None else begin
        first: State = (begin, *(zero for _ in range(self.states - 1)))
        first = jax.lax.stop_gradient(ctx.recall(first)) if ctx.streaming else first
        run: Any = _swift if ctx.reverse_only else _plain
        hs, last = run(self, z, p["u"], self._recurrent_bias(p), first, valid)
        ctx.remember(last)
        if not self.each_step:
            return last[0]
        return (hs[::-1] if self.backwards else hs).swapaxes(0, 1)  # [steps, batch, width] -> [batch, steps, width]

    def _recurrent_bias(self, p: Any) -> jax.Array | None:
        return None


def _advance(cell: Recurrent, z, r, state: State, valid) -> State:
    new = cell.bend(z, r, state)
    return new if valid is None else tuple(jnp.where(valid, n, o) for n, o in zip(new, state, strict=True))


def _feed_back(h, u, v):
    return h @ u if v is None else h @ u + v


def _plain(cell: Recurrent, z, u, v, first: State, valid):
    """The loop as it is written: (h of every step [steps, batch, width], the last state)."""

    def step(state, now):
        z, valid = now
        state = _advance(cell, z, _feed_back(state[0], u, v), state, valid)
        return state, state[0]

    last, hs = jax.lax.scan(step, first, (z, valid))
    return hs, last


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _swift(cell: Recurrent, z, u, v, first: State, valid):
    """The same, with a reverse pass of its own and no forward mode."""
    return _plain(cell, z, u, v, first, valid)


def _swift_forward(cell: Recurrent, z, u, v, first: State, valid):
    def step(state, now):
        z, valid = now
        r = _feed_back(state[0], u, v)
        new = _advance(cell, z, r, state, valid)
        return new, (new[0], state, r)

    last, (hs, before, rs) = jax.lax.scan(step, first, (z, valid))
    return (hs, last), (z, u, v, valid, before, rs)


def _swift_backward(cell: Recurrent, kept, gradients):
    z, u, v, valid, before, rs = kept
    dhs, dlast = gradients
    turned = u.T

    def step(dstate, now):
        dh, z, r, state, valid = now
        dstate = (dstate[0] + dh, *dstate[1:])
        _, pull = jax.vjp(lambda z, r, state: _advance(cell, z, r, state, valid), z, r, state)
        dz, dr, dbefore = pull(dstate)
        return (dbefore[0] + dr @ turned, *dbefore[1:]), (dz, dr)

    dfirst, (dz, dr) = jax.lax.scan(step, dlast, (dhs, z, rs, before, valid), reverse=True)
    width = before[0].shape[-1]
    du = before[0].reshape(-1, width).T @ dr.reshape(-1, dr.shape[-1])  # one product over all steps
    return dz, du, None if v is None else dr.sum((0, 1)), dfirst, None


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

    def bend(self, z, r, state):
        return (self.activation.apply({}, z + r, None),)


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

    def bend(self, z, r, state):
        i, f, g, o = jnp.split(z + r, 4, axis=-1)
        c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c


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

    def _recurrent_bias(self, p):
        return jnp.concatenate([jnp.zeros((2 * self.width,), p["v"].dtype), p["v"]])

    def bend(self, z, r, state):
        zr, zs, zg = jnp.split(z, 3, axis=-1)
        rr, rs, rg = jnp.split(r, 3, axis=-1)
        s = jax.nn.sigmoid(zs + rs)
        return ((1 - s) * jnp.tanh(zg + jax.nn.sigmoid(zr + rr) * rg) + s * state[0],)


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
