"""Convolutions against sums written out in NumPy, scipy and PyTorch, over drawn settings; and what they refuse."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate2d
from windows import correlate, spread

from pellucid.errors import NetworkError, SettingError
from pellucid.native import on_cpu, one_operation
from pellucid.network import convolve
from pellucid.network.composite import Sequential
from pellucid.network.conv import Conv, ConvTranspose, Upsample
from pellucid.network.layer import Context
from pellucid.network.network import Network
from pellucid.network.pool import MaxPool


def weights(layer, x, rng):
    return {name: rng.normal(size=param.shape) for name, param in layer.declare(x).items()}


@partial(jax.jit, static_argnums=0)
def run(layer, p, x):
    return layer.apply(p, x, None)


@partial(jax.jit, static_argnums=0)
def pulled(layer, p, x, g):
    """The outputs, and the gradients of sum(g * y) by the weights and by x."""
    y, pull = jax.vjp(lambda p, x: layer.apply(p, x, None), p, x)
    return y, *pull(g)


@pytest.fixture
def small_cache(monkeypatch):
    monkeypatch.setattr(convolve, "CACHED", 4000)  # so that small batches too are taken in parts


@st.composite
def convolutions(draw):
    """(layer, shape of x, what the oracle is told), in one or two dimensions."""
    axes, groups = draw(st.integers(1, 2)), draw(st.sampled_from([1, 1, 2, 4]))
    pick = lambda *values: tuple(draw(st.sampled_from(values)) for _ in range(axes))  # noqa: E731
    size, stride, dilation, pads = (
        pick(1, 2, 3),
        pick(1, 2),
        pick(1, 2),
        tuple(zip(pick(0, 1), pick(0, 2), strict=True)),
    )
    n, width = (4, 4 * draw(st.integers(1, 2))) if groups > 1 else (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    shape = (draw(st.integers(1, 5)), *pick(5, 6, 8), n)
    layer = Conv(width, size, stride=stride, padding=pads, dilation=dilation, groups=groups)
    return layer, shape, (stride, pads, dilation, groups)


@settings(max_examples=12, derandomize=True, deadline=None)
@given(drawn=convolutions(), seed=st.integers(0, 99))
def test_drawn_convolutions_equal_the_sums(drawn, seed):
    layer, shape, settings = drawn
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    p = weights(layer, x, rng)
    with jax.enable_x64(True):
        y = run(layer, p, x)
    np.testing.assert_allclose(y, correlate(x, p["w"], *settings) + p["b"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [2, 3])
def test_same_padding_equals_scipy(size):
    rng = np.random.default_rng(size)
    x, w = rng.normal(size=(2, 7, 6, 1)), rng.normal(size=(size, size, 1, 1))
    y = run(Conv(1, size, bias=False), {"w": w}, x)
    for image, out in zip(x[..., 0], y[..., 0], strict=True):
        full = correlate2d(image, w[..., 0, 0])
        before = (size - 1) - (size - 1) // 2  # an even kernel has its odd zero after the image
        np.testing.assert_allclose(out, full[before : before + 7, before : before + 6], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("length", "size", "stride", "dilation"), [(7, 3, 2, 1), (8, 3, 2, 1), (9, 2, 3, 2), (5, 1, 2, 1)]
)
def test_same_padding_with_a_stride_is_that_of_xla(length, size, stride, dilation):
    x, w = jnp.arange(length * 2.0).reshape(1, length, 2), jnp.ones((size, 2, 1))
    layer = Conv(1, size, stride=stride, dilation=dilation, bias=False)
    y = run(layer, {"w": w}, x)
    reference = jax.lax.conv_general_dilated(
        x, w, (stride,), "SAME", rhs_dilation=(dilation,), dimension_numbers=("NWC", "WIO", "NWC")
    )
    assert y.shape[1] == -(-length // stride)
    np.testing.assert_allclose(y, reference, rtol=1e-6)


@pytest.mark.parametrize("batch", [7, 16])
def test_a_batch_in_parts_equals_the_whole_gradients_too(batch, small_cache, monkeypatch):
    rng = np.random.default_rng(0)
    x, layer = rng.normal(size=(batch, 5, 5, 3)).astype("float32"), Conv(4)
    p = jax.tree.map(jnp.float32, weights(layer, x, rng))

    g = rng.normal(size=(batch, 5, 5, 4)).astype("float32")
    parts = pulled(layer, p, x, g)
    monkeypatch.setattr(convolve, "CACHED", 1 << 30)
    jax.clear_caches()
    whole = pulled(layer, p, x, g)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), parts, whole)


def test_forward_mode_hessian_and_vmap_work_on_a_batch_in_parts(small_cache):
    rng = np.random.default_rng(0)
    x, layer = rng.normal(size=(9, 6, 6, 2)).astype("float32"), Conv(3)
    p = jax.tree.map(jnp.float32, weights(layer, x, rng))
    f = lambda x: jnp.tanh(layer.apply(p, x, None)).sum()  # noqa: E731

    @jax.jit
    def derived(x):
        (along, curved) = jax.jvp(jax.value_and_grad(f), (x,), (jnp.ones_like(x),))[1]  # and a product with the Hessian
        twice = jax.vmap(lambda p: layer.apply(p, x, None))(jax.tree.map(lambda a: jnp.stack([a, 2 * a]), p))
        return along, jax.grad(f)(x), curved, twice[0]

    along, slope, curved, first = derived(x)
    np.testing.assert_allclose(along, slope.sum(), rtol=1e-3)
    assert np.isfinite(curved).all() and curved.shape == x.shape
    np.testing.assert_allclose(first, run(layer, p, x), rtol=1e-4, atol=1e-5)


def test_no_convolution_of_xla_on_the_cpu_and_the_same_values_with_it():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 6, 5, 4)).astype("float32")
    for layer in (Conv(4, stride=2, dilation=(1, 2)), Conv(8, groups=4), ConvTranspose(4, stride=2, groups=2)):
        p = jax.tree.map(jnp.float32, weights(layer, x, rng))
        forward = lambda x, layer=layer, p=p: layer.apply(p, x, None)  # noqa: E731
        assert "conv_general" not in str(jax.make_jaxpr(jax.grad(lambda x, f=forward: f(x).sum()))(x))
        here = run(layer, p, x)
        with one_operation():
            assert "conv_general" in str(jax.make_jaxpr(lambda x, f=forward: f(x))(x))
            np.testing.assert_allclose(here, jax.jit(lambda x, f=forward: f(x))(x), rtol=1e-4, atol=1e-5)


def test_the_platform_is_that_of_the_default_device():
    assert on_cpu()
    with jax.default_device(jax.devices("cpu")[0]):
        assert on_cpu()


# -- the transpose ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("padding", "stride", "size"), [("valid", 2, 3), ("same", 2, 3), ("same", 3, 2), (1, 2, 4)])
def test_the_transpose_has_the_same_inner_products(padding, stride, size, small_cache):
    """<Conv x, y> = <x, ConvTranspose y>, with the kernel's inputs and outputs exchanged."""
    rng, axes = np.random.default_rng(0), 1 if padding == "valid" else 2
    y = rng.normal(size=(5, *(4, 3)[:axes], 2))
    back = ConvTranspose(3, size, stride=stride, padding=padding, bias=False)
    forward = Conv(2, size, stride=stride, padding=padding, bias=False)
    w = rng.normal(size=(*(size,) * axes, 2, 3))
    with jax.enable_x64(True):
        spread_out = np.asarray(run(back, {"w": w}, y))
        x = rng.normal(size=spread_out.shape)
        seen = np.asarray(run(forward, {"w": w.swapaxes(-1, -2)}, x))
    assert seen.shape == y.shape
    np.testing.assert_allclose((seen * y).sum(), (x * spread_out).sum(), rtol=1e-9)
    if padding == "same":
        assert spread_out.shape[1] == stride * y.shape[1]


