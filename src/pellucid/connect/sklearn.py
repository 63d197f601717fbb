"""scikit-learn estimators: the words and defaults are those of `pellucid.fit` and of the recipe.

    PellucidClassifier("mlp", epochs=50).fit(X, y).score(X_test, y_test)

Rows that are equal, target included, are one row that counts more often: a `sample_weight` of 3 is the same as giving
the row three times, to the last bit, the order of the rows does not matter, and no row lies in training and validation
at once. There is no test part; `validation_fraction` of the rows is kept back to choose the best epoch by.
"""

from dataclasses import KW_ONLY, dataclass
from hashlib import blake2b
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import (
    _check_sample_weight,  # pyright: ignore[reportPrivateUsage]  (what third-party estimators are told to use)
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from pellucid.data import Dataset
from pellucid.errors import DataError, SettingError
from pellucid.fit import fit
from pellucid.network.rows import pad_rows
from pellucid.session import Callback
from pellucid.train.loop import EpochEnded
from pellucid.train.loss import Loss

VALIDATED_FROM = 100  # rows; fewer are all trained on
BLOCK = 256  # rows computed at once: always as many, so that a row's outputs do not depend on those beside it
PASSED = (
    "network", "activation", "loss", "optimizer", "learning_rate", "schedule", "batch_size", "epochs", "steps",
    "patience",
)  # fmt: skip


@dataclass(eq=False, repr=False)
class _Estimator(BaseEstimator):
    """What both share. A dataclass, so that the settings are written once; scikit-learn reads the made `__init__`."""

    network: Any = "mlp"
    _: KW_ONLY
    activation: str | None = None
    loss: Any = None
    optimizer: Any = None
    learning_rate: float | str | None = None
    schedule: Any = None
    batch_size: int | str | None = None
    epochs: int | None = None
    steps: int | None = None
    patience: int | None = None
    validation_fraction: float = 0.15
    random_state: Any = 0
    verbose: int = 0

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True  # gaps are filled with the median, and flagged
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")  # `n_features_in_` is there after a fit that failed, too

    def _checked(self, X: Any, y: Any, sample_weight: Any, numeric: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """X, y and weights as arrays, rows without weight left out."""
        X, y = validate_data(
            self, X, y, dtype="numeric", ensure_all_finite="allow-nan", multi_output=True, y_numeric=numeric
        )
        if sample_weight is None:
            return X, y, np.ones(len(X))
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not weight.any():
            raise DataError(
                "every sample weight is zero", where="sample_weight", expected="at least one row that counts"
            )
        return X[weight > 0], y[weight > 0], weight[weight > 0]

    def _train(self, X: np.ndarray, y: np.ndarray, weight: np.ndarray, **about: Any) -> None:
        """Fit the network and keep what came of it. about: what further there is to say of the data."""
        if not 0 <= self.validation_fraction < 1:
            raise SettingError(
                "a setting is out of range", where="validation_fraction", expected="a share >= 0 and < 1",
                got=self.validation_fraction,
            )  # fmt: skip
        class_weights = about.pop("class_weights", None)
        X, y, weights = _merged(X, y, weight)
        if len(X) == 1:
            raise DataError(
                "there is only one row", where="X", expected="two that differ, at least", got="n_samples = 1"
            )
        names = getattr(self, "feature_names_in_", None)
        data = Dataset(X, y, weight=weights, feature_names=None if names is None else tuple(names), **about)
        kept_back = self.validation_fraction if len(X) >= VALIDATED_FROM else 0.0
        run = fit(
            data=data, out=None, baselines=False, signals=False, split=(1 - kept_back, kept_back, 0.0),
            seed=self._seed(), class_weights=class_weights, callbacks=(_Lines(),) if self.verbose else (),
            **{name: _plain(getattr(self, name)) for name in PASSED},
        )  # fmt: skip
        self.network_, self.history_, self.result_ = run.network, run.history, run.result
        self.n_iter_ = run.result["epochs"]
        self._features = run.network.features or run.prepared.features
        self._targets = run.network.targets or run.prepared.targets

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _outputs(self, X: Any) -> np.ndarray:
        """The network's raw outputs (logits, or standardised values) for checked rows, float64 [n, width]."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype="numeric", ensure_all_finite="allow-nan")
        out = []
        for start in range(0, len(X), BLOCK):
            block, n = pad_rows(self._features.transform(X[start : start + BLOCK], "X"), BLOCK)
            out.append(np.asarray(self.network_(block), np.float64)[:n])
        outputs = np.concatenate(out)
        return outputs if outputs.ndim > 1 else outputs[:, None]


def _gives_probabilities(estimator: "PellucidClassifier") -> bool:
    loss = "cross_entropy" if estimator.loss is None else estimator.loss
    return Loss.of(loss).link != "identity"


@dataclass(eq=False, repr=False)
class PellucidClassifier(ClassifierMixin, _Estimator):
    """A neural network as a scikit-learn classifier: two or more classes, or several yes-or-no labels at once.

    network: an architecture ("mlp:64,32", "perceptron"), or a Layer or Network; activation, loss, optimizer,
    learning_rate, schedule, batch_size, epochs, steps, patience: as in `pellucid.fit`, None for its defaults.
    validation_fraction: the share of rows kept back to choose the best epoch by, from 100 rows up.
    class_weights: "balanced", or {label: weight}, or None.   random_state: the seed; None draws a new one each time.
    verbose: 1 prints a line each epoch.

    After `fit`: `classes_`, `n_features_in_`, `feature_names_in_` (where X had names), `n_iter_` (epochs), `network_`
    (a `Network`), `history_` (a dict each epoch), `result_` (scores and costs).

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> bool(PellucidClassifier(epochs=30, learning_rate=0.01).fit(X, y).score(X, y) > 0.9)
    True
    """

    class_weights: Any = None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows X [n, features] and labels y [n], or yes-or-no labels [n, k]; ValueError for bad input."""
        X, y, weight = self._checked(X, y, sample_weight, numeric=False)
        check_classification_targets(y)
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise DataError(
                "several targets of more than two classes", where="y", expected="[n] labels, or [n, k] of 0 and 1",
                fix="wrap the estimator: sklearn.multioutput.MultiOutputClassifier",
            )  # fmt: skip
        if kind == "multilabel-indicator":
            self.classes_ = np.arange(y.shape[1])
            self._train(X, y.astype(np.int64), weight, task="classification", class_weights=self.class_weights)
            return self
        self.classes_, codes = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                "there is only one class: nothing to tell apart", where="y", expected="at least 2 classes",
                got=f"{_plain(self.classes_[0])!r} in every row that counts",
            )  # fmt: skip
        names = tuple(self.classes_.tolist())
        table = self._weight_of_class(codes, weight)
        self._train(X, codes, weight, task="classification", class_names=names, class_weights=table)
        return self

    def _weight_of_class(self, codes: np.ndarray, weight: np.ndarray) -> Any:
        """ "balanced" counts what the rows weigh, for equal rows are merged later."""
        if self.class_weights != "balanced":
            given = self.class_weights
            return {str(_plain(k)): float(v) for k, v in given.items()} if isinstance(given, dict) else given
        sums = np.bincount(codes, weights=weight)
        return {str(_plain(c)): float(w) for c, w in zip(self.classes_, sums.sum() / (len(sums) * sums), strict=True)}

    @property
    def _multilabel(self) -> bool:
        return len(self._targets.columns) > 1

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores before the link: [n] for two classes (above 0: the second), else [n, classes] or [n, labels]."""
        outputs = self._outputs(X)
        if outputs.shape[1] == 2 and not self._multilabel:
            return outputs[:, 1] - outputs[:, 0]
        return outputs

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row [n], or which of the labels it has, 0 or 1 [n, k]."""
        outputs = self._outputs(X)
        if self._multilabel:
            return (outputs > (0.5 if self._outputs_are_probabilities else 0.0)).astype(np.int64)
        return self.classes_[outputs.argmax(axis=1)]

    @available_if(_gives_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities [n, classes], or of each label [n, k]. Not there where the loss gives none."""
        outputs = self._outputs(X)
        if self._outputs_are_probabilities:
            p = outputs
        elif self.network_.link == "softmax":
            p = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        else:
            p = 1 / (1 + np.exp(-np.clip(outputs, -700, 700)))
        return p if self._multilabel else p / p.sum(axis=1, keepdims=True)

    @property
    def _outputs_are_probabilities(self) -> bool:
        return _gives_probabilities(self) and self.network_.link == "identity"


@dataclass(eq=False, repr=False)
class PellucidRegressor(RegressorMixin, _Estimator):
    """A neural network as a scikit-learn regressor, for one target or several.

    Settings and what there is after `fit` are as for `PellucidClassifier`, without classes. Targets are standardised
    while training; predictions are in their own units.

    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> bool(PellucidRegressor(epochs=60, learning_rate=0.01).fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.9)
    True
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows X [n, features] and numbers y [n] or [n, targets]; ValueError for bad input."""
        X, y, weight = self._checked(X, y, sample_weight, numeric=True)
        self._width = None if y.ndim == 1 else y.shape[1]
        self._train(X, y.astype(np.float64), weight, task="regression")
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Values in the targets' own units, in the shape that y had: [n] or [n, targets]."""
        values = self._outputs(X) * self._targets.scale + self._targets.mean
        return values[:, 0] if self._width is None else values


class _Lines(Callback):
    """One line an epoch."""

    def epoch_ended(self, event: EpochEnded) -> None:
        score = "" if event.validation is None else f", validation loss {event.validation.loss:.4f}"
        print(f"epoch {event.epoch}: loss {event.loss:.4f}{score}")


def _plain(value: Any) -> Any:
    """NumPy's scalars, which parameter grids are made of, as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _merged(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Each different row (target included) once, with its weights added; None where all weigh the same.

    The order follows from the rows' hashes: it does not depend on the order that they came in.

    >>> x, y, w = _merged(np.array([[1.0], [2.0], [1.0]]), np.array([0, 1, 0]), np.array([1.0, 1.0, 2.0]))
    >>> sorted(zip(x[:, 0].tolist(), y.tolist(), w.tolist()))
    [(1.0, 0, 3.0), (2.0, 1, 1.0)]
    """
    x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
    digests = [blake2b(a.tobytes() + b.tobytes(), digest_size=8).digest() for a, b in zip(x, y, strict=True)]
    _, first, which = np.unique(np.frombuffer(b"".join(digests), np.uint64), return_index=True, return_inverse=True)
    total = np.bincount(which, weights=weight)
    return x[first], y[first], None if (total == total[0]).all() else total
