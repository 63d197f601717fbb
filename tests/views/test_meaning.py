"""What scores mean: the sentences say what can be counted, and nothing where it cannot."""

import math

from pellucid.views.meaning import meanings


def said(result, setup=None):
    return {score.split(" ", 1)[1]: sentence for score, sentence in meanings(result, setup)}


def test_wrong_answers_are_counted_from_the_confusion():
    result = {
        "metric": "accuracy", "task": "classification", "test": {"accuracy": 957 / 1000, "loss": 0.25},
        "details": {"part": "test", "confusion": [[500, 20], [23, 457]], "accuracy": 957 / 1000, "roc_auc": 0.99},
        "baselines": [{"name": "majority", "metric": "accuracy", "validation": 0.5, "test": 0.52}],
    }  # fmt: skip
    found = said(result, {"loss": "cross_entropy", "trivial_validation": math.log(2)})
    assert found["accuracy"] == ("43 of 1,000 unseen examples wrong; always naming the most common class gives 0.52")
    assert f"probability of {math.exp(-0.25):.2f}" in found["loss"] and "loses 0.6931" in found["loss"]
    assert "99.0%" in found["roc auc"]


def test_rows_of_unequal_weight_are_not_counted():
    result = {
        "metric": "accuracy", "test": {"accuracy": 0.9, "loss": 0.25},
        "details": {"part": "test", "confusion": [[5, 5], [0, 10]]},
    }  # fmt: skip
    assert said(result)["accuracy"] == "90.0% of the answers for unseen examples are right"


def test_a_regression_worse_than_the_mean_says_so():
    result = {
        "metric": "r2", "test": {"r2": -0.4, "loss": 1.4}, "details": {"part": "test", "mean_absolute_error": 3.0},
        "baselines": [{"name": "mean", "metric": "r2", "test": -0.01}],
    }  # fmt: skip
    found = said(result)
    assert "worse than always predicting the mean, which gives -0.01" in found["r2"]
    assert "3.0000" in found["mean absolute error"]


def test_what_is_not_finite_or_missing_is_not_explained():
    assert meanings({"metric": "accuracy", "train": None, "validation": None, "test": None}) == []
    assert meanings({"metric": "r2", "test": {"r2": "nan", "loss": "inf"}}) == []
