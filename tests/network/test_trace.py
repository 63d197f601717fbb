"""Tracing on shapes alone."""

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.network.architectures import mlp
from pellucid.network.trace import trace


def test_float64_of_numpy_is_traced_as_the_float32_that_jax_makes_of_it():
    layer = mlp((3,), outputs=2).layer
    wide = trace(layer, np.zeros((1, 4)))
    assert wide is trace(layer, jnp.zeros((1, 4)))
    assert wide.y == jax.ShapeDtypeStruct((1, 2), jnp.float32)
    with jax.enable_x64(True):
        assert trace(layer, np.zeros((1, 4))) is not wide
