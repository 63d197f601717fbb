"""Networks that the native library answers by itself give what JAX gives, and follow every change of their weights."""

import copy
import pickle
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pellucid as pc
from pellucid.errors import NetworkError
from pellucid.native import native, plain
from pellucid.network import line as module
from pellucid.network.layer import flatten, nest
from pellucid.network.line import Unfit, stages_of
from pellucid.network.link import apply_link, linked

needs_library = pytest.mark.skipif(native().isa is None, reason="there are no native kernels here")


def made(parts, shape, seed=0):
    """A network whose every array is drawn, running state too, so that no stage is the identity."""
    net = pc.Network(pc.Sequential(*parts)).initialised(jax.random.key(seed), np.zeros((1, *shape), "float32"))
    rng = np.random.default_rng(seed)

    def drawn(path, a):
        low = 0.5 if path.endswith(("var", "scale")) else -1.0
        return jnp.asarray(rng.uniform(low, 1.5, a.shape), a.dtype)

    params, state = ({p: drawn(p, a) for p, a in flatten(tree or {}).items()} for tree in (net.params, net.state))
    return net.replace(params=nest(params), state=nest(state))


def by_jax(net, x):
    with plain():
        return np.asarray(net.apply(net.params, net.state or {}, jnp.asarray(x))[0])


def agrees(net, x):
    found = net(x)
    assert type(found) is np.ndarray and found.flags.writeable and found.dtype == np.float32
    right = by_jax(net, x)
    assert found.shape == right.shape
    np.testing.assert_allclose(found, right, rtol=2e-4, atol=2e-5 * max(np.abs(right).max(initial=0), 1))


def answered(net):
    return net._answers._line is not None


IMAGE, STEPS, ROW = (9, 11, 3), (7, 5), (13,)
CASES = {
    "mlp": ((pc.Input(), pc.Dense(37), pc.ReLU(), pc.Dense(20), pc.Tanh(), pc.Dropout(0.3), pc.Output(3)), ROW),
    "each feature": ((pc.Input(per="feature"), pc.Dense(3, bias=False), pc.Sigmoid()), ROW),
    "bends alone": ((pc.ReLU(), pc.Tanh()), ROW),
    "gelu": ((pc.Dense(37), pc.GELU(approximate=True), pc.Dense(3), pc.GELU(approximate=True)), ROW),
    "rows of steps": ((pc.Dense(6), pc.ReLU(), pc.Flatten(), pc.BatchNorm(), pc.Tanh(), pc.Dense(2)), STEPS),
    "cnn": (
        (
            pc.Input(per="channel"),
            pc.Conv(20),
            pc.BatchNorm(),
            pc.ReLU(),
            pc.MaxPool(2),
            pc.Conv(18, bias=False),
            pc.ReLU(),
            pc.Sequential(pc.Conv(5, 2, stride=2, padding="valid"), pc.Sigmoid()),
            pc.Flatten(),
        ),
        IMAGE,
    ),
    "windows that overlap": ((pc.Conv(4, dilation=2), pc.Tanh(), pc.MaxPool(3, stride=2, padding=1)), IMAGE),
    "mean of places": ((pc.Conv(4), pc.BatchNorm(), pc.GlobalPool(), pc.Dense(2)), IMAGE),
    "without channels": ((pc.Grey(), pc.Conv(17), pc.MaxPool(2), pc.Flatten(), pc.Dense(2)), (9, 11)),
    "windows over steps": ((pc.Conv(4), pc.BatchNorm(), pc.ReLU(), pc.MaxPool(2), pc.GlobalPool()), STEPS),
    "flat at the end": ((pc.Conv(18), pc.ReLU(), pc.MaxPool(2), pc.Flatten()), IMAGE),
    "flat steps": ((pc.Dense(6), pc.Flatten()), STEPS),
    "flat states": ((pc.GRU(9), pc.Flatten()), STEPS),
    "lstm": ((pc.LSTM(19), pc.LSTM(17, each_step=False), pc.Dense(2)), STEPS),
    "gru, backwards": ((pc.Steps(), pc.GRU(19, each_step=False, backwards=True), pc.Output(2)), IMAGE),
    "elman": ((pc.RNN(18), pc.Dense(4)), STEPS),
}


@needs_library
@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_answers_are_those_of_jax(name, data):
    parts, shape = CASES[name]
    net = made(parts, shape, data.draw(st.integers(0, 99)))
    rows = data.draw(st.sampled_from([1, 2, 5, 8, 40]))
    x = np.random.default_rng(rows).normal(size=(rows, *shape)).astype("float32")
    agrees(net, x)
    assert answered(net)
    agrees(net, x)  # in the room that is kept
    np.testing.assert_array_equal(net(x), net(x))


@needs_library
def test_threads_that_help_change_nothing(monkeypatch):
    """Large enough for several, and in several blocks of rows."""
    net = made((pc.Conv(32), pc.ReLU(), pc.MaxPool(2), pc.Flatten(), pc.Dense(300)), (28, 28, 1))
    x = np.random.default_rng(0).normal(size=(700, 28, 28, 1)).astype("float32")
    right = net(x)
    agrees(net, x[:50])
    monkeypatch.setattr("pellucid.native.line.cores", lambda: 1)
    alone = copy.copy(net).replace()
    np.testing.assert_allclose(alone(x), right, rtol=1e-5, atol=1e-4)
    found = dict[int, list[np.ndarray]]()

    def ask(i):
        found[i] = [net(x[i : i + 1]) for _ in range(50)] + [net(x[i : i + 9])]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, each in found.items():
        for y in each:
            np.testing.assert_allclose(y, right[i : i + len(y)], rtol=1e-4, atol=1e-4)


