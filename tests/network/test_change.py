"""Changes to a network that was put together by hand, and the recipe's words for them."""

import numpy as np
import pytest

import pellucid as pc
from pellucid import recipe as recipes
from pellucid.errors import SettingError
from pellucid.network.activations import ReLU, Sigmoid, Softmax, Tanh
from pellucid.network.architectures import mlp
from pellucid.network.change import changeable, changed
from pellucid.network.composite import Sequential
from pellucid.network.dense import Dense, Dropout, Flatten, Input, Output
from pellucid.network.layer import Layer
from pellucid.network.norm import BatchNorm
from pellucid.network.recurrent import RNN

HAND = Sequential(Input(), Flatten(), Dense(8), Sigmoid(), Dense(6), Softmax(), Dense(3), Softmax())


def kinds(net):
    return [part.name for _, part in net.layers]


def test_an_activation_takes_the_place_of_every_hidden_one_and_the_output_keeps_its_own():
    assert kinds(changed(HAND, 3, activation="relu")) == [
        "input",
        "flatten",
        "dense",
        "relu",
        "dense",
        "relu",
        "dense",
        "softmax",
    ]
    nested = Sequential(Sequential(Dense(8), Tanh()), Dense(2))
    assert changed(nested, 2, activation="relu").layers[0][1] == Sequential(Dense(8), ("tanh1", ReLU()))
    twins = Sequential(Dense(8), ReLU(), Dense(8), ("tanh1", Tanh()), Dense(2))
    assert [name for name, _ in changed(twins, 2, activation="relu").layers][1:4:2] == ["relu1", "tanh1"]  # it is taken


def test_an_activation_is_put_where_two_layers_are_one():
    straight = Sequential(Dense(8), BatchNorm(), Dropout(0.1), Dense(8), Dense(2))
    net = changed(straight, 2, activation="tanh")
    assert kinds(net) == ["dense", "batch_norm", "tanh", "dropout", "dense", "tanh", "dense"]
    assert len({name for name, _ in net.layers}) == len(net.layers)


def test_suited_initial_weights_are_those_that_the_builders_choose():
    odd = {"initial": "normal:5", "bias_initial": "constant:-6"}
    net = changed(
        Sequential(Dense(8, **odd), ReLU(), Dense(4, **odd), Tanh(), Output(initial="ones")), 2, initial="auto"
    )
    begin = [(p.initial.name, getattr(p, "bias_initial", None)) for _, p in net.layers if hasattr(p, "initial")]
    assert [name for name, _ in begin] == ["he_normal", "glorot_uniform", "lecun_normal"]
    assert [bias.name for _, bias in begin[:2]] == ["zeros", "zeros"]
    loud = RNN(4, recurrent_initial="orthogonal:5")
    assert changed(Sequential(loud, Output()), 2, initial="auto").layers[0][1] == RNN(4)
    named = changed(Sequential(Dense(8, **odd), ReLU(), Dense(3)), 3, initial="he_normal")
    assert named.layers[0][1] == Dense(8, initial="he_normal", bias_initial="constant:-6")  # the weights, and no more
    assert named.layers[2][1] == Dense(3)


@pytest.mark.parametrize(("end", "wanted"), [
    ((Dense(3), Softmax()), ["output"]),  # what the loss does itself
    ((Dense(1), Softmax()), ["output"]),  # too narrow
    ((Dense(10),), ["output"]),  # too wide
    ((Output(), Sigmoid()), ["output"]),
    ((Dense(10), ReLU()), ["dense", "relu", "output"]),  # a hidden layer, and no output at all
    ((Dense(3), ReLU()), ["output"]),  # one output for each class, cut off below zero
])  # fmt: skip
def test_an_output_that_fits_the_targets(end, wanted):
    net = changed(Sequential(Dense(16), ReLU(), *end), 3, output="auto")
    assert kinds(net)[2:] == wanted
    assert changed(net, 3, output="auto") == net  # a saved network is not changed again


def test_an_architecture_has_settings_of_its_own():
    odd = mlp((8,), "sigmoid", initial="normal:5").layer
    made = changed(odd, 3, activation="relu", initial="auto", output="auto")
    assert made.architecture == mlp((8,)).layer.architecture
    with pytest.raises(SettingError, match="'perceptron' has no activation"):
        changed(Layer.of(pc.perceptron().layer), 3, activation="relu")


def test_what_cannot_be_changed_says_so():
    assert not changeable(Dropout())
    with pytest.raises(SettingError, match="no output that could be set"):
        changed(Dropout(), 3, output="auto")
    with pytest.raises(SettingError, match="output"):
        recipes.make({"output": "softmax"})


def test_a_recipe_says_it_and_reproduces_the_run(tmp_path):
    bad = {"type": "sequential", "layers": [["input", {"type": "input"}], ["flatten", {"type": "flatten"}],
           ["hidden", {"type": "dense", "width": 8, "bias_initial": "constant:-20"}], ["relu", {"type": "relu"}],
           ["output", {"type": "dense", "width": 1}], ["softmax", {"type": "softmax"}]]}  # fmt: skip
    words = {"initial": "auto", "output": "auto", "steps": 60, "baselines": False}
    run = pc.fit(bad, "iris", out=tmp_path, **words)
    assert kinds(run.network.layer) == ["input", "flatten", "dense", "relu", "output"]
    again = pc.fit(data="iris", out=None, **{**words, "network": bad})
    assert again.result["validation"] == run.result["validation"]
    written = recipes.read(run.path / "recipe.toml")
    assert (written.network.initial, written.network.output) == ("auto", "auto")
    loaded = pc.Network.load(run.path)
    x = np.ones((2, 4))
    np.testing.assert_array_equal(loaded.probabilities(x), run.network.probabilities(x))
