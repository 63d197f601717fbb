import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import NetworkError
from pellucid.network.activations import Tanh
from pellucid.network.composite import Sequential
from pellucid.network.dense import Dense
from pellucid.network.layer import Context
from pellucid.network.probes import BINS, Probes, moments, sample, time_of
from pellucid.network.recurrent import RNN
from pellucid.signals.sampling import SAMPLE

RNG = np.random.default_rng(0)
NET = Sequential(("hidden", Dense(4)), ("tanh", Tanh()), ("output", Dense(2)))
PATHS = ("hidden", "tanh", "output")
P = {
    "hidden": {"w": jnp.asarray(RNG.normal(size=(3, 4)), "float32"), "b": jnp.asarray(RNG.normal(size=4), "float32")},
    "output": {"w": jnp.asarray(RNG.normal(size=(4, 2)), "float32"), "b": jnp.asarray(RNG.normal(size=2), "float32")},
}
X = jnp.asarray(RNG.normal(size=(8, 3)), "float32")


def loss(p, slots, x=X):
    probes = None if slots is None else Probes(slots)
    y = Context(probes=probes).run(NET, p, x)
    return jnp.mean(y**2), probes.taken if probes else {}


def expected_moments(a):
    a = np.asarray(a, np.float64)
    return [a.size, a.sum(), (a**2).sum(), (a == 0).sum(), (~np.isfinite(a)).sum()]


def by_hand(x):
    """Outputs of the layers, and the gradients that reach them, in NumPy."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), P)
    z = np.asarray(x, np.float64) @ p["hidden"]["w"] + p["hidden"]["b"]
    a = np.tanh(z)
    y = a @ p["output"]["w"] + p["output"]["b"]
    dy = 2 * y / y.size
    da = dy @ p["output"]["w"].T
    return {"hidden": z, "tanh": a, "output": y}, {"hidden": da * (1 - a**2), "tanh": da, "output": dy}


def test_activation_and_gradient_moments_equal_those_by_hand():
    (_, taken), slots = jax.jit(jax.value_and_grad(loss, 1, has_aux=True))(P, Probes.empty(PATHS))
    activations, gradients = by_hand(X)
    for path in PATHS:
        np.testing.assert_allclose(taken[path], expected_moments(activations[path]), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(slots[path], expected_moments(gradients[path]), rtol=1e-4, atol=1e-5)


def test_moments_count_zeros_and_what_is_not_finite():
    m = moments(jnp.array([[0.0, -0.0, 2.0], [-np.inf, np.nan, 1.0]]))
    assert (m[0], m[3], m[4]) == (6, 2, 2)
    assert moments(jnp.zeros((0, 3))).tolist() == [0] * 5


def test_without_probes_the_program_is_the_bare_one():
    bare = jax.make_jaxpr(
        lambda p: jnp.mean(
            Dense(2).apply(p["output"], Tanh().apply({}, Dense(4).apply(p["hidden"], X, None), None), None) ** 2
        )
    )(P)
    assert str(jax.make_jaxpr(lambda p: loss(p, None)[0])(P)) == str(bare)
    assert str(jax.make_jaxpr(lambda p: loss(p, {})[0])(P)) == str(bare)  # nothing watched
    assert str(jax.make_jaxpr(lambda p: loss(p, Probes.empty(PATHS))[0])(P)) != str(bare)


def test_probes_leave_the_bytes_of_loss_and_gradient():
    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (plain, _), slope = step(P, None)
    (probed, _), probed_slope = step(P, Probes.empty(PATHS))
    assert plain == probed
    jax.tree.map(np.testing.assert_array_equal, slope, probed_slope)


def test_only_the_watched_paths_are_taken():
    _, taken = loss(P, Probes.empty(("tanh",)))
    assert set(taken) == {"tanh"}


@pytest.mark.parametrize("how", ["scan", "remat"])
def test_statistics_come_out_of_scan_and_remat(how):
    """Every statistic is a sum: over four steps of a scan it is the one over all rows."""

    def total(slots):
        ctx = Context(probes=Probes(slots))
        if how == "scan":
            _, y = ctx.scan(lambda ctx, h, x: (h, ctx.run(NET, P, x)), 0.0, X.reshape(4, 2, 3))
        else:
            y = ctx.remat(lambda ctx, x: ctx.run(NET, P, x), X)
        return jnp.mean(y**2), ctx.probes.taken

    (_, taken), slots = jax.jit(jax.value_and_grad(total, has_aux=True))(Probes.empty(PATHS))
    activations, gradients = by_hand(X)
    for path in PATHS:
        np.testing.assert_allclose(taken[path], expected_moments(activations[path]), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(slots[path], expected_moments(gradients[path]), rtol=1e-4, atol=1e-5)


def test_measuring_inside_a_raw_scan_is_an_error():
    ctx = Context(probes=Probes(Probes.empty(PATHS)))
    with pytest.raises(NetworkError) as error:
        jax.lax.scan(lambda h, x: (h, ctx.run(NET, P, x)), 0.0, X.reshape(4, 2, 3))
    assert "a layer was measured inside a raw JAX transformation" in str(error.value)
    assert "where:    hidden" in str(error.value)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.lists(st.integers(1, 64), max_size=3), st.integers(1, 2048))
def test_the_sample_is_bounded_even_and_sees_every_unit(outer, units):
    shape = (*outer, units)
    at = np.asarray(sample(np.arange(math.prod(shape)).reshape(shape)))
    assert len(at) <= SAMPLE
    assert len(at) == math.prod(shape) or len(at) > SAMPLE / 4
    assert len(set(np.diff(at))) <= 1
    assert len(set(at % units)) == min(units, len(at))


@pytest.mark.parametrize("steps", [5, 16, 32, 37])
@pytest.mark.parametrize("backwards", [False, True])
def test_the_gradient_through_time_is_that_of_each_step(steps, backwards):
    """With w the identity, dL/dz at a step is dL/dx there, which JAX tells without any probe."""
    layer = RNN(3, each_step=False, backwards=backwards)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(4, steps, 3)) / 5, jnp.float32)
    p = {"w": jnp.eye(3), "u": 0.9 * jnp.eye(3), "b": jnp.zeros(3)}

    def loss(x, slots):
        ctx = Context(train=True, probes=Probes(slots), reverse_only=True)
        ctx.parts = ("rnn1",)
        return jnp.sin(ctx.run(layer, p, x)).sum()

    slots = Probes.empty(("rnn1",), ("rnn1",))
    dx, felt = jax.grad(loss, argnums=(0, 1))(x, slots)
    squares = np.square(np.asarray(dx, np.float64)).mean((0, 2))  # -> [steps]
    found = np.asarray(felt[time_of("rnn1")])
    first = np.arange(BINS) * steps // BINS
    after = np.maximum((np.arange(BINS) + 1) * steps // BINS, first + 1)
    np.testing.assert_allclose(found, [squares[a:b].mean() for a, b in zip(first, after, strict=True)], rtol=1e-4)
