import threading
import warnings

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from pellucid.data import Dataset, baselines, load, prepare


def by_name(prepared, **more):
    return {b["name"]: b for b in baselines(prepared, **more)}


def test_classes_agree_with_scikit_learn_used_directly():
    p = prepare(load("breast-cancer"))
    assert p.test is not None
    z = lambda part: (part.x - p.features.mean) / p.features.scale  # noqa: E731
    scores = by_name(p)
    assert list(scores) == ["majority", "linear", "boosted trees"]
    assert scores["majority"]["test"] == pytest.approx(max(np.bincount(p.test.y)) / len(p.test.y))
    direct = LogisticRegression(max_iter=5000).fit(z(p.train), p.train.y).score(z(p.test), p.test.y)
    assert abs(scores["linear"]["test"] - direct) <= 1.5 / len(p.test.y)
    assert scores["boosted trees"]["validation"] > 0.9
    assert {b["metric"] for b in scores.values()} == {"accuracy"}


def test_numbers_agree_with_scikit_learn_used_directly():
    p = prepare(load("diabetes"))
    assert p.test is not None
    z = lambda part: (part.x - p.features.mean) / p.features.scale  # noqa: E731
    scores = by_name(p)
    assert abs(scores["mean"]["test"]) < 0.1
    direct = Ridge().fit(z(p.train), p.train.y[:, 0]).score(z(p.test), p.test.y[:, 0])
    assert scores["linear"]["test"] == pytest.approx(direct)
    assert scores["boosted trees"]["metric"] == "r2"


def test_several_numbers_and_several_labels():
    g = np.random.default_rng(0)
    x = g.normal(size=(300, 4))
    numbers = by_name(prepare(Dataset(x, x[:, :2] * 3 + 1)))
    assert numbers["linear"]["test"] > 0.99
    assert numbers["boosted trees"]["test"] > 0.7
    labels = by_name(prepare(Dataset(x, x[:, :2] > 0)))
    assert labels["linear"]["test"] > 0.9
    assert 0.3 < labels["majority"]["test"] < 0.7
    mixed = load(pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": np.arange(300) % 3}), target=["b", "c"])
    row = baselines(prepare(mixed))[0]
    assert (row["test"], row["note"]) == (None, "targets of several kinds have no common score")


def test_images_have_no_trees_and_large_sets_are_sampled_and_said():
    g = np.random.default_rng(0)
    images = g.integers(0, 256, (9_000, 15, 15), dtype=np.uint8)
    images[:, 0, 0] = np.where(np.arange(9_000) % 2, 255, 0)
    scores = by_name(prepare(Dataset(images, np.arange(9_000) % 2)))
    assert list(scores) == ["majority", "linear"]
    assert scores["linear"]["note"] == "on 5,000 of 6,300 training rows"
    assert scores["linear"]["test"] > 0.95


def test_weights_count():
    y = np.array([0, 1] * 50)
    p = prepare(Dataset(np.eye(100), y, weight=np.where(y == 1, 9.0, 1.0)))
    assert by_name(p)["majority"]["test"] == pytest.approx(0.9, abs=0.02)


def test_parts_that_do_not_exist_have_no_score():
    row = by_name(prepare(load("iris"), split=(1, 0, 0)))["linear"]
    assert (row["validation"], row["test"]) == (None, None)


def test_a_baseline_that_fails_says_so_and_ends_nothing(monkeypatch):
    monkeypatch.setattr("sklearn.linear_model.LogisticRegression.fit", lambda *a, **k: 1 / 0)
    scores = by_name(prepare(load("iris")))
    assert scores["linear"]["note"] == "could not be fitted: division by zero"
    assert scores["boosted trees"]["test"] > 0.8


def test_in_a_thread_it_gives_the_same_and_leaves_the_warning_filters_alone():
    p = prepare(load("iris"))
    expected, before, found = baselines(p), list(warnings.filters), []
    threads = [threading.Thread(target=lambda: found.append(baselines(p))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected, expected]
    assert warnings.filters == before
