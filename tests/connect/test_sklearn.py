"""The estimators: scikit-learn's own checks, and what Pellucid promises beyond them."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import pellucid as pc
from pellucid.connect.sklearn import PellucidClassifier, PellucidRegressor, _merged
from pellucid.errors import DataError, SettingError

QUICK = {"network": "mlp:8", "epochs": 5, "learning_rate": 0.01}
X, Y = load_iris(return_X_y=True)


@pytest.mark.slow
@parametrize_with_checks([PellucidClassifier(), PellucidRegressor()])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


# -- the numbers -------------------------------------------------------------------------------------------------


def test_a_perceptron_is_logistic_regression():
    """Trained to the end on the whole set, its probabilities are those of scikit-learn's unpenalised fit."""
    x, y = load_breast_cancer(return_X_y=True)
    x = StandardScaler().fit_transform(x[:, [1, 4, 8]])
    ours = PellucidClassifier(
        "perceptron", loss="cross_entropy", optimizer="gradient_descent", learning_rate=1.0, schedule="constant",
        steps=300, patience=300, validation_fraction=0.0,
    ).fit(x, y)  # fmt: skip
    theirs = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(x, y)
    assert abs(log_loss(y, ours.predict_proba(x)) - log_loss(y, theirs.predict_proba(x))) < 1e-4
    assert (ours.predict(x) == theirs.predict(x)).mean() > 0.99


def test_a_linear_network_is_least_squares():
    x, y = load_diabetes(return_X_y=True)
    x = x[:, [2, 3, 8]]
    ours = PellucidRegressor(
        "perceptron", optimizer="gradient_descent", learning_rate=0.3, schedule="constant", steps=200, patience=200,
        validation_fraction=0.0,
    ).fit(x, y)  # fmt: skip
    np.testing.assert_allclose(ours.predict(x), Ridge(alpha=1e-9).fit(x, y).predict(x), atol=0.5)


def test_the_network_says_what_the_estimator_says():
    fitted = PellucidClassifier(**QUICK).fit(X, Y)
    np.testing.assert_allclose(fitted.network_.probabilities(X), fitted.predict_proba(X), atol=1e-6)
    assert (fitted.network_.predict(X) == fitted.predict(X)).all()
    values = PellucidRegressor(**QUICK).fit(X, X[:, 0] * 10)
    np.testing.assert_allclose(values.network_.predict(X), values.predict(X), rtol=1e-5)


def test_the_same_as_pc_fit_on_the_same_rows():
    """Same words, same defaults: rows that differ, in the estimator's order, train the same network."""
    x, y, weight = _merged(X, Y, np.ones(len(X)))
    assert len(x) == 149  # iris has one row twice
    data = pc.Dataset(x, y, task="classification", weight=weight)
    run = pc.fit("mlp:8", data, epochs=3, split=(0.85, 0.15, 0.0), out=None, baselines=False, signals=False)
    fitted = PellucidClassifier("mlp:8", epochs=3).fit(X, Y)
    assert fitted.history_ == run.history
    assert fitted.result_["rows"] == {"train": 127, "validation": 22, "test": 0}
    assert fitted.n_iter_ == 3


# -- rows and weights --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [PellucidClassifier, PellucidRegressor])
def test_a_weight_of_three_is_three_rows_whatever_the_order(estimator):
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 4, len(X)).astype(float)
    order = rng.permutation(len(X))
    weighted = estimator(**QUICK).fit(X[order], Y[order], sample_weight=weight[order] * 0.5)
    repeated = estimator(**QUICK).fit(np.repeat(X, weight.astype(int), axis=0), np.repeat(Y, weight.astype(int)))
    scores = "decision_function" if estimator is PellucidClassifier else "predict"
    assert (getattr(weighted, scores)(X) == getattr(repeated, scores)(X)).all()


def test_validation_is_kept_back_from_100_rows_up():
    few = PellucidClassifier(**QUICK).fit(X[::2], Y[::2])
    assert few.result_["rows"] == {"train": 75, "validation": 0, "test": 0}
    some = PellucidClassifier(**QUICK, validation_fraction=0.3).fit(X, Y)
    assert some.result_["rows"]["validation"] == 45
    none = PellucidClassifier(**QUICK, validation_fraction=0.0).fit(X, Y)
    assert none.result_["validation"] is None


