"""Each check of loss and network, on plain numbers: a case that has the problem, and one that only looks like it."""

import numpy as np
import pytest

from pellucid import recipe
from pellucid.doctor import loss_checks, network_checks
from pellucid.doctor.checks import explained, run
from pellucid.doctor.finding import Finding
from pellucid.doctor.loss_checks import LossFacts
from pellucid.doctor.network_checks import HeartFacts, Joint, LayerFacts, NetworkFacts, StepFacts


def loss(**words) -> list[Finding]:
    base = {
        "name": "cross_entropy", "link": "softmax", "last": "output", "path": "output", "outputs": 3, "kind": "class",
        "classes": 3, "y": np.array([0, 1, 2], np.int32),
    }  # fmt: skip
    return run(loss_checks.CHECKS, LossFacts(**{**base, **words}))


def network(**words) -> list[Finding]:
    return explained(run(network_checks.CHECKS, NetworkFacts(**{"loss": 1.1, "trivial": 1.1, **words})))


def named(findings: list[Finding]) -> dict[str, str]:
    return {f.problem: f.severity for f in findings}


# -- loss and output ----------------------------------------------------------------------------------------------


def test_the_usual_pairs_are_not_mentioned():
    y = np.array([[0.3], [-1.2]], np.float32)
    numbers = {"link": "identity", "kind": "number", "outputs": 1, "classes": 0, "y": y}
    yes_no = {"name": "binary_cross_entropy", "link": "sigmoid", "outputs": 1, "classes": 2, "y": np.array([0, 1])}
    flags = {**yes_no, "kind": "binary", "outputs": 3, "y": np.array([[0, 1, 1], [1, 0, 0]], np.float32)}
    for words in (
        {}, {"last": "softmax", "from_probabilities": True}, {**numbers, "name": "mean_squared_error"},
        {**numbers, "name": "huber"}, yes_no, flags, {**yes_no, "last": "sigmoid", "from_probabilities": True},
        {"name": "perceptron", "link": "identity"}, {"link": "joint", "kind": "mixed", "last": "softmax"},
        {"last": "layer_norm"}, {"last": "foreign", "from_probabilities": True},
        {"name": "mine", "link": "identity", "custom": True, "batch": "mean"},
    ):  # fmt: skip
        assert loss(**words) == [], words


def test_softmax_twice():
    (f,) = loss(last="softmax", path="softmax1")
    assert (f.problem, f.severity, f.layer) == ("loss_output_mismatch", "warning", "softmax1")
    assert "applies softmax once more" in f.summary
    assert f.remedies[1].settings == {"loss": {"type": "cross_entropy", "from_probabilities": True}}


def test_sigmoid_before_cross_entropy_can_never_be_sure():
    assert named(loss(last="sigmoid")) == {"loss_output_mismatch": "warning"}
    assert named(loss(last="tanh")) == {"loss_output_mismatch": "warning"}


def test_sigmoid_twice():
    words = {"name": "binary_cross_entropy", "link": "sigmoid", "outputs": 1, "classes": 2, "y": np.array([0, 1])}
    assert named(loss(**words, last="sigmoid")) == {"loss_output_mismatch": "warning"}


def test_raw_outputs_cut_off_at_zero():
    (f,) = loss(last="relu", path="relu3")
    assert f.severity == "warning" and "'relu3' cuts off" in f.summary


def test_raw_outputs_taken_for_probabilities():
    assert named(loss(from_probabilities=True)) == {"loss_output_mismatch": "warning"}


def test_squared_error_on_classes():
    squared = {"name": "mean_squared_error", "link": "identity"}
    assert named(loss(**squared)) == {"loss_output_mismatch": "note"}
    assert named(loss(**squared, last="softmax", largest=0.4)) == {"loss_output_mismatch": "note"}
    (f,) = loss(**squared, last="softmax", largest=0.999)
    assert f.severity == "warning" and "sure from the start" in f.summary
    (f,) = loss(**squared, outputs=1)
    assert f.severity == "warning" and "numbers of 3 classes for quantities" in f.summary


def test_softmax_over_one_unit():
    (f,) = loss(outputs=1, y=np.array([0, 0]), classes=2)
    assert (f.problem, f.severity) == ("constant_output", "error")
    assert named(loss(narrow="softmax1", last="softmax", outputs=1)) == {"constant_output": "error"}
    assert loss(outputs=2, classes=2, y=np.array([0, 1])) == []