def test_the_transpose_lays_patterns(small_cache):
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(7, 3, 2, 4)), rng.normal(size=(3, 2, 4, 3))
    layer = ConvTranspose(6, (3, 2), stride=2, padding="valid", groups=2, bias=False)
    y = run(layer, {"w": w}, x)
    np.testing.assert_allclose(y, spread(x, w, 2, groups=2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [
    Conv(6, (3, 2), stride=2, padding=1, groups=2), ConvTranspose(6, 3, stride=2, padding=1, dilation=2),
])  # fmt: skip
def test_values_and_gradients_equal_pytorchs(layer):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3, 7, 6, 4)).astype("float32")
    p = jax.tree.map(jnp.float32, weights(layer, x, rng))
    shape = jax.eval_shape(lambda: layer.apply(p, x, None)).shape
    g = rng.normal(size=shape).astype("float32")
    y, dp, dx = pulled(layer, p, x, g)
    transposed = isinstance(layer, ConvTranspose)
    order = (2, 3, 0, 1) if transposed else (3, 2, 0, 1)
    tx = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    tw = torch.tensor(np.asarray(p["w"]).transpose(order), requires_grad=True)
    f = torch.nn.functional.conv_transpose2d if transposed else torch.nn.functional.conv2d
    pads = 0 if layer.padding == "valid" else layer.padding
    ty = f(
        tx,
        tw,
        torch.tensor(np.asarray(p["b"])),
        stride=layer.stride,
        padding=pads,
        dilation=layer.dilation,
        groups=layer.groups,
    )
    np.testing.assert_allclose(y, ty.detach().numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-4)
    ty.backward(torch.tensor(g.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(dx, tx.grad.numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.transpose(dp["w"], order), tw.grad.numpy(), rtol=1e-4, atol=2e-4)


def test_linear_upsampling_equals_pytorchs():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 2)).astype("float32")
    for factor in (2, 3):
        y = torch.nn.functional.interpolate(torch.tensor(x.transpose(0, 3, 1, 2)), scale_factor=factor, mode="bilinear")
        ours = Upsample(factor, "linear").apply({}, x, None)
        np.testing.assert_allclose(ours, y.numpy().transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-6)