@needs_library
def test_a_change_of_weights_in_place_is_seen():
    net = made((pc.Input(), pc.Dense(4), pc.BatchNorm(), pc.Dense(2)), ROW)
    x = np.ones((3, *ROW), "float32")
    agrees(net, x)
    for _ in range(2):  # once as it is, once with a room that is kept
        net.params["dense2"]["b"] = net.params["dense2"]["b"] + 1
        agrees(net, x)
        net.params["dense1"] = {name: a * 2 for name, a in net.params["dense1"].items()}
        agrees(net, x)
        net.state["input1"]["mean"] = net.state["input1"]["mean"] + 1
        agrees(net, x)
        net.params = {**net.params, "dense1": net.params["dense1"]}
        net.params["dense1"]["w"] = -net.params["dense1"]["w"]
        agrees(net, x)
    assert answered(net)


@needs_library
@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint8", "bool"])
def test_numbers_of_every_kind_are_taken(dtype):
    net = made((pc.Dense(4),), ROW)
    x = (np.random.default_rng(0).uniform(0, 9, (5, *ROW))).astype(dtype)
    agrees(net, x)
    agrees(net, np.asfortranarray(x)[::2])
    agrees(net, x[:0])
    assert answered(net)
    if dtype == "float64":
        assert not np.isfinite(net(x * 1e300)).any()


@needs_library
def test_what_is_not_a_number_comes_through():
    net = made((pc.Dense(4), pc.ReLU(), pc.Dense(3)), ROW)
    x = np.ones((2, *ROW), "float32")
    x[0, 3] = np.nan
    assert np.isnan(net(x)[0]).all() and np.isfinite(net(x)[1]).all()


def test_networks_of_other_kinds_are_answered_by_jax_in_numpy():
    for parts in [(pc.Dense(4), pc.GELU()), (pc.Residual(pc.Dense(13)),), (pc.LayerNorm(), pc.Dense(2))]:
        net = made(parts, ROW)
        agrees(net, np.ones((2, *ROW), "float32"))
        assert not answered(net)
        assert isinstance(net(jnp.ones((2, *ROW))), jax.Array)
    with pytest.raises(Unfit):
        stages_of(pc.Sequential(pc.Dense(2)), {"dense1": {"w": np.ones((2, 2), "float16")}}, {}, (2,))
    with pytest.raises(Unfit):
        stages_of(pc.Sequential(), {}, {}, (2,))
    with plain():
        agrees(made((pc.Dense(4),), ROW), np.ones((2, *ROW), "float32"))


@pytest.mark.parametrize(
    ("parts", "shape", "given"),
    [
        ((pc.Input(shape=ROW), pc.Dense(2)), ROW, (2, 12)),
        ((pc.Dense(2),), ROW, (2, 12)),
        ((pc.Grey(), pc.Conv(2)), (9, 11), (2, 9, 11, 1)),
        ((pc.Conv(2, 5, padding="valid"),), IMAGE, (2, 3, 3, 3)),
        ((pc.LSTM(2),), STEPS, (2, 5)),
    ],
)
def test_what_does_not_fit_is_refused_as_ever(parts, shape, given):
    net = made(parts, shape)
    net(np.zeros((2, *shape), "float32"))
    with pytest.raises((NetworkError, TypeError, ValueError)) as by_numpy:
        net(np.zeros(given, "float32"))
    with pytest.raises(type(by_numpy.value)) as of_jax:
        net(jnp.zeros(given))
    assert str(by_numpy.value) == str(of_jax.value)


def test_a_network_among_traced_arrays_is_left_to_jax():
    net, x = made((pc.Dense(4), pc.Tanh()), ROW), np.ones((2, *ROW), "float32")
    net(x)
    slopes = jax.grad(lambda net: (net(x) ** 2).sum())(net)
    np.testing.assert_allclose(slopes.params["dense1"]["b"], (2 * net(x) * (1 - net(x) ** 2)).sum(0), 1e-4, 1e-5)
    np.testing.assert_allclose(jax.jit(lambda net: net(x))(net), net(x), rtol=1e-5)


@needs_library
def test_copies_have_answers_of_their_own():
    net, x = made((pc.Dense(4), pc.Tanh()), ROW), np.ones((2, *ROW), "float32")
    right = net(x)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(other(x), right)
        assert other._answers is not net._answers
    other = copy.copy(net)
    other.params = jax.tree.map(lambda a: a * 2, net.params)
    agrees(other, x)
    np.testing.assert_array_equal(net(x), right)


@needs_library
def test_probabilities_and_classes_come_the_same_way(monkeypatch):
    x, y = np.random.default_rng(0).normal(size=(60, 4)).astype("float32"), np.arange(60) % 3
    run = pc.fit("mlp:8", (x, y), epochs=2, out=None, baselines=False, doctor="off")
    found, classes = run.network.probabilities(x), run.network.predict(x)
    assert answered(run.network)
    monkeypatch.setattr(module.Answers, "__call__", lambda self, network, x: None)
    np.testing.assert_allclose(found, run.network.probabilities(x), rtol=1e-5, atol=1e-7)
    assert list(classes) == list(run.network.predict(x))


@pytest.mark.parametrize("link", ["softmax", "sigmoid", "identity", (("softmax", 0, 2), ("sigmoid", 2, 4))])
def test_links_in_numpy_are_those_of_jax(link):
    outputs = np.array([[1.0, -2.0, 3.0, 0.5], [1e4, 0.0, -1e4, 200.0]], "float32")
    found = linked(link, outputs)
    np.testing.assert_allclose(found, apply_link(link, jnp.asarray(outputs)), rtol=1e-6, atol=1e-30)
    assert found.dtype == np.float32
