import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pellucid.errors import NetworkError, SettingError
from pellucid.network.activations import ReLU
from pellucid.network.composite import Parallel, Residual, Sequential, walk
from pellucid.network.dense import Dense, Dropout, Embed, Flatten, Input, Output, resolve_output
from pellucid.network.draw import cheap_uniform
from pellucid.network.initial import HeNormal, Zeros
from pellucid.network.layer import Context

KEY = jax.random.key(0)


def drop(rate: float, x, key=KEY, initial_rate: float = 0.5):
    return Context(train=True, key=key, state={"rate": jnp.float32(rate)}).run(Dropout(initial_rate), {}, x)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_keeps_its_share_and_the_mean(rate):
    y = np.asarray(drop(rate, jnp.ones((200, 500))), np.float64)
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / (1 - rate), rtol=1e-6)
    error = np.sqrt(rate * (1 - rate) / y.size)
    assert abs(kept.mean() - (1 - rate)) < 4 * error
    assert abs(kept.mean(0).std() / np.sqrt(rate * (1 - rate) / 200) - 1) < 0.15  # units drop independently of rows
    assert abs(kept.mean(1).std() / np.sqrt(rate * (1 - rate) / 500) - 1) < 0.2


def test_dropout_masks_of_two_steps_and_of_two_layers_are_independent():
    masks = [drop(0.5, jnp.ones(40000), jax.random.fold_in(KEY, step)) for step in range(2)]
    twins = Sequential(("a", Dropout()), ("b", Dropout()))
    half = {"rate": jnp.float32(0.5)}
    both = Context(train=True, key=KEY, state={"a": half, "b": half}).run(twins, {}, jnp.ones(40000))
    assert abs(np.mean((masks[0] > 0) & (masks[1] > 0)) - 0.25) < 0.01
    assert abs(np.mean(both > 0) - 0.25) < 0.01
    np.testing.assert_array_equal(masks[0], drop(0.5, jnp.ones(40000), jax.random.fold_in(KEY, 0)))


def test_dropout_at_the_edges():
    x = jnp.linspace(-1, 1, 1000)
    np.testing.assert_array_equal(drop(0.0, x), x)
    y, pull = jax.vjp(lambda x: drop(1.0, x), x)
    np.testing.assert_array_equal(y, np.zeros(1000))
    np.testing.assert_array_equal(pull(jnp.ones(1000))[0], np.zeros(1000))
    np.testing.assert_array_equal(Context(key=KEY, state={"rate": jnp.float32(0.9)}).run(Dropout(), {}, x), x)


def test_the_gradient_passes_where_the_value_did():
    x = jnp.ones(100)
    y, pull = jax.vjp(lambda x: drop(0.25, x), x)
    np.testing.assert_array_equal(pull(jnp.ones(100))[0], y)


def test_changing_the_rate_compiles_nothing():
    traced = []

    @jax.jit
    def forward(rate, x):
        traced.append(1)
        return drop(rate, x)

    shares = [float((forward(rate, jnp.ones(10000)) == 0).mean()) for rate in (0.2, 0.7)]
    assert shares == pytest.approx([0.2, 0.7], abs=0.03)
    assert len(traced) == 1


def test_dropout_without_a_key_says_so():
    with pytest.raises(NetworkError) as error:
        Context(train=True, state={"hidden": {"rate": jnp.float32(0.5)}}).call("hidden", Dropout(), {}, jnp.ones(3))
    assert str(error.value) == (
        "this pass needs a random key\n  where:    hidden\n  fix:      pass key=jax.random.key(seed)"
    )


def test_cheap_uniform_is_uniform_and_free_of_near_correlations():
    u = np.asarray(jax.jit(jax.vmap(lambda k: cheap_uniform(k, (16, 64))))(jax.random.split(KEY, 200)))
    counts = np.histogram(u, 64, (0, 1))[0]
    expected = u.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 63 + 5 * np.sqrt(2 * 63)  # chi squared
    bits = (u.reshape(200, -1) < 0.5) - 0.5
    for lag in (1, 2, 16, 64, 128, 512):
        pairs = bits[:, lag:] * bits[:, :-lag]
        assert abs(pairs.mean()) < 4.5 * 0.25 / np.sqrt(pairs.size)
    steps = bits[1:] * bits[:-1]
    assert abs(steps.mean()) < 4.5 * 0.25 / np.sqrt(steps.size)


