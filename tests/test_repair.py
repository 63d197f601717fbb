"""Repair: what is broken is mended and proved, what is well is left alone, and nothing ends worse."""

import json

import numpy as np
import pytest

import pellucid as pc
from pellucid import recipe as recipes
from pellucid import repair as repairing
from pellucid.rundir import RunDir

DEEP = {"network": "mlp:24,24,24,24,24,24,24,24", "activation": "sigmoid", "steps": 1500, "baselines": False}


@pytest.mark.slow
def test_a_deep_chain_of_sigmoids_is_mended_with_evidence(tmp_path):
    left_alone = pc.fit(data="digits", out=None, **DEEP)
    run = pc.fit(data="digits", out=tmp_path, repair=True, **DEEP)
    assert left_alone.result["validation"]["accuracy"] < 0.2 < 0.8 < run.result["validation"]["accuracy"]
    [line] = [r for r in run.result["repair"]["rounds"] if r["kept"]]
    assert (
        line["problem"] == "vanishing_gradients" and line["by"] == "accuracy" and line["after"] > line["before"] + 0.5
    )
    trials = line["trials"]
    assert all(len(t["treated"]) == len(t["without"]) >= 1 for t in trials) and any(t["helps"] for t in trials)
    told = next(f for f in run.findings if f["problem"] == "vanishing_gradients")
    assert told["severity"] == "note" and "Repaired by" in told["summary"] and told["tried"]
    # the folder holds the mended run, whole: its recipe trains it again; the untreated one lies beside it
    place = RunDir(run.path)
    assert json.loads(place.result.read_text())["validation"] == run.result["validation"]
    assert json.loads(place.findings.read_text()) == run.findings
    again = pc.fit(data="digits", out=None, **recipe_words(place.recipe))
    assert again.result["validation"] == run.result["validation"]
    untreated = RunDir(run.path / "untreated")
    assert json.loads(untreated.result.read_text())["validation"] == left_alone.result["validation"]
    assert not (run.path / "repair").exists() and "digits" in run.report().read_text(encoding="utf-8")


def recipe_words(path):
    """The settings of a written recipe, as `fit` takes them."""
    recipe = recipes.to_dict(recipes.read(path))
    words = {f"{section}.{k}": v for section in ("network", "train") for k, v in recipe[section].items()}
    return {k.removeprefix("train.").removeprefix("network."): v for k, v in words.items() if k != "network.spec"} | {
        "network": recipe["network"]["spec"]
    }


def test_a_run_that_diverged_is_mended_by_a_smaller_step():
    settings = {"optimizer": "sgd", "learning_rate": 200.0, "batch_size": 32, "steps": 300, "baselines": False}
    with pytest.raises(pc.errors.Diverged):
        pc.fit("mlp:16", "moons", out=None, **settings)
    run = pc.fit("mlp:16", "moons", out=None, repair=True, **settings)
    assert run.result["validation"]["accuracy"] > 0.8
    assert run.recipe.train.optimizer["learning_rate"] < 200


def test_what_is_well_is_left_alone():
    alone = pc.fit("mlp:16", "moons", out=None, steps=1500, baselines=False)
    run = pc.fit("mlp:16", "moons", out=None, steps=1500, baselines=False, repair=True)
    assert run.result["repair"]["rounds"] == [] and run.result["validation"] == alone.result["validation"]
    x = np.random.default_rng(0).normal(size=(20, 2))
    np.testing.assert_array_equal(run.network.probabilities(x), alone.network.probabilities(x))


def test_a_remedy_that_does_not_gain_in_a_whole_training_is_rolled_back(tmp_path, monkeypatch):
    """The trials are made to praise a remedy that is none: the whole training finds it out."""
    monkeypatch.setattr(repairing.Branches, "branch", lambda self, settings, seed, steps: 0.1 if settings else 1.0)
    settings = {"learning_rate": 1e-6, "steps": 60, "baselines": False, "schedule": "constant", "optimizer": "adam"}
    monkeypatch.setattr(repairing, "candidates", lambda found, most: [(f, useless(f)) for f in found if f.alarm][:1])
    monkeypatch.setattr(repairing.remedies, "general", lambda case: [])
    run = pc.fit("mlp:8", "moons", out=tmp_path, repair=True, **settings)
    rounds = run.result["repair"]["rounds"]
    assert rounds and not any(line["kept"] for line in rounds)
    assert run.recipe.train.optimizer["learning_rate"] == 1e-6 and not (run.path / "untreated").exists()
    assert not (run.path / "repair").exists()


