import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pellucid.errors import SettingError
from pellucid.network import initial as init
from pellucid.network.initial import Constant, Initializer, Normal, Ones, Orthogonal, Uniform, Zeros, fans

SHAPE = (3, 3, 40, 160)  # a convolution's kernel, so that the fans are 360 and 1440
GLOROT, HE, LECUN = 2 / (360 + 1440), 2 / 360, 1 / 360

# initializer: (mean, variance, bound or None where there is none)
CASES: dict[Initializer, tuple[float, float, float | None]] = {
    Zeros(): (0, 0, 0),
    Ones(): (1, 0, 0),
    Constant(-0.3): (-0.3, 0, 0),
    Normal(0.2, 0.5): (0.5, 0.04, None),
    Uniform(-1, 3): (1, 16 / 12, 2),
    init.GlorotUniform(): (0, GLOROT, math.sqrt(6 / 1800)),
    init.GlorotNormal(): (0, GLOROT, None),
    init.HeUniform(): (0, HE, math.sqrt(6 / 360)),
    init.HeNormal(): (0, HE, None),
    init.LeCunUniform(): (0, LECUN, math.sqrt(3 / 360)),
    init.LeCunNormal(): (0, LECUN, None),
    init.Blocks((Uniform(-1, 3), Uniform(0, 2))): (1, (16 / 12 + 4 / 12) / 2, 2),
    Orthogonal(2): (0, 4 / 360, None),  # 160 orthogonal columns of length 2 in 360 places
}
every = pytest.mark.parametrize("initial", CASES, ids=lambda initial: initial.name)


def test_every_registered_initializer_has_an_example():
    ours = {found for found in Initializer.registry.values() if found.__module__.startswith("pellucid.")}
    assert ours == {type(initial) for initial in CASES}


@every
def test_mean_variance_bounds(initial):
    mean, variance, bound = CASES[initial]
    w = np.asarray(initial(jax.random.key(0), SHAPE, "float32"), np.float64)
    assert w.shape == SHAPE
    assert abs(w.mean() - mean) <= 4 * math.sqrt(variance / w.size) + 1e-7
    assert abs(w.var() - variance) <= 4 * variance * math.sqrt(2 / w.size) + 1e-12
    if bound is not None:
        assert abs(w - mean).max() <= bound + 1e-7
        assert abs(w - mean).max() >= 0.999 * bound - 1e-7  # all of the range is used


@every
def test_the_key_alone_decides(initial):
    make = jax.jit(lambda initial, key: initial(key, (20, 30), "float32"), static_argnums=0)
    back = Initializer.from_json(json.loads(json.dumps(initial.to_json())))
    assert back == initial
    assert hash(back) == hash(initial)
    one, same, other = (make(i, jax.random.key(k)) for i, k in ((initial, 1), (back, 1), (initial, 2)))
    np.testing.assert_array_equal(one, same)
    assert (CASES[initial][1] > 0) == bool((one != other).any())
    assert make._cache_size() == 1


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 2, 5), (7,)])
def test_orthogonal_rows_or_columns(shape):
    with jax.enable_x64(True):
        w = np.asarray(Orthogonal(3)(jax.random.key(0), shape, jnp.float64))
    assert w.shape == shape
    w = w.reshape(-1, shape[-1])
    gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(gram, 9 * np.eye(len(gram)), atol=1e-12)


def test_orthogonal_is_uniform():
    """QR alone would fix the signs of the diagonal; the trace of a uniform rotation has mean 0 and variance 1."""
    keys = jax.random.split(jax.random.key(0), 2000)
    traces = jnp.trace(jax.vmap(lambda key: Orthogonal()(key, (3, 3), "float32"))(keys), axis1=1, axis2=2)
    assert abs(traces.mean()) < 4 / math.sqrt(2000)
    assert abs(traces.var() - 1) < 0.15


@pytest.mark.parametrize(
    ("shape", "expected"), [((), (1, 1)), ((7,), (7, 7)), ((3, 5), (3, 5)), ((3, 3, 16, 32), (144, 288))]
)
def test_fans(shape, expected):
    assert fans(shape) == expected


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Normal(-1), "where:    Normal(std=...)\n  expected: a number >= 0\n  got:      -1.0"),
        (lambda: Uniform(1, 0), "where:    Uniform(high=...)\n  expected: a number >= low (1.0)\n  got:      0.0"),
        (lambda: Initializer.of("he"), "there is no initializer 'he'"),
        (lambda: Initializer.of("he_norml"), "did you mean 'he_normal'?"),
    ],
)
def test_errors(make, text):
    with pytest.raises(SettingError) as error:
        make()
    assert text in str(error.value)
