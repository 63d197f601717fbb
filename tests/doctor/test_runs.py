"""The doctor beside real, short trainings: what was planted is what it names; where all is well it is quiet."""

import pytest

import pellucid as pc

ADAM = {"type": "adam", "learning_rate": 0.01}


def train(network, data, **settings):
    try:
        return pc.fit(network, data, **{"out": None, "baselines": False, **settings})
    except pc.errors.Diverged as error:
        return error.run


def alarms(run):
    return [f for f in run.findings if f["severity"] != "note"]


def first(run):
    found = alarms(run)
    assert found, run.findings
    return found[0]


def test_a_deep_chain_of_sigmoids_vanishes():
    found = first(train("mlp:" + ",".join(["12"] * 12) + ",activation=sigmoid", "digits", steps=120, plain=True))
    assert found["problem"] == "vanishing_gradients" and found["layer"] == "hidden1" and found["step"] == 0
    assert "times a layer" in found["summary"] and "of 12 layers" in found["summary"]
    assert found["remedies"][0]["settings"] == {"activation": "relu"}
    assert found["remedies"][0]["line"].endswith("activation=relu")


def test_a_rate_of_ten_is_too_high():
    run = train("mlp:16,16", "digits", learning_rate=10.0, steps=150, plain=True)
    found = first(run)
    assert found["problem"] == "learning_rate_too_high" and found["step"] == 0
    assert "at learning rate 10" in found["summary"] and found["remedies"][0]["settings"]["learning_rate"] <= 0.1
    assert len(alarms(run)) == 1


def test_a_rate_of_a_ten_millionth_is_too_low():
    run = train("mlp:16,16", "digits", optimizer={"type": "adam", "learning_rate": 1e-7}, steps=150, plain=True)
    assert first(run)["problem"] == "learning_rate_too_low" and len(alarms(run)) == 1
    assert first(run)["remedies"][0]["settings"]["learning_rate"] >= 1e-4


def test_layers_without_an_activation():
    run = train("mlp:16,16,activation=identity", "spirals", optimizer=ADAM, steps=200, plain=True)
    assert first(run)["problem"] == "no_nonlinearity" and first(run)["layer"] == "hidden1" and len(alarms(run)) == 1


def test_a_perceptron_cannot_learn_xor():
    """Its loss stays that of the constant answer, though the baselines show that there is something to be learned."""
    run = train("perceptron", "xor", baselines=True, steps=300, plain=True, optimizer=ADAM)
    assert "underfitting" in [f["problem"] for f in alarms(run)]
    assert "0.69" in first(run)["summary"]


def test_a_wide_network_trained_for_long_overfits():
    run = train("mlp:128", "diabetes", plain=True, steps=1500, optimizer=ADAM)
    found = first(run)
    assert found["problem"] == "overfitting" and 0 < found["step"] < 700
    assert {"keep": "best", "patience": 10} in [r["settings"] for r in found["remedies"]]


def test_a_loss_that_is_not_finite_is_told_once():
    run = train("mlp:16", "diabetes", optimizer={"type": "sgd", "learning_rate": 50.0}, batch_size=8, steps=100)
    assert len(alarms(run)) == 1 and first(run)["problem"] == "learning_rate_too_high"


@pytest.mark.parametrize("data", ["digits", "moons", "iris"])
def test_the_defaults_alarm_nobody(data):
    run = train("mlp", data, steps=600, optimizer="adam", seed=1)
    assert alarms(run) == [], alarms(run)


def test_silenced_and_off():
    words = {"optimizer": ADAM, "steps": 60, "plain": True}
    silenced = train("mlp:16,16,activation=identity", "spirals", silence=["no_nonlinearity"], **words)
    assert "no_nonlinearity" not in [f["problem"] for f in silenced.findings]
    assert train("mlp:16,16,activation=identity", "spirals", doctor="off", **words).findings == []
