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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pellucid.network
from pellucid.network import activations as acts
from pellucid.network.activations import ELU, GELU, Activation, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Tanh
from pellucid.network.composite import Parallel, Residual, Sequential
from pellucid.network.dense import Dense, Dropout, Embed, Flatten, Input, Output
from pellucid.network.layer import Context, Layer, Param, nest
from pellucid.network.norm import BatchNorm, LayerNorm

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


class Case(NamedTuple):
    layer: Layer
    formula: Callable[[Any, np.ndarray], np.ndarray]
    train: bool = False
    ids: int = 0  # > 0: whole numbers below it arrive


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


@every_case
@settings(max_examples=5, derandomize=True, deadline=None)
@given(shape=shapes, seed=st.integers(0, 2**16))
def test_forward_and_gradients_in_float64(case, shape, seed):
    rng = np.random.default_rng(seed)
    x, weights, state = draw(case, shape, rng)
    formula = lambda: case.formula(nest({**weights, **state}), x)  # noqa: E731
    expected = formula()
    pull = rng.normal(size=expected.shape)  # the loss is sum(pull * y), so that every output counts

    def loss(weights, x):
        y = Context(train=case.train, state=nest(state)).run(case.layer, nest(weights), x)
        return jnp.sum(pull * y), y

    with jax.enable_x64(True):
        which = 0 if case.ids else (0, 1)
        (_, y), slopes = jax.jit(jax.value_and_grad(loss, which, has_aux=True))(weights, x)
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-11)

    slopes = {**slopes} if case.ids else {**slopes[0], "the input": slopes[1]}
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
    x = jnp.asarray(x, jnp.int32 if case.ids else jnp.float32)
    compiled = jax.jit(forward, static_argnums=0)
    with jax.numpy_dtype_promotion("strict"):
        y = compiled(case.layer, as_float32(weights), as_float32(state), x)
        compiled(Layer.from_json(case.layer.to_json()), as_float32(weights), as_float32(state), x)
    assert len(traced) == 1
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, case.formula(nest({**weights, **state}), np.asarray(x)), rtol=1e-4, atol=1e-5)


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