def useless(finding):
    from pellucid.doctor.finding import Remedy

    return Remedy({"patience": 7}, "something else")


def hand(*end, **hidden):
    """A small network put together by hand, with this end."""
    return {"type": "sequential", "layers": [
        ["input", {"type": "input"}], ["flatten", {"type": "flatten"}],
        ["hidden1", {"type": "dense", "width": 16, "initial": "he_normal", **hidden}], ["relu1", {"type": "relu"}],
        *([f"end{i}", layer] for i, layer in enumerate(end)),
    ]}  # fmt: skip


SOFTMAX_OF_ONE = {
    "network": hand({"type": "dense", "width": 1}, {"type": "softmax"}),
    "loss": {"type": "binary_cross_entropy", "from_probabilities": True},
}
BROKEN = {  # settings, and the one that mends them
    "constant_output": (SOFTMAX_OF_ONE, ("output", "auto")),
    "dead_units": ({"network": hand({"type": "output"}, bias_initial="constant:-20")}, ("initial", "auto")),
    "frozen_layer": (
        {"network": hand({"type": "output"}, width=3), "freeze": ["hidden1"], "source": "circles"}, ("freeze", []),
    ),
    "broadcast_loss": (
        {"network": hand({"type": "output"}), "source": "diabetes",
         "loss": lambda o, y: ((o.reshape(-1, 1) - y.reshape(1, -1)) ** 2).mean()},
        ("loss", {"type": "mean_squared_error"}),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("problem", BROKEN)
def test_what_lies_in_the_network_or_the_loss_is_mended_by_a_setting(problem, tmp_path):
    settings, (word, value) = BROKEN[problem]
    words = {k: v for k, v in settings.items() if k not in ("network", "source")}
    more = {"plain": True, "steps": 300, "learning_rate": 0.01, "baselines": problem == "frozen_layer"}
    source = settings.get("source", "moons")
    run = pc.fit(settings["network"], source, out=tmp_path, repair=True, inspect=False, **words, **more)
    line, *_ = [r for r in run.result["repair"]["rounds"] if r["kept"]]
    assert line["problem"] == problem and run.result["repair"]["updates"] > 300
    recipe = recipes.read(RunDir(run.path).recipe)
    assert recipe.reproducible
    found = next(getattr(s, word) for s in (recipe.network, recipe.train) if hasattr(s, word))
    assert found == value
    metric = run.result["metric"]
    assert run.result["validation"][metric] > (0.3 if source == "diabetes" else 0.75)


def test_only_where_nothing_named_helps_are_the_general_remedies_tried(monkeypatch):
    """The named ones are made useless: the run is mended by one of those that mend much."""
    monkeypatch.setattr(repairing, "candidates", lambda found, most: [(f, useless(f)) for f in found if f.alarm][:1])
    settings = {"learning_rate": 1e-5, "steps": 300, "baselines": False, "plain": True}
    run = pc.fit("mlp:8", "moons", out=None, repair=True, **settings)
    first, second, *_ = run.result["repair"]["rounds"]
    assert not first["kept"] and [t["remedy"]["settings"] for t in first["trials"]] == [{"patience": 7}]
    assert second["kept"] and run.result["validation"]["accuracy"] > 0.8


def test_a_score_that_is_sure_counts_before_the_loss():
    """Of 100 rows four more are right by chance at most: then the loss decides."""

    def made(accuracy, loss):
        part = {"accuracy": accuracy, "loss": loss}
        rows = {"validation": 100, "train": 400}
        made = pc.fit("mlp:2", "moons", out=None, steps=5, baselines=False, doctor="off")
        made.result |= {"validation": part, "rows": rows}
        return made

    from pellucid.doctor.finding import Remedy

    remedy = Remedy({"activation": "relu"})
    old = made(0.7, 0.5)
    kept = lambda new: repairing._compared(old, new, remedy, True)["kept"]  # noqa: E731
    assert kept(made(0.9, 0.6)) and not kept(made(0.5, 0.3))  # far more, far fewer right answers
    assert kept(made(0.72, 0.3)) and not kept(made(0.72, 0.6))
    old.history = [{"validation": {"loss": loss}} for loss in (0.6, 0.4, 0.6, 0.4, 0.6)]  # a curve full of noise
    noisy = lambda new: repairing._compared(old, _with_history(new, old), remedy, True)["kept"]  # noqa: E731
    assert not noisy(made(0.7, 0.45)) and noisy(made(0.72, 0.45))  # alone the loss is not sure; with the score it is


def _with_history(new, old):
    new.history = old.history
    return new
