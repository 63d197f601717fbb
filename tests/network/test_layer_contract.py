"""The contract that every layer keeps. A new layer joins by an example below; without one, the first test fails.

Forward: against a NumPy formula in float64. Gradients, of weights and inputs: against finite differences of that same
formula, so that neither rests on JAX. Then: JSON round trip, one compilation for equal specs, strict dtypes.
"""

import dataclasses
import importlib
import json
import math
import pkgutil
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from windows import correlate, pool, spread

import pellucid.network
from pellucid.network import activations as acts
from pellucid.network.activations import ELU, GELU, Activation, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Tanh
from pellucid.network.architecture import Blueprint
from pellucid.network.architectures import MLP
from pellucid.network.attention import Attention, Positions
from pellucid.network.composite import Parallel, Residual, Sequential
from pellucid.network.conv import Conv, ConvTranspose, Grey, Upsample
from pellucid.network.dense import Dense, Dropout, Embed, Flatten, Input, Output
from pellucid.network.layer import Context, Layer, Param, nest
from pellucid.network.norm import BatchNorm, LayerNorm, RMSNorm
from pellucid.network.pool import AvgPool, GlobalPool, MaxPool
from pellucid.network.precision import lowered
from pellucid.network.recurrent import GRU, LSTM, RNN, Bidirectional, Steps
from pellucid.network.seq2seq import BahdanauDecoder, EncoderDecoder, LuongAttention
from pellucid.network.transformer import SwiGLU, TiedEmbedding, TransformerBlock

for module in pkgutil.iter_modules(pellucid.network.__path__, "pellucid.network."):
    importlib.import_module(module.name)  # so that every layer is registered, whoever wrote it

# -- the formulas, written anew in NumPy ----------------------------------------------------------------------------

erf = np.vectorize(math.erf, otypes=[float])
logistic = lambda x: 1 / (1 + np.exp(np.clip(-x, -700, 700)))  # noqa: E731
expm1_below = lambda x: np.exp(np.minimum(x, 0)) - 1  # noqa: E731
normal_cdf = lambda x: (1 + erf(x / math.sqrt(2))) / 2  # noqa: E731
GPT2 = math.sqrt(2 / math.pi)
S, A = 1.0507009873554805, 1.6732632423543772


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def normalise(x, axes, epsilon=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def dense(p, x):
    return np.einsum("...n,nw->...w", x, p["w"]) + p.get("b", 0.0)


def halfway(p, x):
    """[batch, 3, n] -> [batch, 6, n]: a quarter of the way to the neighbour on either side, none beyond the border."""
    a, b, c = x.swapaxes(0, 1)
    parts = [a, 0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b, 0.75 * b + 0.25 * c, 0.25 * b + 0.75 * c, c]
    return np.stack(parts, 1)


def elman(p, x, state=None):
    """h_t = tanh(x_t w + h_{t-1} u + b) for every step, [batch, steps, n] -> [batch, steps, width]."""
    h = np.zeros((len(x), p["u"].shape[0])) if state is None else state
    out = []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ p["w"] + h @ p["u"] + p["b"])
        out.append(h)
    return np.stack(out, 1)


def lstm(p, x):
    h = c = np.zeros((len(x), p["u"].shape[0]))
    out = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ p["w"] + h @ p["u"] + p["b"], 4, axis=-1)
        c = logistic(f) * c + logistic(i) * np.tanh(g)
        h = logistic(o) * np.tanh(c)
        out.append(h)
    return np.stack(out, 1)


def gru(p, x, state=None):
    h = np.zeros((len(x), p["u"].shape[0])) if state is None else state
    out = []
    for t in range(x.shape[1]):
        (ar, az, an), (br, bz, bn) = (np.split(v, 3, axis=-1) for v in (x[:, t] @ p["w"] + p["b"], h @ p["u"]))
        r, z = logistic(ar + br), logistic(az + bz)
        h = (1 - z) * np.tanh(an + r * (bn + p["v"])) + z * h
        out.append(h)
    return np.stack(out, 1)


def relu_backwards(p, x):
    h = np.zeros((len(x), 2))
    for t in reversed(range(x.shape[1])):
        h = np.maximum(x[:, t] @ p["w"] + h @ p["u"] + p["b"], 0)
    return h


def blueprint(p, x):
    x = (x - p["input"]["mean"]) / p["input"]["scale"]
    return dense(p["output"], np.tanh(dense(p["hidden1"], x)))


