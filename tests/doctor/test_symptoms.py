"""Each symptom in a record that has it, with its layer and step, and in one that looks like it and has it not."""

import math

import pytest
from made import record, seen, wobbles

from pellucid.doctor.case import Case
from pellucid.doctor.symptoms import flow, symptoms


def test_a_run_that_is_well_has_none():
    assert symptoms(Case(record())) == []
    assert symptoms(Case(record(activation="tanh", units={"saturated": {"tanh1": lambda step: 0.1}}))) == []


# -- depth --------------------------------------------------------------------------------------------------------


def fading(factor):
    return lambda step, depth: 1e-2 * factor**depth


@pytest.mark.parametrize("factor", [1.8, 3.0, 10.0])
def test_gradient_decay(factor):
    (found,) = seen(record(hidden=8, activation="sigmoid", gradient=fading(factor)), "gradient_decay")
    assert found.layer == "hidden1" and found.step == 0
    # two layers (the weights and the activation) lie between two dense layers of the stack
    assert found.numbers["factor"] == pytest.approx(factor**2, rel=0.01)
    assert found.numbers["ratio"] == pytest.approx(factor**-14, rel=0.05)


def test_gradients_that_shrink_a_little_are_no_decay():
    assert not seen(record(hidden=8, gradient=fading(1.2)), "gradient_decay")  # 1.2^14: a thirteenth at the first
    assert not seen(record(hidden=2, gradient=fading(10)), "gradient_decay")  # two layers have no slope
    one = record(hidden=8, gradient=lambda step, depth: 1e-5 if depth == 1 and step == 32 else 1e-2)
    assert not seen(one, "gradient_decay")  # a single measurement


def test_an_output_layer_that_begins_small_is_no_decay():
    assert not seen(record(hidden=8, gradient=lambda step, depth: 1e-2 if depth == 17 else 1e-6), "gradient_decay")


def test_gradients_of_exactly_zero_are_decay_without_an_error():
    vanished = record(hidden=8, gradient=lambda step, depth: 1e-2 if depth > 12 else 0.0)
    assert seen(vanished, "gradient_decay")
    assert flow(Case(record(gradient=lambda step, depth: 0.0))) is None
    assert flow(Case(record(gradient=lambda step, depth: math.nan))) is None


def test_gradient_growth():
    (found,) = seen(record(hidden=6, gradient=fading(0.5)), "gradient_growth")
    assert found.layer == "hidden1" and found.step == 0 and found.numbers["factor"] == pytest.approx(4, rel=0.01)
    assert not seen(record(hidden=6, gradient=fading(0.8)), "gradient_growth")


def test_gradient_burst():
    burst = record(weight_gradient=lambda step, path: 1e3 if step >= 100 and path == "hidden2/w" else 1e-2)
    (found,) = seen(burst, "gradient_burst")
    assert found.layer == "hidden2/w" and found.step == 100 and found.numbers["times"] > 1e4
    assert not seen(record(weight_gradient=lambda step, path: 1e-2 * (1 + step / 100)), "gradient_burst")
    assert not seen(record(weight_gradient=lambda step, path: math.inf), "gradient_burst")


def test_activation_drift():
    (found,) = seen(record(hidden=8, rms=lambda step, depth: 0.3**depth), "activation_drift")
    assert found.step == 0 and found.layer == "hidden8" and found.numbers["ratio"] < 1e-3
    assert seen(record(hidden=8, rms=lambda step, depth: 3.0**depth), "activation_drift")
    assert not seen(record(hidden=8, rms=lambda step, depth: 0.7**depth), "activation_drift")
    grown = record(hidden=8, rms=lambda step, depth: 3.0 ** (depth * min(step, 1)))
    assert not seen(grown, "activation_drift")  # it was so after the first update only: no matter of initial weights


# -- units --------------------------------------------------------------------------------------------------------


def test_dead_units():
    dies = record(units={"dead": {"relu2": lambda step: 0.9 if step >= 300 else 0.1}})
    (found,) = seen(dies, "dead_units")
    assert found.layer == "relu2" and found.step == 300 and found.numbers["share"] == 0.9
    assert not seen(record(units={"dead": {"relu2": lambda step: 0.3}}), "dead_units")
    revives = record(units={"dead": {"relu2": lambda step: 0.9 if step < 300 else 0.1}})
    assert not seen(revives, "dead_units")
    assert not seen(record(activation="tanh", units={"dead": {"tanh2": lambda step: 0.9}}), "dead_units")


def test_dead_units_of_a_log_that_tells_of_activations_only():
    dead = record(zero=lambda step, depth: 1.0 if depth == 4 and step >= 100 else 0.4)
    (found,) = seen(dead, "dead_units")
    assert found.layer == "relu2" and found.step == 100
    assert not seen(record(zero=lambda step, depth: 0.95), "dead_units")


def test_saturated_units():
    flat = record(activation="sigmoid", units={"saturated": {"sigmoid1": lambda step: 0.8}})
    (found,) = seen(flat, "saturated_units")
    assert found.layer == "sigmoid1" and found.step == 50
    assert not seen(record(activation="sigmoid", units={"saturated": {"sigmoid1": lambda s: 0.3}}), "saturated_units")
    assert not seen(record(units={"saturated": {"relu1": lambda step: 1.0}}), "saturated_units")  # no such thing


