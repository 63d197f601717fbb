"""Recurrent layers: against PyTorch, masked against unpadded, in pieces against at once, both reverse passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import NetworkError
from pellucid.network.architecture import Arriving
from pellucid.network.composite import Sequential
from pellucid.network.layer import Context, Layer, nest
from pellucid.network.network import Network
from pellucid.network.recurrent import GRU, LSTM, RNN, Bidirectional, Recurrent
from pellucid.network.sequence_models import LSTMArchitecture
from pellucid.network.trace import carried_over, trace

KINDS = (RNN, LSTM, GRU)


class OwnCell(GRU):
    """A cell that says what a step is, and nothing of the way back."""

    kept, slopes, bend_back = Recurrent.kept, Recurrent.slopes, Recurrent.bend_back

    def bend(self, z, r, state):
        return (jnp.tanh(z[0] * r[1]) + jnp.sin(r[0] + z[2]) * state[0] + jax.nn.softmax(z[1] + r[2]),)


kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def made(layer: Layer, x, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {path: rng.normal(0, 0.5, p.shape) for path, p in trace(layer, x).declared.items()}


@kinds
def test_forward_and_gradients_equal_pytorch(kind):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(1).normal(size=(3, 6, 4))
    layer = kind(5)
    with jax.enable_x64(True):
        weights = made(layer, x)

        def loss(weights, x):
            return jnp.sum(jnp.sin(Context(reverse_only=True).run(layer, weights, x)))

        value, (slopes, slope) = jax.value_and_grad(loss, (0, 1))(weights, jnp.asarray(x))
    theirs = getattr(torch.nn, kind.__name__)(4, 5, batch_first=True, dtype=torch.float64)
    second = np.zeros(weights["b"].shape)
    if kind is GRU:
        second[-5:] = weights["v"]
    arrays = {
        "weight_ih_l0": weights["w"].T, "weight_hh_l0": weights["u"].T, "bias_ih_l0": weights["b"], "bias_hh_l0": second
    }  # fmt: skip
    theirs.load_state_dict({name: torch.tensor(np.array(a)) for name, a in arrays.items()})
    given = torch.tensor(x, requires_grad=True)
    total = torch.sin(theirs(given)[0]).sum()
    total.backward()
    np.testing.assert_allclose(value, total.item(), rtol=1e-12)
    np.testing.assert_allclose(slope, given.grad, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(slopes["w"], theirs.weight_ih_l0.grad.T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(slopes["u"], theirs.weight_hh_l0.grad.T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(slopes["b"], theirs.bias_ih_l0.grad, rtol=1e-9, atol=1e-12)
    if kind is GRU:
        np.testing.assert_allclose(slopes["v"], theirs.bias_hh_l0.grad[-5:], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [*KINDS, OwnCell], ids=lambda kind: kind.__name__)
def test_both_reverse_passes_agree_with_masks_and_a_first_state(kind):
    x = np.random.default_rng(2).normal(size=(3, 5, 2))
    first = np.random.default_rng(3).normal(size=(3, 4))
    valid = np.arange(5) < np.array([[5], [2], [0]])
    layer = kind(4)
    with jax.enable_x64(True):
        weights = made(layer, (jnp.asarray(x), jnp.asarray(first)))

        def loss(weights, x, first, swift):
            ctx = Context(reverse_only=swift, valid=jnp.asarray(valid))
            return jnp.sum(jnp.sin(ctx.run(layer, weights, (x, first))))

        plain = jax.grad(loss, (0, 1, 2))(weights, jnp.asarray(x), jnp.asarray(first), False)
        swift = jax.grad(loss, (0, 1, 2))(weights, jnp.asarray(x), jnp.asarray(first), True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13), plain, swift)


def test_forward_mode_works_where_reverse_is_not_all_that_is_asked():
    layer, x = LSTM(2), jnp.ones((1, 3, 2))
    weights = {k: jnp.asarray(v, jnp.float32) for k, v in made(layer, x).items()}
    along = jax.jvp(lambda x: layer.apply(weights, x, None).sum(), (x,), (jnp.ones_like(x),))[1]
    slope = jax.grad(lambda x: layer.apply(weights, x, None).sum())(x).sum()
    np.testing.assert_allclose(along, slope, rtol=1e-5)


@pytest.mark.parametrize("layer", [*(kind(3) for kind in KINDS), Bidirectional(LSTM(3))], ids=lambda part: part.name)
@settings(max_examples=8, derandomize=True, deadline=None)
@given(lengths=st.lists(st.integers(1, 6), min_size=3, max_size=3))
def test_masked_equals_unpadded(layer, lengths):
    x = np.random.default_rng(4).normal(size=(3, 6, 2)).astype(np.float32)
    valid = np.arange(6) < np.array(lengths)[:, None]
    weights = nest({k: jnp.asarray(v, jnp.float32) for k, v in made(layer, x).items()})
    padded = Context(valid=jnp.asarray(valid)).run(layer, weights, jnp.where(valid[..., None], x, 99.0))
    for row, n in enumerate(lengths):
        alone = Context().run(layer, weights, x[row : row + 1, :n])
        np.testing.assert_allclose(padded[row, :n], alone[0], rtol=1e-5, atol=1e-6)


@settings(max_examples=8, derandomize=True, deadline=None)
@given(cuts=st.lists(st.integers(1, 11), max_size=3, unique=True).map(sorted))
def test_in_pieces_equals_at_once(cuts):
    layer = Sequential(LSTM(3), GRU(2), RNN(2))
    x = np.random.default_rng(5).normal(size=(2, 12, 2)).astype(np.float32)
    net = Network(layer)
    params, _ = net.init(jax.random.key(0), x)
    whole, _ = net.apply(params, {}, x)
    carried = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), carried_over(layer, jnp.asarray(x)))
    said = []
    for piece in np.split(x, cuts, axis=1):
        ctx = Context(carried=carried)
        said.append(ctx.run(layer, params, piece))
        carried = ctx.kept
    np.testing.assert_allclose(np.concatenate(said, 1), whole, rtol=1e-5, atol=1e-6)


def test_initial_weights_are_orthogonal_gate_by_gate_and_the_forget_bias_is_one():
    params, _ = Network(LSTM(4)).init(jax.random.key(0), jnp.zeros((1, 2, 3)))
    for gate in np.split(np.asarray(params["u"]), 4, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(4), atol=1e-5)
    assert params["b"].tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
    layer = LSTMArchitecture.parse("lstm:2,forget_bias=4").build(Arriving((5, 3))).layers[1][1]
    params, _ = Network(layer).init(jax.random.key(0), jnp.zeros((1, 5, 3)))
    assert params["b"].tolist() == [0.0] * 2 + [4.0] * 2 + [0.0] * 4


def test_what_is_no_sequence_is_told():
    with pytest.raises(NetworkError, match="the layer 'lstm' reads sequences"):
        Network(LSTM(4)).init(jax.random.key(0), jnp.zeros((1, 3)))
    with pytest.raises(NetworkError, match="reads backwards cannot go on"):
        Context(carried={}).run(GRU(2, backwards=True), made(GRU(2), jnp.zeros((1, 2, 2))), jnp.zeros((1, 2, 2)))
