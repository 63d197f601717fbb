"""Pools against NumPy and PyTorch: values, gradients (ties too), padding, padded sequences, refusals."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from windows import pool

from pellucid.errors import NetworkError, SettingError
from pellucid.network.layer import Context
from pellucid.network.pool import AvgPool, GlobalPool, MaxPool

SETTINGS = [(2, None, 0), (3, 2, 1), (2, 3, 1)]


@pytest.mark.parametrize(("size", "stride", "padding"), SETTINGS)
def test_values_equal_numpys(size, stride, padding):
    x = np.random.default_rng(size).normal(size=(2, 7, 3) if size == 3 else (2, 7, 6, 3)).astype("float32")
    for layer, function in ((MaxPool, np.nanmax), (AvgPool, np.nanmean)):
        y = jax.jit(partial(layer(size, stride, padding=padding).apply, {}, ctx=None))(x)
        np.testing.assert_allclose(y, pool(x, function, size, stride or size, padding), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "stride", "padding"), SETTINGS)
def test_gradients_equal_pytorchs_with_many_ties(size, stride, padding):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = np.maximum(rng.integers(-2, 3, (2, 7, 6, 2)), 0).astype("float32")  # half of it zeros, as after a ReLU
    tx = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    functions = torch.nn.functional
    both = (
        (MaxPool, functions.max_pool2d(tx, size, stride, padding)),
        (AvgPool, functions.avg_pool2d(tx, size, stride, padding, count_include_pad=False)),
    )
    for layer, ty in both:
        g = rng.normal(size=tuple(ty.shape)).astype("float32")
        forward = lambda x, layer=layer: layer(size, stride, padding=padding).apply({}, x, None)  # noqa: E731
        y, (ours,) = jax.jit(lambda x, g, f=forward: (f(x), jax.vjp(f, x)[1](g)))(x, g.transpose(0, 2, 3, 1))
        np.testing.assert_allclose(y, ty.detach().numpy().transpose(0, 2, 3, 1), rtol=1e-5)
        (slope,) = torch.autograd.grad(ty, tx, torch.tensor(g))
        np.testing.assert_allclose(ours, slope.numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-6)


def test_forward_mode_and_nan():
    x = jnp.array([[1.0, 1.0, jnp.nan, 0.0]]).reshape(1, 4, 1)
    assert jnp.isnan(MaxPool(2).apply({}, x, None)).ravel().tolist() == [False, True]
    for layer in (MaxPool(2), MaxPool(2, stride=1)):
        _, moved = jax.jvp(lambda x, f=layer: f.apply({}, x, None), (x[:, :2],), (jnp.array([[[3.0], [5.0]]]),))
        assert moved.ravel().tolist() == [3.0]  # of equals, the first


def test_same_padding_rounds_up():
    x = jnp.arange(1.0, 6).reshape(1, 5, 1)
    assert MaxPool(2, padding="same").apply({}, -x, None).ravel().tolist() == [-1, -3, -5]
    assert AvgPool(2, padding="same").apply({}, x, None).ravel().tolist() == [1.5, 3.5, 5.0]


@pytest.mark.parametrize(
    "layer", [MaxPool(2), AvgPool(2), AvgPool(3, stride=1, padding="same"), GlobalPool(), GlobalPool("max")]
)
def test_padded_sequences_give_what_they_give_alone(layer):
    x = np.random.default_rng(0).normal(size=(3, 8, 2)).astype("float32") - 5  # below the zeros of padding
    valid = np.arange(8) < np.array([[8], [4], [0]])
    filled = jnp.asarray(np.where(valid[..., None], x, 99))

    @jax.jit
    def both(filled, valid, short):
        ctx = Context(valid=valid)
        y = layer.apply({}, filled, ctx)
        return y, layer.apply({}, short, None), ctx.valid

    y, alone, left = map(np.asarray, both(filled, valid, x[1:2, :4]))
    assert np.isfinite(y).all()
    if isinstance(layer, GlobalPool):
        np.testing.assert_allclose(y[1], alone[0], rtol=1e-5)
        assert y[2].tolist() == [0, 0]
    else:
        np.testing.assert_allclose(y[1, : alone.shape[1]], alone[0], rtol=1e-5)
        assert left.sum(1).tolist() == [y.shape[1], alone.shape[1], 0]


def test_refusals():
    with pytest.raises(NetworkError, match="larger than the image of 2 x 2"):
        MaxPool(3).apply({}, jnp.ones((1, 2, 2, 1)), None)
    with pytest.raises(NetworkError, match="nothing to pool"):
        GlobalPool().apply({}, jnp.ones((1, 2)), None)
    with pytest.raises(SettingError, match="below the size"):
        MaxPool(2, padding=2)
    with pytest.raises(SettingError, match="out of range"):
        AvgPool(0)