def test_constant_layer():
    same = record(activation="tanh", units={"dead": {"tanh2": lambda step: 1.0 if step > 200 else 0.0}})
    (found,) = seen(same, "constant_layer")
    assert found.layer == "tanh2" and found.step == 250
    assert not seen(record(units={"dead": {"output": lambda step: 1.0}}), "constant_layer")
    assert not seen(record(units={"dead": {"relu2": lambda step: 0.99}}), "constant_layer")


# -- updates ------------------------------------------------------------------------------------------------------


def test_huge_steps():
    (found,) = seen(record(ratio=lambda step, path: 0.6 if step < 100 else 0.01), "huge_steps")
    assert found.step == 0 and found.numbers["ratio"] == pytest.approx(0.6, rel=0.01)
    one = record(ratio=lambda step, path: 5.0 if path == "output/w" else 0.01)
    assert not seen(one, "huge_steps")  # an output layer that begins small moves far
    biases = record(ratio=lambda step, path: 50.0 if path.endswith("/b") else 0.01)
    assert not seen(biases, "huge_steps")  # a bias begins at zero


def test_short_travel():
    (found,) = seen(record(ratio=lambda step, path: 1e-5), "short_travel")
    assert found.numbers["travel"] == pytest.approx(0.01, rel=0.05)
    assert not seen(record(ratio=lambda step, path: 1e-3), "short_travel")
    assert not seen(record(ratio=lambda step, path: 1e-3 if path == "output/w" else 1e-6), "short_travel")
    assert not seen(record(epochs=400, ratio=lambda step, path: 3e-5), "short_travel")  # long enough after all


def test_a_decay_of_the_weights_is_no_learning():
    """AdamW's own decay moves the weights by rate times decay, which is not the gradient's work."""
    decays = {"optimizer": "adamw", "weight_decay": 1.0}
    assert seen(record(ratio=lambda step, path: 1.01e-3, setup=decays), "short_travel")
    assert not seen(record(ratio=lambda step, path: 1.01e-3, setup={"weight_decay": 1.0}), "short_travel")


def test_unmoved_weights():
    (found,) = seen(record(moves=lambda path: path != "hidden2/w"), "unmoved_weights")
    assert found.layer == "hidden2/w"
    frozen = record(moves=lambda path: path != "hidden2/w", setup={"frozen": ["hidden2"]})
    assert not seen(frozen, "unmoved_weights")  # as it was told to
    assert [s.name for s in symptoms(Case(record(moves=lambda path: False))) if "move" in s.name] == ["nothing_moves"]


# -- the loss -----------------------------------------------------------------------------------------------------


def test_rising_loss():
    (found,) = seen(record(train=lambda e: 0.7 * math.exp(e)), "rising_loss")
    assert found.step == 0 and found.numbers["first"] == pytest.approx(0.7)
    warm = record(batch=lambda step: 0.7 + (0.1 if 0 < step <= 64 else 0))
    assert not seen(warm, "rising_loss")  # it rose at first, and came down
    noisy = record(train=lambda e: 0.69, batch=lambda step: 0.69 + 0.1 * wobbles(step))
    assert not seen(noisy, "rising_loss")


def test_swinging_loss():
    (found,) = seen(record(turns=lambda step: 0.97, std=lambda step: 0.8), "swinging_loss")
    assert found.numbers["swing"] == pytest.approx(0.8, rel=1e-4)
    assert not seen(record(turns=lambda step: 0.67, std=lambda step: 0.8), "swinging_loss")  # noise turns 2 of 3 times
    assert not seen(record(turns=lambda step: 0.97, std=lambda step: 0.05), "swinging_loss")  # and hardly matters
    early = record(turns=lambda step: 0.97 if step <= 200 else 0.6, std=lambda step: 0.8)
    assert not seen(early, "swinging_loss")


NORMED = ["input", "dense", "batch_norm", "relu", "output"]


def test_evaluation_gap():
    gap = record(kinds=NORMED, train=lambda e: 0.9, learning=lambda e: 0.1)
    (found,) = seen(gap, "evaluation_gap")
    assert found.numbers["times"] == pytest.approx(9)
    assert not seen(record(train=lambda e: 0.9, learning=lambda e: 0.1), "evaluation_gap")  # no batch normalisation
    small = record(kinds=NORMED, train=lambda e: 0.02, learning=lambda e: 0.005)
    assert not seen(small, "evaluation_gap")  # four times next to nothing


RECURRENT = ["input", "rnn", "output"]


def test_fading_memory():
    lost = [10.0 ** -(9 - t) for t in range(10)]
    (found,) = seen(record(kinds=RECURRENT, time=(1, lost)), "fading_memory")
    assert found.layer == "rnn1" and found.numbers["ratio"] == pytest.approx(1e-9, rel=0.01)
    kept = [10.0 ** (-0.2 * (9 - t)) for t in range(10)]
    assert not seen(record(kinds=RECURRENT, time=(1, kept)), "fading_memory")


def test_zero_gradient():
    assert seen(record(gradient=lambda step, depth: 0.0), "zero_gradient")
    later = record(gradient=lambda step, depth: 0.0 if step == 0 else 1e-2)
    assert not seen(later, "zero_gradient")  # an output layer that begins at zero
