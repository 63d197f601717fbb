"""A finding is its own JSON, is ranked, and its remedies are options that train."""

import dataclasses
import json
import shlex

import pytest
from made import TRIVIAL, record, scores

from pellucid import recipe as recipes
from pellucid.commands.options import assignments
from pellucid.doctor.diagnose import diagnose
from pellucid.doctor.finding import Finding, Remedy, Trial, ranked
from pellucid.doctor.problems import PROBLEMS
from pellucid.network import catalogue  # noqa: F401  (architectures register themselves)
from pellucid.network.architecture import Architecture, find
from pellucid.train import optimizers  # noqa: F401
from pellucid.train.optimizer import Optimizer

FULL = Finding(
    "vanishing_gradients", "warning", "gradients shrink", layer="hidden1", step=0, evidence={"ratio": 1e-5},
    symptoms=("gradient_decay",), confidence=0.7, remedies=(Remedy({"activation": "relu"}, "ReLU"), Remedy({}, "less")),
)  # fmt: skip


def test_json_holds_all_that_a_person_is_told():
    told = json.loads(json.dumps(FULL.to_json()))
    assert told["title"] == "vanishing gradients" and told["question"].endswith("?") and "Hochreiter" in told["source"]
    assert told["remedies"][0] == {"settings": {"activation": "relu"}, "line": "--set activation=relu", "text": "ReLU"}
    assert Finding.from_json(told) == FULL
    assert Finding.from_json(json.loads(json.dumps(dataclasses.replace(FULL, layer=None).to_json()))).layer is None


def test_trials_are_told_as_plain_values():
    trial = Trial(Remedy({"learning_rate": 0.1}, "larger"), 100, 0.69, (0.6, 0.61), (0.2, 0.3), True)
    told = json.loads(json.dumps(dataclasses.replace(FULL, tried=(trial,)).to_json()))["tried"][0]
    assert told["treated"] == [0.2, 0.3] and told["helps"] is True and told["remedy"]["text"] == "larger"


def test_an_unknown_problem_is_a_mistake_of_ours():
    with pytest.raises(AssertionError, match="hiccups"):
        Finding("hiccups", "warning", "")


def test_ranked_puts_alarms_first_then_the_deepest_then_the_surest():
    found = [
        Finding("overfitting", "warning", "", confidence=0.9),
        Finding("unscaled_inputs", "note", ""),
        Finding("learning_rate_too_high", "warning", "", confidence=0.5),
        Finding("oscillation", "warning", "", confidence=0.8),
        Finding("nonfinite_data", "error", ""),
    ]
    order = ["nonfinite_data", "oscillation", "learning_rate_too_high", "overfitting", "unscaled_inputs"]
    assert [f.problem for f in ranked(found)] == order


def test_every_problem_asks_and_says_where_to_read_on():
    for problem in PROBLEMS.values():
        assert problem.question.endswith("?") and problem.source and problem.why.endswith((".", "?")), problem.name
        words = problem.name.replace("_", " ")
        assert words not in problem.question.lower(), problem.name  # a hint does not give the answer away


def stuck(**changes):
    return record(train=lambda e: TRIVIAL, validation=lambda e: TRIVIAL, **changes)


FALLS_ON = lambda e: 1.0 - 0.04 * e  # noqa: E731
RUNS = {
    "vanishing": stuck(hidden=8, activation="sigmoid", gradient=lambda step, depth: 1e-2 * 3.0**depth),
    "exploding": stuck(hidden=6, gradient=lambda step, depth: 1e-2 * 0.4**depth),
    "dead": stuck(units={"dead": {"relu1": lambda step: 1.0}}),
    "saturated": stuck(activation="tanh", units={"saturated": {"tanh1": lambda step: 1.0}}),
    "fast": stuck(ratio=lambda step, path: 0.8),
    "slow": stuck(ratio=lambda step, path: 1e-6),
    "straight": stuck(activation="identity"),
    "drop": stuck(setup={"dropout": 0.95}),
    "drift": stuck(hidden=8, rms=lambda step, depth: 0.3**depth),
    "overfit": record(validation=lambda e: 0.1 + 0.05 * e),
    "early": record(train=FALLS_ON, validation=FALLS_ON),
    "small": stuck(),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_line_of_a_remedy_says_what_its_settings_say(name):
    """`--set` of the line, read as the command line reads it, makes the recipe that the settings make."""
    lines = 0
    for finding in diagnose(RUNS[name], scores(0.5, 0.9)):
        for remedy in finding.remedies:
            assert remedy.text
            if not remedy.settings:
                assert remedy.line() == ""
                continue
            words = shlex.split(remedy.line())
            assert words[::2] == ["--set"] * len(remedy.settings)
            by_line, by_settings = (settled(given) for given in (assignments(words[1::2]), remedy.settings))
            assert by_line == by_settings, remedy.line()
            lines += 1
    assert lines


def settled(given):
    """A recipe, with the network and the optimizer as the objects that it names."""
    recipe = recipes.to_dict(recipes.make({"source": "xor", **given}))
    spec, optimizer = recipe.get("network", {}).pop("spec", None), recipe.get("train", {}).pop("optimizer", None)
    network = find(spec) if isinstance(spec, str) else spec and Architecture.of(spec)
    return recipe, network, optimizer and Optimizer.of(optimizer)


def test_what_a_plain_line_cannot_say_is_found_here():
    remedy = Remedy({"keep": "best", "patience": 10, "standardize": True, "learning_rate": 1e-6})
    words = shlex.split(remedy.line())[1::2]
    assert assignments(words) == remedy.settings