def test_balanced_class_weights_are_the_table_and_the_sample_weights_that_they_stand_for():
    x, y = X[:110], Y[:110]  # 50, 50, 10
    settings = {**QUICK, "validation_fraction": 0.0}
    balanced = PellucidClassifier(**settings, class_weights="balanced").fit(x, y)
    table = {0: 110 / 150, 1: 110 / 150, 2: 110 / 30}
    by_table = PellucidClassifier(**settings, class_weights=table).fit(x, y)
    by_row = PellucidClassifier(**settings).fit(x, y, sample_weight=np.array([table[label] for label in y]))
    plain = PellucidClassifier(**settings).fit(x, y)
    assert (balanced.decision_function(x) == by_table.decision_function(x)).all()
    np.testing.assert_allclose(balanced.decision_function(x), by_row.decision_function(x), atol=1e-4)
    assert balanced.predict_proba(x)[:, 2].mean() > plain.predict_proba(x)[:, 2].mean()


def test_gaps_are_filled_as_everywhere_in_pellucid():
    gappy = X.copy()
    gappy[::7, 1] = np.nan
    fitted = PellucidClassifier("mlp:8", epochs=40, learning_rate=0.01).fit(gappy, Y)
    assert fitted.score(gappy, Y) > 0.85
    with pytest.raises(DataError, match=r"(?s)not finite, in a column that had none in training.*'x1'"):
        fitted.predict(np.where(np.arange(4) == 0, np.nan, X))
    with pytest.raises(ValueError, match="Input X contains infinity"):
        fitted.predict(np.full((1, 4), np.inf))


# -- kinds of targets --------------------------------------------------------------------------------------------


def test_labels_keep_their_type():
    for labels in (np.array(["a", "b", "c"]), np.array([2.0, 7.0, -1.0]), np.array([10, 20, 30])):
        fitted = PellucidClassifier(**QUICK).fit(X, labels[Y])
        assert fitted.classes_.tolist() == sorted(labels.tolist())
        assert set(fitted.predict(X)) <= set(labels)
        assert set(fitted.network_.predict(X).tolist()) <= set(labels.tolist())
    twofold = PellucidClassifier(**QUICK).fit(X, Y == 2)
    assert twofold.predict(X).dtype == bool
    assert ((twofold.decision_function(X) > 0) == twofold.predict(X)).all()


def test_several_yes_or_no_labels():
    labels = np.stack([Y == 0, X[:, 0] > 6, X[:, 1] > 3], axis=1).astype(int)
    fitted = PellucidClassifier("mlp:16", epochs=60, learning_rate=0.01).fit(X, labels)
    assert fitted.predict(X).shape == (150, 3)
    assert ((fitted.predict_proba(X) > 0.5) == fitted.predict(X)).all()
    np.testing.assert_allclose(fitted.predict_proba(X), 1 / (1 + np.exp(-fitted.decision_function(X))))
    assert (fitted.predict(X) == labels).mean() > 0.9


def test_several_numbers():
    targets = np.stack([X[:, 0] * 100, X[:, 2] - 5], axis=1)
    fitted = PellucidRegressor("mlp:16", epochs=80, learning_rate=0.01).fit(X, targets)
    assert fitted.predict(X).shape == (150, 2)
    assert fitted.score(X, targets) > 0.9
    assert PellucidRegressor(**QUICK).fit(X, targets[:, :1]).predict(X).shape == (150, 1)


def test_a_loss_without_probabilities_gives_scores_only():
    squares = PellucidClassifier(**QUICK, loss="mean_squared_error")
    assert not hasattr(squares, "predict_proba")
    assert squares.fit(X, Y).decision_function(X).shape == (150, 3)
    apart = PellucidClassifier(**QUICK, loss="binary_cross_entropy").fit(X, Y)
    np.testing.assert_allclose(apart.predict_proba(X).sum(axis=1), 1)


# -- scikit-learn's machinery ------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_bring_their_names(frame):
    names = ["sepal length", "sepal width", "petal length", "petal width"]
    table = frame(dict(zip(names, X.T, strict=True)))
    fitted = PellucidClassifier(**QUICK).fit(table, Y)
    assert fitted.feature_names_in_.tolist() == names
    assert fitted.network_.features.names == tuple(names)
    assert (fitted.predict(table) == fitted.network_.predict(table)).all()


