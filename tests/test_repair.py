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
    assert line["problem"] == "vanishing_gradients" and line["after"] < line["before"]
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