def looked_at(scores, memory, real):
    weights = softmax(np.where(real, scores, -1e9))
    return weights @ memory


def luong_attention(p, x):
    h, memory, real = x
    key = p.get("k", np.eye(h.shape[-1]))
    out = []
    for b in range(len(h)):
        context = np.stack([looked_at(memory[b] @ key.T @ q, memory[b], real[b]) for q in h[b]])
        out.append(np.tanh(np.concatenate([context, h[b]], -1) @ p["w"] + p["b"]))
    return np.stack(out)


def bahdanau_decoder(p, x):
    inputs, h, memory, real = x
    out = []
    for t in range(inputs.shape[1]):
        scores = np.tanh((h @ p["q"])[:, None] + memory @ p["k"]) @ p["o"]
        context = np.stack([looked_at(s, m, r) for s, m, r in zip(scores, memory, real, strict=True)])
        h = elman(p, np.concatenate([inputs[:, t], context], -1)[:, None], h)[:, 0]
        out.append(np.concatenate([h, context], -1))
    return np.stack(out, 1)


def encoder_decoder(p, x):
    """Elman cells, a source of 3 steps, no attention."""
    source, target = x[:, :3], x[:, 3:]
    vectors = lambda ids: np.where(ids[..., None] > 0, p["embed"]["w"][ids], 0.0)  # noqa: E731
    ends = []
    for name, turn in (("forward", 1), ("backward", -1)):
        h, read = np.zeros((len(x), 2)), vectors(source)
        for t in range(3)[::turn]:
            new = elman(p["encoder"][name], read[:, t : t + 1], h)[:, 0]
            h = np.where(source[:, t, None] > 0, new, h)
        ends.append(h)
    first = np.tanh(dense(p["bridge"], np.concatenate(ends, -1)))
    return elman(p["decoder"], vectors(target), first)


