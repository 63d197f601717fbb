"""`explain` against arithmetic done by hand, and against `jax.grad` for every activation and every loss."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pellucid.errors import NetworkError
from pellucid.network.activations import Activation
from pellucid.network.composite import Sequential
from pellucid.network.dense import Dense, Dropout, Flatten, Input
from pellucid.network.network import Network
from pellucid.train.losses import Joint, Loss
from pellucid.views import explain_math
from pellucid.views.explain import to_json, walk
from pellucid.views.explain_text import written
from pellucid.views.explain_words import Wish


def network(*layers, shape=(3,), seed=1):
    made = Network(Sequential(*layers))
    return made.initialised(jax.random.key(seed), jax.ShapeDtypeStruct((1, *shape), "float32"))


def by_hand():
    """2 inputs -> 1 ReLU unit -> 1 output, squared error: small enough to follow with a pencil."""
    layers = Sequential(("hidden", Dense(1)), ("relu", Activation.of("relu")), ("output", Dense(1)))
    weights = {
        "hidden": {"w": jnp.array([[0.5], [-1.0]]), "b": jnp.array([2.0])},
        "output": {"w": jnp.array([[3.0]]), "b": jnp.array([-1.0])},
    }
    return Network(layers, weights, {})


def test_a_network_followed_with_a_pencil():
    made = walk(by_hand(), np.array([4.0, 1.0]), np.array([5.0]), Loss.of("mean_squared_error"), rate=0.01)
    hidden, relu, output = made.stages
    assert hidden.y.tolist() == [3.0]  # 0.5·4 - 1·1 + 2
    assert relu.y.tolist() == [3.0]
    assert output.y.tolist() == [8.0]  # 3·3 - 1
    assert made.loss.value == 9.0  # (5 - 8)²
    assert made.loss.gradient.tolist() == [6.0]  # 2 (8 - 5)
    assert output.gradients["w"].tolist() == [[18.0]]  # a · δ = 3 · 6
    assert relu.dx.tolist() == [18.0]  # w · δ · f'(z) = 3 · 6 · 1
    assert hidden.gradients["w"].tolist() == [[72.0], [18.0]]  # x · 18
    assert hidden.gradients["b"].tolist() == [18.0]
    assert hidden.dx.tolist() == [9.0, -18.0]
    assert made.check.agrees and made.check.difference == 0
    # after w - 0.01 g: hidden w = (-0.22, -1.18), b = 1.82 -> z = -0.24 -> a = 0; output b = -1.06
    assert made.after == pytest.approx((5 + 1.06) ** 2)


def test_the_pencil_again_as_text():
    made = walk(by_hand(), np.array([4.0, 1.0]), np.array([5.0]), Loss.of("mean_squared_error"), rate=0.01)
    text = "\n".join(line for line, _ in written(made, Wish(), ["width", "height"], ["price"]))
    for said in (
        "z1 = 0.5·4 - 1·1 + 2 = 3", "a1 = max(0, 3) = 3", "z1 = 3·3 - 1 = 8", "L = (5 - 8)² = 9", "price  δ1 = 6",
        "δ1 = 18·1 = 18", "dL/dx1 = 3·6 = 18", "hidden/w[1,1]: 0.5 - 0.01·72 = -0.22",
        "the loss of this example rises from 9 to 36.72", "all 5 gradients agree",
    ):  # fmt: skip
        assert said in text


@pytest.mark.parametrize("name", sorted(k for k, v in Activation.registry.items() if issubclass(v, Activation)))
def test_every_activation_agrees_with_jax(name):
    activation = Activation.of(name)
    net = network(Dense(6), activation, Dense(2))
    x = np.random.default_rng(0).normal(0, 2, 3)
    assert walk(net, x, np.int32(1), Loss.of("cross_entropy")).check.relative < 1e-12


def test_gelu_in_both_forms_agrees_with_jax():
    for approximate in (False, True):
        net = network(Dense(4), Activation.of(f"gelu:{approximate}"), Dense(2))
        assert walk(net, np.array([0.3, -1.0, 2.0]), np.int32(0), Loss.of("cross_entropy")).check.relative < 1e-12


LOSSES = [
    ("cross_entropy", np.int32(2)),
    ("cross_entropy:label_smoothing=0.1", np.int32(0)),
    ("cross_entropy", np.array([0.2, 0.3, 0.5])),
    ("binary_cross_entropy", np.array([1.0, 0.0, 1.0])),
    ("binary_cross_entropy:label_smoothing=0.2", np.int32(1)),
    ("mean_squared_error", np.array([1.0, -1.0, 0.5])),
    ("mean_squared_error", np.int32(1)),
    ("mean_absolute_error", np.array([1.0, -1.0, 0.5])),
    ("huber:0.3", np.array([1.0, -1.0, 0.05])),
    ("perceptron", np.int32(1)),
    ("perceptron", np.array([1.0, 0.0, 1.0])),
]


@pytest.mark.parametrize(("loss", "y"), LOSSES)
def test_every_loss_agrees_with_jax(loss, y):
    net = network(Dense(5), Activation.of("tanh"), Dense(3))
    made = walk(net, np.array([0.5, -1.0, 2.0]), y, Loss.of(loss))
    assert made.check.relative < 1e-12
    assert made.loss.value == pytest.approx(made.check.loss, rel=1e-12)


def test_every_loss_is_known_to_explain():
    assert set(Loss.registry) <= set(explain_math.WALKS)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_losses_on_probabilities_agree_with_jax(loss):
    link = "softmax" if loss == "cross_entropy" else "sigmoid"
    net = network(Dense(3), Activation.of(link))
    y = np.int32(1) if link == "softmax" else np.array([1.0, 0.0, 1.0])
    chosen = dataclasses.replace(Loss.of(loss), from_probabilities=True)
    assert walk(net, np.array([0.5, -1.0, 2.0]), y, chosen).check.relative < 1e-12


def test_several_targets_agree_with_jax():
    parts = (
        (Loss.of("cross_entropy"), 0, 2),
        (Loss.of("mean_squared_error"), 2, 3),
        (Loss.of("binary_cross_entropy"), 3, 4),
    )
    made = walk(network(Dense(4)), np.array([0.5, -1.0, 2.0]), np.array([1.0, 0.3, 1.0]), Joint(parts))
    assert made.check.relative < 1e-12
    text = "\n".join(line for line, _ in written(made, Wish(), "abc", ["no", "yes", "size", "sold"]))
    assert "yes" in text and "size" in text and "sold" in text


def test_images_dropout_and_standardisation_are_passed():
    net = network(Input(), Flatten(), Dropout(0.5), Dense(3), shape=(2, 2))
    net.state["input1"] = {"mean": jnp.array(100.0), "scale": jnp.array(50.0)}
    made = walk(net, np.array([[0, 50], [150, 200]], np.uint8), np.int32(0), Loss.of("cross_entropy"))
    assert made.stages[0].y.tolist() == [[-2.0, -1.0], [1.0, 2.0]]
    assert made.stages[0].dx.shape == (2, 2)
    assert made.check.relative < 1e-12


def test_a_confident_network_is_no_false_alarm():
    """p - y of a sure network is all rounding in float32: the check must not mistake that for an error."""
    net = network(Dense(3))
    sure = net.replace(params={"dense1": {"w": jnp.zeros((3, 3)), "b": jnp.array([30.0, 0.0, 0.0])}})
    assert walk(sure, np.ones(3), np.int32(0), Loss.of("cross_entropy")).check.agrees


def test_a_wrong_gradient_is_found(monkeypatch):
    wrong = dataclasses.replace(explain_math.BENDS["tanh"], df=lambda s, z: 1 - np.tanh(z))
    monkeypatch.setitem(explain_math.BENDS, "tanh", wrong)
    made = walk(network(Dense(3), Activation.of("tanh"), Dense(2)), np.ones(3), np.int32(0), Loss.of("cross_entropy"))
    assert not made.check.agrees
    assert "CHECK FAILED" in written(made, Wish(), "abc", ["0", "1"])[-2][0]


def test_what_it_cannot_follow_is_said():
    with pytest.raises(NetworkError, match="does not know the loss"):
        walk(network(Dense(1)), np.ones(3), np.array([1.0]), Loss.of(lambda o, y: (o[:, 0] - y[:, 0]) ** 4))


def test_wide_layers_are_summed_up_and_one_unit_shown_whole():
    net = network(Dense(40), Activation.of("relu"), Dense(30), shape=(50,))
    made = walk(net, np.linspace(-1, 1, 50), np.int32(3), Loss.of("cross_entropy"))
    names, labels = [f"pixel_{i}" for i in range(50)], [f"class {i}" for i in range(30)]
    lines = [line for line, _ in written(made, Wish(), names, labels)]
    assert max(map(len, lines)) <= 80 and len(lines) < 60
    assert any("44 more terms" in line.replace("\n", " ") for line in lines)
    one = "\n".join(line for line, _ in written(made, Wish("dense1", 7), names, labels))
    assert "z7 = " in one and "z1 = " not in one and "UPDATE" not in one
    plain = "\n".join(line for line, _ in written(made, Wish(), names, labels, unicode=False))
    assert plain.isascii()


def test_all_numbers_as_json():
    made = walk(by_hand(), np.array([4.0, 1.0]), np.array([5.0]), Loss.of("mean_squared_error"))
    found = to_json(made)
    assert found["stages"][0]["gradients"]["w"] == [[72.0], [18.0]]
    assert found["loss"]["value"] == 9.0 and found["check"]["agrees"] is True
