"""Less effort of the compiler changes neither results nor what may be asked of a compiled function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pellucid.network import compiling
from pellucid.network.attention import Attention
from pellucid.network.compiling import OPTIONS, compiled, effort_for
from pellucid.network.composite import Residual, Sequential
from pellucid.network.conv import Conv
from pellucid.network.dense import Dense
from pellucid.network.recurrent import LSTM


def slopes(x, w, times):
    return jax.grad(lambda w: jnp.tanh(x @ w).sum() * times)(w)


@pytest.mark.parametrize("effort", OPTIONS)
def test_results_are_those_of_jit(effort):
    x, w = np.random.default_rng(0).normal(size=(2, 30, 30)).astype("float32")
    found = compiled(slopes, effort, static_argnums=2)
    np.testing.assert_allclose(found(x, w, 3), jax.jit(slopes, static_argnums=2)(x, w, 3), rtol=1e-5, atol=1e-5)
    assert found(x, w, 3).dtype == jnp.float32 and found._cache_size() == 1
    found(x, w, 4)
    assert found._cache_size() == 2
    found.clear_cache()
    assert found._cache_size() == 0
    np.testing.assert_array_equal(found.lower(x, w, 3).compile()(x, w), found(x, w, 3))


def test_the_effort_may_follow_from_the_arguments():
    found = compiled(lambda x, deep: x + 1, lambda x, deep: "less" if deep else "little", static_argnums=1)
    assert found(1, True) == found(1, False) == 2
    assert found._cache_size() == 2


def test_efforts_that_ask_for_the_same_are_counted_once(monkeypatch):
    """As "less" and "lean" do from JAX 0.12 on."""
    monkeypatch.setitem(OPTIONS, "lean", OPTIONS["less"])
    compiling._options.cache_clear()
    try:
        found = compiled(lambda x, lean: x + 1, lambda x, lean: "lean" if lean else "less")
        assert found(1, True) == found(1, False) == 2 and found._cache_size() == 1
    finally:
        compiling._options.cache_clear()


def test_an_option_that_this_compiler_does_not_know_is_left_out(monkeypatch):
    known = {compiling.LEVEL: 1}
    monkeypatch.setitem(OPTIONS, "less", ({"xla_no_such_option": 1}, known))
    compiling._options.cache_clear()
    try:
        assert compiling._options("less") == (known if jax.default_backend() == "cpu" else {})
        assert compiled(lambda x: x + 1, "less")(1) == 2
    finally:
        compiling._options.cache_clear()


def test_the_environment_may_ask_for_the_best(monkeypatch):
    monkeypatch.setenv(compiling.BEST, "best")
    assert compiling._options.__wrapped__("little") == {}


@pytest.mark.parametrize(
    ("layer", "effort"),
    [
        (Sequential(Dense(3)), "less"),
        (Sequential(Residual(Sequential(Conv(3)))), "lean"),
        (Sequential(LSTM(4), Dense(3)), "lean"),
        (Sequential(LSTM(4), Attention(heads=1)), "less"),
    ],
)
def test_lean_is_for_what_the_kernels_do_most_of(layer, effort):
    assert effort_for(layer) == effort