def test_clone_and_parameters():
    layer = pc.Sequential(pc.Input(), pc.Dense(4), pc.Tanh(), pc.Output())
    made = PellucidClassifier(layer, activation=None, class_weights={"a": 2.0}, epochs=2)
    copied = clone(made)
    assert copied.get_params() == made.get_params()
    assert copied.get_params()["network"] == layer
    assert copied.set_params(epochs=7).epochs == 7
    assert "class_weights" not in PellucidRegressor().get_params()
    assert repr(PellucidRegressor(epochs=3)) == "PellucidRegressor(epochs=3)"


def test_defaults_are_those_of_the_recipe():
    params = PellucidClassifier().get_params()
    assert params.pop("network") == "mlp"
    assert params.pop("validation_fraction") == 0.15
    assert (params.pop("random_state"), params.pop("verbose")) == (0, 0)
    assert set(params.values()) == {None}


@pytest.mark.parametrize("estimator", [PellucidClassifier, PellucidRegressor])
def test_pickling(estimator):
    fitted = estimator(**QUICK).fit(X, Y)
    again = pickle.loads(pickle.dumps(fitted))
    assert (again.predict(X) == fitted.predict(X)).all()
    assert (pickle.loads(pickle.dumps(fitted.network_)).predict(X) == fitted.network_.predict(X)).all()


def test_grids_and_pipelines():
    """NumPy's numbers, which grids are made of, are taken as Python's."""
    grid = {"pellucidclassifier__learning_rate": np.array([1e-6, 0.02]), "pellucidclassifier__epochs": np.array([20])}
    pipeline = make_pipeline(StandardScaler(), PellucidClassifier("mlp:8"))
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, Y)
    assert search.best_params_["pellucidclassifier__learning_rate"] == 0.02
    assert cross_val_score(search.best_estimator_, X, Y, cv=2).mean() > 0.8


def test_random_state():
    def outputs(**settings):
        return PellucidClassifier(**QUICK, **settings).fit(X, Y).decision_function(X)

    assert (outputs(random_state=3) == outputs(random_state=3)).all()
    assert (outputs(random_state=3) != outputs(random_state=4)).any()
    one, other = (np.random.RandomState(5) for _ in range(2))
    assert (outputs(random_state=one) == outputs(random_state=other)).all()
    assert (outputs(random_state=one) != outputs(random_state=None)).any()


def test_verbose_prints_a_line_an_epoch(capsys):
    PellucidClassifier("mlp:8", epochs=2, verbose=1).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1", "epoch 2"]
    assert "validation loss" in lines[0]
    PellucidClassifier("mlp:8", epochs=2).fit(X, Y)
    assert capsys.readouterr().out == ""


# -- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"validation_fraction": 1.0}, "(?s)validation_fraction.*a share >= 0 and < 1.*1.0"),
        ({"epochs": 0}, "(?s)train.epochs.*a whole number >= 1"),
        ({"network": "mpl:8"}, r"did you mean 'mlp'\?"),
        ({"loss": "hubber"}, r"did you mean 'huber'\?"),
        ({"class_weights": {"lion": 2.0}}, "class_weights names 'lion', which is no class"),
    ],
)
def test_settings_that_cannot_be(change, match):
    with pytest.raises(SettingError, match=match):
        PellucidClassifier(**{**QUICK, **change}).fit(X, Y)


def test_data_that_cannot_be():
    one = PellucidClassifier(**QUICK)
    with pytest.raises(DataError, match=r"(?s)only one class.*at least 2 classes.*1 in every row"):
        one.fit(X, np.ones(150, int))
    with pytest.raises(DataError, match=r"(?s)several targets of more than two classes.*MultiOutputClassifier"):
        one.fit(X, np.stack([Y, Y], axis=1))
    with pytest.raises(ValueError, match=r"(?i)sample weight.*zero"):
        one.fit(X, Y, sample_weight=np.zeros(150))
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        one.fit(X, Y, sample_weight=np.full(150, -1.0))
    with pytest.raises(DataError, match=r"(?s)there is only one row.*two that differ.*n_samples = 1"):
        PellucidRegressor().fit(X[[0, 0]], Y[[0, 0]])
    with pytest.raises(NotFittedError):
        one.predict(X)
