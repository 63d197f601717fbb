"""Preflight on real data and networks: what is wrong is named, and what is healthy raises no alarm."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pellucid as pc
from pellucid import preflight as module
from pellucid import recipe as recipes
from pellucid import resolve
from pellucid.data import Dataset, lazy, prepare
from pellucid.doctor.finding import Finding
from pellucid.errors import PellucidWarning
from pellucid.fit import Session
from pellucid.network.layer import Layer, layer
from pellucid.preflight import preflight


def session(data, network=None, **settings) -> Session:
    words, live = resolve.split_live({k: v for k, v in {"network": network, **settings}.items() if v is not None})
    return Session(recipes.make(words), pc.load(data) if isinstance(data, str) else data, live, None, (), 10.0)


def found(data, network=None, thorough=False, **settings) -> list[Finding]:
    s = session(data, network, **settings)
    out = preflight(s.network, s.prepared, s.settings, s.dataset, thorough=thorough)
    for f in out:
        json.dumps(f.to_json())
        for remedy in f.remedies:
            assert recipes.make(remedy.settings), f
    return out


def alarms(*arguments, **settings) -> dict[str, str]:
    return {f.problem: f.severity for f in found(*arguments, **settings) if f.alarm}


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def digits() -> Dataset:
    return pc.load("digits")


def net(*parts) -> pc.Sequential:
    return pc.Sequential(pc.Input(), *parts)


# -- healthy ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, *_ in pc.datasets()])
def test_no_alarm_on_built_in_sets(name):
    assert alarms(name) == {}


@pytest.mark.parametrize("name", ["digits", "iris", "xor", "diabetes"])
def test_a_perceptron_may_be_the_right_answer(name):
    assert alarms(name, "perceptron") == {}


def test_rosenblatts_rule_begins_at_zero():
    assert alarms("iris", "perceptron:rule=rosenblatt") == {}


@pytest.mark.parametrize("network", [
    "mlp:64,64,64,activation=sigmoid", "mlp:64,64,activation=tanh", "mlp:32,norm=batch,dropout=0.3",
    "mlp:16,activation=selu,norm=layer",
])  # fmt: skip
@pytest.mark.parametrize("optimizer", [None, "sgd", "lion"])
def test_no_alarm_on_networks_that_learn(network, optimizer):
    assert alarms("digits", network, optimizer=optimizer) == {}


def images(n: int = 120) -> Dataset:
    g = generator()
    y = np.arange(n) % 3
    x = g.integers(0, 60, (n, 12, 12))
    x[np.arange(n), 4 * y, :] += 150
    return Dataset(x.astype(np.uint8), y, name="bars")


def sequences(n: int = 120, ragged: bool = False) -> Dataset:
    x = generator().normal(size=(n, 9, 2)).astype(np.float32)
    y = (x.sum(axis=(1, 2)) > 0).astype(np.int64)
    return Dataset([v[: 4 + i % 5] for i, v in enumerate(x)] if ragged else x, y, name="waves")


def texts(n: int = 120) -> Dataset:
    g = generator()
    words = np.array(["good", "fine", "bad", "poor", "so", "it", "was", "very"])
    rows = [" ".join(g.choice(words, 9)) for _ in range(n)]
    return Dataset(rows, ["good" in r for r in rows], name="opinions")


@pytest.mark.parametrize("network", ["cnn:4,8", "mlp:16"])
def test_no_alarm_on_images(network):
    assert alarms(images(), network) == {}


@pytest.mark.parametrize("network", ["lstm:8", "gru:8", "transformer:1,2,8", "rnn:8"])
@pytest.mark.parametrize("ragged", [False, True])
def test_no_alarm_on_sequences(network, ragged):
    assert alarms(sequences(ragged=ragged), network) == {}


@pytest.mark.parametrize("network", ["lstm:8", "transformer:1,2,8", "mlp:8"])
def test_no_alarm_on_texts(network):
    assert alarms(texts(), network) == {}


@pytest.mark.parametrize("network", ["lstm:8", "transformer:1,2,8"])
def test_no_alarm_on_a_language_model(network):
    text = " ".join(texts().x.tolist())
    assert alarms(Dataset(text, task="language", name="text"), network, context=16) == {}


def test_no_alarm_on_pairs():
    words = ["".join(generator(i).choice(list("abcdef"), 5)) for i in range(120)]
    assert alarms(Dataset(words, [w[::-1] for w in words], task="pairs", name="reversed"), "seq2seq:8") == {}


def test_no_alarm_on_several_targets():
    x = generator().normal(size=(200, 4))
    numbers = np.stack([x[:, 0], 1000 * x[:, 1]], axis=1) + generator(1).normal(size=(200, 2))
    assert alarms(Dataset(x, numbers)) == {}
    flags = (numbers + 2 * generator(2).normal(size=(200, 2)) > 0).astype(np.int64)
    assert alarms(Dataset(x, flags)) == {}


def test_a_mixed_table():
    import polars as pl

    g = generator()
    x = pl.DataFrame(
        {"income": g.normal(3e4, 9e3, 200), "sex": g.choice(["f", "m"], 200), "age": g.integers(1, 90, 200)}
    )
    y = pl.DataFrame({"price": g.normal(size=200), "kind": g.choice(["u", "v", "w"], 200)})
    assert alarms(Dataset(x, y)) == {}


def test_rows_that_stay_on_disk(monkeypatch):
    monkeypatch.setattr(lazy, "LARGEST", 0)
    data = images()
    object.__setattr__(data, "content", "some digest")
    s = session(data, "cnn:4")
    assert isinstance(s.prepared.train.x, lazy.Rows)
    assert [f for f in preflight(s.network, s.prepared, s.settings, s.dataset) if f.alarm] == []


# -- data ---------------------------------------------------------------------------------------------------------


def test_unscaled_inputs_where_nothing_scales_them():
    assert alarms("digits", standardize=False) == {}  # pixels of 0 to 16, those at the margin hardly used
    (f,) = [f for f in found("wine", standardize=False) if f.alarm]
    assert f.remedies[0].settings == {"standardize": True}
    assert alarms("wine", standardize=False) == {"unscaled_inputs": "warning"}
    assert alarms("wine", pc.Sequential(pc.Dense(16), pc.ReLU(), pc.Output())) == {"unscaled_inputs": "warning"}
    assert alarms("wine", pc.Sequential(pc.BatchNorm(), pc.Dense(16), pc.ReLU(), pc.Output())) == {}


def test_images_that_nothing_scales():
    raw = pc.Sequential(pc.Flatten(), ToFloat(), pc.Dense(16), pc.ReLU(), pc.Output())
    out = found(images(), raw)  # a layer that is not Pellucid's may scale them
    assert out[0].problem == "unscaled_inputs" and not any(f.alarm for f in out)
    bare = pc.Sequential(pc.Flatten(), pc.Dense(16), pc.ReLU(), pc.Output())
    x = images().x.astype(np.float32)
    assert alarms(Dataset(x, images().y), bare) == {"unscaled_inputs": "warning"}
    assert alarms(Dataset(x / 255, images().y), bare) == {}
    assert alarms(Dataset(x / 255 / 255, images().y), bare) == {"scaled_twice": "warning"}


@layer
class ToFloat(Layer):
    """y = x as float32."""

    def apply(self, p, x, ctx):
        return jnp.asarray(x, jnp.float32)


def test_validation_from_the_last_rows_of_a_sorted_file():
    iris = pc.load("iris")
    whole = np.arange(150)
    first, last = iris.take(whole[:100]), iris.take(whole[100:])
    object.__setattr__(first, "validation", last)
    assert alarms(first)["sorted_data"] == "warning"


def test_labels_divided_along_with_the_pixels():
    data = digits()
    assert alarms(Dataset(data.x / 255, data.y / 255)) == {"label_coding": "warning"}


def test_a_training_part_of_one_class():
    data = digits()
    one = data.take(np.flatnonzero(data.y == 3)[:40])
    object.__setattr__(one, "test", data.take(np.arange(100)))
    s = session(data)
    train = prepare(one, targets=s.prepared.targets)
    out = preflight(s.network, train, s.settings)
    assert out[0].problem == "single_class" and out[0].severity == "error"


def test_four_rows_of_twenty():
    x = np.tile(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), (5, 1))
    assert alarms(Dataset(x, (x[:, 0] != x[:, 1]).astype(int)), "mlp:8") == {}


# -- loss and output ----------------------------------------------------------------------------------------------


def test_softmax_before_a_loss_that_has_its_own():
    twice = net(pc.Dense(16), pc.ReLU(), pc.Output(), pc.Softmax())
    assert alarms("digits", twice) == {"loss_output_mismatch": "warning"}
    told = pc.CrossEntropy(from_probabilities=True)
    assert alarms("digits", twice, loss=told) == {}


def test_one_softmax_unit():
    assert alarms("moons", net(pc.Dense(8), pc.Tanh(), pc.Dense(1), pc.Softmax()), loss="mean_squared_error") == {
        "constant_output": "error"
    }


def test_one_output_for_three_classes():
    assert alarms("iris", net(pc.Dense(8), pc.Tanh(), pc.Dense(1)), loss="binary_cross_entropy") == {
        "label_coding": "warning"
    }


def test_a_sigmoid_that_cannot_reach_the_targets():
    assert alarms("diabetes", net(pc.Dense(8), pc.ReLU(), pc.Output(), pc.Sigmoid())) == {
        "targets_out_of_range": "warning"
    }


def test_squared_error_on_classes_is_a_note():
    out = found("digits", "mlp:16", loss="mean_squared_error")
    assert {f.problem: f.severity for f in out if f.problem != "constant_columns"} == {"loss_output_mismatch": "note"}


def test_a_loss_that_broadcasts():
    assert alarms("diabetes", "mlp:8", loss=lambda o, y: ((o - y[:, 0]) ** 2).mean()) == {"broadcast_loss": "warning"}
    assert alarms("diabetes", "mlp:8", loss=lambda o, y: ((o - y) ** 2).mean()) == {}
    assert alarms("diabetes", "mlp:8", loss=lambda o, y: ((o - y) ** 2)[:, 0]) == {}
    total = found("diabetes", "mlp:8", loss=lambda o, y: ((o - y) ** 2).sum())
    assert [(f.problem, f.severity) for f in total] == [("broadcast_loss", "note")]


# -- network ------------------------------------------------------------------------------------------------------


def test_no_activation_anywhere():
    (f,) = found("moons", net(pc.Dense(16), pc.Dense(16), pc.Output()))
    assert (f.problem, f.severity, f.layer) == ("no_nonlinearity", "warning", "dense1")
    assert alarms("moons", "mlp:16,16,activation=identity") == {"no_nonlinearity": "warning"}


@pytest.mark.parametrize("initial", ["zeros", "constant:0.1"])
def test_units_that_begin_alike(initial):
    same = {"initial": initial}
    dense = net(pc.Dense(8, **same), pc.ReLU(), pc.Output(**same))
    (f,) = [f for f in found("iris", dense) if f.alarm]
    assert (f.problem, f.layer) == ("symmetric_units", "dense1")
    lstm = net(pc.LSTM(8, each_step=False, recurrent_initial=initial, **same), pc.Output(**same))
    assert alarms(sequences(), lstm) == {"symmetric_units": "warning"}


def test_a_random_last_layer_tells_equal_units_apart():
    assert alarms("iris", "mlp:8,initial=constant:0.1") == {}


def test_zeros_in_the_last_layer_alone_are_fine():
    assert alarms("digits", net(pc.Dense(16), pc.ReLU(), pc.Output(initial="zeros"))) == {}


def test_a_bottleneck_that_is_dead_from_the_start():
    dead = net(pc.Dense(1, bias_initial="constant:-50"), pc.ReLU(), pc.Output())
    (f,) = [f for f in found("iris", dead) if f.alarm]
    assert (f.problem, f.layer) == ("dead_units", "relu1") and "ignores_input" in f.symptoms
    assert alarms("iris", net(pc.Dense(1, bias_initial="constant:3"), pc.ReLU(), pc.Output())) == {}


@pytest.mark.parametrize(("std", "expected"), [(1.0, {"bad_initial_weights": "warning"}), (0.12, {})])
def test_initial_weights_of_the_wrong_size(std, expected):
    deep = [part for _ in range(5) for part in (pc.Dense(64, initial=f"normal:{std}"), pc.ReLU())]
    assert alarms("digits", net(*deep, pc.Output())) == expected


def test_normalisation_keeps_the_signal():
    deep = [part for _ in range(5) for part in (pc.Dense(64, initial="normal:1"), pc.BatchNorm(), pc.ReLU())]
    assert alarms("digits", net(*deep, pc.Output())) == {}


def test_an_update_that_goes_uphill():
    assert alarms("digits", "mlp:16", optimizer=optax.scale(0.1)) == {"wrong_update": "error"}
    assert alarms("digits", "mlp:16", optimizer=optax.sgd(0.1)) == {}
    late = optax.sgd(optax.linear_schedule(0.0, 0.1, 100))  # its first update is zero
    assert alarms("digits", "mlp:16", optimizer=late) == {}


def test_a_learning_rate_of_zero():
    assert alarms("digits", "mlp:16", learning_rate=0.0) == {"frozen_layer": "error"}


@layer
class Turned(Layer):
    """y = x, with a gradient of the wrong sign."""

    def apply(self, p, x, ctx):
        @jax.custom_vjp
        def turned(x):
            return x

        turned.defvjp(lambda x: (x, None), lambda _, g: (-g,))
        return turned(x)


@layer
class Stopped(Layer):
    """y = x, and no gradient."""

    def apply(self, p, x, ctx):
        return jax.lax.stop_gradient(x)


def test_a_gradient_of_the_wrong_sign():
    (f,) = [f for f in found("digits", net(pc.Dense(16), Turned(), pc.ReLU(), pc.Output())) if f.alarm]
    assert (f.problem, f.layer) == ("wrong_update", "dense1")


def test_layers_that_no_gradient_reaches():
    (f,) = [f for f in found("digits", net(pc.Dense(16), pc.ReLU(), Stopped(), pc.Output())) if f.alarm]
    assert (f.problem, f.layer) == ("frozen_layer", "dense1")
    assert alarms("digits", "mlp:16,16", freeze=["hidden1"]) == {}


def test_learning_by_heart():
    (f,) = found("xor", "perceptron", thorough=True)
    assert (f.problem, f.severity) == ("cannot_overfit", "warning")
    assert [f for f in found("xor", "mlp:16", thorough=True) if f.alarm] == []
    assert [f for f in found("diabetes", "mlp:32", thorough=True) if f.alarm] == []


@layer
class Logarithm(Layer):
    """y = log x."""

    def apply(self, p, x, ctx):
        return jnp.log(x)


def test_a_loss_that_is_not_finite():
    (f,) = [f for f in found("moons", net(pc.Dense(8), Logarithm(), pc.Output())) if f.alarm]
    assert (f.problem, f.severity, f.layer) == ("nonfinite_loss", "error", "logarithm1")


# -- it never ends a run ------------------------------------------------------------------------------------------


def test_what_fails_is_a_warning(monkeypatch):
    s = session("iris")

    def fail(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(module, "data_facts", fail)
    monkeypatch.setattr(module, "network_facts", fail)
    with pytest.warns(PellucidWarning, match="the check of the (data|network) failed: broken"):
        assert preflight(s.network, s.prepared, s.settings) == []


def test_nothing_changes():
    s = session("iris", "mlp:8,norm=batch,dropout=0.2")
    before = jax.tree.map(np.array, (s.network.params, s.network.state))
    one = preflight(s.network, s.prepared, s.settings, thorough=True)
    jax.tree.map(np.testing.assert_array_equal, before, (s.network.params, s.network.state))
    assert one == preflight(s.network, s.prepared, s.settings, thorough=True)  # and it says the same again