@pytest.mark.parametrize(("per", "kept"), [("all", ()), ("channel", (3,)), ("feature", (4, 5, 3))])
def test_input_declares_statistics_of_the_asked_kind(per, kept):
    declared = Input(per).declare(jax.ShapeDtypeStruct((7, 4, 5, 3), "uint8"))
    assert {name: (p.shape, p.trained) for name, p in declared.items()} == {
        "mean": (kept, False),
        "scale": (kept, False),
    }


def test_input_turns_bytes_into_float32():
    p = {"mean": jnp.float32(0), "scale": jnp.float32(255)}
    y = Input().apply(p, jnp.array([[0, 51, 255]], "uint8"), None)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, [[0, 0.2, 1]])
    assert Input().apply(p, jnp.ones((1, 2), "bfloat16"), None).dtype != jnp.bfloat16  # statistics are float32


def test_flatten_takes_an_empty_batch():
    assert Flatten().apply({}, jnp.zeros((0, 2, 3)), None).shape == (0, 6)


def test_dense_takes_initializers_by_name():
    layer = Dense(3, initial="he_normal", bias_initial="zeros")
    assert (layer.initial, layer.bias_initial) == (HeNormal(), Zeros())


def test_embed_gives_nan_for_foreign_ids_and_moves_only_the_rows_met():
    w = jnp.arange(6.0).reshape(3, 2)
    y = Embed(3, 2).apply({"w": w}, jnp.array([2, 3, -1]), None)
    np.testing.assert_array_equal(y, [[4, 5], [np.nan] * 2, [np.nan] * 2])
    slope = jax.grad(lambda w: Embed(3, 2).apply({"w": w}, jnp.array([[1, 1]]), None).sum())(w)
    np.testing.assert_array_equal(slope, [[0, 0], [2, 2], [0, 0]])


def test_resolve_output_reaches_every_open_output_and_no_other():
    top = Sequential(Dense(4), Residual(Parallel(("a", Output()), ("b", Sequential(Output(2)))), shortcut=Output()))
    widths = {path: part.width for path, part in walk(resolve_output(top, 5)) if isinstance(part, Output)}
    assert widths == {"residual1/body/a": 5, "residual1/body/b/output1": 2, "residual1/shortcut": 5}
    plain = Sequential(Dense(4), ReLU())
    assert resolve_output(plain, 5) is plain


def run(layer, shape, dtype="float32"):
    """An abstract pass, as initialising makes it."""
    x = jax.ShapeDtypeStruct(shape, dtype)
    return jax.eval_shape(lambda x: Context(declared={}, leaves=[]).run(layer, {}, x), x)


@pytest.mark.parametrize(
    ("make", "kind", "texts"),
    [
        (lambda: Dense(-3), SettingError, ["Dense(width=...)", "expected: a whole number >= 1", "got:      -3"]),
        (lambda: Dense(2.5), SettingError, ["Dense.width", "expected: a whole number", "got:      2.5 (float)"]),
        (lambda: Dense(2, initial="he"), SettingError, ["Dense.initial", "there is no initializer 'he'"]),
        (lambda: Output(0), SettingError, ["Output(width=...)", "or None until the data decide"]),
        (lambda: Dropout(1.0), SettingError, ["Dropout(rate=...)", "expected: a number >= 0 and < 1"]),
        (lambda: Embed(0, 2), SettingError, ["Embed(vocabulary=...)", "expected: a whole number >= 1"]),
        (lambda: Input("row"), SettingError, ["Input.per", "'row'", "feature, channel, all"]),
        (
            lambda: run(Sequential(Dense(2), Output()), (1, 3)),
            NetworkError,
            ["the output layer has no width yet", "write Output(3)"],
        ),
        (
            lambda: run(Input(shape=(4,)), (8, 5)),
            NetworkError,
            ["what arrives has another shape", "expected: [batch, 4]", "got:      [8, 5]"],
        ),
        (
            lambda: run(Embed(5, 2), (1, 3)),
            NetworkError,
            ["an embedding looks up whole numbers", "expected: integer ids", "got:      dtype float32"],
        ),
        (
            lambda: run(Sequential(("first", Dense(3))), (8,)),
            NetworkError,
            [
                "layer 'first' does not fit",
                "fed by the input",
                "got:      shape [8]: there is no axis beside the batch",
            ],
        ),
        (
            lambda: jax.eval_shape(lambda x: Context(declared={}).run(Dense(3), {}, {"a": x}), jnp.ones((2, 2))),
            NetworkError,
            ["layer 'Dense' does not fit", "'dict' object has no attribute 'shape'"],
        ),
    ],
)
def test_errors(make, kind, texts):
    with pytest.raises(kind) as error:
        make()
    for text in texts:
        assert text in str(error.value)