def test_labels_that_the_loss_does_not_mean():
    (f,) = loss(outputs=2)
    assert (f.problem, f.severity) == ("label_coding", "warning") and "class number 2 has no output" in f.summary
    signs = {"name": "binary_cross_entropy", "link": "sigmoid", "kind": "number", "outputs": 1, "classes": 0}
    (f,) = loss(**signs, y=np.array([[-1.0], [1.0]], np.float32))
    assert f.problem == "label_coding" and "it can fall without end" in f.summary
    assert f.remedies[0].settings == {"loss": "mean_squared_error"}
    assert loss(**signs, y=np.array([[0.0], [0.7]], np.float32)) == []  # probabilities as targets
    several = np.array([[0, 1, 1], [0, 0, 0]], np.float32)
    assert named(loss(kind="binary", y=several)) == {"label_coding": "warning"}
    assert loss(kind="binary", y=np.eye(3, dtype=np.float32)) == []
    assert named(loss(name="perceptron", link="identity", outputs=1)) == {"label_coding": "warning"}


def test_targets_that_the_last_layer_cannot_reach():
    y = np.random.Generator(np.random.Philox(0)).normal(size=(500, 1)).astype(np.float32)
    words = {"name": "mean_squared_error", "link": "identity", "kind": "number", "outputs": 1, "classes": 0}
    (f,) = loss(**words, last="sigmoid", path="sigmoid1", y=y)
    assert (f.problem, f.severity, f.layer) == ("targets_out_of_range", "warning", "sigmoid1")
    assert "gives 0 to 1" in f.summary and f.evidence["share"] > 0.5
    assert "nothing below 0" in loss(**words, last="relu", y=y)[0].summary
    assert loss(**words, last="sigmoid", y=1 / (1 + np.exp(-y))) == []
    assert loss(**words, last="tanh", y=np.tanh(y)) == []
    assert loss(**words, last="leaky_relu", y=y) == []  # reaches everything


def test_how_a_loss_of_ones_own_reduces():
    words = {"name": "mine", "link": "identity", "custom": True}
    assert named(loss(**words, batch="pairs")) == {"broadcast_loss": "warning"}
    assert named(loss(**words, batch="sum")) == {"broadcast_loss": "note"}


# -- structure ----------------------------------------------------------------------------------------------------


def joints(*parts: str | int) -> tuple[Joint, ...]:
    """Numbers are layers with weights of that width, words the role of what stands between."""
    made, width = [], 8
    for i, part in enumerate(parts):
        if isinstance(part, int):
            made.append(Joint(f"dense{i}", "linear", width, part))
            width = part
        else:
            made.append(Joint(f"{part}{i}", part, width, width))
    return tuple(made)


def test_layers_without_an_activation_between_them():
    (f,) = network(chain=joints(16, 16, 3))
    assert (f.problem, f.severity, f.layer) == ("no_nonlinearity", "warning", "dense0")
    assert "the whole network is one linear layer" in f.summary
    assert f.remedies[0].settings == {"activation": "relu"}
    assert named(network(chain=joints(16, "plain", 16, "plain", 3))) == {"no_nonlinearity": "warning"}  # dropout
    assert named(network(chain=joints(16, 16, "bend", 16, "bend", 3))) == {"no_nonlinearity": "note"}


def test_linear_networks_that_are_meant():
    assert network(chain=joints(3)) == []  # a linear model
    assert network(chain=joints("plain", 3)) == []
    assert network(chain=joints(16, "bend", 16, "bend", 3)) == []
    assert network(chain=joints(2, 16)) == []  # a product of low rank


def test_nothing_to_train():
    assert named(network(weights=0, unknown=True)) == {"frozen_layer": "error"}
    (f,) = network(step=StepFacts(moves=False, learning_rate=0.0))
    assert (f.problem, f.severity) == ("frozen_layer", "error") and "learning rate 0" in f.summary


def layer(path: str, kind: str = "dense", **words) -> LayerFacts:
    return LayerFacts(path, kind, **{"rms": 1.0, "signal": 1.0, "gradient": 0.1, "later": 0.1, **words})


def test_layers_that_no_gradient_reaches():
    (f,) = network(layers=(layer("a", gradient=0, later=0), layer("b")))
    assert (f.problem, f.severity, f.layer) == ("frozen_layer", "warning", "a")
    assert network(layers=(layer("a", gradient=0, later=0, frozen=True), layer("b"))) == []  # as the user wants it
    assert network(layers=(layer("a", gradient=0), layer("b"))) == []  # the output layer began at zero