def attention(p, x, heads, causal=False):
    width = p["out"].shape[0]
    q, k, v = (part.reshape(*x.shape[:2], heads, -1) for part in np.split(x @ p["w"] + p.get("b", 0.0), 3, axis=-1))
    out = np.zeros((*x.shape[:2], heads, width // heads))
    for b, t, h in np.ndindex(*x.shape[:2], heads):
        last = t + 1 if causal else x.shape[1]
        scores = np.array([q[b, t, h] @ k[b, s, h] for s in range(last)]) / math.sqrt(width // heads)
        out[b, t, h] = softmax(scores) @ v[b, :last, h]
    return out.reshape(*x.shape[:2], width) @ p["out"] + p.get("out_bias", 0.0)


def sinusoids(x):
    y = x.copy()
    for place, i in np.ndindex(x.shape[1:]):
        angle = place / 10_000 ** (2 * (i // 2) / x.shape[2])
        y[:, place, i] += np.cos(angle) if i % 2 else np.sin(angle)
    return y


def rms(p, x, epsilon=1e-5):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * p.get("scale", 1.0)


def swiglu(p, x):
    gate = x @ p["gate"]
    return (gate * logistic(gate) * (x @ p["up"])) @ p["down"]


def scaled(p, x):
    return normalise(x, -1) * p["scale"] + p["bias"]


def pre_norm_block(p, x):
    x = x + attention(p["attention"], scaled(p["norm1"], x), 2, causal=True)
    hidden = np.maximum(dense(p["feed_forward"]["hidden"], scaled(p["norm2"], x)), 0)
    return x + dense(p["feed_forward"]["back"], hidden)


def post_norm_block(p, x):
    x = rms(p["norm1"], x + attention(p["attention"], x, 1))
    return rms(p["norm2"], x + swiglu(p["feed_forward"], x))


def memory_and(*firsts):
    """Inputs for a decoder: arrays of these shapes, then a memory [2, 3, 2] whose second row has one real step."""
    real = np.array([[True, True, True], [True, False, False]])
    return lambda rng: (*(rng.normal(size=shape) for shape in firsts), rng.normal(size=(2, 3, 2)), real)


class Case(NamedTuple):
    layer: Layer
    formula: Callable[[Any, np.ndarray], np.ndarray]
    train: bool = False
    ids: int = 0  # > 0: whole numbers below it arrive
    shape: tuple[int, ...] | None = None  # of the input, where not every shape will do
    made: Callable[[np.random.Generator], Any] | None = None  # makes an input that is no single array

    @property
    def fixed(self) -> bool:
        """Whether the gradient by the input has no meaning here, or is left to a test of its own."""
        return bool(self.ids or self.made)


# function, derivative: both must hold at ±1e4 too
ACTIVATIONS: dict[Activation, tuple[Callable, Callable | None]] = {
    Identity(): (lambda x: x, np.ones_like),
    ReLU(): (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    Sigmoid(): (logistic, lambda x: logistic(x) * logistic(-x)),
    Tanh(): (np.tanh, lambda x: 1 / np.cosh(np.clip(x, -300, 300)) ** 2),
    Softmax(): (softmax, None),  # no elementwise derivative; see test_softmax_at_the_extremes
    LeakyReLU(): (lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1, 0.01)),
    LeakyReLU(0.3): (lambda x: np.where(x > 0, x, 0.3 * x), lambda x: np.where(x > 0, 1, 0.3)),
    ELU(): (lambda x: np.where(x > 0, x, expm1_below(x)), lambda x: np.exp(np.minimum(x, 0))),
    ELU(0.5): (
        lambda x: np.where(x > 0, x, 0.5 * expm1_below(x)),
        lambda x: np.where(x > 0, 1, 0.5 * np.exp(np.minimum(x, 0))),
    ),
    acts.SELU(): (
        lambda x: S * np.where(x > 0, x, A * expm1_below(x)),
        lambda x: S * np.where(x > 0, 1, A * np.exp(np.minimum(x, 0))),
    ),
    GELU(): (
        lambda x: x * normal_cdf(x),
        lambda x: normal_cdf(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
    ),
    GELU(approximate=True): (
        lambda x: x / 2 * (1 + np.tanh(GPT2 * (x + 0.044715 * x**3))),
        lambda x: (
            (1 + np.tanh(u := GPT2 * (x + 0.044715 * x**3))) / 2
            + x / 2 / np.cosh(np.clip(u, -300, 300)) ** 2 * GPT2 * (1 + 3 * 0.044715 * x**2)
        ),
    ),
    SiLU(): (lambda x: x * logistic(x), lambda x: logistic(x) * (1 + x * logistic(-x))),
    acts.Softplus(): (lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), logistic),
}

CASES = [
    *(Case(a, lambda p, x, f=f: f(x)) for a, (f, _) in ACTIVATIONS.items()),
    Case(Input("all"), lambda p, x: (x - p["mean"]) / p["scale"]),
    Case(Input("channel"), lambda p, x: (x - p["mean"]) / p["scale"]),
    Case(Input("feature"), lambda p, x: (x - p["mean"]) / p["scale"]),
    Case(Flatten(), lambda p, x: x.reshape(len(x), -1)),
    Case(Dense(3), dense),
    Case(Dense(2, bias=False, initial="he_normal"), dense),
    Case(Output(3), dense),
    Case(Dropout(0.3), lambda p, x: x),
    Case(Embed(5, 3), lambda p, x: p["w"][x], ids=5),
    Case(LayerNorm(), lambda p, x: normalise(x, -1) * p["scale"] + p["bias"]),
    Case(LayerNorm(1e-3, scale=False, bias=False), lambda p, x: normalise(x, -1, 1e-3)),
    Case(
        BatchNorm(),
        lambda p, x: normalise(x, tuple(range(x.ndim - 1))) * p["scale"] + p["bias"],
        train=True,
    ),
    Case(
        BatchNorm(epsilon=0.1),
        lambda p, x: (x - p["mean"]) / np.sqrt(p["var"] + 0.1) * p["scale"] + p["bias"],
    ),
    Case(Sequential(), lambda p, x: x),
    Case(
        Sequential(Dense(3), Tanh(), ("head", Dense(2))),
        lambda p, x: dense(p["head"], np.tanh(dense(p["dense1"], x))),
    ),
    Case(Residual(Tanh()), lambda p, x: x + np.tanh(x)),
    Case(
        Residual(Sequential(Dense(3), Sigmoid()), shortcut=Dense(3, bias=False)),
        lambda p, x: dense(p["shortcut"], x) + logistic(dense(p["body"]["dense1"], x)),
    ),
    Case(
        Parallel(Dense(2), ("same", Identity())),
        lambda p, x: np.concatenate([dense(p["dense1"], x), x], -1),
    ),
    Case(
        Parallel(Dense(2), Dense(2), combine="add"),
        lambda p, x: dense(p["dense1"], x) + dense(p["dense2"], x),
    ),
    Case(
        Parallel(Dense(2), Dense(2), combine="mean"),
        lambda p, x: (dense(p["dense1"], x) + dense(p["dense2"], x)) / 2,
    ),
    Case(RNN(3), elman, shape=(2, 4, 2)),
    Case(RNN(2, activation="relu", backwards=True, each_step=False), relu_backwards, shape=(2, 3, 2)),
    Case(LSTM(2), lstm, shape=(2, 4, 3)),
    Case(LSTM(2, each_step=False), lambda p, x: lstm(p, x)[:, -1], shape=(3, 2, 1)),
    Case(GRU(2), gru, shape=(2, 4, 3)),
    Case(
        Bidirectional(GRU(2)),
        lambda p, x: np.concatenate([gru(p["forward"], x), gru(p["backward"], x[:, ::-1])[:, ::-1]], -1),
        shape=(2, 3, 2),
    ),
    Case(Conv(2), lambda p, x: correlate(x, p["w"], pads=1) + p["b"], shape=(2, 3, 2, 1)),
    Case(
        Conv(2, 2, stride=2, padding="valid", bias=False),
        lambda p, x: correlate(x, p["w"], stride=2),
        shape=(2, 5, 1),
    ),
    Case(
        Conv(4, (2, 1), stride=(1, 2), padding=((1, 0), (0, 1)), dilation=(2, 1), groups=2),
        lambda p, x: correlate(x, p["w"], (1, 2), ((1, 0), (0, 1)), (2, 1), 2) + p["b"],
        shape=(2, 3, 2, 2),
    ),
    Case(
        ConvTranspose(2, 3, stride=2, padding="valid"),
        lambda p, x: spread(x, p["w"], 2) + p["b"],
        shape=(2, 2, 1, 1),
    ),
    Case(MaxPool(2), lambda p, x: pool(x, np.nanmax, 2, 2), shape=(2, 3, 4, 1)),
    Case(MaxPool(3, stride=2, padding=1), lambda p, x: pool(x, np.nanmax, 3, 2, 1), shape=(2, 5, 2)),
    Case(AvgPool(2), lambda p, x: pool(x, np.nanmean, 2, 2), shape=(2, 4, 3, 1)),
    Case(AvgPool(3, stride=1, padding=1), lambda p, x: pool(x, np.nanmean, 3, 1, 1), shape=(2, 4, 1)),
    Case(GlobalPool(), lambda p, x: x.mean((1, 2)), shape=(2, 3, 2, 2)),
    Case(GlobalPool("max"), lambda p, x: x.max(1), shape=(2, 3, 2)),
    Case(Grey(), lambda p, x: x[..., None], shape=(2, 3, 2)),
    Case(Upsample(2), lambda p, x: x.repeat(2, 1).repeat(2, 2), shape=(2, 2, 3, 1)),
    Case(Upsample(2, "linear"), halfway, shape=(2, 3, 2)),
    Case(Steps(), lambda p, x: x.reshape(*x.shape[:2], -1), shape=(2, 3, 2, 2)),
    Case(LuongAttention(3), luong_attention, made=memory_and((2, 4, 3))),
    Case(LuongAttention(2, "dot"), luong_attention, made=memory_and((2, 4, 2))),
    Case(BahdanauDecoder(RNN(2)), bahdanau_decoder, made=memory_and((2, 4, 3), (2, 2))),
    Case(EncoderDecoder(3, Embed(5, 2, padding=True), RNN(2), "none"), encoder_decoder, ids=5, shape=(2, 5)),
    Case(Attention(2), lambda p, x: attention(p, x, 2), shape=(2, 3, 4)),
    Case(Attention(1, causal=True, bias=False), lambda p, x: attention(p, x, 1, causal=True), shape=(2, 4, 2)),
    Case(Positions("learned", 5), lambda p, x: x + p["w"][: x.shape[1]], shape=(2, 4, 3)),
    Case(Positions("sinusoidal", 5), lambda p, x: sinusoids(x), shape=(2, 4, 3)),
    Case(RMSNorm(), rms),
    Case(RMSNorm(1e-3, scale=False), lambda p, x: rms(p, x, 1e-3)),
    Case(SwiGLU(3), swiglu),
    Case(TransformerBlock(2, causal=True, feed_forward="relu", factor=1), pre_norm_block, shape=(2, 3, 4)),
    Case(
        TransformerBlock(1, order="post", norm="rms", feed_forward="swiglu", factor=1.5, bias=False),
        post_norm_block,
        shape=(2, 3, 2),
    ),
    Case(TiedEmbedding(5, 2, Tanh()), lambda p, x: np.tanh(p["w"][x]) @ p["w"].T, ids=5, shape=(2, 3)),
    Case(Blueprint(MLP((2,), activation="tanh"), outputs=2), blueprint, shape=(3, 2)),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.layer.name)


def test_every_registered_layer_has_an_example():
    made_here = [found for found in Layer.registry.values() if found.__module__.startswith("pellucid.network.")]
    ours = {found for found in made_here if found.reproducible}  # a foreign module is tested in tests/connect
    assert ours == {type(case.layer) for case in CASES}
    assert {found for found in ours if issubclass(found, Activation)} == {type(a) for a in ACTIVATIONS}


# -- forward and gradient -------------------------------------------------------------------------------------------

shapes = st.tuples(st.integers(2, 4), st.lists(st.integers(1, 3), max_size=2), st.integers(1, 4)).map(
    lambda s: (s[0], *s[1], s[2])
)


def declare(layer: Layer, x: Any) -> dict[str, Param]:
    """What the layer declares for such an input, met by an abstract trace, as `Network.init` does it."""
    declared: dict[str, Param] = {}
    jax.eval_shape(lambda x: Context(declared=declared, leaves=[]).run(layer, {}, x), x)
    return declared


def draw(case: Case, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[np.ndarray, dict, dict]:
    """An input, weights by path, running state by path; scales and variances positive."""
    shape = case.shape or shape
    if case.made:
        x = case.made(rng)
    else:
        x = rng.integers(0, case.ids, shape) if case.ids else rng.normal(0, 1.5, shape)
    declared = declare(case.layer, x)
    values = {path: rng.normal(0, 1, param.shape) for path, param in declared.items()}
    values = {path: abs(v) + 0.5 if path.endswith(("scale", "var")) else v for path, v in values.items()}
    return (
        x,
        {path: v for path, v in values.items() if declared[path].trained},
        {path: v for path, v in values.items() if not declared[path].trained},
    )


def differences(f: Callable[[], float], array: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """df/da for every element of `array`, changed in place, by central differences."""
    slope = np.zeros_like(array)
    for at in np.ndindex(array.shape):
        kept = array[at]
        array[at] = kept + step
        above = f()
        array[at] = kept - step
        slope[at] = (above - f()) / (2 * step)
        array[at] = kept
    return slope


@partial(jax.jit, static_argnums=(0, 1, 2))
def outputs_and_slopes(layer, train, fixed, weights, state, x, pull):
    """Compiled once for each shape: y, and the gradients of sum(pull * y) by the weights and, unless fixed, by x."""

    def loss(weights, x):
        y = Context(train=train, state=nest(state)).run(layer, nest(weights), x)
        return jnp.sum(pull * y), y

    (_, y), slopes = jax.value_and_grad(loss, 0 if fixed else (0, 1), has_aux=True)(weights, x)
    return y, slopes


@every_case
@settings(max_examples=5, derandomize=True, deadline=None)
@given(shape=shapes, seed=st.integers(0, 2**16))
def test_forward_and_gradients_in_float64(case, shape, seed):
    rng = np.random.default_rng(seed)
    x, weights, state = draw(case, shape, rng)
    formula = lambda: case.formula(nest({**weights, **state}), x)  # noqa: E731
    expected = formula()
    pull = rng.normal(size=expected.shape)  # the loss is sum(pull * y), so that every output counts

    with jax.enable_x64(True):
        y, slopes = outputs_and_slopes(case.layer, case.train, case.fixed, weights, state, x, pull)
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-11)

    slopes = {**slopes} if case.fixed else {**slopes[0], "the input": slopes[1]}
    for name, slope in slopes.items():
        by_hand = differences(lambda: float(np.sum(pull * formula())), x if name == "the input" else weights[name])
        np.testing.assert_allclose(slope, by_hand, rtol=1e-5, atol=2e-6, err_msg=name)


# -- what a spec promises -------------------------------------------------------------------------------------------


@every_case
def test_json_round_trip(case):
    back = Layer.from_json(json.loads(json.dumps(case.layer.to_json())))
    assert back == case.layer
    assert hash(back) == hash(case.layer)
    assert dataclasses.replace(back) == case.layer


@every_case
def test_equal_specs_compile_once_and_keep_float32(case):
    traced = []

    def forward(layer, weights, state, x):
        traced.append(layer)
        return Context(train=case.train, state=nest(state)).run(layer, nest(weights), x)

    rng = np.random.default_rng(0)
    x, weights, state = draw(case, (2, 3), rng)
    as_float32 = lambda tree: {path: jnp.asarray(v, jnp.float32) for path, v in tree.items()}  # noqa: E731
    narrow = {"f": jnp.float32, "i": jnp.int32, "b": jnp.bool_}
    x = jax.tree.map(lambda a: jnp.asarray(a, narrow[a.dtype.kind]), x)
    compiled = jax.jit(forward, static_argnums=0)
    with jax.numpy_dtype_promotion("strict"):
        y = compiled(case.layer, as_float32(weights), as_float32(state), x)
        compiled(Layer.from_json(case.layer.to_json()), as_float32(weights), as_float32(state), x)
    assert len(traced) == 1
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(
        y, case.formula(nest({**weights, **state}), jax.tree.map(np.asarray, x)), rtol=1e-4, atol=1e-5
    )


@every_case
def test_numbers_of_16_bits_are_near_and_gradients_of_weights_are_float32(case):
    """Beside float32, which the tests above hold against the formula; bfloat16's 8 bits are 0.4 % of a number."""
    rng = np.random.default_rng(1)
    x, weights, state = draw(case, (3, 4), rng)
    pull = rng.normal(size=case.formula(nest({**weights, **state}), x).shape).astype("float32")
    weights, state = ({k: jnp.asarray(v, jnp.float32) for k, v in tree.items()} for tree in (weights, state))
    x = jax.tree.map(lambda a: jnp.asarray(a, {"f": jnp.float32, "i": jnp.int32, "b": jnp.bool_}[a.dtype.kind]), x)

    def both(weights, x):
        def loss(weights, low):
            ctx = Context(train=case.train, state=nest(state), reverse_only=True, precision=low)
            y = ctx.run(case.layer, nest(weights), lowered(x, low))
            return jnp.sum(pull * y.astype(jnp.float32)), (y, ctx.updates)

        return [jax.grad(loss, has_aux=True)(weights, low) for low in (None, "bfloat16")]

    with jax.numpy_dtype_promotion("strict"):
        (by_weight, (expected, _)), (slopes, (y, updates)) = jax.jit(both)(weights, x)
    assert y.dtype == jnp.bfloat16
    assert {a.dtype for a in jax.tree.leaves((slopes, updates))} <= {jnp.dtype("float32")}
    whole = lambda tree: np.concatenate([np.ravel(v) for v in jax.tree.leaves(tree)] or [[]]).astype(float)  # noqa: E731
    for got, wanted in ((whole(y), whole(expected)), (whole(slopes), whole(by_weight))):
        assert np.linalg.norm(got - wanted) <= 0.05 * np.linalg.norm(wanted)


def test_specs_that_differ_compile_apart():
    traced = []
    compiled = jax.jit(lambda layer, x: traced.append(layer) or layer.apply({}, x, None), static_argnums=0)
    for layer in (LeakyReLU(), LeakyReLU(0.01), LeakyReLU("0.01"), LeakyReLU(1), LeakyReLU(1.0), ReLU(), SiLU()):
        compiled(layer, jnp.ones(2))
    assert traced == [LeakyReLU(), LeakyReLU(1), ReLU(), SiLU()]


# -- activations at the extremes, in float32 ------------------------------------------------------------------------

EXTREMES = np.float32([-1e4, -3e3, -100, -50, -10, -5, -1, -1e-3, 0, 1e-3, 1, 5, 10, 50, 100, 3e3, 1e4])


@pytest.mark.parametrize("activation", [a for a, (_, slope) in ACTIVATIONS.items() if slope], ids=str)
def test_activation_and_gradient_at_the_extremes(activation):
    f, slope = ACTIVATIONS[activation]
    y, pull = jax.vjp(lambda x: activation.apply({}, x, None), jnp.asarray(EXTREMES))
    wide = EXTREMES.astype(np.float64)
    np.testing.assert_allclose(y, f(wide), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(pull(jnp.ones_like(y))[0], slope(wide), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("row", [[-1e4, 0, 1e4], [1e4, 1e4, -1e4], [-1e4, -1e4, -1e4], [0, 1, -1]])
def test_softmax_at_the_extremes(row):
    s = softmax(np.array(row))
    np.testing.assert_allclose(Softmax().apply({}, jnp.float32(row), None), s, rtol=1e-6)
    jacobian = jax.jacobian(lambda x: Softmax().apply({}, x, None))(jnp.float32(row))
    np.testing.assert_allclose(jacobian, np.diag(s) - np.outer(s, s), rtol=1e-6, atol=1e-7)