# -- padded sequences -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [Conv(3), Conv(3, 2, padding="valid", stride=2), Sequential(Conv(2), MaxPool(2))])
def test_padded_sequences_give_what_they_give_alone(layer):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 9, 2)).astype("float32")
    valid = np.arange(9) < np.array([[9], [5]])
    params, _ = Network(layer).init(jax.random.key(0), x)
    junk = np.where(valid[..., None], x, 77).astype("float32")
    ctx = Context(valid=jnp.asarray(valid))
    y, alone = layer.apply(params, junk, ctx), layer.apply(params, x[1:, :5], None)
    assert ctx.valid is not None and ctx.valid.shape == y.shape[:2]
    assert ctx.valid.sum(1).tolist() == [y.shape[1], alone.shape[1]]
    np.testing.assert_allclose(y[1, : alone.shape[1]], alone[0], rtol=1e-5, atol=1e-6)


# -- refusals ---------------------------------------------------------------------------------------------------------


def refusal(layer, shape):
    with pytest.raises(NetworkError) as caught:
        Network(layer).init(jax.random.key(0), jnp.ones(shape))
    return str(caught.value)


def test_a_kernel_larger_than_the_image_is_refused_with_what_would_fit():
    text = refusal(Sequential(MaxPool(2), ("deep", Sequential(Conv(4, 7, padding=1)))), (2, 8, 8, 3))
    assert "7 x 7 is larger than the image of 4 x 4 (6 x 6 with its padding)" in text
    assert "deep/conv1" in text and "at most 6 x 6" in text and "[2, 4, 4, 3]" in text
    assert "sequence of 2" in refusal(Conv(1, 3, padding="valid"), (1, 2, 1))
    assert "takes away all" in refusal(ConvTranspose(1, 2, padding=2), (1, 2, 2, 1))


def test_what_cannot_be_convolved_is_refused():
    assert "rows of numbers" in refusal(Sequential(("first", Conv(3))), (2, 64))
    assert "first" in refusal(Sequential(("first", Conv(3))), (2, 64))
    assert "groups" in refusal(Conv(4, groups=2), (2, 5, 3))
    assert "2 axes" in refusal(Conv(4, (3,)), (2, 5, 5, 3))
    wrong: dict[str, Any]
    for wrong in ({"width": 0}, {"width": 3, "groups": 2}, {"width": 3, "size": (3, 0)}, {"width": 3, "padding": -1}):
        with pytest.raises(SettingError):
            Conv(**wrong)


def test_operations_count_multiplications_and_additions():
    x = jax.ShapeDtypeStruct((1, 8, 8, 4), "float32")
    count = lambda layer, h, w: layer.operations(x, jax.ShapeDtypeStruct((1, h, w, layer.width), "float32"))  # noqa: E731
    assert count(Conv(6, stride=2), 4, 4) == 2 * 16 * 9 * 4 * 6
    assert count(Conv(4, groups=4), 8, 8) == 2 * 64 * 9 * 4
    assert count(ConvTranspose(6, 2, stride=2), 16, 16) == 2 * 64 * 4 * 4 * 6