# -- initial weights ----------------------------------------------------------------------------------------------


def way(*sizes: float) -> tuple[tuple[tuple[str, float], ...], ...]:
    return (tuple((f"layer{i}", size) for i, size in enumerate(sizes)),)


def test_signals_that_grow_or_fade():
    (f,) = network(signals=way(1, 28, 300, 3400))
    assert (f.problem, f.severity, f.layer) == ("bad_initial_weights", "warning", "layer3")
    assert "grows 3,400 times" in f.summary and f.evidence["layers"] == 3
    (f,) = network(signals=way(1, 0.05, 0.002, 0.0001, 0.5))
    assert f.severity == "warning" and "fades to 0.0001" in f.summary
    assert network(signals=way(1, 1.4, 1.9, 2.6, 0.2)) == []
    assert network(signals=way(1, 28)) == []  # one layer that is too large mends itself
    assert network(signals=way(1, 1, 1e-5)) == []  # a last layer may begin near zero
    assert network(signals=way(float("nan"), 1, 1e-5, 1)) == []


def test_a_first_loss_that_is_poor_is_a_note():
    (f,) = network(loss=23.0, trivial=2.3)
    assert (f.problem, f.severity) == ("bad_initial_weights", "note")
    assert network(loss=2.9, trivial=2.3) == network(loss=2.9, trivial=float("nan")) == []


def test_a_first_loss_that_is_not_finite():
    (f,) = network(loss=float("nan"), layers=(layer("a"), layer("log", "custom", rms=float("inf"))))
    assert (f.problem, f.severity, f.layer) == ("nonfinite_loss", "error", "log")


def test_units_that_begin_alike():
    (f,) = network(layers=(layer("hidden", units=16, different=1), layer("output", units=3, different=3)))
    assert (f.problem, f.severity, f.layer) == ("symmetric_units", "warning", "hidden")
    assert named(network(layers=(layer("lstm", units=64, different=4, blocks=4), layer("o", units=3, different=3))))
    assert network(layers=(layer("hidden", units=1, different=1), layer("output", units=3, different=3))) == []
    assert network(layers=(layer("output", units=3, different=3),)) == []


def test_a_silent_layer():
    dead = layer("relu1", "relu", silent=True, gradient=float("nan"))
    (f,) = network(layers=(dead,), differs=0.0)
    assert (f.problem, f.severity, f.layer) == ("dead_units", "warning", "relu1")
    assert f.symptoms == ("ignores_input",)
    assert named(network(layers=(dead,), differs=0.5)) == {"dead_units": "note"}  # a shortcut leads around it


def test_outputs_that_are_all_alike():
    assert named(network(differs=1e-8)) == {"ignores_input": "warning"}
    assert network(differs=1e-3) == []


# -- steps --------------------------------------------------------------------------------------------------------


def test_an_update_that_goes_uphill():
    assert named(network(step=StepFacts(cosine=0.9, risen=True))) == {"wrong_update": "error"}
    assert network(step=StepFacts(cosine=0.9, risen=False)) == []  # the loss fell all the same
    assert network(step=StepFacts(cosine=0.02, risen=True)) == []  # at random


def test_a_gradient_that_is_not_that_of_the_loss():
    (f,) = network(step=StepFacts(agreement=-1.0, layer="mine"))
    assert (f.problem, f.severity, f.layer) == ("wrong_update", "warning", "mine")
    assert network(step=StepFacts(agreement=0.0)) == []  # straight through a step function: as meant


def test_rows_that_cannot_be_learned_by_heart():
    assert named(network(heart=HeartFacts(16, 0.693, 0.69))) == {"cannot_overfit": "warning"}
    assert network(heart=HeartFacts(16, 0.693, 0.3)) == network(heart=None) == []


@pytest.mark.parametrize("settings", [
    {"activation": "relu"}, {"activation": "leaky_relu"}, {"initial": "auto"},
    {"output": "auto", "loss": "cross_entropy"}, {"learning_rate": 0.001}, {"seed": 1}, {"freeze": [], "rates": {}},
    {"loss": {"type": "cross_entropy", "from_probabilities": True}}, {"standardize": True},
    {"class_weights": "balanced"}, {"metric": "balanced_accuracy"}, {"task": "classification"},
    {"network": "mlp:64,64"},
])  # fmt: skip
def test_remedies_are_words_of_the_recipe(settings):
    assert recipe.make(settings)
