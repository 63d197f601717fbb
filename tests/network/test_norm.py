import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pellucid.errors import SettingError
from pellucid.network.layer import Context
from pellucid.network.norm import BatchNorm, LayerNorm

RNG = np.random.default_rng(0)


def start(n: int, x=None) -> tuple[dict, dict]:
    return (
        {"scale": jnp.asarray(RNG.normal(size=n), "float32"), "bias": jnp.asarray(RNG.normal(size=n), "float32")},
        {"mean": jnp.full(n, 0.5, "float32"), "var": jnp.full(n, 2.0, "float32")},
    )


def train(layer: BatchNorm, p, state, x, mask=None):
    ctx = Context(train=True, state=state, mask=mask)
    y = ctx.run(layer, p, jnp.asarray(x, "float32"))
    return np.asarray(y), ctx.updates[""]


@pytest.mark.parametrize("shape", [(6, 3), (4, 5, 3), (2, 3, 4, 3)])
def test_training_uses_the_batch_and_moves_the_running_statistics(shape):
    x = RNG.normal(3, 2, shape)
    p, state = start(3)
    y, moved = train(BatchNorm(momentum=0.8), p, state, x)
    rows = x.reshape(-1, 3)
    expected = (x - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5) * p["scale"] + p["bias"]
    np.testing.assert_allclose(y, expected, rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(moved["mean"], 0.8 * 0.5 + 0.2 * rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moved["var"], 0.8 * 2.0 + 0.2 * rows.var(0, ddof=1), rtol=1e-5)


def test_rows_that_only_fill_up_count_for_nothing():
    x = RNG.normal(3, 2, (4, 5, 3))
    filled = np.concatenate([x, np.full((2, 5, 3), np.nan)])
    p, state = start(3)
    y, moved = train(BatchNorm(), p, state, filled, mask=jnp.array([True] * 4 + [False] * 2))
    expected, expected_moved = train(BatchNorm(), p, state, x)
    np.testing.assert_allclose(y[:4], expected, rtol=1e-5)
    for name in ("mean", "var"):
        np.testing.assert_allclose(moved[name], expected_moved[name], rtol=1e-6)


def test_masked_rows_get_no_gradient_and_give_none():
    x = jnp.asarray(RNG.normal(size=(4, 2)), "float32")
    p, state = start(2)
    mask = jnp.array([True, True, True, False])

    def loss(x):
        return Context(train=True, state=state, mask=mask).run(BatchNorm(), p, x)[:3]

    slope = jax.jit(jax.grad(lambda x: (loss(x) ** 3).sum()))(x)
    assert (slope[3] == 0).all()
    assert (slope[:3] != 0).all()


@pytest.mark.parametrize("mask", [None, [True, False, False], [False, False, False]])
def test_one_row_or_none_gives_no_nan(mask):
    rows = 1 if mask is None else 3
    x = RNG.normal(size=(rows, 2))
    p, state = start(2)
    mask = None if mask is None else jnp.array(mask)
    y, moved = train(BatchNorm(), p, state, x, mask)
    assert np.isfinite(y).all()
    np.testing.assert_array_equal(moved["var"], state["var"])  # one row tells nothing of the variance
    none = mask is not None and not mask.any()
    expected = state["mean"] if none else 0.9 * 0.5 + 0.1 * x[0]
    np.testing.assert_allclose(moved["mean"], expected, rtol=1e-5)

    def loss(x):
        return Context(train=True, state=state, mask=mask).run(BatchNorm(), p, x).sum()

    assert np.isfinite(jax.jit(jax.grad(loss))(jnp.asarray(x, "float32"))).all()


def test_evaluation_reads_the_running_statistics_and_leaves_them():
    x = jnp.asarray(RNG.normal(size=(5, 2)), "float32")
    p, state = start(2)
    ctx = Context(state=state)
    y = ctx.run(BatchNorm(), p, x)
    by_hand = BatchNorm().apply({**p, **state}, x, None)
    np.testing.assert_array_equal(y, by_hand)
    np.testing.assert_allclose(y, (x - 0.5) / np.sqrt(2 + 1e-5) * p["scale"] + p["bias"], rtol=1e-4, atol=1e-6)
    assert ctx.updates == {}


def test_the_running_statistics_converge_and_keep_their_type():
    state = {"mean": jnp.zeros(1), "var": jnp.ones(1)}
    p = {"scale": jnp.ones(1), "bias": jnp.zeros(1)}
    for _ in range(100):
        _, state = train(BatchNorm(), p, state, RNG.normal(5, 3, (200, 1)))
    assert state["mean"].dtype == state["var"].dtype == jnp.float32
    assert float(state["mean"][0]) == pytest.approx(5, abs=0.3)
    assert float(state["var"][0]) == pytest.approx(9, rel=0.1)


def test_no_gradient_flows_into_the_running_statistics():
    p, state = start(2)

    def after(x):
        ctx = Context(train=True, state=state)
        ctx.run(BatchNorm(), p, x)
        return ctx.updates[""]["mean"].sum() + ctx.updates[""]["var"].sum()

    x = jnp.asarray(RNG.normal(size=(4, 2)), "float32")
    np.testing.assert_array_equal(jax.grad(after)(x), np.zeros((4, 2)))


def test_layer_norm_of_a_constant_row_is_the_bias():
    y, pull = jax.vjp(lambda x: LayerNorm(scale=False, bias=False).apply({}, x, None), jnp.full((1, 4), 1e4))
    np.testing.assert_array_equal(y, np.zeros((1, 4)))
    assert np.isfinite(pull(jnp.ones((1, 4)))[0]).all()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: BatchNorm(momentum=1.5), "BatchNorm(momentum=...)\n  expected: a number from 0 to 1\n  got:      1.5"),
        (lambda: BatchNorm(epsilon=0), "BatchNorm(epsilon=...)\n  expected: a number > 0"),
        (lambda: LayerNorm(epsilon=-1), "LayerNorm(epsilon=...)\n  expected: a number > 0"),
    ],
)
def test_errors(make, text):
    with pytest.raises(SettingError) as error:
        make()
    assert text in str(error.value)
