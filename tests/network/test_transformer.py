"""Attention and transformers: against PyTorch, masked against unpadded, causal, in pieces against at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import NetworkError, SettingError
from pellucid.network.adapt import built
from pellucid.network.architecture import Arriving
from pellucid.network.attention import Attention, rotate
from pellucid.network.dense import resolve_output
from pellucid.network.generate import Writer
from pellucid.network.layer import Context
from pellucid.network.network import Network
from pellucid.network.transformer import TransformerArchitecture, transformer
from pellucid.train.optimizers import Optimizer

rng = np.random.default_rng(0)


def language(**settings):
    """A small language model of 7 tokens with a context of 8, its weights large enough to matter."""
    text = Arriving((8,), "int32", vocabulary=7, each_step=True)
    layer = TransformerArchitecture.make({"layers": 2, "heads": 2, "width": 8, **settings}).build(text)
    import dataclasses

    from pellucid.network.composite import replace_layers

    fill = lambda part: dataclasses.replace(part, vocabulary=7) if getattr(part, "vocabulary", 0) is None else part  # noqa: E731
    net = Network(resolve_output(replace_layers(layer, fill), 7))
    params, _ = net.init(jax.random.key(1), jnp.zeros((1, 8), jnp.int32))
    return net, jax.tree.map(lambda a: a + 0.3 * jnp.asarray(rng.normal(size=a.shape), a.dtype), params)


def test_attention_equals_pytorch():
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, 5, 6))
    weights = {
        "w": rng.normal(size=(6, 18)),
        "b": rng.normal(size=18),
        "out": rng.normal(size=(6, 6)),
        "out_bias": rng.normal(size=6),
    }
    valid = np.arange(5) < np.array([[5], [2]])
    with jax.enable_x64(True):
        y = Context(valid=jnp.asarray(valid)).run(Attention(3), weights, jnp.asarray(x))
    theirs = torch.nn.MultiheadAttention(6, 3, batch_first=True, dtype=torch.float64)
    names = {
        "in_proj_weight": weights["w"].T,
        "in_proj_bias": weights["b"],
        "out_proj.weight": weights["out"].T,
        "out_proj.bias": weights["out_bias"],
    }
    theirs.load_state_dict({name: torch.tensor(a) for name, a in names.items()})
    t = torch.tensor(x)
    expected, _ = theirs(t, t, t, key_padding_mask=torch.tensor(~valid))
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-9, atol=1e-11)


@settings(max_examples=6, derandomize=True, deadline=None)
@given(lengths=st.lists(st.integers(1, 5), min_size=3, max_size=3), rotary=st.booleans(), causal=st.booleans())
def test_masked_equals_unpadded(lengths, rotary, causal):
    x = rng.normal(size=(3, 5, 4)).astype(np.float32)
    layer = Attention(2, causal=causal, rotary=rotary)
    params, _ = Network(layer).init(jax.random.key(0), jnp.asarray(x))
    valid = jnp.arange(5) < jnp.array(lengths)[:, None]
    padded = Context(valid=valid).run(layer, params, jnp.where(valid[..., None], x, 50.0))
    for row, n in enumerate(lengths):
        alone = Context().run(layer, params, x[row : row + 1, :n])
        np.testing.assert_allclose(padded[row, :n], alone[0], rtol=1e-4, atol=1e-5)


def test_a_row_with_nothing_to_look_at_gives_zero_and_finite_gradients():
    x, layer = jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.float32), Attention(2, bias=False)
    params, _ = Network(layer).init(jax.random.key(0), x)
    valid = jnp.array([[True, True, False], [False, False, False]])
    run = lambda p: Context(valid=valid).run(layer, p, x)  # noqa: E731
    assert not run(params)[1].any()
    slopes = jax.grad(lambda p: (run(p) ** 2).sum())(params)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(slopes))


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
def test_what_comes_later_changes_nothing_before(positions):
    net, params = language(positions=positions, bias=True, feed_forward="swiglu")
    ids = rng.integers(0, 7, (1, 8))
    other = ids.copy()
    other[0, 5:] = (other[0, 5:] + 1) % 7
    first, second = (net.apply(params, {}, jnp.asarray(i))[0] for i in (ids, other))
    np.testing.assert_allclose(first[:, :5], second[:, :5], rtol=1e-5, atol=1e-5)
    assert float(abs(first[:, 5:] - second[:, 5:]).max()) > 1e-3


@pytest.mark.parametrize(
    "wish",
    [
        {"positions": "learned"},
        {"positions": "sinusoidal", "order": "post"},
        {"positions": "rotary", "norm": "rms", "tied": False},
    ],
    ids=str,
)
def test_token_by_token_equals_at_once(wish):
    net, params = language(**wish)
    ids = rng.integers(0, 7, 8)
    whole, _ = net.apply(params, {}, jnp.asarray(ids[None]))
    writer = Writer(net.layer, params, {})
    assert writer.context == 8
    np.testing.assert_allclose([writer.feed([i]) for i in ids], whole[0], rtol=1e-4, atol=1e-5)
    # past the context, it begins anew from the context's second half
    beyond = writer.feed([3])
    again, _ = net.apply(params, {}, jnp.asarray([[*ids[-3:], 3]]))
    np.testing.assert_allclose(beyond, again[0, -1], rtol=1e-4, atol=1e-5)


def test_rotary_scores_depend_on_the_distance_alone():
    q, k = (jnp.asarray(rng.normal(size=(1, 1, 1, 6)), jnp.float32) for _ in range(2))
    at = lambda a, b: float((rotate(q, jnp.array([a])) * rotate(k, jnp.array([b]))).sum())  # noqa: E731
    assert at(3, 1) == pytest.approx(at(9, 7), rel=1e-4) != pytest.approx(at(3, 2), rel=1e-2)
    assert float(jnp.square(rotate(q, jnp.array([5]))).sum()) == pytest.approx(float(jnp.square(q).sum()), rel=1e-5)


def test_tied_weights_are_one_array_and_the_recipe_of_nanogpt_has_its_size():
    net = Network(
        built(transformer(positions="learned").layer, Arriving((64,), "uint8", vocabulary=65, each_step=True))
    )
    from pellucid.data import Dataset, prepare
    from pellucid.network.adapt import adapt
    from pellucid.network.trace import trace

    text = "".join(chr(48 + i) for i in range(65)) * 40
    prepared = prepare(Dataset(text, task="language"))
    layer = adapt(net.layer, prepared.features, prepared.targets)
    declared = trace(layer, jax.ShapeDtypeStruct((1, 64), "uint8")).declared
    assert [path for path, p in declared.items() if 65 in p.shape] == ["w"]
    # 4 blocks of 12 n^2 + 2 n, embeddings (65 + 64) n, a last norm n, n = 128
    assert sum(int(np.prod(p.shape)) for p in declared.values()) == 4 * (12 * 128**2 + 2 * 128) + 129 * 128 + 128


def test_the_residual_stream_keeps_its_size_at_the_start():
    net = Network(transformer(8, 2, 32, outputs=2).layer)
    x = jnp.asarray(rng.normal(size=(4, 10, 3)), jnp.float32)
    params, state = net.init(jax.random.key(0), x)
    y, _ = net.apply(params, state, x)
    assert float(abs(y).max()) < 1


@pytest.mark.parametrize(("width", "rate"), [(64, 0.002), (128, 0.002), (512, 0.001)])
def test_wider_blocks_are_given_a_smaller_step(width, rate):
    assert Optimizer.of(TransformerArchitecture(width=width).suggests()["optimizer"]).learning_rate == rate


def test_dropout_of_the_weights_needs_training_and_a_key():
    x, layer = jnp.ones((1, 6, 4)), Attention(2, dropout=0.5)
    params, _ = Network(layer).init(jax.random.key(0), x)
    params = jax.tree.map(lambda a: a + 0.1, params)
    still = Context().run(layer, params, x)
    np.testing.assert_allclose(Context(key=jax.random.key(1)).run(layer, params, x), still)
    assert float(abs(Context(train=True, key=jax.random.key(1)).run(layer, params, x) - still).max()) > 1e-3


def test_what_does_not_fit_is_told():
    with pytest.raises(NetworkError, match="a multiple of 4"):
        Network(Attention(4)).init(jax.random.key(0), jnp.zeros((1, 3, 6)))
    net, params = language(positions="learned")
    with pytest.raises(NetworkError, match="at most 8 steps"):
        net.apply(params, {}, jnp.zeros((1, 9), jnp.int32))
    x = jnp.zeros((1, 3, 4))
    both_ways = Network(Attention(2)).init(jax.random.key(0), x)[0]
    with pytest.raises(NetworkError, match="causal and knows its context"):
        Context(carried={}).run(Attention(2), both_ways, x)
    with pytest.raises(SettingError, match="a multiple of heads"):
        TransformerArchitecture(heads=3)
    with pytest.raises(SettingError, match="a multiple of 4, for rotary positions turn pairs"):
        TransformerArchitecture(heads=2, width=6)
    assert TransformerArchitecture(heads=2, width=6, positions="learned").width == 6
    with pytest.raises(NetworkError, match="cannot read these data"):
        TransformerArchitecture().build(Arriving((8, 8, 1), "uint8"))
